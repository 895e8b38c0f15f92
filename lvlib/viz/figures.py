"""Figures that look alike in every notebook."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind eyes; yellow last, it is faint on white.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]


def set_style() -> None:
    """Sets matplotlib's defaults: readable sizes, colours for all eyes, a light grid. Once in a notebook."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update({
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
        "axes.titleweight": "bold",
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "figure.figsize": (6.4, 3.2),
        "font.size": 10,
        "grid.color": "#e3e6ea",
        "image.interpolation": "nearest",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "savefig.dpi": "figure",
    })


def curves(values: Mapping[str, Sequence | Mapping], xlabel: str, ylabel: str, title: str = "",
           log: bool = False) -> "Figure":
    """A line for each label: values over 0, 1, 2 ..., or {x: y}. log: of the y axis."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    for label, line in values.items():
        if isinstance(line, Mapping):
            axes.plot(list(line.keys()), list(line.values()), label=label)
        else:
            axes.plot(line, label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale="log" if log else "linear")
    if len(values) > 1:
        axes.legend()
    return figure


def bars(values: Mapping[str, float], ylabel: str, title: str = "", log: bool = False) -> "Figure":
    """A bar for each label, with its value written on it."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.bar_label(axes.bar(list(values), list(values.values()), width=0.6), fmt="{:.3g}", padding=2)
    axes.margins(y=0.12)  # room for the highest bar's value
    axes.set(ylabel=ylabel, title=title, yscale="log" if log else "linear")
    axes.grid(axis="x", visible=False)
    return figure


def maps(values: Mapping[str, Tensor], cross: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
         columns: int = 4, xlabel: str = "", ylabel: str = "") -> "Figure":
    """A map for each title, (rows, columns) each, with lines between cells: bool in blue and white, numbers each to
    their own scale. cross: (row, column) of a cell to mark in every map, or that of each title that has one."""
    from matplotlib import pyplot

    across = min(columns, len(values))
    down = -(-len(values) // across)
    width = min(7.2 / across, 2.6)
    figure, axes = pyplot.subplots(down, across, figsize=(width * across, (width + 0.3) * down), squeeze=False)
    for ax, (title, value) in zip(axes.flat, values.items(), strict=False):
        is_mask = not value.is_floating_point()
        scale = {"cmap": "Blues", "vmin": 0, "vmax": 1.3} if is_mask else {"cmap": "magma"}
        ax.imshow(value.detach().numpy(), **scale)
        if place := cross.get(title) if isinstance(cross, Mapping) else cross:
            ax.plot(place[1], place[0], "x", color="black" if is_mask else COLOURS[5], ms=8, mew=2)
        ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
        cell_lines(ax, *value.shape)
    for ax in list(axes.flat)[len(values):]:
        ax.remove()
    return figure


def cell_lines(axes: "Axes", rows: int, columns: int, colour: str = "#999999") -> None:
    """Draws lines around the cells of an image of rows x columns, such as a mask, in place of ticks."""
    axes.set(xticks=[x - 0.5 for x in range(columns + 1)], yticks=[y - 0.5 for y in range(rows + 1)])
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.grid(visible=True, color=colour, lw=0.6)
    axes.set_axisbelow(False)
    axes.spines[:].set(visible=True, color=colour, lw=0.6)

"""Figures that look alike in every notebook."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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


def cell_lines(axes: "Axes", rows: int, columns: int, colour: str = "#999999") -> None:
    """Draws lines around the cells of an image of rows x columns, such as a mask, in place of ticks."""
    axes.set(xticks=[x - 0.5 for x in range(columns + 1)], yticks=[y - 0.5 for y in range(rows + 1)])
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.grid(visible=True, color=colour, lw=0.6)
    axes.set_axisbelow(False)
    axes.spines[:].set(visible=True, color=colour, lw=0.6)

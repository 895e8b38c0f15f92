"""Pictures of sound."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from lvlib.data.drum_sounds import DRUMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = ["#E69F00", "#56B4E9", "#009E73"]  # of `DRUMS`


def draw_spectrogram(axes: "Axes", picture: Tensor, highest: float, onsets: np.ndarray | Sequence | None = None,
                     title: str = "") -> None:
    """A spectrogram (bands, n) of pitches up to `highest` Hz, over the frames of a video of 16, with a mark below for
    each hit of a drum: onsets (16, 3), 0 or 1."""
    axes.imshow(picture.numpy(), origin="lower", aspect="auto", cmap="magma", extent=(0, 16, 0, highest))
    axes.grid(visible=False)
    axes.set(title=title, xlim=(-0.3, 16), ylim=(0 if onsets is None else -0.175 * highest, highest),
             ylabel="pitch (Hz)")
    if onsets is not None:
        for drum, (name, colour) in enumerate(zip(DRUMS, MARKS, strict=True)):
            at = np.flatnonzero(np.asarray(onsets)[:, drum]) + (0.5 if name == "hat" else 0)
            axes.plot(at, [-0.0875 * highest] * len(at), "^", color=colour, label=name, ms=6)

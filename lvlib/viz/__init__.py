"""See it: video in a small player, strips of frames, maps of codes, figures, all with a text alternative.

`show_video`, `show_codes`, `show`, `slider` and `pad` put something into a notebook; the others give back
images, arrays and figures. IPython, matplotlib and ipywidgets are imported only by the functions that need them.
"""

from lvlib.viz.codes import change_mask, changes, code_map, code_strip, palette, show_codes
from lvlib.viz.figures import bars, cell_lines, curves, maps, set_style
from lvlib.viz.output import show, slider
from lvlib.viz.pad import pad
from lvlib.viz.player import player_html, show_video
from lvlib.viz.scored import scored_strip
from lvlib.viz.sound import draw_spectrogram
from lvlib.viz.strips import save_strip, strip

__all__ = [
    "bars", "cell_lines", "change_mask", "changes", "code_map", "code_strip", "curves", "draw_spectrogram", "maps",
    "pad", "palette", "player_html", "save_strip", "scored_strip", "set_style", "show", "show_codes", "show_video",
    "slider", "strip",
]

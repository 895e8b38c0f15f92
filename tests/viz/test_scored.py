import numpy as np
import pytest
from PIL import ImageColor

from lvlib.errors import UserError
from lvlib.viz import scored_strip, strip
from lvlib.viz.scored import CELL, LEAST_WIDTH, MARKED

CLIPS = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)
TITLES = ["a", "b", "c"]


def colours(image, column: int) -> list[tuple[int, ...]]:
    """Of the left edge of the cells in a column, from top to bottom, each run once."""
    plain = strip(CLIPS, 4, TITLES)
    edge = np.asarray(image)[:, plain.width + column * (LEAST_WIDTH + 2)]
    return [tuple(int(x) for x in colour) for i, colour in enumerate(edge) if not i or (colour != edge[i - 1]).any()]


def test_clips_stand_as_in_a_strip_and_scores_beside_them():
    image = scored_strip(CLIPS, TITLES, {"x": [("1", False), ("2", True), ("3", False)],
                                         "y": [("1", True), ("2", False), ("3", True)]}, frames=4)
    plain = np.asarray(strip(CLIPS, 4, TITLES))
    assert np.array_equal(np.asarray(image)[:, :plain.shape[1]], plain)
    white, cell, marked = (255, 255, 255), ImageColor.getrgb(CELL), ImageColor.getrgb(MARKED)
    assert colours(image, 0) == [white, cell, white, marked, white, cell, white]
    assert colours(image, 1) == [white, marked, white, cell, white, marked, white]


def test_a_heading_may_have_lines_and_a_column_is_as_wide_as_its_text():
    scores = [("1", False)] * 3
    one = scored_strip(CLIPS, TITLES, {"x": scores})
    two = scored_strip(CLIPS, TITLES, {"walks\nx": scores})
    wide = scored_strip(CLIPS, TITLES, {"a heading of many words": scores})
    assert two.height > one.height and two.width == one.width
    assert wide.width > one.width and wide.height == one.height


def test_a_column_of_another_length_is_refused():
    with pytest.raises(UserError, match="2 scores 'x' for 3 clips"):
        scored_strip(CLIPS, TITLES, {"x": [("1", False)] * 2})

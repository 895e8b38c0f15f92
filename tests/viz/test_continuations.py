import numpy as np

from lvlib.viz.continuations import COLUMNS, Continuation, continuation_panels, continuation_strip, span
from lvlib.viz.strips import FONT_SIZE, MARGIN, strip

HEAD = FONT_SIZE + 2 * MARGIN


def clips(count: int, t: int = 4, side: int = 64, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, t, side, side, channels), np.uint8)


def panel(movie: np.ndarray, row: int, column: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The captions (t, HEAD, side, 3) and the pictures (t, side, side, 3) of one panel."""
    x, y = MARGIN + column * (side + MARGIN), row * (side + HEAD)
    return movie[:, y:y + HEAD, x:x + side], movie[:, y + HEAD:y + HEAD + side, x:x + side]


def test_every_clip_plays_in_its_panel_enlarged():
    videos = clips(COLUMNS + 2)
    movie = continuation_panels([Continuation(f"sample {i}", video, 1) for i, video in enumerate(videos)])
    assert movie.shape[0] == 4
    for i, video in enumerate(videos):
        _, pictures = panel(movie, i // COLUMNS, i % COLUMNS, 128)
        np.testing.assert_array_equal(pictures[:, ::2, ::2], video)
        np.testing.assert_array_equal(pictures[:, 1::2, 1::2], video)


def test_the_caption_changes_where_generation_begins_and_only_there():
    true, sample = clips(2, side=128)
    movie = continuation_panels([Continuation("true", true), Continuation("sample", sample, 3)])
    of_true, of_sample = (panel(movie, 0, column, 128)[0] for column in range(2))
    assert (of_true == of_true[0]).all()
    assert (of_sample[:3] == of_sample[0]).all() and (of_sample[3] != of_sample[0]).any()
    given, generated = of_sample[0].astype(int), of_sample[3].astype(int)
    assert abs(given[..., 0] - given[..., 2]).max() < 40 < (generated[..., 0] - generated[..., 2]).max()  # ink, orange


def test_a_grey_clip_of_odd_size_is_shown_grey():
    movie = continuation_panels([Continuation("sample", clips(1, side=33, channels=1)[0], 1)])
    pictures = panel(movie, 0, 0, 4 * 33)[1]
    assert (pictures == pictures[..., :1]).all()


def test_a_strip_says_in_words_what_is_given():
    true, sample = clips(2)
    rows = [Continuation("true clip", true), Continuation("sample 1", sample, 1)]
    titles = ["true clip", "sample 1: 0 given, 1 to 3 generated"]
    np.testing.assert_array_equal(continuation_strip(rows), np.asarray(strip([true, sample], 4, titles)))


def test_given_frames_at_both_ends():
    filled = Continuation("sample", clips(1, t=6, side=128)[0], 1, 2)
    assert filled.summary() == "sample: 0 and 4 to 5 given, 1 to 3 generated"
    assert [filled.caption(frame).split(": ")[1] for frame in range(6)] == [
        "given", "generated", "generated", "generated", "given", "given"]
    captions = panel(continuation_panels([filled]), 0, 0, 128)[0]
    assert (captions[[4, 5]] == captions[0]).all() and (captions[[2, 3]] == captions[1]).all()
    assert (captions[1] != captions[0]).any()


def test_frames_in_words():
    assert (span(0, 1), span(0, 5), span(15, 16)) == ("0", "0 to 4", "15")

import pytest

from lvlib.data import MovingDigits, VideoFolder, limits, read_video
from lvlib.data.limits import in_words, require_disk, require_memory
from lvlib.errors import UserError


def test_what_fits_passes_and_what_does_not_is_refused_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: 10**9)
    require_memory(10**9, "a thing")
    with pytest.raises(UserError, match=r"^a thing: 2 GB of memory are needed, and 1 GB are free$"):
        require_memory(2 * 10**9, "a thing")
    require_disk(tmp_path / "not" / "there", 1, "a thing")
    with pytest.raises(UserError, match=r"^a thing: over 1,000 PB of disk are needed, and .* are free in "):
        require_disk(tmp_path / "not" / "there", 10**400, "a thing")


@pytest.mark.parametrize("count, words", [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (10**12, "1 TB"),
                                          (10**17, "100 PB"), (10**500, "over 1,000 PB")])
def test_numbers_in_words(count, words):
    assert in_words(count) == words


@pytest.mark.parametrize("make", [
    lambda root: MovingDigits(10**12),
    lambda root: MovingDigits(1, frames=10**12),
    lambda root: MovingDigits(1, size=10**7),
    lambda root: VideoFolder(root, size=10**9),
    lambda root: VideoFolder(root, frames=10**15),
])
def test_sizes_that_fit_nowhere_are_refused_before_the_work(tmp_path, make):
    from small_videos import save_images

    save_images(tmp_path / "a", 3)
    with pytest.raises(UserError, match="of memory are needed"):
        make(tmp_path)


def test_a_video_that_does_not_fit(tmp_path):
    from small_videos import save_video

    with pytest.raises(UserError, match="20 frames of 1000000000 x 1000000000: .* of memory are needed"):
        read_video(save_video(tmp_path / "a.mp4"), size=10**9)

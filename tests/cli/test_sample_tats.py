"""lvlib sample with a window that slides: what it refuses."""


def test_a_context_as_long_as_the_window_is_refused(refused, tmp_path):
    message = refused("sample", "tats-course", "--condition.label", "3", "--out", tmp_path / "out.mp4",
                      "--sampling.context", 4)
    assert "context must be 1 to 3, less than the window, not 4" in message

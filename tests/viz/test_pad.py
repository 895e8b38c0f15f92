"""Buttons below a clip."""

import base64
import io
import re
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from lvlib.errors import UserError
from lvlib.viz import pad, strip


def grey(value: int) -> np.ndarray:
    """Four frames of one grey, ever brighter: uint8 (4, 8, 8, 1)."""
    return np.full((4, 8, 8, 1), value, np.uint8) + np.arange(0, 80, 20, dtype=np.uint8)[:, None, None, None]


def shown(bundle: dict) -> list[int]:
    """The grey of each frame."""
    data = re.search(r'src="data:image/webp;base64,([^"]*)"', bundle["text/html"])[1]
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.info["loop"] == 1
    return [frame.convert("L").getpixel((5, 5)) for frame in ImageSequence.Iterator(image)]


def test_each_button_plays_what_it_leads_to(displayed):
    pressed = []
    brightness = {"left": 100, "right": 150}
    pad(lambda name: pressed.append(name) or grey(brightness[name]), ["left", "right"], grey(0), alt="A.")
    assert shown(displayed[0]) == pytest.approx([0, 20, 40, 60], abs=3) and displayed[0]["text/plain"] == "A."
    left, right = displayed[1].children
    right.click()
    assert pressed == ["right"] and shown(displayed[0]) == pytest.approx([150, 170, 190, 210], abs=3)
    left.click()
    assert pressed == ["right", "left"] and shown(displayed[0])[0] == pytest.approx(100, abs=3)
    assert len(displayed) == 2 and not left.disabled


def test_the_buttons_wait_for_the_answer_and_come_back_after_an_error(displayed):
    states = []

    def press(name):
        states.extend(button.disabled for button in displayed[1].children)
        raise KeyError(name)

    pad(press, ["on", "off"], grey(0), alt="A.")
    displayed[1].children[0].click()  # ipywidgets logs the error
    assert states == [True, True] and not any(button.disabled for button in displayed[1].children)


def test_without_ipywidgets_the_clip_is_there(displayed, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    pad(lambda name: grey(100), ["left"], grey(0), alt="A.")
    assert len(displayed) == 1 and len(shown(displayed[0])) == 4


def test_on_the_web_it_is_a_strip(displayed, monkeypatch):
    monkeypatch.setenv("LVLIB_PICTURES", "png")
    pad(lambda name: grey(100), ["left"], grey(0), alt="A.")
    (bundle,) = displayed
    assert bundle["metadata"]["image/png"]["alt"] == bundle["text/plain"] == "A."
    shown = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGB")
    assert np.array_equal(np.asarray(shown), np.asarray(strip(grey(0))))


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(UserError, match="at least one button"):
        pad(lambda name: grey(0), [], grey(0), alt="A.")
    with pytest.raises(UserError, match="one clip, not 2"):
        pad(lambda name: grey(0), ["left"], [grey(0), grey(0)], alt="A.")
    with pytest.raises(UserError, match="fps must be above 0, not 0"):
        pad(lambda name: grey(0), ["left"], grey(0), alt="A.", fps=0)
    with pytest.raises(UserError, match="alt is empty"):
        pad(lambda name: grey(0), ["left"], grey(0), alt="")

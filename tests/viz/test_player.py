"""What a player carries: exact pixels, names for its controls, few bytes, nothing from the network."""

import base64
import html
import io
import json
import re
import wave

import numpy as np
import pytest
import torch
from PIL import Image

from lvlib.data import MovingDigits, to_video
from lvlib.errors import UserError
from lvlib.viz import player_html, show_video


def page(player: str) -> str:
    return html.unescape(re.search(r'srcdoc="([^"]*)"', player).group(1))


def sprite(player: str) -> np.ndarray:
    data = re.search(r'url\("data:image/webp;base64,([A-Za-z0-9+/=]+)"', page(player)).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def digits(clips: int, **options) -> list[np.ndarray]:
    data = MovingDigits(clips, **{"color": True, **options})
    return [data[i]["video"] for i in range(clips)]


def test_every_frame_of_every_clip_comes_back_exactly():
    clips = digits(3, frames=7, size=32)
    player = player_html([to_video(clip) for clip in clips], alt="digits")
    across = int(re.search(r"across = (\d+)", page(player)).group(1))
    sheet = sprite(player)
    for i, frame in enumerate(np.concatenate(clips)):
        x, y = i % across * 32, i // across * 32
        assert np.array_equal(sheet[y:y + 32, x:x + 32], frame), f"cell {i}"


def test_a_long_clip_fits_into_one_image():
    player = player_html(np.zeros((1024, 32, 32, 1), np.uint8), alt="dark")
    assert max(sprite(player).shape) <= 2048


@pytest.mark.parametrize("clips, frames", [(1, 1), (1, 7), (3, 7), (5, 4)])
def test_without_scripts_each_clip_shows_its_first_frame(clips, frames):
    videos = digits(clips, frames=frames, size=32)
    player = player_html(videos, alt="digits")
    across, down = map(int, re.search(r"background-size: (\d+)00% (\d+)00%", page(player)).groups())
    positions = re.findall(r"background-position: ([\d.]+)% ([\d.]+)%", page(player))
    assert len(positions) == clips and page(player).count("background: var(--sprite)") == 1
    for video, (x, y) in zip(videos, positions, strict=True):
        # CSS: so much of what the picture is larger than its box lies before the box.
        left, top = round(float(x) / 100 * (across - 1) * 32, 2), round(float(y) / 100 * (down - 1) * 32, 2)
        assert left.is_integer() and top.is_integer()
        assert np.array_equal(sprite(player)[int(top):int(top) + 32, int(left):int(left) + 32], video[0])


def test_the_controls_wait_for_the_script():
    text, script = page(player_html(digits(1, size=32), alt="digits")).split("<script>")
    assert '<div id="bar" hidden>' in text and '<p id="still">First frame: scripts do not run here.</p>' in text
    assert "$('still').hidden = true" in script and "$('bar').hidden = false" in script


def test_nothing_comes_from_outside():
    text = re.sub(r'url\("data:image/webp;base64,[A-Za-z0-9+/=]+"\)', "", page(player_html(digits(2), alt="digits")))
    assert not re.search(r"//|@import|url\(|href|<link|\bfetch\b|XMLHttp", text)
    assert [m for m in re.findall(r"\bsrc\s*=\s*'([^']*)'", text) if m] == []


def test_titles_and_alt_are_text_not_markup():
    player = player_html(digits(1, size=32), ['<b>"one" & $two</b>'], alt='a "quoted" <i>alt</i> for $5')
    text = page(player)
    assert "<b>" not in text and "<i>" not in text
    assert "&lt;b&gt;&quot;one&quot; &amp; $two&lt;/b&gt;" in text
    assert 'aria-label="video player: a &quot;quoted&quot; &lt;i&gt;alt&lt;/i&gt; for $5"' in text
    assert html.unescape(re.search(r'title="([^"]*)"', player).group(1)).endswith('<i>alt</i> for $5')


def test_controls_have_names_for_screen_readers():
    text = page(player_html(digits(1, size=32), alt="digits"))
    for tag in re.findall(r"<(?:button|input|select|canvas)[^>]*>", text):
        assert re.search(r'aria-label="[^"]+"', tag), tag
    assert 'role="group"' in text and 'tabindex="0"' in text


def test_scale_enlarges_without_changing_the_pixels():
    clip = digits(1, size=32)[0]
    small, large = (player_html(clip, alt="digits", scale=scale) for scale in (2, 8))
    assert np.array_equal(sprite(small), sprite(large))
    assert "minmax(0, 64px)" in page(small) and "minmax(0, 256px)" in page(large)
    assert "image-rendering: pixelated" in page(small)


def bytes_of(displayed: list[dict]) -> int:
    return sum(len(text.encode()) for bundle in displayed for text in bundle.values())


def test_show_video_is_a_player_and_a_strip_within_40_kB(displayed):
    show_video(digits(4), ["a", "b", "c", "d"], alt="Four clips of digits.")
    player, strip = displayed
    assert player["text/html"].startswith("<iframe") and player["text/plain"] == "Video: Four clips of digits."
    assert 'alt="Frames of the video: Four clips of digits."' in strip["text/html"]
    assert bytes_of(displayed) < 40_000


def test_on_the_web_the_strip_is_a_png_with_alt_text(displayed, monkeypatch):
    monkeypatch.setenv("LVLIB_PICTURES", "png")
    show_video(digits(4), ["a", "b", "c", "d"], alt="Four clips of digits.")
    player, strip = displayed
    assert player["text/html"].startswith("<iframe") and set(strip) == {"image/png", "text/plain", "metadata"}
    assert strip["metadata"]["image/png"]["alt"] == "Frames of the video: Four clips of digits."


def test_video_that_does_not_compress_stays_small_too(displayed):
    noise = torch.randn(2, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
    scene = torch.nn.functional.interpolate(noise, (16, 64, 64), mode="trilinear")
    grain = torch.randn(scene.shape, generator=torch.Generator().manual_seed(1)) * 0.03
    show_video(scene + grain, alt="Two clips of blurred noise with grain.")
    assert bytes_of(displayed) < 42_000


def tones(*pitches: float, rate: int = 8000) -> list[np.ndarray]:
    return [0.5 * np.sin(2 * np.pi * pitch * np.arange(2 * rate) / rate).astype(np.float32) for pitch in pitches]


def test_sounds_come_as_wav_files_one_for_each_clip_that_has_one():
    one, three = tones(440, 880)
    text = page(player_html(digits(3, size=32), ["a", "<b>", "c"], alt="digits", sounds=[one, None, three], rate=8000))
    urls = json.loads(re.search(r"sounds = (\[.*?\]), audio", text).group(1))
    for url, samples in zip(urls, (one, None, three), strict=True):
        if samples is None:
            assert url == ""
            continue
        kind, _, data = url.partition(",")
        with wave.open(io.BytesIO(base64.b64decode(data))) as file:
            assert kind == "data:audio/wav;base64" and file.getparams()[:4] == (1, 2, 8000, 16_000)
            assert abs(np.frombuffer(file.readframes(16_000), "<i2") / (2**15 - 1) - samples).max() < 2**-15
    choice = re.search(r'<select id="sound".*?</select>', text, re.DOTALL).group()
    assert re.findall(r'value="(\d*)"', choice) == ["", "0", "2"] and 'aria-label="sound"' in choice
    rest = re.sub(r"data:audio/wav;base64,[A-Za-z0-9+/=]+", "", re.sub(r'url\("[^"]*"\)', "", text))
    assert not re.search(r"//|@import|url\(|href|<link|\bfetch\b|XMLHttp", rest)


def test_a_player_without_sounds_has_no_choice_of_them():
    for sounds in None, [None]:
        text = page(player_html(digits(1, size=32), alt="digits", sounds=sounds, rate=8000))
        assert 'id="sound"' not in text and "audio/wav" not in text


@pytest.mark.parametrize("sounds, rate, line", [
    (tones(1, 2), 8000, "2 sounds for 1 clips"), (tones(1), None, "need their rate"), (tones(1), 5, "from 1000 to"),
    ([np.zeros((2, 3))], 8000, "finite floats"), ([np.array([np.nan])], 8000, "finite floats"),
    ([np.zeros(4, np.int16)], 8000, "finite floats"),
])
def test_sounds_that_do_not_fit(sounds, rate, line):
    with pytest.raises(UserError, match=line):
        player_html(digits(1, size=32), alt="digits", sounds=sounds, rate=rate)


@pytest.mark.parametrize("alt", ["", "  ", None])
def test_alt_is_required(alt):
    with pytest.raises(UserError, match="alt is empty"):
        show_video(digits(1, size=32), alt=alt)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_fps_must_be_positive(fps):
    with pytest.raises(UserError, match="fps must be above 0"):
        player_html(digits(1, size=32), fps=fps, alt="digits")

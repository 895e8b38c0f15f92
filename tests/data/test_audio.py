"""Sound: other rates and lengths, files of many kinds, and the sound of an .mp4."""

import os
import re
import tracemalloc
import wave

import av
import numpy as np
import pytest
import torch

from lvlib.data import read_video, write_video
from lvlib.data.audio import as_long, resample, wav_bytes
from lvlib.data.drums import Drums
from lvlib.data.sound_files import fitted, read_sound
from lvlib.errors import UserError


def tone(pitch: float, rate: int, seconds: float = 1, loud: float = 0.5) -> np.ndarray:
    return (loud * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def save(path, samples: np.ndarray, rate: int, codec: str = "pcm_f32le") -> None:
    """samples: (channels, n). Through FFmpeg, in the format of the name."""
    form = {"pcm_f32le": "flt", "flac": "s16", "pcm_s16le": "s16", "pcm_s16be": "s16"}[codec]
    if form == "s16":
        samples = np.round(samples * (2**15 - 1)).astype(np.int16)
    layout = "mono" if len(samples) == 1 else "stereo"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T.reshape(1, -1)), format=form, layout=layout)
        frame.sample_rate = rate
        for part in (frame, None):
            file.mux(stream.encode(part))


RATES = [(44_100, 8000), (8000, 44_100), (48_000, 16_000), (8000, 48_000), (11_025, 8000), (8000, 8000)]


@pytest.mark.parametrize("old, new", RATES)
def test_a_tone_is_the_same_tone_at_another_rate(old, new):
    pitch = 0.35 * min(old, new)
    made, true = resample(tone(pitch, old), old, new), tone(pitch, new)
    assert made.dtype == np.float32 and made.shape == true.shape
    assert abs(made - true)[300:-300].max() < 1e-3
    assert abs(resample(np.ones(old), old, new)[300:-300] - 1).max() < 1e-3


@pytest.mark.parametrize("old, new", [(44_100, 8000), (48_000, 16_000), (11_025, 8000)])
def test_what_the_new_rate_cannot_hold_is_taken_away(old, new):
    """Taking every n-th sample would give a low tone in its place."""
    assert abs(resample(tone(0.55 * new if old > 1.1 * new else 0.6 * new, old), old, new)[300:-300]).max() < 2e-3


@pytest.mark.parametrize("n", [1, 2, 100, 13_217, 13_218, 20_000])
def test_lengths_and_chunks(n):
    samples = np.random.default_rng(n).normal(size=n)
    made = resample(samples, 3000, 7000)
    assert len(made) == -(-n * 7000 // 3000)
    assert abs(resample(np.append(samples, np.zeros(50)), 3000, 7000)[:len(made)] - made).max() < 1e-6


@pytest.mark.parametrize("old, new", [(384_000, 1000), (44_100, 8000), (1000, 384_000)])
def test_memory_does_not_grow_with_the_reduction(old, new):
    """A weight for each sample that is made and each that it looks at: 12,936 of them at the steepest reduction."""
    samples = np.zeros(old, np.float32)
    tracemalloc.start()
    try:
        resample(samples, old, new)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 100e6


def test_a_short_sound_is_repeated_and_a_long_one_is_cut():
    assert as_long(np.array([1.0, 2, 3]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert as_long(np.array([1.0, 2, 3]), 2).tolist() == [1, 2]


@pytest.mark.parametrize("name, codec, close", [
    ("a.wav", "pcm_f32le", 1e-6), ("a.wav", "pcm_s16le", 1e-4), ("a.flac", "flac", 1e-4),
    ("a.mkv", "pcm_f32le", 1e-6), ("a.aiff", "pcm_s16be", 1e-4),
])
@pytest.mark.parametrize("channels", [1, 2])
def test_files_of_many_kinds(tmp_path, name, codec, close, channels):
    samples = np.stack([tone(440, 22_050), tone(330, 22_050)][:channels])
    save(tmp_path / name, samples, 22_050, codec)
    sound = read_sound(tmp_path / name, 60)
    assert (sound.rate, sound.channels, sound.clipped) == (22_050, channels, 0)
    assert abs(sound.samples[:22_050] - samples.mean(0)).max() < close and sound.samples.dtype == np.float32


def test_a_wav_file_is_what_the_standard_library_reads(tmp_path):
    samples = np.array([0, 0.5, -0.5, 1, -1, 2, -2, 0.1])
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples, 16_000))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, 8)
        stored = np.frombuffer(file.readframes(8), "<i2") / (2**15 - 1)
    assert abs(stored - samples.clip(-1, 1)).max() < 2**-15
    clip = Drums(1)[0]["audio"].ravel()
    (tmp_path / "b.wav").write_bytes(wav_bytes(clip, 8000))
    assert abs(read_sound(tmp_path / "b.wav", 60).samples - clip).max() <= 2**-15


def test_only_as_much_is_read_as_is_wanted(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(tone(100, 8000, 60), 8000))
    sound = read_sound(tmp_path / "a.wav", 2)
    assert 16_000 <= len(sound.samples) < 80_000


@pytest.mark.parametrize("samples, rate, said", [
    (tone(200, 8000, 2)[None], 8000, []),
    (tone(200, 44_100, 2)[None], 44_100, ["resampled from 44100 samples a second to 8000"]),
    (np.stack([tone(200, 8000, 2)] * 2), 8000, ["its 2 channels are mixed into one"]),
    (tone(200, 8000, 3)[None], 8000, ["cut to its first 2 s"]),
    (tone(200, 8000, 0.5)[None], 8000, ["repeated: it lasts 0.5 s, the clip 2 s"]),
    (np.zeros((1, 16_000), np.float32), 8000, ["silent: there is nothing to hear in it"]),
    (tone(200, 8000, 2, 3.0)[None].clip(-1, 1), 8000, ["clipped: 7.*% of its samples are as loud as can be"]),
    (tone(200, 44_100, 0.5)[None].repeat(2, 0), 44_100, ["its 2 channels", "resampled from", "repeated"]),
])
def test_a_sound_is_made_fit_and_what_was_done_is_said(tmp_path, samples, rate, said):
    save(tmp_path / "a.wav", samples.astype(np.float32), rate)
    made, lines = fitted(tmp_path / "a.wav", 8000, 16_000)
    assert made.shape == (16_000,) and made.dtype == np.float32 and abs(made).max() <= 1
    assert len(lines) == len(said)
    for line, pattern in zip(lines, said, strict=True):
        assert re.match(pattern, line)
    if abs(samples).max() == 0.5 and rate == 8000:
        expected = tone(200, 8000, 2)  # 100 whole waves in half a second, so that repeating goes on with them
        assert abs(made - expected)[300:-300].max() < 1e-3


def test_a_sound_made_as_loud_as_possible_is_not_clipped(tmp_path):
    save(tmp_path / "a.wav", tone(201, 8000, 2, 1.0)[None] * 0.99999, 8000)
    drums = Drums(1)[0]["audio"].ravel()
    (tmp_path / "b.wav").write_bytes(wav_bytes(drums / abs(drums).max(), 8000))
    assert fitted(tmp_path / "b.wav", 8000, 16_000)[1] == []


def bad_files(folder):
    save(folder / "nan.wav", np.full((1, 8000), np.nan, np.float32), 8000)
    save(folder / "infinite.wav", np.array([[0, np.inf] * 4000], np.float32), 8000)
    write_video(folder / "quiet.mp4", np.zeros((4, 16, 16, 3), np.uint8))
    (folder / "empty.wav").write_bytes(wav_bytes(np.zeros(0), 8000))
    (folder / "nothing.wav").write_bytes(b"")
    (folder / "text.wav").write_bytes(b"no sound at all" * 100)
    (folder / "half.wav").write_bytes(wav_bytes(tone(200, 8000), 8000)[:30])
    (folder / "slow.wav").write_bytes(wav_bytes(tone(200, 8000), 10))
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nnan.wav\n")
    (folder / "folder.wav").mkdir()


@pytest.mark.parametrize("name, line", [
    ("nan.wav", "not finite"), ("infinite.wav", "not finite"), ("quiet.mp4", "holds no sound"),
    ("empty.wav", "no sound|not a sound file"), ("nothing.wav", "not a sound file"), ("text.wav", "not a sound file"),
    ("half.wav", "no sound|not a sound file"), ("slow.wav", "10 samples a second"), ("list.m3u8", "not a sound file"),
    ("folder.wav", "is not a file"), ("absent.wav", "there is no file"),
])
def test_what_is_no_sound_is_one_line(tmp_path, name, line):
    bad_files(tmp_path)
    with pytest.raises(UserError, match=line) as refusal:
        fitted(tmp_path / name, 8000, 16_000)
    assert "\n" not in str(refusal.value) and name in str(refusal.value)


@pytest.mark.posix
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    with pytest.raises(UserError, match="is not a file"):
        fitted(tmp_path / "fifo.wav", 8000, 16_000)


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    data = wav_bytes(tone(200, 8000), 8000)
    (tmp_path / "a.wav").write_bytes(data[:len(data) // 2])
    assert abs(len(read_sound(tmp_path / "a.wav", 60).samples) - 4000) < 50


def test_an_mp4_that_breaks_off_within_its_index_is_no_sound(tmp_path):
    """Wherever it does: FFmpeg's errors are of many kinds, one of which is neither an OSError nor a ValueError."""
    write_video(tmp_path / "whole.mp4", np.zeros((4, 16, 16, 3), np.uint8), audio=tone(200, 8000, 0.4), rate=8000)
    data = (tmp_path / "whole.mp4").read_bytes()
    ends, refused = range(data.index(b"moov"), len(data) - 4, 20), 0
    for end in ends:
        (tmp_path / "part.mp4").write_bytes(data[:end])
        try:
            read_sound(tmp_path / "part.mp4", 60)
        except UserError as error:
            assert "sound" in str(error)
            refused += 1
    assert refused > len(ends) / 2


def test_a_sound_that_nobody_can_decode_is_said(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((4, 16, 16, 3), np.uint8), audio=tone(200, 8000, 0.4), rate=8000)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    with pytest.raises(UserError, match="FFmpeg has no decoder for its sound"):
        read_sound(tmp_path / "a.mp4", 60)


def test_the_sound_of_an_mp4_begins_with_its_first_frame(tmp_path):
    clip = Drums(1, frames=24, seed=1)[0]
    write_video(tmp_path / "a.mp4", clip["video"], Drums.fps, clip["audio"].ravel(), 8000)
    video, fps = read_video(tmp_path / "a.mp4")
    assert video.shape == (24, 32, 32, 3) and fps == 8
    sound, expected = read_sound(tmp_path / "a.mp4", 60), resample(clip["audio"].ravel(), 8000, 48_000)
    assert sound.rate == 48_000 and abs(len(sound.samples) - len(expected)) < 2100
    lags = [np.dot(sound.samples[2000 + lag:100_000 + lag], expected[2000:100_000]) for lag in range(-1200, 1201, 8)]
    assert np.argmax(lags) == 150
    assert np.corrcoef(sound.samples[:len(expected)], expected)[0, 1] > 0.95


def test_frames_of_different_lengths_have_sound_too(tmp_path):
    clip = Drums(1, frames=16)[0]
    write_video(tmp_path / "a.mp4", clip["video"], [8] * 8 + [4] * 8, torch.as_tensor(clip["audio"].ravel()), 8000)
    assert read_video(tmp_path / "a.mp4")[0].shape[0] == 16 and read_sound(tmp_path / "a.mp4", 60).samples.any()


@pytest.mark.parametrize("name, audio, rate, line", [
    ("a.gif", np.zeros(100), 8000, "only .mp4 holds sound"), ("a.npy", np.zeros(100), 8000, "only .mp4 holds sound"),
    ("a.mp4", np.zeros((2, 100)), 8000, "finite floats"), ("a.mp4", np.zeros(100, np.int16), 8000, "finite floats"),
    ("a.mp4", np.array([np.nan]), 8000, "finite floats"), ("a.mp4", np.zeros(0), 8000, "finite floats"),
    ("a.mp4", np.zeros(100), None, "needs its rate"), ("a.mp4", np.zeros(100), 10, "from 1000 to 384000"),
])
def test_sound_that_cannot_be_written_leaves_nothing_behind(tmp_path, name, audio, rate, line):
    with pytest.raises(UserError, match=line):
        write_video(tmp_path / name, np.zeros((4, 16, 16, 3), np.uint8), 8, audio, rate)
    assert not any(tmp_path.iterdir())

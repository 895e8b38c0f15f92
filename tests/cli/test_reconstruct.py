"""lvlib reconstruct, on a run whose weights are random: what it writes and prints, and what it refuses."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from small_runs import make_videogpt_run

from lvlib.cli.arguments import override
from lvlib.configs import named_config
from lvlib.data import from_video, read_video, to_video, write_video
from lvlib.runs import load_model
from lvlib.runs.load import load_autoencoder
from lvlib.training.checkpoint import Checkpoint, folder_of, save_checkpoint

SMALL = {"autoencoder.hidden": ["8"], "autoencoder.residual_hidden": ["4"], "autoencoder.codes": ["16"],
         "autoencoder.codebooks": ["2"], "data.size": ["32"]}


def make_run(path, **fields):
    config = override(named_config("lvt-frames-course"), SMALL | {k.replace("__", "."): [v] for k, v in fields.items()})
    torch.manual_seed(0)
    weights = config.autoencoder.build().state_dict()
    ema = {name: value + 0.1 if value.is_floating_point() else value for name, value in weights.items()}
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"name": "lvt-frames-course", "clips": 7, **config.to_dict()}))
    ema = ema if config.training.ema_decay else None
    save_checkpoint(path, Checkpoint(step=5, model=weights, ema=ema, state={}, metrics={}), keep=1)
    return path


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def test_side_by_side_and_its_psnr(lvlib, run, mp4, tmp_path):
    out = tmp_path / "out.npy"
    status, printed, _ = lvlib("reconstruct", run, mp4, "--out", out)
    assert status == 0
    pair = np.load(out)
    original, fps = read_video(mp4, size=32)
    assert pair.shape == (80, 32, 64, 3) and fps == 10
    np.testing.assert_array_equal(pair[:, :, :32], original)

    model = load_model(run)[1]
    video = to_video(original)[None]
    whole = model.decode(model.encode(video))  # all 80 frames together: more than the command takes at a time
    difference = from_video(whole)[0].numpy().astype(int) - pair[:, :, 32:]
    assert abs(difference).max() <= 1

    psnr = 10 * np.log10(4 / (whole - video).square().mean().item())
    assert float(re.search(r"PSNR ([\d.]+) dB, 80 frames", printed)[1]) == pytest.approx(psnr, abs=0.006)
    # Two codebooks of 16 codes: 8 bits for every 4x4 pixels.
    assert "0.50 bits a pixel in latents, 24 in the original" in printed


def test_a_video_autoencoder_takes_clips_as_long_as_those_of_its_training(lvlib, mp4, tmp_path):
    """The last clip is filled up with its last frame: 80 frames are six clips of 12 and one of 8."""
    run = make_videogpt_run(tmp_path / "run", data__frames="12")
    status, _, errors = lvlib("reconstruct", run, mp4, "--out", tmp_path / "out.npy")
    assert status == 0, errors
    written = np.load(tmp_path / "out.npy")
    video = to_video(read_video(mp4, size=32)[0])[None]
    padded = torch.cat([video, video[:, :, -1:].expand(-1, -1, 4, -1, -1)], 2)
    model = load_autoencoder(run)[1]
    expected = torch.cat([model.decode(model.encode(clip)) for clip in padded.split(12, 2)], 2)[:, :, :80]
    np.testing.assert_array_equal(written[:, :, 32:], from_video(expected)[0].numpy())


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png"])
def test_what_it_writes_can_be_read(lvlib, run, mp4, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    status, printed, _ = lvlib("reconstruct", run, mp4, "--out", out)
    assert status == 0 and str(out) in printed
    if suffix == ".png":
        from PIL import Image

        assert Image.open(out).size == (80 * 64, 32)
    else:
        assert read_video(out)[0].shape == (80, 32, 64, 3)


def test_several_videos_follow_each_other(lvlib, run, mp4, tmp_path):
    short = tmp_path / "short.gif"
    write_video(short, read_video(mp4)[0][:7], fps=5)
    status, printed, _ = lvlib("reconstruct", run, short, mp4, "--out", tmp_path / "out.npy")
    assert status == 0
    assert len(np.load(tmp_path / "out.npy")) == 87
    assert printed.index("short.gif: PSNR") < printed.index("square.mp4: PSNR")


def test_a_grey_model_sees_grey(lvlib, mp4, tmp_path):
    run = make_run(tmp_path / "grey", autoencoder__channels="1")
    assert lvlib("reconstruct", run, mp4, "--out", tmp_path / "out.npy")[0] == 0
    pair = np.load(tmp_path / "out.npy")
    red, green, blue = np.moveaxis(read_video(mp4, size=32)[0].astype(float), -1, 0)
    assert pair.shape == (80, 32, 64, 1)
    np.testing.assert_allclose(pair[:, :, :32, 0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=0.51)


def test_the_ema_is_used_where_there_is_one(tmp_path):
    plain = load_model(make_run(tmp_path / "plain"))[1]
    ema = load_model(make_run(tmp_path / "ema", training__ema_decay="0.9"))[1]
    for name, value in ema.named_parameters():
        torch.testing.assert_close(value, plain.get_parameter(name) + 0.1)


def test_videos_that_cannot_be_read_are_refused_before_any_work(refused, run, mp4, tmp_path):
    out = tmp_path / "out.mp4"
    cut, words, empty = (tmp_path / name for name in ("cut.mp4", "words.mp4", "empty.mp4"))
    cut.write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
    words.write_text("this is not a video")
    empty.touch()
    for path, reason in ((tmp_path / "none.mp4", "No such file"), (cut, "cut off"), (words, "not a video"),
                         (empty, "is empty"), (tmp_path / "run", "no images")):
        message = refused("reconstruct", run, mp4, path, "--out", out)
        assert str(path) in message and reason in message
    assert not out.exists()


def test_a_video_cut_off_in_the_middle_of_a_webm_is_refused(refused, run, mp4, tmp_path):
    import av

    whole = tmp_path / "whole.webm"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in read_video(mp4)[0]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    cut = tmp_path / "cut.webm"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "cut.webm is cut off" in refused("reconstruct", run, cut, "--out", tmp_path / "out.mp4")


def test_an_output_that_cannot_be_written_is_refused(refused, run, mp4, tmp_path):
    assert ".mp4 .gif .png .npy" in refused("reconstruct", run, mp4, "--out", tmp_path / "out.avi")
    assert "--out" in refused("reconstruct", run, mp4)
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refused("reconstruct", run, mp4, "--out", tmp_path / "file" / "out.mp4")


def test_a_run_that_is_none_is_refused(refused, run, mp4, tmp_path):
    out = ["--out", tmp_path / "out.mp4"]
    message = refused("reconstruct", "lvt-frame-course", mp4, *out)
    assert "unknown run folder" in message and "did you mean lvt-frames-course?" in message
    assert "not a run" in refused("reconstruct", mp4.parent, mp4, *out)
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in refused("reconstruct", run, mp4, *out)


@pytest.mark.parametrize("file", ["model.safetensors", "manifest.json"])
def test_a_truncated_checkpoint_is_refused(refused, run, mp4, tmp_path, file):
    path = folder_of(run, 5) / file
    path.write_bytes(path.read_bytes()[:100])
    message = refused("reconstruct", run, mp4, "--out", tmp_path / "out.mp4")
    assert "damaged checkpoint" in message and str(path.parent) in message and file in message


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "lvt-frames-course", "data": 3}', '{"name": "gone"}'])
def test_a_damaged_config_is_refused(refused, run, mp4, tmp_path, text):
    (run / "config.json").write_text(text)
    assert f"{run / 'config.json'}" in refused("reconstruct", run, mp4, "--out", tmp_path / "out.mp4")


def test_a_checkpoint_of_another_config_is_refused(refused, run, mp4, tmp_path):
    values = json.loads((run / "config.json").read_text())
    values["autoencoder"]["hidden"] = 16
    (run / "config.json").write_text(json.dumps(values))
    assert "of another model" in refused("reconstruct", run, mp4, "--out", tmp_path / "out.mp4")


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_videos_of_different_rates_each_keep_their_duration(lvlib, run, tmp_path, suffix):
    """120 frames a second for half a second, then 25 for two: GIF shows 50 a second at most."""
    import av

    noise = np.random.default_rng(0).integers(256, size=(60, 32, 32, 3), dtype=np.uint8)
    write_video(tmp_path / "fast.mp4", noise, fps=120)
    write_video(tmp_path / "slow.mp4", noise[:50], fps=25)
    out = tmp_path / f"out.{suffix}"
    assert lvlib("reconstruct", run, tmp_path / "fast.mp4", tmp_path / "slow.mp4", "--out", out)[0] == 0
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
        assert container.duration / 1e6 == pytest.approx(2.5, abs=0.03)
    assert len(frames) == (110 if suffix == "mp4" else 75)
    assert frames[-1].time == pytest.approx(2.46, abs=0.01)

"""What ships is what its README says: each model loads, and its figure is measured again."""

import math
import re
from pathlib import Path

import pytest
import torch

from lvlib.course.long_windows import experiment
from lvlib.data import ClipSet, MovingDigits, data_home, to_video
from lvlib.errors import UserError
from lvlib.evaluation.digits import digit_pictures, judge, locate, position_error, recognise, train_digit_classifier
from lvlib.evaluation.flow import horizontal_shift
from lvlib.metrics.pixels import psnr
from lvlib.models.lvt.prior import LVTSampling
from lvlib.models.mebt.decoding import MeBTSampling
from lvlib.models.tats.equivariance import equivariance_score
from lvlib.models.videogpt.prior import VideoGPTSampling
from lvlib.runs import load_checkpoint, load_pipeline
from lvlib.runs.shipped import FOLDER


def recorded(name: str) -> str:
    rows = (Path(FOLDER) / "README.md").read_text().splitlines()
    return next(row for row in rows if row.startswith(f"| `{name}` |"))


def test_the_frame_vqvae_reaches_the_psnr_of_its_row():
    model = load_checkpoint("lvt-frames-course")
    clips = to_video(MovingDigits(100, color=True, split="test").batch(slice(0, 100))["video"])
    values = torch.cat([psnr(model.decode(model.encode(clip[None])), clip[None]) for clip in clips])
    decibels = float(re.search(r"([\d.]+) dB PSNR", recorded("lvt-frames-course"))[1])
    assert values.mean().item() == pytest.approx(decibels, abs=0.1)


@pytest.mark.slow
def test_lvt_reaches_the_bits_and_the_position_error_of_its_row():
    """On test clips of digits that no model has seen."""
    prior, autoencoder = load_checkpoint("lvt-course"), load_checkpoint("lvt-course/autoencoder")
    digits = MovingDigits(100, size=48, digit_size=16, speeds=(4,), grid=4, split="test")
    clips = digits.batch(slice(0, 40))
    video = to_video(clips["video"])
    codes = autoencoder.encode(video)
    bits, baseline, after_one_frame = (float(figure) for figure in re.search(
        r"([\d.]+) bits a code \(copying: ([\d.]+)\).* ([\d.]+) px after one frame", recorded("lvt-course")).groups())
    assert prior.scores(codes, {}, 1)["bits_per_dim"].mean().item() == pytest.approx(bits, abs=0.01)
    assert bits < baseline / 2
    torch.manual_seed(0)
    made = autoencoder.decode(prior.sample(40, {}, codes[:, :5], LVTSampling()))
    places, _ = locate(made[:, :, 5:6], digit_pictures(digits, slice(0, 40)))
    error = position_error(places, torch.tensor(clips["position"])[:, 5:6]).mean().item()
    assert error == pytest.approx(after_one_frame, abs=0.5)


@pytest.mark.slow
def test_lvt_of_layers_reaches_the_figures_of_its_row():
    """Its digits walk through each other."""
    prior, autoencoder = load_checkpoint("lvt-layers"), load_checkpoint("lvt-layers/autoencoder")
    digits = MovingDigits(100, size=48, digit_size=16, speeds=(4,), grid=4, layers=True, split="test")
    clips = digits.batch(slice(0, 40))
    codes = autoencoder.encode(to_video(clips["video"]))
    bits, px, recognised = (float(figure) for figure in re.search(
        r"([\d.]+) bits a code .* last frame ([\d.]+), .* and (\d+),", recorded("lvt-layers")).groups())
    assert prior.scores(codes, {}, 1)["bits_per_dim"].mean().item() == pytest.approx(bits, abs=0.001)
    torch.manual_seed(0)
    made = autoencoder.decode(prior.sample(40, {}, codes[:, :5], LVTSampling()))
    error, named = judge(made, digit_pictures(digits, slice(0, 40)), torch.tensor(clips["position"]),
                         torch.tensor(clips["digit"]), train_digit_classifier(16))
    assert error[:, -1].mean().item() == pytest.approx(px, abs=1) and px < 3  # the scatter of samples
    assert named[:, -1].mean().item() == pytest.approx(recognised / 100, abs=0.1) and recognised > 75


@pytest.mark.slow
def test_videogpt_makes_the_digits_that_its_row_says():
    """And its autoencoder rebuilds test clips as well as the page says."""
    prior, autoencoder = load_checkpoint("videogpt-digits"), load_checkpoint("videogpt-digits/autoencoder")
    page = (Path(FOLDER) / "README.md").read_text()
    clips = MovingDigits(200, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test").batch(slice(0, 200))
    video = to_video(clips["video"])
    values = torch.cat([psnr(autoencoder.decode(autoencoder.encode(part)), part) for part in video.split(20)])
    decibels = float(re.search(r"videogpt-digits/autoencoder`, ([\d.]+) dB", page)[1])
    assert values.mean().item() == pytest.approx(decibels, abs=0.1)
    right, whole, same = (float(share) / 100 for share in re.search(
        r"label in (\d+)% of frames.* every frame of (\d+)% of clips.* last frame in (\d+)%;",
        recorded("videogpt-digits")).groups())
    labels = torch.arange(10).repeat(6)
    torch.manual_seed(1)
    made = autoencoder.decode(prior.sample(60, {"label": labels}, None, VideoGPTSampling(top_p=0.9)))
    read = recognise(made, 20, train_digit_classifier(20))
    # 60 other samples: one standard deviation of the shares is about 5%.
    assert (read == labels[:, None]).float().mean().item() == pytest.approx(right, abs=0.15)
    assert (read == labels[:, None]).all(1).float().mean().item() == pytest.approx(whole, abs=0.15)
    assert (read[:, 0] == read[:, -1]).float().mean().item() == pytest.approx(same, abs=0.15)


@pytest.mark.slow
def test_videogpt_draws_the_futures_of_one_frame():
    """As far apart as its row says, near the true spread; and of the same digit."""
    row = recorded("videogpt-digits-one-frame")
    apart, true, kept = (float(figure) for figure in re.search(
        r"([\d.]+) px .* true futures ([\d.]+) px.* digit .* in (\d+)%", row).groups())
    digits = MovingDigits(20, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
    batch = digits.batch(slice(0, 20))
    first = to_video(torch.tensor(batch["video"]))[:, :, :1].repeat_interleave(6, 0)
    torch.manual_seed(1)
    made = load_pipeline("videogpt-digits-one-frame").generate(120, given=first, sampling=VideoGPTSampling(top_p=0.9))
    places, _ = locate(made, digit_pictures(digits, slice(0, 20)).repeat_interleave(6, 0))
    squares = places[:, -1, 0].view(20, 6, 2).float().var(1).sum(-1)  # of six futures, without bias
    assert squares.mean().sqrt().item() == pytest.approx(apart, rel=0.25)
    read = recognise(made[:, :, -1:], 20, train_digit_classifier(20))[:, 0]
    assert (read == torch.tensor(batch["label"]).repeat_interleave(6)).float().mean().item() == \
        pytest.approx(kept / 100, abs=0.15)


@pytest.mark.slow
def test_videogpt_turns_as_its_buttons_say():
    """On recorded test clips. The measure is checked on these first: see also tests/evaluation/test_flow.py."""
    if not (data_home() / "doom" / "meta.json").exists():
        pytest.skip("no recorded clips in data/doom: `make data` needs the package vizdoom")
    prior, autoencoder = load_checkpoint("videogpt-doom-course"), load_checkpoint("videogpt-doom-course/autoencoder")
    bits, others, left, right = (float(figure) for figure in re.search(
        r"([\d.]+) bits a code .* buttons: ([\d.]+)\).* right in (\d+)% .* left in (\d+)%",
        recorded("videogpt-doom-course")).groups())
    clips = list(ClipSet(data_home() / "doom", "test", 16))
    video, held = (torch.stack([torch.as_tensor(clip[field]) for clip in clips]) for field in ("video", "actions"))
    video = to_video(video)
    codes = torch.cat([autoencoder.encode(part) for part in video.split(20)])
    assert prior.scores(codes, {"actions": held}, 0)["bits_per_dim"].mean().item() == pytest.approx(bits, abs=0.01)
    exchanged = prior.scores(codes, {"actions": held.roll(1, 0)}, 0)["bits_per_dim"]
    assert exchanged.mean().item() == pytest.approx(others, abs=0.02)
    torch.manual_seed(3)
    for way, share, buttons in ((1, left, [1, 0, 0]), (-1, right, [0, 1, 0])):
        actions = held.clone()
        actions[:, 7:] = torch.tensor(buttons)  # frame 7 is the last given one
        sampled = prior.sample(len(clips), {"actions": actions}, codes[:, :4], VideoGPTSampling(top_p=0.9))
        made = autoencoder.decode(sampled)
        agrees = way * horizontal_shift(made)[:, 8:]
        assert (agrees > 0).float().mean().item() == pytest.approx(share / 100, abs=0.05)
        assert (agrees.mean(1) > 0).float().mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tats-course", "tats-course-zero"])
def test_tats_has_the_figures_of_its_row(name):
    """And with zeros, codes with a past are unknown to the prior: TATS, 2.2."""
    pipeline, row = load_pipeline(name), recorded(name)
    digits = MovingDigits(100, frames=32, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
    batch = digits.batch(slice(0, 100))
    video, label = to_video(torch.tensor(batch["video"])), {"label": torch.tensor(batch["label"])}
    autoencoder, prior = pipeline.autoencoder, pipeline.prior
    codes, later = autoencoder.encode(video[:, :, :16]), autoencoder.encode(video[:, :, 4:20])
    decibels = float(re.search(r"rebuilt at ([\d.]+) dB", row)[1])
    assert psnr(autoencoder.decode(codes), video[:, :, :16]).mean().item() == pytest.approx(decibels, abs=0.1)
    score = float(re.search(r"score ([\d.]+)", row)[1])
    assert equivariance_score(codes, later).mean().item() == pytest.approx(score, abs=0.01)
    bits = prior.scores(codes, label, 0)["bits_per_dim"].mean().item()
    assert bits == pytest.approx(float(re.search(r"([\d.]+) bits a code", row)[1]), abs=0.01)
    middle = torch.cat([autoencoder.encode(part) for part in video.split(20)])[:, 2:6]
    extra = prior.nll(middle, label).mean().item() - bits * math.log(2)
    assert extra == pytest.approx(float(re.search(r"([\d.]+) nats a code more", row)[1]), abs=0.02)
    assert extra > 1.5 if name == "tats-course-zero" else extra < 0.8


def coded(pipeline, count: int, frames: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Codes of test clips of one grey digit, and their labels."""
    digits = MovingDigits(count, frames=frames, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
    batch = digits.batch(slice(0, count))
    parts = to_video(torch.tensor(batch["video"])).split(20)
    return torch.cat([pipeline.autoencoder.encode(part) for part in parts]), {"label": torch.tensor(batch["label"])}


@pytest.mark.slow
def test_hierarchical_tats_has_the_figures_of_its_row():
    """And over 64 frames it does not drift, where the window that slides does: TATS, 3.4."""
    pipeline, row = load_pipeline("tats-between-course"), recorded("tats-between-course")
    codes, label = coded(pipeline, 100, 64)
    keys, between = (float(figure) for figure in re.search(
        r"([\d.]+) bits a code of key frames and ([\d.]+) a code in between", row).groups())
    assert pipeline.prior.scores(codes, label, 0)["bits_per_dim"].mean().item() == pytest.approx(keys, abs=0.02)
    parts = [{"label": part} for part in label["label"].split(10)]
    with torch.no_grad():
        bits = [pipeline.refiner.loss(part, told)[1]["bits_per_dim"].item()
                for part, told in zip(codes.split(10), parts, strict=True)]
    assert sum(bits) / 10 == pytest.approx(between, abs=0.02)
    for name, pattern in ("tats-between-course", r"seeds: ([\d.]+) and ([\d.]+)"), \
            ("tats-course", r"sliding: ([\d.]+) and ([\d.]+)"):
        first, *_, last = experiment(name, 0).distances
        assert (first, last) == pytest.approx([float(figure) for figure in re.search(pattern, row).groups()], abs=1.5)


@pytest.mark.slow
def test_tats_in_doom_has_the_bits_of_its_row():
    """The buttons of another clip cost it some, if not many."""
    if not (data_home() / "doom" / "meta.json").exists():
        pytest.skip("no recorded clips in data/doom: `make data` needs the package vizdoom")
    pipeline = load_pipeline("tats-doom-course")
    bits, others = (float(figure) for figure in re.search(
        r"([\d.]+) bits a code .* buttons: ([\d.]+)\)", recorded("tats-doom-course")).groups())
    clips = list(ClipSet(data_home() / "doom", "test", 24))
    video, held = (torch.stack([torch.as_tensor(clip[field]) for clip in clips]) for field in ("video", "actions"))
    codes = torch.cat([pipeline.autoencoder.encode(to_video(part[:, :8])) for part in video.split(10)])
    own = pipeline.prior.scores(codes, {"actions": held[:, :8]}, 0)["bits_per_dim"].mean().item()
    exchanged = pipeline.prior.scores(codes, {"actions": held[:, :8].roll(1, 0)}, 0)["bits_per_dim"].mean().item()
    assert own == pytest.approx(bits, abs=0.01) and exchanged == pytest.approx(others, abs=0.01)
    assert exchanged > own + 0.01


@pytest.mark.slow
def test_the_digits_of_tats_stay_as_its_row_says():
    """Over 96 frames, six times as many as a clip that it learned from."""
    pipeline, row = load_pipeline("tats-digits"), recorded("tats-digits")
    codes, label = coded(pipeline, 100, 16)
    bits = pipeline.prior.scores(codes, label, 0)["bits_per_dim"].mean().item()
    assert bits == pytest.approx(float(re.search(r"([\d.]+) bits a code", row)[1]), abs=0.01)
    labels = torch.arange(20) % 10
    torch.manual_seed(0)
    read = recognise(pipeline.generate(20, {"label": labels}, frames=96), 20, train_digit_classifier(20))
    right = (read == labels[:, None]).float().mean(0)
    for part, name in ((right[:16], "first"), (right[-16:], "last")):
        shares = [int(share) for share in re.search(rf"(\d+), (\d+), (\d+)% of the {name} 16", row).groups()]
        assert min(shares) / 100 - 0.12 < part.mean() < max(shares) / 100 + 0.12


@pytest.mark.slow
def test_mebt_has_the_figures_of_its_row():
    """It fills what is hidden, so its bits are a bound, drawn at random."""
    pipeline, row = load_pipeline("mebt-digits"), recorded("mebt-digits")
    codes, label = coded(pipeline, 100, 16)
    torch.manual_seed(0)
    bits = pipeline.prior.scores(codes, label, 0)["bits_per_dim"].mean().item()
    assert bits == pytest.approx(float(re.search(r"at most ([\d.]+) bits a code", row)[1]), abs=0.1)
    labels = torch.arange(60) % 10
    sampling = MeBTSampling(steps=16, noise=16.0, revise_rounds=2)
    made = pipeline.autoencoder.decode(pipeline.prior.sample(60, {"label": labels}, None, sampling))
    read = (recognise(made, 20, train_digit_classifier(20)) == labels[:, None]).float().mean().item()
    low, _, high = sorted(int(share) for share in re.search(r"in (\d+), (\d+), (\d+)% of frames", row).groups())
    assert low / 100 - 0.1 < read < high / 100 + 0.1


@pytest.mark.slow
def test_long_mebt_has_the_figures_of_its_row():
    """And its quality stays over the clip: MeBT, Fig. 7."""
    pipeline, row = load_pipeline("mebt-course-long"), recorded("mebt-course-long")
    codes, label = coded(pipeline, 20, 64)
    torch.manual_seed(0)
    bits = pipeline.prior.scores(codes, label, 0)["bits_per_dim"].mean().item()
    assert bits == pytest.approx(float(re.search(r"at most ([\d.]+) bits a code", row)[1]), abs=0.25)
    first, last = (float(figure) for figure in re.search(r"seeds: ([\d.]+) and ([\d.]+),", row).groups())
    made = experiment("mebt-course-long", 0).distances
    assert (made[0], made[-1]) == pytest.approx((first, last), abs=1.5)


@pytest.mark.slow
def test_pvdm_has_the_figures_of_its_row():
    """Nobody tells it which digit to make: a frame is right where it shows what most frames of its clip show."""
    pipeline, row = load_pipeline("pvdm-course"), recorded("pvdm-course")
    digits = MovingDigits(100, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
    clips = to_video(torch.tensor(digits.batch(slice(0, 100))["video"]))
    rebuilt = pipeline.autoencoder.decode(pipeline.autoencoder.encode(clips))
    assert psnr(rebuilt, clips).mean().item() == pytest.approx(float(re.search(r"([\d.]+) dB", row)[1]), abs=0.1)
    torch.manual_seed(0)
    read = recognise(pipeline.generate(48), 20, train_digit_classifier(20))
    agree = (read == read.mode(1).values[:, None]).float().mean().item()
    low, _, high = sorted(int(share) for share in re.search(r"reads (\d+), (\d+), (\d+)% of frames", row).groups())
    assert low / 100 - 0.1 < agree < high / 100 + 0.1


def ten_walks(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first test clips of Doom, uint8, and the buttons that were held."""
    if not (data_home() / "doom" / "meta.json").exists():
        pytest.skip("no recorded clips in data/doom: `make data` needs the package vizdoom")
    walks = ClipSet(data_home() / "doom", "test", frames)
    video, held = zip(*((walks[i]["video"], walks[i]["actions"]) for i in range(10)), strict=True)
    return torch.stack([torch.as_tensor(clip) for clip in video]), torch.stack([torch.as_tensor(a) for a in held])


@pytest.mark.slow
def test_pvdm_in_doom_turns_as_it_is_told():
    """After the first 16 frames of ten test walks."""
    video, held = ten_walks(32)
    pipeline, row = load_pipeline("pvdm-doom-course"), recorded("pvdm-doom-course")
    start = to_video(video[:, :16])
    rebuilt = pipeline.autoencoder.decode(pipeline.autoencoder.encode(start))
    decibels = float(re.search(r"at ([\d.]+) dB", row)[1])
    assert psnr(rebuilt, start).mean().item() == pytest.approx(decibels, abs=1)  # of other clips
    torch.manual_seed(0)
    for way, pattern, buttons in ((1, r"right in (\d+) and", [1, 0, 0]), (-1, r"left in (\d+) and", [0, 1, 0])):
        actions = held.clone()
        actions[:, 15:] = torch.tensor(buttons)
        made = pipeline.generate(10, {"actions": actions}, start, frames=32)
        agrees = way * horizontal_shift(made)[:, 16:] > 0
        assert agrees.float().mean().item() == pytest.approx(float(re.search(pattern, row)[1]) / 100, abs=0.08)


@pytest.mark.slow
def test_mebt_in_doom_has_the_figures_of_its_row():
    """After 8 frames of ten test walks, and at most so many bits: a bound, drawn at random."""
    video, held = ten_walks(16)
    pipeline, row = load_pipeline("mebt-doom-course"), recorded("mebt-doom-course")
    torch.manual_seed(0)
    bits = pipeline.prior.scores(pipeline.autoencoder.encode(to_video(video)), {"actions": held}, 0)["bits_per_dim"]
    assert bits.mean().item() == pytest.approx(float(re.search(r"at most ([\d.]+) bits a code", row)[1]), abs=0.3)
    sampling = MeBTSampling(steps=16, noise=16.0, revise_rounds=2)
    for way, pattern, buttons in ((1, r"moves right in", [1, 0, 0]), (-1, r"moves left in", [0, 1, 0])):
        actions = held.clone()
        actions[:, 7:] = torch.tensor(buttons)
        made = pipeline.generate(10, {"actions": actions}, to_video(video[:, :8]), frames=16, sampling=sampling)
        agrees = (way * horizontal_shift(made)[:, 8:] > 0).float().mean().item()
        low, _, high = sorted(int(share) for share in re.search(rf"{pattern} (\d+), (\d+), (\d+)%", row).groups())
        assert low / 100 - 0.12 < agrees < high / 100 + 0.12


def test_every_checkpoint_has_a_row_and_a_command():
    names = [path.parent.name for path in Path(FOLDER).glob("*/config.json")]
    assert names
    for name in names:
        assert re.search(rf"lvlib train {name.removesuffix('-zero')} .*--out runs/{name} ", recorded(name) + " ")


def test_a_checkpoint_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="lvt-frames-course"):
        load_checkpoint("lvt-frames-curse")

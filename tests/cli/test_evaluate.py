"""lvlib evaluate, on models whose weights are random: figures against their definitions, and what is refused."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import make_prior_run

from lvlib.data import from_video, to_video
from lvlib.evaluation.networks.course import course_classifier
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.inception import class_sums, inception_score
from lvlib.metrics.moments import moments_of
from lvlib.models.lvt.prior import LVTSampling
from lvlib.runs import load_model, load_pipeline
from lvlib.runs.load import load_autoencoder
from lvlib.training.batches import seed_everything


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_prior_run(tmp_path_factory.mktemp("runs") / "run", subscale="2 2 2")


@pytest.fixture(scope="module")
def true_clips(digits) -> np.ndarray:
    return np.load(digits / "test" / "video.npy")


@pytest.fixture
def evaluate(lvlib, digits):
    def go(run, *arguments, root=digits) -> dict:
        status, out, errors = lvlib("evaluate", run, "--data.root", root, "--json", *arguments)
        assert status == 0, errors
        return json.loads(out)

    return go


def mse(videos: np.ndarray | torch.Tensor, true: np.ndarray) -> np.ndarray:
    """Of each clip, uint8 or float as models give it, in the units of [-1, 1]."""
    if isinstance(videos, torch.Tensor):
        videos = (np.moveaxis(videos.numpy(), 1, -1) + 1) * 127.5
    return np.square((videos - true.astype(float)) / 127.5).mean((1, 2, 3, 4))


def psnr(videos, true: np.ndarray) -> float:
    """Mean over the clips."""
    return (10 * np.log10(4 / mse(videos, true))).mean()


def test_a_prior_s_likelihood_is_the_sum_over_its_slices(run, evaluate, true_clips):
    report = evaluate(run, "--given-frames", 1, "--metrics", "bits_per_dim")
    prior, autoencoder = load_model(run)[1], load_autoencoder(run)[1]
    codes = autoencoder.encode(to_video(true_clips))
    with torch.no_grad():
        nats = sum(prior.nll(codes, torch.full((2,), i), 1).sum().item() for i in range(8))
    expected = nats / math.log(2) / (2 * 3 * 8 * 8 * 2)  # clips, generated frames, positions, codebooks
    assert report["bits_per_dim"]["model"] == pytest.approx(expected, rel=1e-5)


def test_the_baselines_of_the_likelihood_are_counted_on_training_clips(run, evaluate, digits, true_clips):
    report = evaluate(run, "--metrics", "bits_per_dim", "--clips", 2)
    autoencoder = load_autoencoder(run)[1]
    train, test = (autoencoder.encode(to_video(np.load(digits / split / "video.npy"))).numpy()
                   for split in ("train", "test"))
    probs = np.empty(test.shape)
    for book in range(2):
        counts = np.bincount(train[..., book].ravel(), minlength=16) + 1
        probs[..., book] = (counts / counts.sum())[test[..., book]]
    copied = report["copy_probability"]
    mixed = copied * (test[:, 1:] == test[:, :-1]) + (1 - copied) * probs[:, 1:]
    assert report["bits_per_dim"]["marginal"] == pytest.approx(-np.log2(probs[:, 1:]).mean())
    assert report["bits_per_dim"]["copy_baseline"] == pytest.approx(-np.log2(mixed).mean())
    assert (report["baseline_split"], report["baseline_clips"]) == ("train", 6)


def test_pixels_are_compared_after_the_given_frames_alone(run, evaluate, true_clips):
    report = evaluate(run, "--given-frames", 2, "--seed", 3)
    true, repeated = true_clips[:, 2:], np.repeat(true_clips[:, 1:2], 2, 1)
    prior, autoencoder = load_model(run)[1], load_autoencoder(run)[1]
    video = to_video(true_clips)
    torch.manual_seed(3)
    latents = prior.sample(2, {}, autoencoder.encode(video[:, :, :2]), LVTSampling())
    sampled = autoencoder.decode(latents)[:, :, 2:]
    reconstructed = autoencoder.decode(autoencoder.encode(video))[:, :, 2:]
    for whose, frames in ("model", sampled), ("repeat_last_frame", repeated), ("autoencoder", reconstructed):
        assert report["mse"][whose] == pytest.approx(mse(frames, true).mean(), rel=1e-4), whose
        assert report["psnr"][whose] == pytest.approx(psnr(frames, true), rel=1e-4), whose


def test_an_autoencoder_is_scored_on_whole_clips(run, evaluate, true_clips):
    report = evaluate(run / "autoencoder")
    autoencoder = load_autoencoder(run)[1]
    codes = autoencoder.encode(to_video(true_clips))
    assert report["psnr"]["model"] == pytest.approx(psnr(autoencoder.decode(codes), true_clips), rel=1e-4)
    share = [np.bincount(codes[..., book].flatten(), minlength=16) / codes[..., book].numel() for book in range(2)]
    perplexity = [math.exp(-sum(p * math.log(p) for p in book if p)) for book in share]
    assert report["usage"]["model"] == pytest.approx(np.mean([(book > 0).mean() for book in share]))
    assert report["perplexity"]["model"] == pytest.approx(np.mean(perplexity), rel=1e-4)


def test_every_score_says_what_it_was_measured_with(run, evaluate, digits, lvlib):
    about = {"run": str(run), "stage": "prior", "data": str(digits), "split": "val", "clips": 1, "clips_in_split": 2,
             "frames": 4, "size": 32, "given_frames": 1, "sampling": {"temperature": 0.5}, "condition": [], "seed": 0,
             "likelihood": "exact"}
    report = evaluate(run, "--split", "val", "--clips", 1, "--sampling.temperature", 0.5, "--metrics", "psnr")
    assert {name: report[name] for name in about} == about
    assert (report["protocol"], report["protocol_changed"]) == ("course", {"split": "val", "clips": 1})
    assert report["choices"]["choice"] == "spread" and report["networks"] == {} and report["scores"] == ["psnr"]
    status, table, _ = lvlib("evaluate", run, "--data.root", digits)
    assert status == 0
    assert f"{run} on {digits}, split test: 2 of 2 clips, each 4 x 32 x 32" in table
    assert "frames 0 given, 1 to 3 scored; one sample a clip, temperature 1.0, seed 0" in table
    assert "conditioned on nothing; likelihood: exact" in table
    assert "counted on 6 clips of the split train" in table
    rows = [tuple(line.split()[:2]) for line in table.splitlines()[5:]]
    pixels = ("model", "repeat_last_frame", "autoencoder")
    assert rows == [("bits_per_dim", "model"), ("bits_per_dim", "copy_baseline"), ("bits_per_dim", "marginal"),
                    *(("psnr", whose) for whose in pixels), *(("mse", whose) for whose in pixels)]


def test_the_run_s_own_data_is_the_default(lvlib, digits, tmp_path):
    run = make_prior_run(tmp_path / "run", data__root=str(digits))
    status, out, _ = lvlib("evaluate", run, "--metrics", "psnr", "--json")
    assert status == 0 and json.loads(out)["data"] == str(digits)


def test_a_still_clip_s_psnr_is_infinite_and_still_json(run, evaluate, lvlib, tmp_path):
    folder = tmp_path / "videos" / "test" / "still"
    folder.mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (32, 32), "teal").save(folder / f"{i}.png")
    report = evaluate(run, "--metrics", "psnr,mse", root=tmp_path / "videos")
    assert report["psnr"]["repeat_last_frame"] is None and report["mse"]["repeat_last_frame"] == 0
    assert "infinite dB" in lvlib("evaluate", run, "--metrics", "psnr", "--data.root", tmp_path / "videos")[1]


def test_what_cannot_be_evaluated_is_one_line(refused, run, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("lvlib.runs.load_pipeline", None)  # the work begins with it

    def message(*arguments, run=run, root=digits) -> str:
        return refused("evaluate", run, "--data.root", root, *arguments)

    assert "unknown metric 'fid'; did you mean fvd? There are: bits_per_dim, psnr, mse" in message("--metrics", "fid")
    line = message("--metrics", "bits_per_dim", run=run / "autoencoder")
    assert "bits_per_dim: an autoencoder has no likelihood; there are: psnr, mse, usage, perplexity" in line
    assert "--given-frames must be 1 to 3, not 4" in message("--given-frames", 4)
    assert "--clips must be at least 1" in message("--clips", 0)
    assert "did you mean test?" in message("--split", "tests")
    assert "--training.steps cannot be set" in message("--training.steps", 3)
    assert "the prior's clips are 4 frames of 32 x 32" in message("--data.frames", 2)
    assert "nowhere" in message(root=tmp_path / "nowhere")
    assert "no data: give --data.root" in refused("evaluate", run)
    shutil.copytree(digits, tmp_path / "no_train")
    shutil.rmtree(tmp_path / "no_train" / "train")
    assert "train" in message(root=tmp_path / "no_train")


def test_sets_of_clips_are_compared_as_wholes(run, evaluate, digits):
    report = evaluate(run, "--split", "train", "--metrics", "fvd,r_fvd,fvd_star,is", "--given-frames", 2)
    video = to_video(np.load(digits / "train" / "video.npy"))
    pipeline, network = load_pipeline(run), course_classifier()
    seed_everything(0, 0)
    sampled = pipeline.generate(len(video), {}, video[:, :, :2], pipeline.config.prior.Sampling())
    rebuilt = pipeline.autoencoder.decode(pipeline.autoencoder.encode(video))
    repeated = torch.cat([video[:, :, :2], *[video[:, :, 1:2]] * 2], 2)
    looks = {name: network.look(to_video(from_video(clips))) for name, clips in
             (("real", video), ("model", sampled), ("rebuilt", rebuilt), ("repeat_last_frame", repeated))}
    moments = {name: moments_of(look.features) for name, look in looks.items()}
    for name, of, one, other in (("frechet_course", "model", "real", "model"),
                                 ("frechet_course", "repeat_last_frame", "real", "repeat_last_frame"),
                                 ("r_frechet_course", "model", "real", "rebuilt"),
                                 ("frechet_star_course", "model", "rebuilt", "model")):
        expected = frechet_distance(moments[one], moments[other]).item()
        assert report[name][of] == pytest.approx(expected, rel=1e-6, abs=1e-6), (name, of)
    expected = inception_score(class_sums(looks["model"].probs)).item()
    assert report["is_course"]["model"] == pytest.approx(expected, rel=1e-6)
    assert report["protocol_changed"] == {"split": "train", "given_frames": 2}


def test_a_paper_s_protocol_is_kept_or_named_as_changed(run, evaluate, refused, digits):
    def message(*arguments):
        return refused("evaluate", run, "--data.root", digits, *arguments)

    line = message("--protocol", "lvt")
    assert "protocol lvt compares clips of 64 x 64, this run's are 32 x 32: --protocol.size 32" in line
    line = message("--protocol", "lvt", "--protocol.size", 32)
    assert "compares clips of 16 frames: this prior makes clips of 4 frames, not of 16; --protocol.frames 4" in line
    own = "--protocol.size", 32, "--protocol.frames", 4
    assert "gives no frames, and this prior needs 1" in message("--protocol", "tats-short", *own, "--metrics", "fvd")
    report = evaluate(run, "--protocol", "lvt", *own, "--given-frames", 3, "--metrics", "bits_per_dim,psnr",
                      "--protocol.runs", 2)
    assert report["protocol_changed"] == {"frames": 4, "size": 32, "given_frames": 3, "runs": 2}
    alone = evaluate(run, "--given-frames", 1, "--metrics", "bits_per_dim")  # the protocol gives one frame for bits
    assert report["bits_per_dim"]["model"] == pytest.approx(alone["bits_per_dim"]["model"])
    seeds = [evaluate(run, "--given-frames", 3, "--metrics", "psnr", "--seed", seed)["psnr"]["model"]
             for seed in (0, 1)]
    assert report["psnr"]["model"] == pytest.approx(np.mean(seeds))
    assert report["standard_deviation"]["psnr"]["model"] == pytest.approx(np.std(seeds, ddof=1))

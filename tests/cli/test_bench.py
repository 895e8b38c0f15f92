import json
import os
from functools import partial
from unittest.mock import patch

import pytest
import torch

from lvlib.cli.arguments import override
from lvlib.configs import named_config
from lvlib.models.pvdm.samplers import DiffusionSampling
from lvlib.models.videogpt.prior import VideoGPT, VideoGPTSampling
from lvlib.reports.bench import bench, cpu_seconds, sampling


def convolution_flops(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Forward: two per multiplication, over a side x side output (a transposed convolution: input)."""
    return 2 * inputs * outputs * kernel**2 * side**2


@pytest.fixture(scope="module")
def report() -> dict:
    """Clips of 2 frames of 64 x 64, in slices of one frame."""
    fields = {"data.frames": ["2"], "prior.subscale": ["2", "1", "1"], "prior.encoder_layers": ["1"],
              "prior.decoder_layers": ["2"], "training.batch": ["2"]}
    return bench(override(named_config("bench-lvt"), fields))


def test_the_autoencoder_s_step_is_what_a_count_by_hand_finds(report):
    residual = 2 * (convolution_flops(64, 32, 3, 16) + convolution_flops(32, 64, 1, 16))
    first = convolution_flops(3, 32, 4, 32)
    encoder = first + convolution_flops(32, 64, 4, 16) + convolution_flops(64, 64, 3, 16) + residual
    decoder = (convolution_flops(64, 64, 3, 16) + residual + convolution_flops(64, 32, 4, 16)
               + convolution_flops(32, 3, 4, 32))
    distances = 4 * 2 * 16 * 128 * 16**2  # no gradient flows through them
    # Backward costs twice the forward, but the first layer needs no gradient for the pixels.
    per_frame = 3 * (encoder + decoder) - first + distances
    assert report["batch"]["autoencoder"] == 1
    assert report["gflop"]["autoencoder"] == pytest.approx(2 * per_frame / 1e9)


def test_the_prior_s_step_is_what_a_count_by_hand_finds(report):
    positions, dim, embedding, codebooks, codes = 16 * 16, 128, 64, 4, 128
    windows = dim * embedding * 2 + embedding * dim  # two frames high; then widened
    taps = embedding * dim * 27  # the masked ones are computed, too
    layer = dim * 3 * dim + dim * dim + 2 * dim * dim + 2 * positions * dim  # in, out, two linear layers, attention
    heads = codebooks * (dim * dim + dim * codes)
    forward = 2 * positions * (windows + taps + (1 + 2) * layer + heads)
    assert report["batch"]["prior"] == 2
    assert report["gflop"]["prior"] == pytest.approx(2 * 3 * forward / 1e9)


def test_shares_follow_from_times(report):
    for stage in ("autoencoder", "prior"):
        seconds, share = report["train_step_cpu_s"][stage], report["peak_share"][stage]
        # Each stage has its own measurement of the peak; the report has the median of them.
        assert share == pytest.approx(report["gflop"][stage] / seconds / report["matmul_gflops"], rel=0.5)
        assert 0 < share < 1
        assert 1 < report["peak_memory_mb"][stage] < 1000
    assert 0 < report["sample_cpu_s"]["autoencoder"] < report["sample_cpu_s"]["prior"] < 60
    assert report["threads"] == 1 and report["torch"] == torch.__version__ and report["hardware"]


def test_the_command_prints_what_was_measured(lvlib, monkeypatch, report):
    calls = []
    monkeypatch.setattr("lvlib.reports.bench.bench", lambda *given: calls.append(given) or report)
    status, out, _ = lvlib("bench", "bench-lvt", "--data.frames", "2", "--threads", "3", "--stage", "prior", "--json")
    assert status == 0 and json.loads(out) == {"config": "bench-lvt", **report}
    assert calls == [(override(named_config("bench-lvt"), {"data.frames": ["2"]}), 3, "prior")]
    lines = lvlib("bench", "bench-lvt")[1].splitlines()
    at = lines.index("prior, batch of 2")
    assert f"{report['train_step_cpu_s']['prior']:.3f} CPU-s" in lines[at + 1]
    assert f"{report['sample_cpu_s']['prior']:.3f} CPU-s" in lines[at + 4]
    assert f"{report['sample_cpu_s']['autoencoder']:.3f} CPU-s" in lines[at - 1] and "decoding" in lines[at - 1]
    assert "autoencoder, batch of 1" in lines and sum("sampling" in line for line in lines) == 1


def test_videogpt_s_stages(monkeypatch):
    """The autoencoder takes the prior's batch. Sampling draws all codes of a clip, under the prior's conditions."""
    monkeypatch.setattr("lvlib.reports.bench._in_fresh_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr("lvlib.reports.bench.cpu_seconds", lambda step: (1.0, 1.0))
    sampled = []
    monkeypatch.setattr(VideoGPT, "sample", lambda self, *arguments: sampled.append(arguments))
    fields = {"data.frames": "4", "data.size": "16", "prior.classes": "5", "prior.actions": "3", "prior.frames": "1",
              "prior.resnet_units": "8", "prior.layers": "1"}
    config = override(named_config("bench-videogpt"), {name: [value] for name, value in fields.items()})
    report = bench(config)
    assert report["batch"] == {"autoencoder": 4, "prior": 4}
    n, condition, given, sampling, _ = sampled[0]
    assert (n, given, sampling) == (1, None, VideoGPTSampling())
    shapes = {name: tuple(value.shape) for name, value in condition.items()}
    assert shapes == {"label": (1,), "actions": (1, 4, 3), "frames": (1, 3, 1, 16, 16)}
    assert all(report["gflop"][stage] > 0.001 for stage in ("autoencoder", "prior"))
    assert bench(config, stage="prior")["gflop"] == {"prior": report["gflop"]["prior"]}


def test_times_are_medians_that_stop_at_the_limit(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    calls = []
    step, product = cpu_seconds(lambda: calls.append(1), rounds=4)
    assert (step, product, len(calls)) == (1, 1, 16)
    calls.clear()
    cpu_seconds(lambda: calls.append(1), limit=5)
    assert len(calls) == 8


def test_bad_arguments_are_refused(refused):
    for threads in "0", "-1", str(10**14):
        assert f"--threads must be from 1 to {max(os.cpu_count(), 64)}, not {threads}" in refused(
            "bench", "bench-lvt", "--threads", threads)
    assert "unknown config" in refused("bench", "nothing")
    assert "this config has no refiner; its stages are autoencoder, prior" in refused(
        "bench", "bench-lvt", "--stage", "refiner")
    assert "5 does not divide the 16" in refused("bench", "bench-lvt", "--prior.subscale", "5", "1", "1")


def test_a_prior_that_learned_clips_after_another_alone_makes_the_second_of_two():
    fields = {"data.size": "16", "autoencoder.size": "16", "autoencoder.width": "16", "prior.width": "8",
              "prior.heads": "2", "prior.conditional": "1", "prior.actions": "2"}
    config = override(named_config("pvdm-course"), {name: [value] for name, value in fields.items()})
    with patch.object(type(config.prior), "Sampling", partial(DiffusionSampling, steps=1, next_steps=1)):
        assert sampling(config, config.build().eval())().shape[2] == 2 * config.latents.shape[1]

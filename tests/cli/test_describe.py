import json
import math
import subprocess
import sys

import pytest
import torch

from lvlib.reports.bench import peak_rss_mb


def described(lvlib, *arguments) -> dict:
    status, out, _ = lvlib("describe", *arguments, "--json")
    assert status == 0
    return json.loads(out)


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + outputs


def test_configs_lists_every_name_with_its_paper(lvlib):
    status, out, _ = lvlib("configs")
    assert status == 0
    for name in ("lvt-frames-course", "lvt-frames-bair", "lvt-frames-bair-nc4", "lvt-frames-kinetics", "bench-lvt"):
        assert any(line.startswith(name + " ") and "LVT" in line for line in out.splitlines())


@pytest.mark.parametrize(("name", "blocks", "latent_shape"), [
    ("lvt-frames-bair", 2, [1, 16, 16]),
    ("lvt-frames-bair-nc4", 2, [1, 16, 16, 4]),
    ("lvt-frames-kinetics", 4, [1, 16, 16, 4]),
])
def test_paper_sizes_agree_with_a_count_by_hand(lvlib, name, blocks, latent_shape):
    residual = blocks * (convolution(256, 128, 3) + convolution(128, 256, 1))
    encoder = convolution(3, 128, 4) + convolution(128, 256, 4) + convolution(256, 256, 3) + residual
    decoder = convolution(256, 256, 3) + residual + convolution(256, 128, 4) + convolution(128, 3, 4)
    report = described(lvlib, name)
    assert report["parameters"] == {
        "autoencoder": encoder + 512 * 256 + decoder,
        "autoencoder.encoder": encoder,
        "autoencoder.quantizer": 512 * 256,  # four codebooks of 512 x 64 are as many numbers as one of 512 x 256
        "autoencoder.decoder": decoder,
        "prior": 0,
    }
    assert report["latent_shape"] == latent_shape
    assert report["tokens"] == math.prod(latent_shape)


@pytest.mark.parametrize(("attention", "millions"), [("query-key", 49.87), ("key", 41.50), ("relative", 33.09)])
def test_lvt_has_the_parameters_of_table_7(lvlib, attention, millions):
    parameters = described(lvlib, "lvt-bair", "--prior.attention", attention)["parameters"]
    assert parameters["prior"] == pytest.approx(millions * 1e6, abs=6e3)
    parts = ("encoder", "decoder", "code_heads")
    assert parameters["prior"] == sum(parameters[f"prior.{part}"] for part in parts)
    frames = described(lvlib, "lvt-frames-bair-nc4")["parameters"]
    assert {name: n for name, n in parameters.items() if "prior" not in name} == {
        name: n for name, n in frames.items() if name != "prior"}


def test_heads_of_a_prior_agree_with_a_count_by_hand(lvlib):
    """n_c = 4 codebooks of 512 and a width of 512: each code has a hidden layer and an output layer, and the second
    to the fourth code embed the one to three codes before them."""
    heads = 4 * (512 * 512 + 512) + 4 * (512 * 512 + 512) + (1 + 2 + 3) * 512 * 512
    assert described(lvlib, "lvt-bair")["parameters"]["prior.code_heads"] == heads


def test_memory_of_a_prior_is_that_of_real_tensors(lvlib):
    """Counted once more on real tensors, of a prior small enough to be real."""
    from lvlib.cli.arguments import override
    from lvlib.configs import named_config
    from lvlib.reports.describe import example_inputs, training_bytes

    fields = {"data.size": ["32"], "prior.encoder_layers": ["1"], "prior.decoder_layers": ["1"]}
    config = override(named_config("bench-lvt"), fields)
    report = described(lvlib, "bench-lvt", *(word for name, words in fields.items() for word in (f"--{name}", *words)))
    inputs = example_inputs(config, config.training.batch)
    assert inputs[0].shape == (4, *config.latents.shape) and inputs[0].dtype == torch.int64 and inputs[1] == {}
    assert report["trains"] == "prior"
    assert report["training_memory_mb"] == round(training_bytes(config.build(), inputs, config.training) / 2**20) > 4


@pytest.mark.parametrize(("name", "latent_shape"), [
    ("videogpt-moving-mnist", [4, 16, 16]), ("videogpt-bair", [8, 32, 32]), ("videogpt-vizdoom", [8, 32, 32]),
    ("videogpt-tgif", [4, 32, 32]), ("videogpt-vqvae-bair", [8, 32, 32]), ("videogpt-vqvae-moving-mnist", [4, 16, 16]),
    ("bench-videogpt", [4, 16, 16]),
])
def test_videogpt_s_paper_sizes_are_described_without_their_memory(lvlib, name, latent_shape):
    before = peak_rss_mb()
    report = described(lvlib, name)
    assert peak_rss_mb() - before < 200  # nothing large was real
    assert report["latent_shape"] == latent_shape and report["tokens"] == math.prod(latent_shape)
    assert report["parameters"]["autoencoder"] > 0 and report["training_memory_mb"] > 200


def test_videogpt_s_prior_agrees_with_a_count_by_hand(lvlib):
    """UCF-101, Table 9: no condition; biases where a layer joins, none in queries, keys, values and the output."""
    d, hidden, layers, codes, (t, h, w) = 1024, 4096, 20, 1024, (4, 32, 32)
    layer = 3 * d * d + (d * d + d) + (d * hidden + hidden) + (hidden * d + d) + 2 * 2 * d
    total = codes * d + d + (t + h + w) * d + layers * layer + 2 * d + d * codes
    assert described(lvlib, "videogpt-ucf101")["parameters"]["prior"] == total


def test_what_a_prior_is_conditioned_on_is_in_the_estimate(lvlib):
    fields = ["--data.size", "16", "--prior.layers", "1"]
    plain = described(lvlib, "bench-videogpt", *fields)
    for field, size in ("classes", 5), ("actions", 3), ("frames", 1):
        conditioned = described(lvlib, "bench-videogpt", *fields, f"--prior.{field}", str(size))
        assert conditioned["parameters"]["prior"] > plain["parameters"]["prior"]
        assert conditioned["training_memory_mb"] >= plain["training_memory_mb"]


@pytest.mark.parametrize(("name", "video_shape", "latent_shape", "sizes", "words", "before", "codes"), [
    ("tats-mugen", [3, 16, 256, 256], [4, 32, 32], (1024, 4096, 24), 49_408, 77, 16_384),
    ("tats-stories-course", [1, 16, 32, 32], [4, 8, 8], (192, 768, 4), 360, 16, 256),
])
def test_a_prior_that_is_told_a_text_is_described_without_one(
        lvlib, name, video_shape, latent_shape, sizes, words, before, codes):
    """It looks whether tokens are in range, and here nobody has written any. Its size is counted by hand: tokens and
    codes have one vocabulary, and the place of each but the last one is learned."""
    report = described(lvlib, name)
    assert (report["trains"], report["video_shape"], report["latent_shape"]) == ("prior", video_shape, latent_shape)
    assert report["tokens"] == math.prod(latent_shape)
    d, hidden, layers = sizes
    layer = 3 * d * d + (d * d + d) + (d * hidden + hidden) + (hidden * d + d) + 2 * 2 * d
    total = (words + codes) * d + (before + report["tokens"] - 1) * d + layers * layer + 2 * d + d * codes
    assert report["parameters"]["prior"] == total
    assert report["training_memory_mb"] * 2**20 > 4 * 4 * total


def test_a_subscale_factor_that_does_not_divide_is_refused(refused):
    message = refused("describe", "lvt-bair", "--prior.subscale", "3", "2", "2")
    assert "3 does not divide the 16 latent positions in time" in message and "1, 2, 4, 8, 16" in message
    assert "prime_frames must be below the 16" in refused("describe", "lvt-bair", "--prior.prime_frames", "16")
    assert "attention" in refused("describe", "lvt-bair", "--prior.attention", "all")


def test_bench_config_has_as_many_parameters_as_the_official_model(lvlib):
    assert described(lvlib, "bench-lvt")["parameters"]["autoencoder"] == 233_091


def test_fields_change_what_is_described(lvlib):
    report = described(lvlib, "bench-lvt", "--data.frames", "4", "--data.size=32", "--autoencoder.residual-blocks", "0",
                       "--prior.subscale", "4", "1", "1")
    assert report["latent_shape"] == [4, 8, 8, 4]
    assert report["video_shape"] == [3, 4, 32, 32]
    assert report["parameters"]["autoencoder.encoder"] == (
        convolution(3, 32, 4) + convolution(32, 64, 4) + convolution(64, 64, 3))


def test_memory_is_four_copies_of_the_weights_plus_a_share_per_clip(lvlib):
    batch = {n: described(lvlib, "lvt-frames-kinetics", "--training.batch", n)["training_memory_mb"] for n in (32, 64)}
    per_clip = (batch[64] - batch[32]) / 32
    weights = described(lvlib, "lvt-frames-kinetics")["parameters"]["autoencoder"] * 4 / 2**20
    assert batch[32] - 32 * per_clip == pytest.approx(4 * weights, rel=0.1)
    # At least what enters each ReLU and convolution at the 32x32 and 16x16 grids of a frame, once.
    assert per_clip > (2 * 128 * 32**2 + 12 * 256 * 16**2) * 4 / 2**20


def test_ema_is_one_more_copy_of_the_weights(lvlib):
    without = described(lvlib, "lvt-frames-bair")["training_memory_mb"]
    weights = described(lvlib, "lvt-frames-bair")["parameters"]["autoencoder"] * 4 / 2**20
    with_ema = described(lvlib, "lvt-frames-bair", "--training.ema_decay", "0.999")["training_memory_mb"]
    assert with_ema - without == pytest.approx(weights, abs=1.5)


def test_table_and_json_say_the_same(lvlib):
    status, out, _ = lvlib("describe", "lvt-frames-bair")
    assert status == 0
    assert "3,684,867" in out and "1 x 16 x 16" in out and "256 tokens" in out
    status, out, _ = lvlib("describe", "lvt-bair")
    assert "49,872,384" in out and "16,384 tokens" in out and "MB for the prior" in out


def test_help_of_a_config_lists_every_field_with_its_default(lvlib):
    status, out, _ = lvlib("train", "lvt-frames-bair", "--help")
    assert status == 0
    words = " ".join(out.split())
    assert "--training.steps INT" in words and "(default: 500000)" in words
    assert "--autoencoder.residual_hidden INT" in words and "--data.root" in words and "--devices" in words


def test_every_command_explains_itself(lvlib):
    from lvlib.cli import COMMANDS

    for arguments in ([], ["--help"], *([command, "--help"] for command in COMMANDS)):
        status, out, _ = lvlib(*arguments)
        assert status == 0 and "usage" in out


def test_help_and_version_do_not_load_torch():
    code = ("import sys; from lvlib.cli import main; main(['--help']); main(['--version']);"
            "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

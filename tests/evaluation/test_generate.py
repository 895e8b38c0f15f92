"""Rounds of sampling: each clip gets what is its own, and the memory of one round is all that any number needs."""

import gc

import torch

from lvlib.evaluation.generate import generate_video
from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.models.lvt.prior import LVTConfig
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig


def models():
    torch.manual_seed(0)
    autoencoder = FrameVQVAEConfig(hidden=8, residual_hidden=4, codes=16, codebooks=2).build()
    shape = autoencoder.latent_shape((3, 4, 16, 16))
    config = LVTConfig(dim=16, embedding_dim=8, heads=2, head_dim=8, encoder_layers=1, decoder_layers=2,
                       subscale=(2, 2, 2))
    return autoencoder.eval(), config.build(shape, 16).eval()


def bytes_alive() -> int:
    gc.collect()
    tensors = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return sum({x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in tensors}.values())


def test_clips_that_were_made_leave_nothing_behind():
    autoencoder, prior = models()
    given = torch.rand(1, 3, 1, 16, 16) * 2 - 1
    alive = []
    for _ in range(4):
        generate_video(autoencoder, prior, 2, given)
        alive.append(bytes_alive())
    assert alive[0] == alive[1] == alive[2] == alive[3]


def test_each_clip_of_a_batch_is_continued_from_its_own_frames(monkeypatch):
    """Also where the clips do not go through the models together."""
    monkeypatch.setattr("lvlib.evaluation.generate.BATCH", 2)
    autoencoder, prior = models()
    rounds = []
    monkeypatch.setattr(prior, "sample", lambda n, codes: rounds.append((n, codes)) or torch.zeros(
        n, *prior.latent_shape, dtype=torch.int64))
    given = torch.rand(5, 3, 2, 16, 16) * 2 - 1
    video = generate_video(autoencoder, prior, 5, given)
    torch.testing.assert_close(video[:, :, :2], given, rtol=0, atol=0)
    assert [n for n, _ in rounds] == [2, 2, 1]
    torch.testing.assert_close(torch.cat([codes for _, codes in rounds]), autoencoder.encode(given))


def test_each_clip_of_a_batch_is_told_its_own_condition(monkeypatch):
    """What is given once is given to all of them."""
    monkeypatch.setattr("lvlib.evaluation.generate.BATCH", 2)
    autoencoder = VideoVQVAEConfig(hidden=8, residual_hidden=4, residual_blocks=1, codes=16, code_dim=8, block="plain",
                                   downsample=(2, 8, 8)).build().eval()
    prior = VideoGPTConfig(dim=8, heads=2, layers=1, hidden=8, classes=5, actions=2).build(
        (2, 2, 2), 16, (3, 4, 16, 16)).eval()
    rounds = []
    monkeypatch.setattr(prior, "sample", lambda n, condition, **options: rounds.append((n, condition, options))
                        or torch.zeros(n, 2, 2, 2, dtype=torch.int64))
    told = {"label": torch.arange(5), "actions": torch.rand(1, 4, 2)}
    video = generate_video(autoencoder, prior, 5, condition=told, top_k=3)
    assert video.shape == (5, 3, 4, 16, 16)
    assert [condition["label"].tolist() for _, condition, _ in rounds] == [[0, 1], [2, 3], [4]]
    assert all(torch.equal(condition["actions"], told["actions"]) for _, condition, _ in rounds)
    assert all(options == {"given": None, "top_k": 3} for *_, options in rounds)
    given = torch.rand(5, 3, 2, 16, 16) * 2 - 1
    video = generate_video(autoencoder, prior, 5, given, told)
    torch.testing.assert_close(video[:, :, :2], given, rtol=0, atol=0)
    begun = torch.cat([options["given"] for *_, options in rounds[3:]])
    stood_still = torch.cat([given, given[:, :, 1:], given[:, :, 1:]], 2)
    torch.testing.assert_close(begun, autoencoder.encode(stood_still)[:, :1])

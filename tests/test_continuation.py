"""Memory of sampling: what one round of clips needs is all that any number of rounds needs."""

import gc

import torch

from lvlib.continuation import continue_video
from lvlib.models.frame_vqvae import FrameVQVAEConfig
from lvlib.models.lvt import LVTConfig


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
        continue_video(autoencoder, prior, given, 2)
        alive.append(bytes_alive())
    assert alive[0] == alive[1] == alive[2] == alive[3]


def test_each_clip_of_a_batch_is_continued_from_its_own_frames(monkeypatch):
    """Also where the clips do not go through the models together."""
    monkeypatch.setattr("lvlib.continuation.BATCH", 2)
    autoencoder, prior = models()
    rounds = []
    monkeypatch.setattr(prior, "sample", lambda n, codes, temperature: rounds.append((n, codes)) or torch.zeros(
        n, *prior.latent_shape, dtype=torch.int64))
    given = torch.rand(5, 3, 2, 16, 16) * 2 - 1
    video = continue_video(autoencoder, prior, given, 5)
    torch.testing.assert_close(video[:, :, :2], given, rtol=0, atol=0)
    assert [n for n, _ in rounds] == [2, 2, 1]
    torch.testing.assert_close(torch.cat([codes for _, codes in rounds]), autoencoder.encode(given))

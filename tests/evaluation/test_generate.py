"""Rounds of sampling: each clip gets what is its own, and the memory of one round is all that any number needs."""

import gc
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from lvlib.configs import Config, DataConfig
from lvlib.errors import UserError
from lvlib.evaluation.generate import Pipeline, check_frames
from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.models.lvt.prior import LVTConfig, LVTSampling
from lvlib.models.videogpt.prior import VideoGPTConfig, VideoGPTSampling
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig
from lvlib.training import TrainingConfig

TRAINING = TrainingConfig(steps=1, batch=1, learning_rate=1e-3)
LVT = Config(DataConfig(frames=4, size=16), FrameVQVAEConfig(hidden=8, residual_hidden=4, codes=16, codebooks=2),
             TRAINING, LVTConfig(dim=16, embedding_dim=8, heads=2, head_dim=8, encoder_layers=1, decoder_layers=2,
                                 subscale=(2, 2, 2)))
VIDEOGPT = Config(DataConfig(frames=4, size=16),
                  VideoVQVAEConfig(hidden=8, residual_hidden=4, residual_blocks=1, codes=16, code_dim=8, block="plain",
                                   downsample=(2, 8, 8)),
                  TRAINING, VideoGPTConfig(dim=8, heads=2, layers=1, hidden=8, classes=5, actions=2))


def pipeline_of(config: Config) -> Pipeline:
    torch.manual_seed(0)
    return Pipeline(config, **{stage: config.up_to(stage).build().eval() for stage in config.stages})


class Recorder:
    """In place of a prior's `sample`: keeps what it was given, and makes codes that are 0."""

    def __init__(self, pipeline: Pipeline, monkeypatch):
        self.shape, self.rounds = pipeline.config.latents.shape, []
        monkeypatch.setattr(pipeline.prior, "sample", self, raising=False)

    def __call__(self, n, condition, given, sampling, latent_frames):
        self.rounds.append((n, condition, given, sampling, latent_frames))
        return torch.zeros(n, *self.shape, dtype=torch.int64)


def bytes_alive() -> int:
    gc.collect()
    tensors = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return sum({x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in tensors}.values())


def test_clips_that_were_made_leave_nothing_behind():
    pipeline = pipeline_of(LVT)
    given = torch.rand(1, 3, 1, 16, 16) * 2 - 1
    alive = []
    for _ in range(4):
        pipeline.generate(2, given=given)
        alive.append(bytes_alive())
    assert alive[0] == alive[1] == alive[2] == alive[3]


def test_each_clip_of_a_batch_is_continued_from_its_own_frames(monkeypatch):
    """Also where the clips do not go through the models together."""
    monkeypatch.setattr("lvlib.evaluation.generate.BATCH", 2)
    pipeline = pipeline_of(LVT)
    recorder = Recorder(pipeline, monkeypatch)
    given = torch.rand(5, 3, 2, 16, 16) * 2 - 1
    video = pipeline.generate(5, given=given)
    torch.testing.assert_close(video[:, :, :2], given, rtol=0, atol=0)
    assert [n for n, *_ in recorder.rounds] == [2, 2, 1]
    codes = torch.cat([codes for _, _, codes, _, _ in recorder.rounds])
    torch.testing.assert_close(codes, pipeline.autoencoder.encode(given))
    assert all((condition, sampling, frames) == ({}, LVTSampling(), None)
               for _, condition, _, sampling, frames in recorder.rounds)


def test_each_clip_of_a_batch_has_its_own_condition(monkeypatch):
    """What is given once is given to all of them."""
    monkeypatch.setattr("lvlib.evaluation.generate.BATCH", 2)
    pipeline = pipeline_of(VIDEOGPT)
    recorder = Recorder(pipeline, monkeypatch)
    condition, sampling = {"label": torch.arange(5), "actions": torch.rand(1, 4, 2)}, VideoGPTSampling(top_k=3)
    video = pipeline.generate(5, condition, sampling=sampling)
    assert video.shape == (5, 3, 4, 16, 16)
    assert [own["label"].tolist() for _, own, *_ in recorder.rounds] == [[0, 1], [2, 3], [4]]
    assert all(torch.equal(own["actions"], condition["actions"]) for _, own, *_ in recorder.rounds)
    assert all(rest == [None, sampling, None] for _, _, *rest in recorder.rounds)
    given = torch.rand(5, 3, 2, 16, 16) * 2 - 1
    video = pipeline.generate(5, condition, given)
    torch.testing.assert_close(video[:, :, :2], given, rtol=0, atol=0)
    given_latents = torch.cat([codes for _, _, codes, _, _ in recorder.rounds[3:]])
    stood_still = torch.cat([given, given[:, :, 1:], given[:, :, 1:]], 2)
    torch.testing.assert_close(given_latents, pipeline.autoencoder.encode(stood_still)[:, :1])


def test_a_prior_conditioned_on_frames_gets_the_frames_and_no_codes(monkeypatch):
    pipeline = pipeline_of(replace(VIDEOGPT, prior=replace(VIDEOGPT.prior, classes=0, actions=0, frames=1)))
    recorder = Recorder(pipeline, monkeypatch)
    given = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    video = pipeline.generate(2, given=given)
    (_, condition, codes, _, _), = recorder.rounds
    assert set(condition) == {"frames"} and torch.equal(condition["frames"], given) and codes is None
    torch.testing.assert_close(video[:, :, :1], given, rtol=0, atol=0)


@dataclass(frozen=True)
class Extending(LVTConfig):
    extends: ClassVar[bool] = True


def test_clips_longer_than_those_of_the_training(monkeypatch):
    """The length goes to the prior in latent frames, where it can make longer clips."""
    config = replace(VIDEOGPT, prior=Extending())
    pipeline = Pipeline(config, config.autoencoder.build().eval(), torch.nn.Identity())
    recorder = Recorder(pipeline, monkeypatch)
    pipeline.generate(2, frames=12)
    assert recorder.rounds[0][-1] == 6
    check_frames(config, 12)
    for frames in 13, 2:
        with pytest.raises(UserError, match=f"frames must be a multiple of 2, 4 or more, not {frames}"):
            check_frames(config, frames)
    check_frames(VIDEOGPT, 4)
    with pytest.raises(UserError, match="makes clips of 4 frames, not of 8"):
        check_frames(VIDEOGPT, 8)

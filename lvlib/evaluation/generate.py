"""Video from the trained stages of a system: latents sampled, after those of given frames if there are any, decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lvlib.configs import Config
from lvlib.errors import UserError, said_plainly
from lvlib.stages import ConditionSpec

BATCH = 16  # clips that are sampled together: the memory is the same however many are asked for


@dataclass(frozen=True)
class Pipeline:
    """The trained stages of a system, in eval mode, which make video together. `lvlib.runs.load_pipeline` loads one."""

    config: Config
    autoencoder: nn.Module
    prior: nn.Module | None = None
    refiner: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        return next(self.autoencoder.parameters()).device

    @property
    def conditions(self) -> tuple[ConditionSpec, ...]:
        """What samples are conditioned on."""
        return self.config.up_to("prior").conditions

    @torch.no_grad()
    def generate(self, n: int, condition: Mapping[str, Tensor] | None = None, given: Tensor | None = None,
                 sampling: Any = None, frames: int | None = None, refiner_sampling: Any = None,
                 given_last: int = 0) -> Tensor:
        """n clips, float video (n, c, t, h, w) in [-1, 1]: the given frames as they are, then what the prior makes.

        condition: of one clip for all, or of each, (1 or n, ...), without the given frames. given: float
        (1 or n, c, t0, h, w) in [-1, 1]. sampling: an instance of the prior's `Sampling`; None for its defaults.
        refiner_sampling: likewise of the refiner, if there is one.
        frames: t, where the prior `extends`; None: as long as the clips that it learned from.
        given_last: so many of the given frames are the last ones of the clip, and the others the first; what lies
        between is made.

        Draws from torch's global random numbers. Raises UserError for what does not fit, and for pixels that are not
        finite.
        """
        sampling = self.config.prior.Sampling() if sampling is None else sampling
        first = 0 if given is None else given.shape[2] - given_last
        check_given_last(self.config, first, given_last)
        parts = []
        for start in range(0, n, BATCH):
            count = min(BATCH, n - start)
            own = {name: _part(value, start).to(self.device) for name, value in (condition or {}).items()}
            shown = None if given is None else _part(given, start).to(self.device)
            latents = self.sample_latents(count, own, shown, sampling, frames, refiner_sampling, given_last)
            video = finite(self.autoencoder.decode(latents))[:, :, :frames or self.config.data.frames]
            if shown is not None:
                shown = shown.expand(count, -1, -1, -1, -1)
                made = video[:, :, first:video.shape[2] - given_last]
                video = torch.cat([shown[:, :, :first], made, shown[:, :, first:]], 2)
            parts.append(video)
        return torch.cat(parts)

    def sample_latents(self, n: int, condition: Mapping[str, Tensor], given: Tensor | None, sampling: Any,
                       frames: int | None, refiner_sampling: Any = None, given_last: int = 0) -> Tensor:
        """Latents of n clips, complete, as the autoencoder decodes them; with a refiner perhaps a few more than asked
        for. Arguments as of `generate`."""
        config, clip_frames = self.config, frames or self.config.data.frames
        as_condition = [spec.name for spec in self.conditions if spec.kind == "given-frames"]
        given_latents, between = None, {}
        if given is not None and as_condition:
            condition = {**condition, **dict.fromkeys(as_condition, given)}
        elif given_last:
            first, last = given.split([given.shape[2] - given_last, given_last], 2)
            before = last[:, :, :1].expand(-1, -1, clip_frames - given_last, -1, -1)  # stands in for what is not known
            first = self.autoencoder.encode_start(first, clip_frames)
            last = self.autoencoder.encode(torch.cat([before, last], 2))
            last = last[:, -(given_last // config.latents.frames_per_latent):]
            given_latents, t = torch.cat([first, last], 1), config.latents.shape[0]
            between["places"] = [*range(first.shape[1]), *range(t - last.shape[1], t)]
        elif given is not None:
            given_latents = self.autoencoder.encode_start(given, clip_frames)
        latent_frames = None if frames is None else frames // config.latents.frames_per_latent
        if self.refiner is not None and config.prior.extends:
            latent_frames = config.refiner.prior_frames(clip_frames // config.latents.frames_per_latent)
        latents = said_plainly(lambda: self.prior.sample(n, condition, given_latents, sampling, latent_frames,
                                                         **between))
        if self.refiner is None:
            return latents
        wanted = [spec.name for spec in config.conditions]
        refiner_sampling = config.refiner.Sampling() if refiner_sampling is None else refiner_sampling
        own = {name: condition[name] for name in wanted}
        return said_plainly(lambda: self.refiner.refine(latents, own, refiner_sampling))


def finite(video: Tensor) -> Tensor:
    """The same. Raises UserError if it is not finite: neither pixels nor scores would tell."""
    if not video.isfinite().all():
        raise UserError("what the model makes is not finite: its weights are of no use")
    return video


def check_frames(config: Config, frames: int | None) -> None:
    """Raises UserError for clips of a length that the prior of this configuration cannot make."""
    if frames is None or frames == config.data.frames:
        return
    per_latent = config.latents.frames_per_latent
    if not config.prior.extends:
        raise UserError(f"this prior makes clips of {config.data.frames} frames, not of {frames}")
    if frames < config.data.frames or frames % per_latent:
        raise UserError(f"frames must be a multiple of {per_latent}, {config.data.frames} or more, not {frames}")
    _ = with_frames(config, frames).latents  # the autoencoder must take so many


def check_given_last(config: Config, first: int, last: int) -> None:
    """Raises UserError unless the prior can fill a clip between so many first and last frames; 0 last ones are none."""
    can, frames, multiple = config.given_frames, config.data.frames, config.latents.frames_per_latent
    if not last:
        return
    if not can.anywhere:
        raise UserError("this prior goes on from first frames alone: it cannot be given the last ones of a clip, too")
    if min(first, last) < multiple or first % multiple or last % multiple or first + last > can.most:
        raise UserError(f"first and last frames must be multiples of {multiple}, {can.most} or less together, not "
                        f"{first} and {last}: the prior's clips have {frames} frames, {multiple} for one latent frame")


def with_frames(config: Config, frames: int | None) -> Config:
    """The configuration for clips of another length; None: of its own."""
    return config if frames is None else replace(config, data=replace(config.data, frames=frames))


def _part(clips: Tensor, start: int) -> Tensor:
    return clips if len(clips) == 1 else clips[start:start + BATCH]

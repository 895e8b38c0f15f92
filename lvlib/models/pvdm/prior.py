# Never edit this file: `python -m lvlib.course build` makes it from solutions/22_triplane_diffusion.py.
"""PVDM's prior: diffusion over the planes of a clip, with or without the clip before. PVDM, section
3.3, Algorithm 1."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lvlib.models.common.checks import check_choice, check_no_condition, check_numbers
from lvlib.models.common.quantize import sum_over_processes
from lvlib.models.pvdm.diffusion import NoiseSchedule, add_noise, sqrt_linear_betas
from lvlib.models.pvdm.samplers import DiffusionSampling, denoise, evenly_spaced
from lvlib.models.pvdm.unet import TriplaneUNet
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, Metrics, VideoShape

Objective = Literal["sum", "coin"]
MEASURED = 256  # clips whose mean and deviation latents are standardized by
PredictAfter = Callable[[Tensor, Tensor, Tensor], Tensor]  # x, its step, the clip before: its noise


class Standardize(nn.Module):
    """Each channel of each plane with mean 0 and deviation 1, of the first `MEASURED` clips of
    training, over all processes. Ours: the paper has tanh alone. A null clip is a mean one."""

    def __init__(self, latents: LatentSpec):
        super().__init__()
        self.spec = latents
        shape = len(latents.planes), latents.shape[0], 1
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64))  # clips

    def forward(self, latents: Tensor) -> Tensor:
        """(b, channels, positions) -> the same shape."""
        mean, std = self.each_position()
        return (latents - mean) / std

    def undo(self, x: Tensor) -> Tensor:
        """The reverse."""
        mean, std = self.each_position()
        return x * std + mean

    def each_position(self) -> tuple[Tensor, Tensor]:
        """Means and deviations (channels, positions)."""
        plane = [i for i, (h, w) in enumerate(self.spec.planes) for _ in range(h * w)]
        return self.mean[plane, :, 0].T, self.std[plane, :, 0].T

    @torch.no_grad()
    def measure(self, latents: Tensor) -> None:
        """Takes them from latents (b, channels, positions), and from those of earlier calls."""
        clips = sum_over_processes(self.measured.new_tensor(len(latents)))
        self.measured += clips
        share = clips / self.measured
        for i, plane in enumerate(self.spec.split_planes(latents)):
            values = plane.transpose(0, 1).flatten(1)
            n = clips * plane[0, 0].numel()
            mean = sum_over_processes(values.sum(1)) / n
            variance = sum_over_processes((values - mean[:, None]).square().sum(1)) / n
            shift = mean - self.mean[i, :, 0]
            variance = (1 - share) * (self.std[i, :, 0]**2 + share * shift**2) + share * variance
            self.mean[i, :, 0] += share * shift
            self.std[i, :, 0] = variance.sqrt().clamp(min=1e-3)


def joint_loss(predict: PredictAfter, x: Tensor, t: Tensor, before: Tensor, noise: Tensor,
               weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """The squared error of the predicted noise, after the clip before and with zeros in its place.

    x, before, noise (b, channels, positions); t int64 (b,); predict(x, t, before) -> as x. weight:
    of the first error, lambda, 0 to 1. -> the weighted sum, the first error, the second: each (),
    means over all numbers. Section 3.3.
    """
    contexts = torch.cat([before, torch.zeros_like(before)])
    predicted = predict(torch.cat([x, x]), torch.cat([t, t]), contexts)
    after, alone = ((part - noise).square().mean() for part in predicted.chunk(2))
    return weight * after + (1 - weight) * alone, after, alone


def coin_loss(predict: PredictAfter, x: Tensor, t: Tensor, before: Tensor, noise: Tensor,
              share: float) -> Tensor:
    """One of the two errors of `joint_loss` for each clip, drawn: the first with probability
    `share`. Half the cost, the same mean. Official code, which draws once for a whole batch."""
    known = torch.rand(len(x), 1, 1, device=x.device) < share
    return (predict(x, t, before * known) - noise).square().mean()


class TriplaneDenoiser(nn.Module):
    """Says what noise is in the planes of a clip, after another clip or after none."""

    def __init__(self, config: "PVDMConfig", latents: LatentSpec):
        super().__init__()
        self.config, self.spec = config, latents
        self.unet = TriplaneUNet(latents.shape[0], config.width, config.multipliers, config.blocks,
                                 config.heads, config.across, config.actions)
        self.standardize = Standardize(latents)
        self.schedule = NoiseSchedule(sqrt_linear_betas(config.timesteps, *config.betas))

    def noise(self, x: Tensor, t: Tensor, before: Tensor, actions: Tensor | None = None) -> Tensor:
        """The noise in x at step t, as predicted: x and before (b, channels, positions), both
        standardized, before 0 where there is no clip before; t int64 (b,); actions of the clips, or
        of fewer, which come again -> as x."""
        split = self.spec.split_planes
        if actions is not None:
            actions = actions.repeat(len(x) // len(actions), 1, 1)
        return self.spec.join_planes(self.unet(split(x), split(before), t, actions))

    def told(self, condition: Condition, n: int, clip: int) -> Tensor | None:
        """The actions of the n clips with this number, (n, frames, a), of those of whole videos;
        None without any. Raises ValueError for what does not fit."""
        wanted = self.config.actions
        if not wanted:
            check_no_condition(condition)
            return None
        if list(condition) != ["actions"]:
            raise ValueError(f"this model is told actions, not {', '.join(condition) or 'nothing'}")
        actions, frames = condition["actions"], self.spec.frames_per_latent
        part = actions[:, clip * frames:(clip + 1) * frames]
        if actions.ndim != 3 or len(actions) not in (1, n) or part.shape[1:] != (frames, wanted):
            raise ValueError(f"actions must be (1 or {n}, at least {(clip + 1) * frames}, {wanted})"
                             f", not {tuple(actions.shape)}")
        return part.float().expand(n, -1, -1)


def append_clips(given: list[Tensor], clips: int, steps: tuple[Any, Any],
                 draw: Callable[[Tensor | None, int, Any], Tensor]) -> list[Tensor]:
    """The given clips, and those drawn after them until there are so many. Algorithm 1.

    draw(the clip before, number of the new one, its steps) -> it. The first clip of a video has
    number 0, None before it, and takes the first of the steps; all others take the second.
    """
    made = list(given)
    for i in range(len(made), clips):
        made.append(draw(made[-1] if made else None, i, steps[min(i, 1)]))
    return made


def guided(predict: PredictAfter, x: Tensor, t: Tensor, before: Tensor | None,
           weight: float) -> Tensor:
    """The predicted noise, `weight` times further away from what it would be without the clip
    before: x and before (b, channels, positions), before None for no clip; t int64 (b,) -> as x.

    Calls `predict` once, with 2 b clips; with b where there is no clip before, or no weight.
    """
    none = torch.zeros_like(x)
    if before is None or weight == 0:
        return predict(x, t, none if before is None else before)
    after, alone = predict(torch.cat([x, x]), torch.cat([t, t]),
                           torch.cat([before, none])).chunk(2)
    return after + weight * (after - alone)


class TriplaneDiffusion(TriplaneDenoiser):
    """A prior over the planes of clips: p(x), and p(x2 | x1) of a clip after another, by one
    network. Section 3.3."""

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, Metrics]:
        """Of clips in pairs, one after the other: latents (b, channels, 2 * positions); of single
        ones where none is learned after another."""
        config, clips = self.config, latents.split(self.spec.shape[1], 2)
        if len(clips) != config.clips:
            raise ValueError(f"the loss takes {config.clips} clips in a row, not {len(clips)}")
        if self.training and self.standardize.measured < MEASURED:
            self.standardize.measure(torch.cat(clips))
        before, x0 = self.standardize(clips[0]), self.standardize(clips[-1])
        predict = partial(self.noise, actions=self.told(condition, len(latents), len(clips) - 1))
        t = torch.randint(1, config.timesteps + 1, (len(x0),), device=x0.device)
        noise = torch.randn_like(x0)
        x = add_noise(x0, t, noise, self.schedule.alpha_bars)
        if config.objective == "coin":
            loss = coin_loss(predict, x, t, before, noise, config.conditional)
            return loss, {"noise_mse": loss}
        loss, after, alone = joint_loss(predict, x, t, before, noise, config.conditional)
        return loss, {"noise_mse": loss, "noise_mse_after": after, "noise_mse_alone": alone}

    def scores(self, latents: Tensor, condition: Condition,
               given_latents: int) -> dict[str, Tensor]:
        """Nothing: what it lowers is no likelihood."""
        return {}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None = None,
               sampling: DiffusionSampling | None = None,
               latent_frames: int | None = None) -> Tensor:
        """Latents of n videos of `latent_frames` clips (n, channels, clips * positions): each clip
        after the one before it. Algorithm 1.

        given: latents of the first clips, (1 or n, channels, k * positions). Raises ValueError for
        what does not fit.
        """
        sampling, clips = sampling or DiffusionSampling(), latent_frames or 1
        alpha_bars, device = self.schedule.alpha_bars, self.schedule.alpha_bars.device
        begun, total = given_clips_of(given, n, clips, self.spec), self.schedule.steps
        first = [] if begun else evenly_spaced(sampling.steps, total)
        others = evenly_spaced(sampling.next_steps, total, "next_steps") if clips > 1 else []
        check_order(self.config.conditional, len(begun), clips, sampling.guidance)
        self.told(condition, n, clips - 1)  # actions that are too short, before the work
        low, high = self.standardize(torch.tensor([-1.0, 1.0], device=device)[:, None, None])

        def draw(before: Tensor | None, number: int, times: list[int]) -> Tensor:
            told = partial(self.noise, actions=self.told(condition, n, number))
            x = torch.randn(n, *self.spec.shape, device=device)
            return denoise(x, lambda x, t: guided(told, x, t, before, sampling.guidance),
                           alpha_bars, times, sampling, low, high)

        made = append_clips([self.standardize(z.to(device)) for z in begun], clips,
                            (first, others), draw)
        new = [self.standardize.undo(z) for z in made[len(begun):]]
        return torch.cat([*(z.to(device) for z in begun), *new], 2)


def given_clips_of(given: Tensor | None, n: int, clips: int, latents: LatentSpec) -> list[Tensor]:
    """The given latents (1 or n, channels, k * positions) clip by clip, each (n, channels,
    positions). Raises ValueError unless they leave a clip to make."""
    if given is None:
        return []
    channels, positions = latents.shape
    k = given.shape[-1] // positions
    if given.ndim != 3 or given.shape[1:] != (channels, k * positions) or not 0 < k < clips:
        raise ValueError(f"given latents must be (b, {channels}, k * {positions}) with k from 1 to "
                         f"{clips - 1}, the clips but one, not {tuple(given.shape)}")
    if len(given) not in (1, n):
        raise ValueError(f"give the latents of one video, or of each of the {n}, not of "
                         f"{len(given)}")
    return list(given.expand(n, -1, -1).split(positions, 2))


def check_order(conditional: float, given: int, clips: int, guidance: float) -> None:
    """Raises ValueError for what a model with one half of the objective did not learn, and for
    guidance where no clip goes on after another."""
    if guidance and clips == 1:
        raise ValueError("guidance is of clips that go on after another: of one clip leave it 0")
    if conditional == 0 and clips > 1:
        raise ValueError("this model learned clips alone (conditional 0), none that goes on after "
                         "another: ask for one clip")
    if conditional == 1 and (guidance or not given):
        raise ValueError("this model learned clips after another alone (conditional 1): give it a "
                         "clip to go on from, and no guidance")


def check_sizes_of_pvdm(config: "PVDMConfig") -> None:
    """Raises ValueError for sizes that do not fit together."""
    check_numbers(config, "width", "blocks", "heads", "timesteps", least=1)
    check_numbers(config, "actions", "across", least=0)
    check_choice(config, "objective", get_args(Objective))
    of_both = config.objective == "sum"
    if not 0 <= config.conditional <= 1 or (of_both and config.conditional in (0, 1)):
        raise ValueError("conditional must be from 0 to 1, and of a sum neither, not "
                         f"{config.conditional}")
    if not config.multipliers or min(config.multipliers) < 1:
        raise ValueError(f"multipliers must be 1 or more, not {config.multipliers}")
    if config.width % 2 or any(config.width * m % config.heads for m in config.multipliers):
        raise ValueError(f"width must be even, and each level's a multiple of heads, "
                         f"{config.heads}: not {config.width} x {config.multipliers}")
    start, end = config.betas
    in_order = 0 < start <= end < 1
    if not in_order or (1 - sqrt_linear_betas(config.timesteps, start, end)).prod() < 1e-7:
        raise ValueError("betas must rise from above 0 to below 1, and not leave less than 1e-7 of "
                         f"the data, not {config.betas} in {config.timesteps} timesteps")


@dataclass(frozen=True)
class PVDMConfig:
    """Sizes of a `TriplaneDiffusion`; the defaults are those of PVDM-S (Table 6). Raises ValueError
    for sizes that do not fit together."""

    Sampling: ClassVar[type] = DiffusionSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = None
    extends: ClassVar[bool] = True
    width: int = 128
    """Channels of the first level."""
    multipliers: tuple[int, ...] = (1, 2, 4)
    """Channels of each level, in widths."""
    blocks: int = 2
    """Residual blocks a level."""
    heads: int = 8
    across: int = 2
    """Layers of attention across the planes after each block. With 2 there are as many parameters
    as in the official code, which has one, and one more after each halving."""
    objective: Objective = "sum"
    """sum: each clip after the one before and alone (section 3.3); coin: one of the two, drawn, at
    half the cost (official code)."""
    conditional: float = 0.5
    """Weight of clips after another, lambda in section 3.3, which gives no value; of a coin, their
    share. 0 or 1, of a coin: only one kind is learned."""
    timesteps: int = 1000
    betas: tuple[float, float] = (0.0015, 0.0195)
    """Of the first and the last step."""
    actions: int = 0
    """Numbers that are known of each frame, such as buttons. The paper has none."""

    def __post_init__(self):
        check_sizes_of_pvdm(self)

    @property
    def clips(self) -> int:
        """Clips in a row that its loss takes at a time."""
        return 2 if self.conditional else 1

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """The actions, if it is told them."""
        shape = video_shape[1], self.actions
        spec = ConditionSpec("actions", "per-frame", shape, option="actions")
        return (spec,) if self.actions else ()

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Whole clips, by default 1; one has to be left to make."""
        frames = latents.frames_per_latent
        most = video_shape[1] - frames if self.conditional else 0
        return GivenFrames(frames * (self.conditional == 1), most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> TriplaneDiffusion:
        """The model, with new weights. Raises ValueError for latents that are no three planes, and
        for clips longer than the autoencoder's."""
        if len(latents.planes) != 3:
            raise ValueError(f"PVDM's prior takes the three planes of one clip, not {latents}: "
                             "data.frames must be the frames of the autoencoder's clips")
        return TriplaneDiffusion(self, latents)

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 22 · Diffusion over three planes

# %% jupyter={"source_hidden": true}
import os

from lvlib.course import check

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.unet"]
"""One 2D U-Net for three planes, and attention across them. PVDM, section 3.2, Table 6."""

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.pvdm.timesformer import attend_all

Planes = list[Tensor]  # each (b, channels, rows, columns)


# %% tags=["export:models.pvdm.unet"]
def step_vector(t: Tensor, dim: int) -> Tensor:
    """Steps (b,) as waves of `dim / 2` lengths: (b, dim). Ho et al. 2020."""
    rates = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = t[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


class TimedBlock(nn.Module):
    """x plus two 3x3 convolutions, told the step in between: x (b, channels, rows, columns), vector
    (b, dim) -> (b, width, rows, columns). The correction begins at zero."""

    def __init__(self, channels: int, width: int, dim: int):
        super().__init__()
        self.into = nn.Sequential(nn.GroupNorm(groups_of(channels), channels), nn.SiLU(),
                                  nn.Conv2d(channels, width, 3, padding=1))
        self.told = nn.Sequential(nn.SiLU(), nn.Linear(dim, width))
        self.out = nn.Sequential(nn.GroupNorm(groups_of(width), width), nn.SiLU(),
                                 nn.Conv2d(width, width, 3, padding=1))
        nn.init.zeros_(self.out[-1].weight)
        nn.init.zeros_(self.out[-1].bias)
        self.skip = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        correction = self.into(x) + self.told(vector)[:, :, None, None]
        return self.skip(x) + self.out(correction)


def groups_of(channels: int) -> int:
    """Of a GroupNorm: 32, or fewer, so that each has 3 channels or more. A group of one channel
    would take out again what `TimedBlock` adds to all its positions: the step."""
    return max(n for n in (1, 2, 4, 8, 16, 32) if channels % n == 0 and (n == 1 or channels >= 3 * n))


class PositionAttention(nn.Module):
    """x plus attention among its positions: (b, channels, n) -> the same. Begins at zero."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups_of(channels), channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        parts = rearrange(self.qkv(self.norm(x)), "b (p m d) n -> p b m n d", p=3, m=self.heads)
        attended = attend_all(*parts)
        return x + self.out(rearrange(attended, "b m n d -> b (m d) n"))


# %% tags=["exercise", "ex-22.1", "export:models.pvdm.unet"]
def across_planes(attention: nn.Module, planes: Planes) -> Planes:
    """Attention among the positions of all planes together: each (b, c, rows, columns) -> the same
    shapes. attention: (b, c, n) -> (b, c, n). Section 3.2."""
    ### BEGIN SOLUTION
    joined = attention(torch.cat([plane.flatten(2) for plane in planes], 2))
    parts = joined.split([plane[0, 0].numel() for plane in planes], 2)
    return [part.view_as(plane) for part, plane in zip(parts, planes, strict=True)]
    ### END SOLUTION


# %% tags=["check", "ex-22.1"]
across_planes = check("22.1", across_planes)

# %% tags=["export:models.pvdm.unet"]
def each_plane(layer: nn.Module, planes: Planes, *others: Planes) -> Planes:
    """layer(plane, its others) of each plane: those of one shape in one batch."""
    found = []
    for _, group in groupby(zip(planes, *others, strict=True), key=lambda parts: parts[0].shape):
        columns = list(zip(*group, strict=True))
        found += layer(*map(torch.cat, columns)).chunk(len(columns[0]))
    return found


class UNetLevel(nn.Module):
    """A block of each plane, attention within each, and attention across them."""

    def __init__(self, channels: int, width: int, dim: int, heads: int, across: int):
        super().__init__()
        self.block = TimedBlock(channels, width, dim)
        self.within = PositionAttention(width, heads)
        self.across = nn.Sequential(*(PositionAttention(width, heads) for _ in range(across)))

    def forward(self, planes: Planes, vectors: Planes) -> Planes:
        planes = each_plane(self.block, planes, vectors)
        planes = each_plane(lambda x: self.within(x.flatten(2)).view_as(x), planes)
        return across_planes(self.across, planes) if len(self.across) else planes


# %% tags=["export:models.pvdm.unet"]
def way_down(width: int, widths: list[int], blocks: int,
             level: Callable) -> tuple[nn.ModuleList, list[int]]:
    """Levels, and between them convolutions that halve rows and columns; and the channels after
    each layer, the first convolution's among them."""
    layers, here, channels = nn.ModuleList(), width, [width]
    for i, there in enumerate(widths):
        for _ in range(blocks):
            layers.append(level(here, there))
            here = there
            channels.append(here)
        if i < len(widths) - 1:
            layers.append(nn.Conv2d(here, here, 3, 2, 1))
            channels.append(here)
    return layers, channels


def way_up(widths: list[int], blocks: int, skips: list[int], level: Callable) -> nn.ModuleList:
    """The same backwards: each level also reads what a layer of the way down has given, of so many
    channels, the last one first."""
    layers, here, skips = nn.ModuleList(), widths[-1], list(skips)
    for i, there in reversed(list(enumerate(widths))):
        for _ in range(blocks + 1):
            layers.append(level(here + skips.pop(), there))
            here = there
        if i:
            layers.append(nn.Conv2d(here, here, 3, padding=1))
    return layers


# %% tags=["export:models.pvdm.unet"]
class TriplaneUNet(nn.Module):
    """Predicts the noise in three planes by one U-Net: each of them by the same weights, told which
    plane it is (ours: without that the two of motion could be swapped). PVDM, section 3.2.

    channels: of a plane. width, multipliers: channels of the levels, each half as large as the one
    before. across: attention layers over all planes after each block. actions: numbers that are
    known of each frame; the planes of motion are told each row's, the plane of content their mean.
    """

    def __init__(self, channels: int, width: int = 128, multipliers: tuple[int, ...] = (1, 2, 4),
                 blocks: int = 2, heads: int = 8, across: int = 2, actions: int = 0):
        super().__init__()
        dim, widths = 4 * width, [width * factor for factor in multipliers]
        level = partial(UNetLevel, dim=dim, heads=heads, across=across)
        self.width = width
        self.step = nn.Sequential(nn.Linear(width, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.plane = nn.Embedding(3, dim)
        self.actions = nn.Linear(actions, width) if actions else None
        self.first = nn.Conv2d(2 * channels, width, 3, padding=1)
        self.down, skips = way_down(width, widths, blocks, level)
        self.middle = level(widths[-1], widths[-1])
        self.last_middle = TimedBlock(widths[-1], widths[-1], dim)
        self.up = way_up(widths, blocks, skips, level)
        self.out = nn.Sequential(nn.GroupNorm(groups_of(widths[0]), widths[0]), nn.SiLU(),
                                 nn.Conv2d(widths[0], channels, 3, padding=1))

    def forward(self, planes: Planes, before: Planes, t: Tensor,
                actions: Tensor | None = None) -> Planes:
        """planes, noisy, and those of the clip before, zeros where there is none: each (b, channels,
        rows, columns); t int64 (b,); actions (b, frames, a) -> the noise, shapes as of planes."""
        vector = self.step(step_vector(t, self.width))
        vectors = [vector + which for which in self.plane.weight]
        x = [self.first(torch.cat(pair, 1)) for pair in zip(planes, before, strict=True)]
        if self.actions:
            told = self.actions(actions).movedim(-1, 1)[..., None]
            x = [x[0] + told.mean(2, keepdim=True), *(plane + told for plane in x[1:])]
        kept = [x]
        for layer in self.down:
            x = layer(x, vectors) if isinstance(layer, UNetLevel) else each_plane(layer, x)
            kept.append(x)
        x = each_plane(self.last_middle, self.middle(x, vectors), vectors)
        for layer in self.up:
            if isinstance(layer, UNetLevel):
                pairs = zip(x, kept.pop(), strict=True)
                x = layer([torch.cat(pair, 1) for pair in pairs], vectors)
            else:
                sizes = [plane.shape[2:] for plane in kept[-1]]
                x = [F.interpolate(plane, size) for plane, size in zip(x, sizes, strict=True)]
                x = each_plane(layer, x)
        return each_plane(self.out, x)


# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.prior"]
"""PVDM's prior: diffusion over the planes of a clip, with or without the clip before. PVDM, section
3.3, Algorithm 1."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
PredictAfter = Callable[[Tensor, Tensor, Tensor], Tensor]  # x, its step, the clip before: its noise


# %% tags=["export:models.pvdm.prior"]
class Standardize(nn.Module):
    """Each channel of each plane with mean 0 and deviation 1: those of the first batch of training,
    over all processes."""

    def __init__(self, latents: LatentSpec):
        super().__init__()
        self.spec = latents
        shape = len(latents.planes), latents.shape[0], 1
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer("measured", torch.zeros((), dtype=torch.bool))

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
        sizes = [rows * columns for rows, columns in self.spec.planes]
        mean, std = (torch.cat([plane.expand(-1, size)
                                for plane, size in zip(values, sizes, strict=True)], 1)
                     for values in (self.mean, self.std))
        return mean, std

    @torch.no_grad()
    def measure(self, latents: Tensor) -> None:
        """Takes them from latents (b, channels, positions)."""
        for i, plane in enumerate(self.spec.split_planes(latents)):
            values = plane.transpose(0, 1).flatten(1).double()
            n = sum_over_processes(values.new_tensor(values.shape[1]))
            mean = sum_over_processes(values.sum(1)) / n
            variance = sum_over_processes((values - mean[:, None]).square().sum(1)) / n
            self.mean[i, :, 0] = mean.float()
            self.std[i, :, 0] = variance.sqrt().clamp(min=1e-3).float()
        self.measured.fill_(True)


# %% tags=["exercise", "ex-22.2", "export:models.pvdm.prior"]
def joint_loss(predict: PredictAfter, x: Tensor, t: Tensor, before: Tensor, noise: Tensor,
               weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """The squared error of the predicted noise, twice: after the clip before, and with zeros in its
    place. Section 3.3.

    x, before, noise (b, channels, positions); t int64 (b,); predict(x, t, before) -> as x.
    weight: of the first error, lambda, 0 to 1; the second has the rest. -> the weighted sum, the
    first error, the second: each (), means over all numbers.
    """
    ### BEGIN SOLUTION
    contexts = torch.cat([before, torch.zeros_like(before)])
    predicted = predict(torch.cat([x, x]), torch.cat([t, t]), contexts)
    after, alone = ((part - noise).square().mean() for part in predicted.chunk(2))
    return weight * after + (1 - weight) * alone, after, alone
    ### END SOLUTION


# %% tags=["check", "ex-22.2"]
joint_loss = check("22.2", joint_loss)

# %% tags=["export:models.pvdm.prior"]
def coin_loss(predict: PredictAfter, x: Tensor, t: Tensor, before: Tensor, noise: Tensor,
              share: float) -> Tensor:
    """One of the two errors of `joint_loss` for each clip, drawn: the first with probability
    `share`. Half the cost, the same mean. Official code, which draws once for a whole batch."""
    known = torch.rand(len(x), 1, 1, device=x.device) < share
    return (predict(x, t, before * known) - noise).square().mean()


# %% tags=["export:models.pvdm.prior"]
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
        standardized, before 0 where there is no clip before; t int64 (b,) -> as x."""
        split = self.spec.split_planes
        return self.spec.join_planes(self.unet(split(x), split(before), t, actions))

    def predictor(self, actions: Tensor | None) -> PredictAfter:
        """`noise` with these actions, or none; x may be the clips of the actions several times."""
        def predict(x: Tensor, t: Tensor, before: Tensor) -> Tensor:
            told = None if actions is None else actions.repeat(len(x) // len(actions), 1, 1)
            return self.noise(x, t, before, told)

        return predict

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
            raise ValueError(f"actions must be (1 or {n}, at least {(clip + 1) * frames}, {wanted}), "
                             f"not {tuple(actions.shape)}")
        return part.float().expand(n, -1, -1)


# %% tags=["exercise", "ex-22.3", "export:models.pvdm.prior"]
def append_clips(given: list[Tensor], clips: int, steps: tuple[Any, Any],
                 draw: Callable[[Tensor | None, int, Any], Tensor]) -> list[Tensor]:
    """The given clips, and those drawn after them until there are so many. Algorithm 1.

    draw(the clip before, number of the new one, its steps) -> it. The first clip of a video has
    number 0, None before it, and takes the first of the steps; all others take the second.
    """
    ### BEGIN SOLUTION
    made = list(given)
    for i in range(len(made), clips):
        made.append(draw(made[-1] if made else None, i, steps[min(i, 1)]))
    return made
    ### END SOLUTION


# %% tags=["check", "ex-22.3"]
append_clips = check("22.3", append_clips)

# %% tags=["exercise", "ex-22.4", "export:models.pvdm.prior"]
def guided(predict: PredictAfter, x: Tensor, t: Tensor, before: Tensor | None,
           weight: float) -> Tensor:
    """The predicted noise, `weight` times further away from what it would be without the clip
    before: x and before (b, channels, positions), before None for no clip; t int64 (b,) -> as x.

    Calls `predict` once, with 2 b clips; with b where there is no clip before, or no weight.
    """
    ### BEGIN SOLUTION
    none = torch.zeros_like(x)
    if before is None or weight == 0:
        return predict(x, t, none if before is None else before)
    after, alone = predict(torch.cat([x, x]), torch.cat([t, t]),
                           torch.cat([before, none])).chunk(2)
    return after + weight * (after - alone)
    ### END SOLUTION


# %% tags=["check", "ex-22.4"]
guided = check("22.4", guided)

# %% tags=["export:models.pvdm.prior"]
class TriplaneDiffusion(TriplaneDenoiser):
    """A prior over the planes of clips: p(x), and p(x2 | x1) of a clip after another, by one
    network. Section 3.3."""

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, Metrics]:
        """Of clips in pairs, one after the other: latents (b, channels, 2 * positions); of single
        ones where none is learned after another."""
        config, clips = self.config, latents.split(self.spec.shape[1], 2)
        if self.training and not self.standardize.measured:
            self.standardize.measure(torch.cat(clips))
        before, x0 = self.standardize(clips[0]), self.standardize(clips[-1])
        predict = self.predictor(self.told(condition, len(latents), len(clips) - 1))
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
        first, others = (evenly_spaced(steps, self.schedule.steps)
                         for steps in (sampling.steps, sampling.next_steps))
        begun = given_clips_of(given, n, clips, self.spec)
        check_order(self.config.conditional, len(begun), clips)
        low, high = self.standardize(torch.tensor([-1.0, 1.0], device=device)[:, None, None])

        def draw(before: Tensor | None, number: int, times: list[int]) -> Tensor:
            told = self.predictor(self.told(condition, n, number))
            x = torch.randn(n, *self.spec.shape, device=device)
            return denoise(x, lambda x, t: guided(told, x, t, before, sampling.guidance),
                           alpha_bars, times, sampling, low, high)

        made = append_clips([self.standardize(z.to(device)) for z in begun], clips,
                            (first, others), draw)
        return torch.cat([self.standardize.undo(z) for z in made], 2)


# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.prior"]
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


def check_order(conditional: float, given: int, clips: int) -> None:
    """Raises ValueError for clips that a model with one half of the objective did not learn."""
    if conditional == 0 and clips > 1:
        raise ValueError("this model learned clips alone (conditional 0), none that goes on after "
                         "another: ask for one clip")
    if conditional == 1 and not given:
        raise ValueError("this model learned clips after another alone (conditional 1): give it a "
                         "clip to go on from")


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
    if not 0 < start <= end < 1:
        raise ValueError(f"betas must rise from above 0 to below 1, not {config.betas}")


# %% tags=["export:models.pvdm.prior"]
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
    """Layers of attention across the planes after each block; 0 for none. With 2 the model has as
    many parameters as the official one."""
    objective: Objective = "sum"
    """sum: each clip after the one before and alone (section 3.3); coin: one of the two, drawn for
    each clip (official code: for each batch), at half the cost."""
    conditional: float = 0.5
    """Weight of clips after another, lambda in section 3.3, which gives no value; of a coin, their
    share. 0 or 1: only one of the two is learned."""
    timesteps: int = 1000
    betas: tuple[float, float] = (0.0015, 0.0195)
    """Of the first and the last step."""
    actions: int = 0
    """Numbers that are known of each video frame, such as buttons; 0 for none. The paper has
    none."""

    def __post_init__(self):
        check_sizes_of_pvdm(self)

    @property
    def clips(self) -> int:
        """Clips in a row that its loss takes at a time."""
        return 2 if self.conditional else 1

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """The actions, if it is told them."""
        if not self.actions:
            return ()
        shape = video_shape[1], self.actions
        return (ConditionSpec("actions", "per-frame", shape, option="actions"),)

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Whole clips, by default 1; one has to be left to make."""
        frames = latents.frames_per_latent
        most = video_shape[1] - frames
        least = frames if self.conditional == 1 else 0
        return GivenFrames(least, most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> TriplaneDiffusion:
        """The model, with new weights, for videos of clips in a row. Raises ValueError for latents
        that are no three planes."""
        clips = video_shape[1] // latents.frames_per_latent
        if len(latents.planes) != 3 * clips:
            raise ValueError(f"PVDM's prior takes three planes of a clip, not {latents}")
        one = latents if clips == 1 else replace(
            latents, shape=(latents.shape[0], latents.shape[1] // clips),
            planes=latents.planes[:3])
        return TriplaneDiffusion(self, one)

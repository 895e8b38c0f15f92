"""The stages of a system, as types: what an autoencoder, a prior and a refiner are, and what each says about itself.

Training, sampling, evaluation, the reports and the command line know a system by these types alone. What differs from
one system to the next is data on its configuration (`AutoencoderConfig`, `PriorConfig`, `RefinerConfig`), read before
any weight exists. This module imports nothing of lvlib.

Video is float (b, c, t, h, w) in [-1, 1]. Latents are one tensor, described by a `LatentSpec`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

VideoShape = tuple[int, int, int, int]  # (c, t, h, w) of one clip
Condition = Mapping[str, Tensor]  # what a prior is conditioned on, by the names of its `ConditionSpec`s
Metrics = dict[str, Tensor]  # scalars by name


def shape_in_words(shape: Iterable[int]) -> str:
    """(4, 16, 16) -> "4 x 16 x 16"."""
    return " x ".join(map(str, shape))


@dataclass(frozen=True)
class LatentSpec:
    """The latents of one clip, without the batch axis.

    Codes are int64 (t, h, w), or (t, h, w, k) for k codebooks. Continuous latents are float32, channels first: a grid
    (d, t, h, w), or several planes side by side (d, n), with n the sum of their areas.
    """

    shape: tuple[int, ...]
    num_codes: int | None = None
    """Codes of each codebook; None for continuous latents."""
    frames_per_latent: int = 1
    """Video frames that one latent frame stands for."""
    planes: tuple[tuple[int, int], ...] = ()
    """(rows, columns) of each plane, in order; empty for a grid."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.num_codes is None else torch.int64

    @property
    def tokens(self) -> int:
        """What a prior has to write for a clip: codes, or positions of continuous vectors."""
        return math.prod(self.shape if self.num_codes else self.shape[1:])

    @property
    def codebooks(self) -> int:
        """Codes at each position; 0 for continuous latents."""
        if self.num_codes is None:
            return 0
        return self.shape[3] if len(self.shape) == 4 else 1

    def __str__(self) -> str:
        sizes = shape_in_words(self.shape)
        return f"{sizes} codes of a clip, each one of {self.num_codes}" if self.num_codes else f"{sizes} numbers a clip"

    def example(self, clips: int) -> Tensor:
        """Random latents of that many clips, (clips, *shape), from torch's global random numbers."""
        if self.num_codes is None:
            return torch.randn(clips, *self.shape)
        return torch.randint(self.num_codes, (clips, *self.shape))

    def split_planes(self, latents: Tensor) -> list[Tensor]:
        """(b, d, n) -> each plane (b, d, rows, columns), views. Raises ValueError if there are no planes."""
        if not self.planes:
            raise ValueError("these latents are no planes")
        parts = latents.split([rows * columns for rows, columns in self.planes], -1)
        return [part.unflatten(-1, plane) for part, plane in zip(parts, self.planes, strict=True)]

    def join_planes(self, planes: Iterable[Tensor]) -> Tensor:
        """The inverse of `split_planes`."""
        return torch.cat([plane.flatten(-2) for plane in planes], -1)


@dataclass(frozen=True)
class ConditionSpec:
    """One thing that a prior is conditioned on.

    kind: "class", an index int64 (); "per-frame", numbers for each video frame, float32 (t, numbers);
        "given-frames", the first frames of the clip, float32 (c, n, h, w) in [-1, 1]; "tokens", int64 (n,), such as a
        tokenized text; "signal", float32 of any shape. The signal "audio" is the sound of the clip, (t, samples) in
        [-1, 1]: the samples of each video frame.
    """

    name: str
    """Of the field of a clip that holds it, and its key in a condition."""
    kind: Literal["class", "per-frame", "given-frames", "tokens", "signal"]
    shape: tuple[int, ...]
    """Of one clip's, without the batch axis."""
    num_classes: int | None = None
    """Of the kinds "class" and "tokens": values are 0 to num_classes - 1."""
    option: str | None = None
    """The field of the prior's configuration that turns it off where it is 0."""
    tokenizer: str | None = None
    """Of the kind "tokens": what turns a text into them, "clip" or "stories" (`lvlib.data.text`). None: no text."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.int64 if self.kind in ("class", "tokens") else torch.float32

    @property
    def is_sound(self) -> bool:
        """Whether it is the sound of the clip."""
        return self.kind == "signal" and self.name == "audio" and len(self.shape) == 2

    def example(self, clips: int) -> Tensor:
        """Zeros: a condition of that many clips, (clips, *shape)."""
        return torch.zeros(clips, *self.shape, dtype=self.dtype)


@dataclass(frozen=True)
class GivenFrames:
    """How many video frames a prior can go on from: 0 if `least` is 0; else `least` to `most`, in steps of `multiple`.

    most 0: it cannot go on from frames.
    """

    least: int
    most: int
    multiple: int = 1
    default: int = 0
    """Where frames are given and their number is not."""
    anywhere: bool = False
    """They may be any latent frames of the clip, not only the first: its `sample` takes `places`."""


class Autoencoder(Protocol):
    """Stage 1, an `nn.Module`: clips to latents and back."""

    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) -> latents, without gradients. Raises ValueError for sizes it cannot take."""

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Latents of the first frames (b, c, t0, h, w) of clips of `clip_frames` frames, as they are when the clip
        goes on: what a prior's `given` holds."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> video (b, c, t, h, w) in [-1, 1], without gradients."""

    def loss(self, video: Tensor) -> tuple[Tensor, Metrics]:
        """What training lowers, (), and its parts by name. A model with several optimizers has `losses` instead."""


class Prior(Protocol):
    """Stage 2, an `nn.Module`: a model of the latents of a clip."""

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, Metrics]:
        """What training lowers, (), and its parts by name.

        condition: of each clip, or of one for all, (1 or b, ...). `describe` asks with fake tensors, which have no
        contents, except for a class, the last one for all clips, and tokens and per-frame numbers, which are zeros: a
        single number that is made of these in one operation, such as their largest, can be looked at. Look at other
        values only where that cannot be.
        """

    def sample(self, n: int, condition: Condition, given: Tensor | None, sampling: Any,
               latent_frames: int | None = None) -> Tensor:
        """Latents of n clips. Of a prior whose frames may be given `anywhere` there is one argument more, `places`:
        which latent frames the given ones are, a list of int; None for the first.

        condition: of one clip for all, or of each: (1 or n, ...). The tokens of a text may be those of several, one for
        each stretch of a long sample that is as long as the clips it learned from: (1 or n, stretches, tokens).
        given: latents of the first frames, one clip for all or one for each; the samples begin with them.
        sampling: an instance of its configuration's `Sampling`.
        latent_frames: how long, where the configuration `extends`; None: as long as the clips it learned from.
        Draws from torch's global random numbers. Raises ValueError for what does not fit.
        """

    def scores(self, latents: Tensor, condition: Condition, given_latents: int) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,), ...}: of each clip, its first `given_latents` latent frames given and not counted.
        Empty where the likelihood is absent. Raises ValueError for what does not fit."""


class Refiner(Protocol):
    """A further stage, an `nn.Module`: completes the latents of a prior, between them or in detail."""

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, Metrics]:
        """What training lowers, (), and its parts by name. latents: complete ones, as the autoencoder makes them."""

    def refine(self, latents: Tensor, condition: Condition, sampling: Any) -> Tensor:
        """What a prior sampled -> complete latents, as the autoencoder decodes them."""


class AutoencoderConfig(Protocol):
    """A frozen dataclass: the sizes of an autoencoder."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    frame_by_frame: ClassVar[bool]
    """It works on each frame alone, so that clips of any length pass."""

    @property
    def channels(self) -> int:
        """Colour channels of the video: 1 or 3."""

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w). Raises ValueError for a clip that it cannot take."""

    def build(self) -> nn.Module:
        """An `Autoencoder`, with new weights."""


class PriorConfig(Protocol):
    """A frozen dataclass: the sizes of a prior."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    Sampling: ClassVar[type]
    """A frozen dataclass with defaults: how to draw. Raises ValueError for values that are not allowed."""
    likelihood: ClassVar[Literal["exact", "bound"] | None]
    """What the bits_per_dim of `scores` are."""
    extends: ClassVar[bool]
    """It makes clips longer than those it learned from."""
    clips: int
    """How many clips in a row its `loss` takes at a time, as the latents of one longer clip. May be left out: 1."""

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """What it is conditioned on."""

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """How many first frames of a clip it goes on from."""

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> nn.Module:
        """A `Prior`, with new weights. Raises ValueError for sizes that do not fit."""


class RefinerConfig(Protocol):
    """A frozen dataclass: the sizes of a refiner."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    Sampling: ClassVar[type]

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """What it is conditioned on: of the conditions of its prior."""

    def prior_frames(self, latent_frames: int) -> int:
        """Latent frames that its prior has to make for so many: perhaps one more at the end, to lie between."""

    def check_prior(self, prior: PriorConfig) -> None:
        """Raises ValueError where it cannot complete what such a prior samples."""

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> nn.Module:
        """A `Refiner`, with new weights, for these complete latents."""


class SeveralLosses(Protocol):
    """What a model offers in place of `loss` where it is trained by several optimizers, or where a loss depends on the
    step: a generator and a discriminator, for example."""

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each optimizer, by its name. Each parameter that learns is in one of them."""

    def losses(self, *inputs: Any, step: int) -> Iterator[tuple[str, Tensor, Metrics]]:
        """Yields, for each optimizer that moves at this step, (its name, its loss, metrics), in the order in which
        they move. The gradients of each loss reach the parameters of its own optimizer alone.

        Before the next one is asked for, the optimizer has moved. Of a step in several micro-batches each has a
        generator of its own, and they take turns: what one keeps for its next loss is in memory for all of them.
        Validation asks too, in eval mode and without gradients: there is none to look at, and nothing moves.

        inputs: those of `loss`. step: counts from 1; in validation, and in reports, as many steps as were taken.
        """

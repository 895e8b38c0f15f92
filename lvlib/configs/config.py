"""A configuration: one frozen dataclass a part, the same class in a notebook and at a paper's full size."""

from dataclasses import asdict, dataclass, replace

from torch import nn

from lvlib.configs.building import build_within_limits, check_numbers
from lvlib.errors import UserError, said_plainly
from lvlib.stages import (
    AutoencoderConfig,
    ConditionSpec,
    GivenFrames,
    LatentSpec,
    PriorConfig,
    RefinerConfig,
    VideoShape,
)
from lvlib.training.config import TrainingConfig

STAGES = ("autoencoder", "prior", "refiner")  # each stands on the one before it


@dataclass(frozen=True)
class DataConfig:
    """Which clips to learn from. `lvlib.data.open_data` reads them."""

    root: str | None = None
    """Folder of the data set, or of your own video files."""
    frames: int = 16
    """Frames a clip."""
    stride: int = 1
    """Take every stride-th frame of the source."""
    size: int = 64
    """Height and width of a frame in pixels."""

    def __post_init__(self):
        for name in ("frames", "stride", "size"):
            if getattr(self, name) < 1:
                raise UserError(f"data.{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Config:
    """Trains one stage, the last one that it names, on top of those before it, which stay as they are."""

    data: DataConfig
    autoencoder: AutoencoderConfig
    training: TrainingConfig
    prior: PriorConfig | None = None
    refiner: RefinerConfig | None = None

    def __post_init__(self):
        if self.refiner and not self.prior:
            raise UserError("a refiner completes what a prior samples: name a prior, too")
        if self.refiner:
            known = {spec.name for spec in self.up_to("prior").conditions}
            if unknown := [spec.name for spec in self.conditions if spec.name not in known]:
                raise UserError(f"the refiner is conditioned on {', '.join(unknown)}, and the prior is not")
            said_plainly(lambda: self.refiner.check_prior(self.prior))

    @property
    def stage(self) -> str:
        """The stage that it trains."""
        return list(self.stages)[-1]

    @property
    def stages(self) -> dict[str, AutoencoderConfig | PriorConfig | RefinerConfig]:
        """The stages that it names, in order."""
        return {name: part for name in STAGES if (part := getattr(self, name)) is not None}

    @property
    def stands_on(self) -> str | None:
        """The stage whose run the trained one starts from; None for an autoencoder."""
        return ([None, *self.stages])[-2]

    def up_to(self, stage: str) -> "Config":
        """The same without the stages that come after this one."""
        return replace(self, **dict.fromkeys(STAGES[STAGES.index(stage) + 1:]))

    @property
    def video_shape(self) -> VideoShape:
        """(c, t, h, w) of one clip."""
        return self.autoencoder.channels, self.data.frames, self.data.size, self.data.size

    @property
    def latents(self) -> LatentSpec:
        """Of one clip. Raises UserError if the autoencoder cannot take the clip."""
        return said_plainly(lambda: self.autoencoder.latents(self.video_shape))

    @property
    def learned(self) -> "Config":
        """The same with as many frames as one item of its training data has: those of several clips in a row, where the
        prior learns from so many at a time."""
        clips = getattr(self.prior, "clips", 1) if self.stage == "prior" else 1
        return replace(self, data=replace(self.data, frames=self.data.frames * clips))

    @property
    def conditions(self) -> tuple[ConditionSpec, ...]:
        """What the trained stage is conditioned on; nothing, of an autoencoder."""
        if self.stage == "autoencoder":
            return ()
        return said_plainly(lambda: self.stages[self.stage].conditions(self.video_shape))

    @property
    def given_frames(self) -> GivenFrames:
        """How many first frames of a clip the prior goes on from."""
        return said_plainly(lambda: self.prior.given_frames(self.latents, self.video_shape))

    def build(self) -> nn.Module:
        """The stage that it trains, with new weights. Raises UserError where sizes do not fit each other, or do not fit
        into the memory."""
        latents, config = self.latents, self.stages[self.stage]
        check_numbers("a clip", self.video_shape)
        check_numbers("the latents of a clip", latents.shape)
        sizes = () if self.stage == "autoencoder" else (latents, self.video_shape)
        return said_plainly(lambda: build_within_limits(lambda: config.build(*sizes)))

    def to_dict(self) -> dict:
        """Nested dict of plain values, ready for JSON; each stage names its "class"."""
        values = {name: asdict(part) for name in ("data", *STAGES, "training") if (part := getattr(self, name))}
        for name, part in self.stages.items():
            values[name] = {"class": type(part).__name__, **values[name]}
        return values


@dataclass(frozen=True)
class Named:
    """A line in the table of a system."""

    config: Config
    description: str
    source: str
    """Where in which paper."""

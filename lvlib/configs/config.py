"""A configuration: one frozen dataclass a part, the same class in a notebook and at a paper's full size."""

import dataclasses
from dataclasses import dataclass

from lvlib.errors import UserError
from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.models.lvt.prior import LVTConfig
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig
from lvlib.training.config import TrainingConfig

AutoencoderConfig = FrameVQVAEConfig | VideoVQVAEConfig  # the next system joins with `| ItsConfig`
PriorConfig = LVTConfig | VideoGPTConfig


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
    data: DataConfig
    autoencoder: AutoencoderConfig
    training: TrainingConfig
    """Of the prior where there is one: it learns from the codes of an autoencoder that was trained before."""
    prior: PriorConfig | None = None

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        """(c, t, h, w) of one clip."""
        return self.autoencoder.channels, self.data.frames, self.data.size, self.data.size

    def to_dict(self) -> dict:
        """Nested dict of plain values, ready for JSON."""
        return dataclasses.asdict(self)


def config_from_dict(values: dict, like: Config) -> Config:
    """The inverse of `Config.to_dict`, also after a trip through JSON. `like` tells the class of each part.

    Raises UserError for a part or a field that the classes do not have, or a value that they refuse.
    """
    return _from_dict(values, like, "")


def _from_dict(values: dict, like, prefix: str):
    fields = {field.name: getattr(like, field.name) for field in dataclasses.fields(like)}
    unknown = [prefix + name for name in values
               if name not in fields or fields[name] is None and isinstance(values[name], dict)]
    if unknown:
        raise UserError(f"this lvlib has no {', '.join(unknown)}")
    built = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(fields[name]) and value is not None:
            value = _from_dict(value, fields[name], f"{prefix}{name}.")
        built[name] = tuple(value) if isinstance(value, list) else value
    try:
        return type(like)(**built)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error

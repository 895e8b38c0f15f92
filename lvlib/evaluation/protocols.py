"""Protocols: every choice that a score of sets of clips depends on, and the papers' choices by name."""

from dataclasses import dataclass, fields
from typing import Literal

from lvlib.data.pictures import Resize
from lvlib.errors import UserError

Choice = Literal["spread", "clip", "video"]


@dataclass(frozen=True)
class Protocol:
    """How sets of clips are compared. Raises UserError for a value that is not allowed, naming the field."""

    frames: int | None = None
    """Of a clip; None: as many as the model makes, or as the generated videos have."""
    real_frames: int | None = None
    """Of a real clip, where long videos are compared with short real ones window by window; None: as many."""
    size: int | None = None
    """Height and width; None: the model's, or those of the files."""
    resize: Resize = "lanczos"
    """Filter with which video files are brought to that size, the shorter side first, the middle kept."""
    stride: int = 1
    """Every stride-th frame of the real videos; for a model's own clips, what it learned from counts."""
    split: str = "test"
    """Of the real clips: train, val, test, or all."""
    clips: int = 256
    """Real ones, and as many generated ones; all there are where there are fewer."""
    inception_clips: int | None = None
    """Generated ones for the inception score; None: as many as for the distances."""
    choice: Choice = "spread"
    """Real clips are spread evenly over the split, or drawn at random from all its clips, or a video is drawn first and
    then a clip of it."""
    given_frames: int | None = None
    """First frames that the samples go on from; None: as in training."""
    likelihood_given_frames: int | None = None
    """The same for bits_per_dim; None: as for the samples."""
    runs: int = 1
    """Each with other samples and, where they are drawn, other real clips: their mean and standard deviation count."""
    features: str = "course"
    """Network whose features the distances compare."""
    classes: str = "course"
    """Network whose classes the inception score and the coherence scores read."""
    perceptual: str = "efficientnet-lite0"
    """Network of the distance between frames."""
    window: int = 16
    """Frames of a window of a long video."""
    every: int = 16
    """Frames from the start of a window to that of the next one."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name.endswith("given_frames") else 1
            if type(value) is int and value < least:
                raise UserError(f"protocol.{field.name} must be at least {least}, not {value}")


@dataclass(frozen=True)
class NamedProtocol:
    """A protocol of the table."""

    protocol: Protocol
    metrics: tuple[str, ...]
    """Scores that the paper prints with it."""
    source: str
    """Where in which paper, and what comes from elsewhere."""


I3D_400 = {"features": "i3d-kinetics400", "classes": "c3d-ucf101", "perceptual": "lpips-vgg"}
I3D_600 = I3D_400 | {"features": "i3d-kinetics600"}

PROTOCOLS = {
    "course": NamedProtocol(Protocol(), (), "ours: for models of the course, on a laptop"),
    # 256 test videos are BAIR's (section 4.2); the paper gives no number for Kinetics-600.
    "lvt": NamedProtocol(
        Protocol(frames=16, size=64, split="test", clips=256, given_frames=5, likelihood_given_frames=1, runs=10,
                 **I3D_400),
        ("fvd", "bits_per_dim", "r_fvd"), "LVT 4.1, 4.2, Tables 1 to 6: five given frames for FVD, one for bits"),
    # The paper has neither the number of clips nor the network; its code takes 256 of a shuffled test split. Given
    # frames are as in training: one of BAIR, none of UCF-101.
    "videogpt": NamedProtocol(
        Protocol(frames=16, size=64, resize="bilinear", split="test", clips=256, choice="clip", **I3D_400),
        ("fvd", "fvd_star", "r_fvd", "is"), "VideoGPT 4.2, Tables 1 to 7; clips, split and network from its code"),
    "tats-short": NamedProtocol(
        Protocol(frames=16, size=128, resize="bilinear", split="train", clips=2048, inception_clips=10_000,
                 choice="clip", given_frames=0, runs=10, **I3D_400),
        ("fvd", "kvd", "is"), "TATS 3.2, B.1; the split from its code: in the paper it is Sky's test split"),
    "tats-long": NamedProtocol(
        Protocol(frames=1024, real_frames=16, size=128, resize="bilinear", split="train", clips=512, choice="clip",
                 given_frames=0, runs=10, window=16, every=16, **I3D_400),
        ("fvd_windows", "ccs", "ics", "ends_lpips", "ends_color"), "TATS 3.3, 3.4, B.1, Figures 5 and 6, Table 2"),
    "mebt-16": NamedProtocol(
        Protocol(frames=16, size=128, resize="bilinear", split="train", clips=2048, inception_clips=10_000,
                 choice="clip", given_frames=0, runs=10, **I3D_600),
        ("fvd", "kvd", "is"), "MeBT 5.1, Table 1; UCF-101's split from its code, clips for the score as in TATS"),
    "mebt-128": NamedProtocol(
        Protocol(frames=128, size=128, resize="bilinear", split="train", clips=512, choice="clip", given_frames=0,
                 runs=5, window=16, every=8, **I3D_600),
        ("fvd", "kvd", "fvd_windows"), "MeBT 5.1, Table 2, Figure 7"),
    "pvdm-16": NamedProtocol(
        Protocol(frames=16, size=256, split="train", clips=2048, inception_clips=10_000, choice="video",
                 given_frames=0, **I3D_400),
        ("fvd", "is", "r_fvd"), "PVDM B.2, after StyleGAN-V; B.1 takes Sky's train split, and UCF-101's test split"),
    "pvdm-128": NamedProtocol(
        Protocol(frames=128, size=256, split="train", clips=2048, choice="video", given_frames=0, **I3D_400),
        ("fvd",), "PVDM B.2, Table 1"),
}


def changed(name: str, protocol: Protocol) -> dict:
    """Fields that differ from those of the named protocol: a score with any is not that protocol's."""
    return {field.name: getattr(protocol, field.name) for field in fields(protocol)
            if getattr(protocol, field.name) != getattr(PROTOCOLS[name].protocol, field.name)}

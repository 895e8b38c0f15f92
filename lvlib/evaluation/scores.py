"""Scores of each clip beside what it must beat and what it cannot reach, and the table of all scores."""

from typing import ClassVar

import torch
from torch import Tensor

from lvlib.configs import Config
from lvlib.errors import UserError
from lvlib.evaluation.batch import EVERYONE, Batch, RunBatch
from lvlib.evaluation.metric import Mean, Metric, Tools, Value
from lvlib.evaluation.set_scores import (
    ClassCoherence,
    FrechetDistance,
    FrechetOfRebuilt,
    FrechetToRebuilt,
    FrechetWindows,
    InceptionCoherence,
    InceptionScore,
    KernelDistance,
)
from lvlib.metrics.frames import color_correlation, nearest_frame_distance
from lvlib.metrics.pixels import mse, psnr
from lvlib.models.common.quantize import perplexity, usage


class Psnr(Mean):
    """Of reconstructions; of a prior, of one sample a clip, beside repeating the last given frame and what a perfect
    prior would reach."""

    unit, digits, draws, per_clip = "dB", 2, True, True

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        no_future = config.stage != "autoencoder" and not given_frames
        return "a prior that is given no frames has no future to compare with" if no_future else None

    def measure(self, video: Tensor, true: Tensor) -> Tensor:
        return psnr(video, true)

    def update(self, batch: Batch) -> None:
        true = batch.true[:batch.counted]
        self.add(batch.start, {of: self.measure(video[:batch.counted], true)
                               for of, video in batch.predictions.items()})


class Mse(Psnr):
    """The same, as a mean squared error."""

    unit, digits = "for values in [-1, 1]", 5

    def measure(self, video: Tensor, true: Tensor) -> Tensor:
        return mse(video, true)


class Ssim(Psnr):
    """Structural similarity of frames (Wang et al. 2004), mean over those of a clip, as torchmetrics has it."""

    unit, digits = "at most 1", 3

    def measure(self, video: Tensor, true: Tensor) -> Tensor:
        try:
            from torchmetrics.functional.image import structural_similarity_index_measure
        except ImportError as error:
            raise UserError('ssim needs torchmetrics: pip install "lvlib[metrics]"') from error
        frames, others = (clip.transpose(1, 2).flatten(0, 1).float() for clip in (video, true))
        values = structural_similarity_index_measure(frames, others, data_range=2.0, reduction="none")
        return values.view(len(video), -1).mean(1)


class Lpips(Psnr):
    """A perceptual distance between frames, mean over those of a clip (Zhang et al. 2018)."""

    unit, digits = "0 for equal frames", 4
    network: ClassVar[str | None] = "perceptual"

    def __init__(self, tools: Tools):
        super().__init__(tools)
        self.tools = tools

    def measure(self, video: Tensor, true: Tensor) -> Tensor:
        frames, others = (clip.transpose(1, 2).flatten(0, 1) for clip in (video, true))
        return self.tools.perceptual.distance(frames, others).view(len(video), -1).mean(1)


class BitsPerDim(Mean):
    """Bits a code, in the latent space (LVT, footnote 3), of the frames that are not given, beside its baselines."""

    unit, digits, draws, per_clip = "bits a code", 3, False, False

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        if config.stage == "autoencoder":
            return "an autoencoder has no likelihood"
        return None if config.prior.likelihood else "this prior has no likelihood"

    def update(self, batch: RunBatch) -> None:
        pipeline, setting = batch.pipeline, batch.setting
        as_latents = not any(spec.kind == "given-frames" for spec in pipeline.conditions)
        per_latent = pipeline.config.latents.frames_per_latent
        given = setting.likelihood_given_frames // per_latent if as_latents else 0
        latents = batch.latents[:batch.counted]
        condition = {name: value[:batch.counted] for name, value in batch.condition.items()}
        scores = pipeline.prior.scores(latents, condition, given)
        others = setting.baselines.bits_per_dim(latents, given) if setting.baselines else {}
        self.add(batch.start, {"model": scores["bits_per_dim"], **others})


class Usage:
    """Share of the codes that these clips need, mean over the codebooks."""

    unit, digits, draws, per_clip = "of the codes, mean over the codebooks", 3, False, False
    network: ClassVar[str | None] = None

    def __init__(self, tools: Tools):
        self.counts: Tensor | None = None  # (codebooks, codes): how often each was used

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        if config.stage != "autoencoder":
            return "it is a score of an autoencoder"
        return None if config.latents.num_codes else "its latents are no codes"

    def measure(self, codes: Tensor, num_codes: int) -> Tensor:
        return usage(codes, num_codes)

    def update(self, batch: RunBatch) -> None:
        spec = batch.pipeline.config.latents
        books = batch.latents[:batch.counted].reshape(-1, spec.codebooks).cpu().unbind(-1)
        counts = torch.stack([book.bincount(minlength=spec.num_codes) for book in books])
        self.counts = counts if self.counts is None else self.counts + counts

    def merge(self, other: "Usage") -> None:
        counts = [part.counts for part in (self, other) if part.counts is not None]
        self.counts = sum(counts) if counts else None

    def compute(self) -> dict[str, Value]:
        values = [self.measure(torch.arange(len(book)).repeat_interleave(book), len(book)) for book in self.counts]
        return {"model": torch.stack(values).mean().item()}


class Perplexity(Usage):
    """How many equally frequent codes would be as hard to guess, mean over the codebooks."""

    unit, digits = "codes, mean over the codebooks", 1

    def measure(self, codes: Tensor, num_codes: int) -> Tensor:
        return perplexity(codes, num_codes)


class OfEachVideo(Mean):
    """A number of each video alone, of real and of generated ones."""

    digits, draws, per_clip = 4, True, False

    def __init__(self, tools: Tools):
        super().__init__(tools)
        self.tools = tools

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        return "its clips are single frames" if config.data.frames < 2 else None

    def measure(self, video: Tensor) -> Tensor:
        """(b, c, t, h, w) -> (b,)."""
        raise NotImplementedError

    def update(self, batch: Batch) -> None:
        videos = {of: batch.whole(of) for of in (*EVERYONE, "real")}
        self.add(batch.start, {of: self.measure(video[:batch.counted]) for of, video in videos.items()
                               if video is not None})


class EndsColor(OfEachVideo):
    """Correlation of the colour histograms of the first and the last frame (TATS, Table 2)."""

    unit = "at most 1"

    def measure(self, video: Tensor) -> Tensor:
        return color_correlation(video[:, :, 0], video[:, :, -1])


class EndsLpips(OfEachVideo):
    """Perceptual distance between the first and the last frame (TATS, Table 2)."""

    unit = "0 for equal frames"
    network: ClassVar[str | None] = "perceptual"

    def measure(self, video: Tensor) -> Tensor:
        return self.tools.perceptual.distance(video[:, :, 0], video[:, :, -1])


class NearestFrame(OfEachVideo):
    """How near a frame comes to another one at least 8 frames away, mean over the frames: 0 in a loop."""

    unit = "root mean squared difference, values in [-1, 1]"
    APART = 8

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        short = config.data.frames <= NearestFrame.APART
        return f"its clips have {NearestFrame.APART} frames or fewer" if short else None

    def measure(self, video: Tensor) -> Tensor:
        return nearest_frame_distance(video, self.APART).mean(1)


METRICS: dict[str, type[Metric]] = {
    "bits_per_dim": BitsPerDim,
    "psnr": Psnr,
    "mse": Mse,
    "usage": Usage,
    "perplexity": Perplexity,
    "ssim": Ssim,
    "lpips": Lpips,
    "fvd": FrechetDistance,
    "kvd": KernelDistance,
    "r_fvd": FrechetOfRebuilt,
    "fvd_star": FrechetToRebuilt,
    "is": InceptionScore,
    "fvd_windows": FrechetWindows,
    "ccs": ClassCoherence,
    "ics": InceptionCoherence,
    "ends_lpips": EndsLpips,
    "ends_color": EndsColor,
    "nearest_frame": NearestFrame,
}
OF_FILES = tuple(name for name in METRICS if name not in ("bits_per_dim", "usage", "perplexity", "r_fvd", "fvd_star"))
QUICK = ("bits_per_dim", "psnr", "mse", "usage", "perplexity")  # what a run gets where nothing else is asked for

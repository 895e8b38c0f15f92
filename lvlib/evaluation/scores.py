"""Scores of trained stages on clips, each beside what it must beat and what it cannot reach."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from lvlib.configs import Config
from lvlib.data import to_video
from lvlib.data.conditions import conditions_of
from lvlib.evaluation.baselines import CodeBaselines, count_codes, repeat_last_frame
from lvlib.evaluation.generate import BATCH, Pipeline, finite
from lvlib.metrics.pixels import mse, psnr
from lvlib.models.common.quantize import perplexity, usage

BASELINE_CLIPS = 256  # training clips in which the baselines count, at most

Scores = dict[str, dict[str, float]]  # {metric: {whose: value}}


@dataclass(frozen=True)
class Setting:
    """What a score depends on besides the clips: how many frames are given, and how the samples are drawn."""

    given_frames: int = 0
    sampling: Any = None
    baselines: CodeBaselines | None = None


class Batch:
    """Some clips, float video (b, c, t, h, w), and what the stages make of them, each worked out when first asked."""

    def __init__(self, pipeline: Pipeline, setting: Setting, video: Tensor, condition: Mapping[str, Tensor]):
        self.pipeline, self.setting, self.video, self.condition = pipeline, setting, video, condition

    @property
    def given(self) -> Tensor:
        return self.video[:, :, :self.setting.given_frames]

    @cached_property
    def latents(self) -> Tensor:
        return self.pipeline.autoencoder.encode(self.video)

    @cached_property
    def rebuilt(self) -> Tensor:
        return finite(self.pipeline.autoencoder.decode(self.latents))

    @cached_property
    def sampled(self) -> Tensor:
        frames = {spec.name for spec in self.pipeline.conditions if spec.kind == "given-frames"}
        others = {name: value for name, value in self.condition.items() if name not in frames}
        given = self.given if self.setting.given_frames else None
        return self.pipeline.generate(len(self.video), others, given, self.setting.sampling)

    @cached_property
    def predictions(self) -> dict[str, Tensor]:
        """Videos that stand beside the true one, by whose they are: of a prior from the first frame on that is not
        given, and with the last given one repeated."""
        if self.pipeline.prior is None:
            return {"model": self.rebuilt}
        videos = {"model": self.sampled}
        if self.setting.given_frames:
            videos["repeat_last_frame"] = repeat_last_frame(self.given, self.video.shape[2])
        videos["autoencoder"] = self.rebuilt
        return {of: video[:, :, self.setting.given_frames:] for of, video in videos.items()}


class Metric(Protocol):
    """A score over a set of clips: `update` with each batch, then `compute`."""

    unit: ClassVar[str]
    digits: ClassVar[int]
    """After the point, where it is printed."""
    draws: ClassVar[bool]
    """Of a prior it needs samples, which are drawn as the setting says."""

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        """Why runs of this configuration do not have it; None where they do."""

    def update(self, batch: Batch) -> None:
        """Counts these clips in."""

    def compute(self) -> dict[str, float]:
        """The score, by whose it is: of "model", and of its baselines."""


class Mean:
    """Means over the clips, by whose they are."""

    def __init__(self):
        self.parts: dict[str, list[Tensor]] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """values: (b,), one a clip."""
        for of, value in values.items():
            self.parts.setdefault(of, []).append(value.cpu())

    def compute(self) -> dict[str, float]:
        return {of: torch.cat(values).mean().item() for of, values in self.parts.items()}


class Psnr(Mean):
    """Of reconstructions; of a prior, of one sample a clip, beside repeating the last given frame and what a perfect
    prior would reach."""

    unit, digits, draws = "dB", 2, True
    measure = staticmethod(psnr)

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        no_future = config.stage != "autoencoder" and not given_frames
        return "a prior that is given no frames has no future to compare with" if no_future else None

    def update(self, batch: Batch) -> None:
        true = batch.video[:, :, batch.setting.given_frames:]
        self.add({of: self.measure(video, true) for of, video in batch.predictions.items()})


class Mse(Psnr):
    """The same, as a mean squared error."""

    unit, digits, draws = "for values in [-1, 1]", 5, True
    measure = staticmethod(mse)


class BitsPerDim(Mean):
    """Bits a code, in the latent space (LVT, footnote 3), of the frames that are not given, beside its baselines."""

    unit, digits, draws = "bits a code", 3, False

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        if config.stage == "autoencoder":
            return "an autoencoder has no likelihood"
        return None if config.prior.likelihood else "this prior has no likelihood"

    def update(self, batch: Batch) -> None:
        pipeline, setting = batch.pipeline, batch.setting
        as_latents = not any(spec.kind == "given-frames" for spec in pipeline.conditions)
        given = setting.given_frames // pipeline.config.latents.frames_per_latent if as_latents else 0
        scores = pipeline.prior.scores(batch.latents, batch.condition, given)
        others = setting.baselines.bits_per_dim(batch.latents, given) if setting.baselines else {}
        self.add({"model": scores["bits_per_dim"], **others})


class Usage:
    """Share of the codes that these clips need, mean over the codebooks."""

    unit, digits, draws = "of the codes, mean over the codebooks", 3, False
    measure = staticmethod(usage)

    def __init__(self):
        self.codes, self.num_codes = [], 0

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        if config.stage != "autoencoder":
            return "it is a score of an autoencoder"
        return None if config.latents.num_codes else "its latents are no codes"

    def update(self, batch: Batch) -> None:
        spec = batch.pipeline.config.latents
        self.num_codes = spec.num_codes
        self.codes.append(batch.latents.reshape(-1, spec.codebooks).cpu())

    def compute(self) -> dict[str, float]:
        books = torch.cat(self.codes).unbind(-1)
        return {"model": torch.stack([self.measure(book, self.num_codes) for book in books]).mean().item()}


class Perplexity(Usage):
    """How many equally frequent codes would be as hard to guess, mean over the codebooks."""

    unit, digits, draws = "codes, mean over the codebooks", 1, False
    measure = staticmethod(perplexity)


METRICS: dict[str, type[Metric]] = {
    "bits_per_dim": BitsPerDim,
    "psnr": Psnr,
    "mse": Mse,
    "usage": Usage,
    "perplexity": Perplexity,
}


@torch.no_grad()
def evaluate(pipeline: Pipeline, data: Dataset, metrics: Sequence[str], setting: Setting) -> Scores:
    """{metric: {whose: value}} of the last stage of the pipeline, over all clips of the data."""
    scores = {name: METRICS[name]() for name in metrics}
    for batch in batches(pipeline, data, setting, "scoring"):
        for metric in scores.values():
            metric.update(batch)
    return {name: metric.compute() for name, metric in scores.items()}


@torch.no_grad()
def count_baselines(pipeline: Pipeline, data: Dataset) -> CodeBaselines | None:
    """What the baselines know: counted in the codes of `data`, clips of the training split. None without codes."""
    if pipeline.config.latents.num_codes is None:
        return None
    codes = [batch.latents for batch in batches(pipeline, data, Setting(), "counting codes", conditions=False)]
    return count_codes(torch.cat(codes), pipeline.config.latents.num_codes)


def evenly_spaced(data: Dataset, clips: int) -> Subset:
    """At most `clips` clips, evenly spaced over the data set, from the first to the last."""
    count = min(clips, len(data))
    return Subset(data, torch.linspace(0, len(data) - 1, count).round().long().tolist())


def batches(pipeline: Pipeline, data: Dataset, setting: Setting, doing: str, conditions: bool = True
            ) -> Iterator[Batch]:
    """All clips in order, where the models are. Shows a bar in a terminal."""
    specs = pipeline.conditions if conditions else ()
    for start in tqdm(range(0, len(data), BATCH), doing, ascii=True, disable=None):
        clips: Iterable[dict] = [data[i] for i in range(start, min(start + BATCH, len(data)))]
        video = torch.stack([to_video(clip["video"]) for clip in clips]).to(pipeline.device)
        condition = {name: value.to(pipeline.device) for name, value in conditions_of(clips, specs).items()}
        yield Batch(pipeline, setting, video, condition)

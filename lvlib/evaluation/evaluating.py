"""Going through the clips: in one process or several, from the start or from where it was stopped, with one result."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch.utils.data import Dataset
from tqdm import tqdm

from lvlib.data import to_video
from lvlib.data.conditions import conditions_of
from lvlib.evaluation.baselines import CodeBaselines, count_codes
from lvlib.evaluation.batch import SIZE, Batch, RunBatch, Setting
from lvlib.evaluation.generate import Pipeline
from lvlib.evaluation.metric import Metric, Scores, Tools, restored, state_of
from lvlib.evaluation.scores import METRICS
from lvlib.evaluation.work import Work
from lvlib.training.batches import seed_everything
from lvlib.training.engine import is_distributed

BASELINE_CLIPS = 256  # training clips in which the baselines count, at most


class Source(Protocol):
    """Clips in batches of a fixed order."""

    def __len__(self) -> int:
        """How many batches."""

    def batch(self, number: int) -> Batch: ...


class RunSource:
    """Clips of a data set, and what a run makes of them.

    data: the real clips. generated: how many samples, where the inception score takes more of them than there are
    real clips: their conditions and given frames are those of the clips from the first on again.
    """

    def __init__(self, pipeline: Pipeline, data: Dataset, setting: Setting, generated: int = 0,
                 conditions: bool = True):
        self.pipeline, self.data, self.setting = pipeline, data, setting
        self.clips = max(len(data), generated)
        self.specs = pipeline.conditions if conditions else ()

    def __len__(self) -> int:
        return -(-self.clips // SIZE)

    def batch(self, number: int) -> RunBatch:
        start = number * SIZE
        items = [self.data[i % len(self.data)] for i in range(start, min(start + SIZE, self.clips))]
        device = self.pipeline.device
        video = torch.stack([to_video(item["video"]) for item in items]).to(device)
        condition = {name: value.to(device) for name, value in conditions_of(items, self.specs).items()}
        counted = min(max(len(self.data) - start, 0), len(items))
        return RunBatch(start, video, counted, self.pipeline, self.setting, condition)


@torch.no_grad()
def evaluate(source: Source, metrics: Sequence[str], tools: Tools, seed: int, work: Work | None = None) -> Mapping[
        str, Metric]:
    """The metrics by name, with all clips of the source counted in: in every process the same.

    What is drawn at random depends on the seed and on the number of the batch, so neither on the processes nor on where
    the work was stopped. work: where its state is kept after each batch.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if is_distributed() else (0, 1)
    counted = {name: METRICS[name](tools) for name in metrics}
    numbers = list(range(rank, len(source), world))
    done = work.load(counted) if work else 0
    for place in tqdm(range(done, len(numbers)), "scoring", initial=done, total=len(numbers), ascii=True,
                      disable=None if rank == 0 else True):
        number = numbers[place]
        seed_everything(seed, number)
        batch = source.batch(number)
        for name, metric in counted.items():
            if batch.counted or name == "is":
                metric.update(batch)
        if work:
            work.save(counted, place + 1)
    return _together(counted, tools)


def _together(counted: dict[str, Metric], tools: Tools) -> dict[str, Metric]:
    """What all processes have counted, in the order of their numbers."""
    if not is_distributed():
        return counted
    states: list[dict[str, dict]] = [{}] * dist.get_world_size()
    dist.all_gather_object(states, {name: state_of(metric) for name, metric in counted.items()})
    for name in counted:
        parts = [restored(METRICS[name](tools), state[name]) for state in states]
        counted[name] = parts[0]
        for part in parts[1:]:
            counted[name].merge(part)
    return counted


@torch.no_grad()
def count_baselines(pipeline: Pipeline, data: Dataset) -> CodeBaselines | None:
    """What the baselines know: counted in the codes of `data`, clips of the training split. None without codes."""
    if pipeline.config.latents.num_codes is None:
        return None
    source = RunSource(pipeline, data, Setting(), conditions=False)
    codes = [source.batch(number).latents for number in tqdm(range(len(source)), "counting codes", ascii=True,
                                                             disable=None)]
    return count_codes(torch.cat(codes), pipeline.config.latents.num_codes)


def means(runs: Sequence[Scores]) -> tuple[Scores, Scores]:
    """Mean and standard deviation over runs, n - 1 in its denominator."""
    mean: Scores = {name: {} for name in runs[0]}
    std: Scores = {name: {} for name in runs[0]}
    for name, of in [(name, of) for name, values in runs[0].items() for of in values]:
        values = torch.tensor([scores[name][of] for scores in runs], dtype=torch.float64)
        mean[name][of] = values.mean(0).tolist()
        std[name][of] = values.std(0, correction=min(1, len(runs) - 1)).tolist()
    return mean, std

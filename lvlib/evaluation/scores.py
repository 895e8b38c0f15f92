"""Scores of a trained model on a data set, each beside what it must beat and what it cannot beat."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from lvlib.data import to_video
from lvlib.data.conditions import conditions_of
from lvlib.evaluation.baselines import CodeBaselines, count_codes, repeat_last_frame
from lvlib.evaluation.generate import BATCH, generate_video
from lvlib.metrics.pixels import mse, psnr
from lvlib.models.common.quantize import perplexity, usage
from lvlib.models.videogpt.prior import VideoGPT

AUTOENCODER_METRICS = ("psnr", "mse", "usage", "perplexity")
PRIOR_METRICS = ("bits_per_dim", "psnr", "mse")
BASELINE_CLIPS = 256  # training clips in which the baselines count, at most
PIXELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": psnr, "mse": mse}

Scores = dict[str, dict[str, float]]


def evenly_spaced(data: Dataset, clips: int) -> Subset:
    """At most `clips` clips, evenly spaced over the data set, from the first to the last."""
    count = min(clips, len(data))
    return Subset(data, torch.linspace(0, len(data) - 1, count).round().long().tolist())


@torch.no_grad()
def evaluate_autoencoder(model: nn.Module, data: Dataset, metrics: Sequence[str], n_codes: int) -> Scores:
    """{metric: {"model": value}}: means over the clips of psnr (dB) and mse of their reconstructions; means over the
    codebooks of usage (the share of codes that these clips need, 0 to 1) and perplexity (1 to n_codes)."""
    codes, parts = [], []
    for video, _ in batches(data, model, "reconstructing"):
        latents = model.encode(video)
        codes.append(latents.reshape(*latents.shape[:4], -1).cpu())
        parts.append(in_pixels(metrics, video, {"model": model.decode(latents)}))
    scores = means(parts)
    books = torch.cat(codes).unbind(-1)
    for name, measure in ("usage", usage), ("perplexity", perplexity):
        scores[name] = {"model": torch.stack([measure(book, n_codes) for book in books]).mean().item()}
    return {name: scores[name] for name in metrics}


@torch.no_grad()
def evaluate_prior(prior: nn.Module, autoencoder: nn.Module, data: Dataset, metrics: Sequence[str], prime_frames: int,
                   temperature: float = 1.0, baselines: CodeBaselines | None = None,
                   needs: Mapping[str, int] | None = None) -> Scores:
    """{metric: {whose: value}}: means over the clips. needs: what VideoGPT is told, see `lvlib.data.conditions`.

    bits_per_dim: bits a code, in the latent space (LVT, footnote 3), of "model" and of the `baselines`, which it needs;
        LVT's codes of the frames after the given ones, all of VideoGPT's.
    psnr (dB), mse: of the frames after the given ones, which it needs, against the true frames: one sample a clip
        ("model"), the last given frame ("repeat_last_frame", LVT, section 4.2), and the true frames' own reconstruction
        ("autoencoder": what a perfect prior would reach).
    """
    parts = []
    for video, condition in batches(data, prior, "scoring", needs):
        latents, given = autoencoder.encode(video), video[:, :, :prime_frames]
        part: dict[str, dict[str, Tensor]] = {}
        if "bits_per_dim" in metrics:
            is_videogpt = isinstance(prior, VideoGPT)
            bits = prior.bits_per_dim(latents, condition if is_videogpt else prime_frames)
            scored_from = 0 if is_videogpt else prime_frames
            part["bits_per_dim"] = {"model": bits, **baselines.bits_per_dim(latents, scored_from)}
        if PIXELS.keys() & set(metrics):
            sampled = generate_video(autoencoder, prior, len(video), given, condition, temperature=temperature)
            part |= in_pixels(metrics, video[:, :, prime_frames:], {
                "model": sampled[:, :, prime_frames:],
                "repeat_last_frame": repeat_last_frame(given, video.shape[2] - prime_frames),
                "autoencoder": autoencoder.decode(latents)[:, :, prime_frames:],
            })
        parts.append(part)
    scores = means(parts)
    return {name: scores[name] for name in metrics}


@torch.no_grad()
def count_baselines(prior: nn.Module, autoencoder: nn.Module, data: Dataset) -> CodeBaselines:
    """What the baselines know: counted in the codes of `data`, clips of the training split."""
    codes = [autoencoder.encode(video) for video, _ in batches(data, prior, "counting codes")]
    return count_codes(torch.cat(codes), prior.codes)


def batches(data: Dataset, model: nn.Module, doing: str, needs: Mapping[str, int] | None = None,
            ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """All clips in order, as float video (b, c, t, h, w) with the conditions, where the model is. Shows a bar in a
    terminal."""
    device = next(model.parameters()).device
    for start in tqdm(range(0, len(data), BATCH), doing, ascii=True, disable=None):
        clips = [data[i] for i in range(start, min(start + BATCH, len(data)))]
        video = torch.stack([to_video(clip["video"]) for clip in clips])
        condition = conditions_of(clips, needs or {}, video.shape[2])
        yield video.to(device), {name: value.to(device) for name, value in condition.items()}


def in_pixels(metrics: Sequence[str], true: Tensor, videos: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """{metric: {whose: (b,)}} for those of the metrics that compare pixels."""
    return {name: {of: measure(video, true) for of, video in videos.items()}
            for name, measure in PIXELS.items() if name in metrics}


def means(parts: list[dict[str, dict[str, Tensor]]]) -> Scores:
    return {name: {of: torch.cat([part[name][of] for part in parts]).mean().item() for of in parts[0][name]}
            for name in parts[0]}

"""Speed and memory of training and sampling on this machine, beside the speed of a large matrix product."""

import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lvlib.configs import Config
from lvlib.data.conditions import example_condition, needs
from lvlib.data.tensors import to_video
from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.models.lvt.prior import LVTConfig
from lvlib.reports.describe import build, latent_shape
from lvlib.training import build_optimizer

PRODUCT = 2048  # rows and columns of the matrices whose product is the peak
PRIMED = 5  # frames that are given to LVT's sampler, as in its section 4.1


def bench(config: Config, threads: int = 1) -> dict:
    """Measures each stage in a process of its own: fp32 on the CPU, random clips or codes, the config's optimizer.

    Keys with a value per stage, "autoencoder" and, where the config has one, "prior":
    `train_step_cpu_s`: forward, backward and optimizer, on `training.batch` clips. Beside a prior, a frame autoencoder
        takes one clip, which is a batch of frames. A prior's step begins with codes: encoding is not in it.
    `sample_cpu_s`: of a prior, drawing one clip's codes (LVT's after 5 given frames); of an autoencoder, decoding them.
    `gflop`: convolutions and matrix products of a training step.
    `peak_share`: their rate, as a share of that of a large matrix product.
    `peak_memory_mb`: what training steps add to the process at rest.
    Times are medians of CPU seconds, summed over threads.
    """
    with torch.device("meta"):
        build(config)  # sizes that do not fit show before the work
    stages = {"autoencoder": replace(config, prior=None)}
    if config.prior:
        stages["prior"] = config
        if isinstance(config.autoencoder, FrameVQVAEConfig):
            stages["autoencoder"] = replace(stages["autoencoder"], training=replace(config.training, batch=1))
    measured = {stage: _in_fresh_process(measure, config, threads) for stage, config in stages.items()}
    keys = ("train_step_cpu_s", "sample_cpu_s", "gflop", "peak_share", "peak_memory_mb")
    return {
        **{key: {stage: values[key] for stage, values in measured.items()} for key in keys},
        "batch": {stage: config.training.batch for stage, config in stages.items()},
        "matmul_gflops": statistics.median(values["matmul_gflops"] for values in measured.values()),
        "threads": threads,
        "hardware": hardware(),
        "torch": torch.__version__,
    }


def measure(config: Config, threads: int) -> dict[str, float]:
    """The figures of the stage that the configuration trains. Sets torch's threads and seed."""
    torch.set_num_threads(threads)
    torch.manual_seed(config.training.seed)
    torch.optim.Adam([torch.zeros(1)])  # the first optimizer of a process loads 70 MB of code
    at_rest = peak_rss_mb()
    model = build(config)
    optimizer = build_optimizer(model.parameters(), config.training)
    inputs = random_inputs(config)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(*inputs)[0].backward()
        optimizer.step()

    for _ in range(3):
        step()
    memory = peak_rss_mb() - at_rest
    with FlopCounterMode(display=False) as counter:
        step()
    gflop = counter.get_total_flops() / 1e9
    step_s, product_s = cpu_seconds(step)
    matmul_gflops = 2 * PRODUCT**3 / product_s / 1e9
    return {
        "train_step_cpu_s": step_s,
        "sample_cpu_s": statistics.median(_time(sampling(config, model.eval())) for _ in range(3)),
        "gflop": gflop,
        "peak_share": gflop / step_s / matmul_gflops,
        "peak_memory_mb": memory,
        "matmul_gflops": matmul_gflops,
    }


def random_inputs(config: Config) -> tuple:
    """What the loss takes: a batch of clips; or of their codes, with a condition if there is one, for a prior."""
    batch = config.training.batch
    if config.prior:
        return random_codes(config, batch), example_condition(needs(config.prior), config.video_shape, batch)
    channels, *thw = config.video_shape
    frames = torch.randint(256, (batch, *thw, channels), dtype=torch.uint8)
    return (to_video(frames),)  # as in training: each pixel's channels lie side by side, which convolutions like


def random_codes(config: Config, clips: int) -> torch.Tensor:
    return torch.randint(config.autoencoder.codes, (clips, *latent_shape(config)))


def sampling(config: Config, model: nn.Module) -> Callable[[], object]:
    """The work of generating one clip that is the stage's own."""
    codes = random_codes(config, 1)
    if config.prior is None:
        return lambda: model.decode(codes)
    if isinstance(config.prior, LVTConfig):
        return lambda: model.sample(1, codes[:, :min(PRIMED, config.data.frames - 1)])
    condition = example_condition(needs(config.prior), config.video_shape, 1)
    return lambda: model.sample(1, condition)


def _in_fresh_process(work: Callable, *arguments) -> dict:
    """The most memory that a process has held never falls again, and freed memory is used anew: one stage would hide
    the other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def cpu_seconds(step: Callable[[], None], rounds: int = 5, limit: float = 60.0) -> tuple[float, float]:
    """CPU seconds of a warm step and of an fp32 matrix product, as medians. Stops early after `limit` seconds.

    Four steps and two products take turns, so that a machine that others use, or that changes its clock, treats both
    alike. One by one they would cost each other the cache.
    """
    a, b, out = torch.rand(3, PRODUCT, PRODUCT)
    for _ in range(3):
        torch.mm(a, b, out=out)
    steps, products = [], []
    for _ in range(rounds):
        steps += [_time(step) for _ in range(4)]
        products += [_time(lambda: torch.mm(a, b, out=out)) for _ in range(2)]
        if sum(steps) > limit:
            break
    return statistics.median(steps), statistics.median(products)


def _time(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_rss_mb() -> float:
    """The most memory this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: `ru_maxrss` there begins with what the parent held
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    units = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units


def hardware() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""Speed and memory of a training step on this machine, beside the speed of a large matrix product."""

import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from lvlib.configs import Config
from lvlib.data.tensors import to_video
from lvlib.training import build_optimizer

PRODUCT = 2048  # rows and columns of the matrices whose product is the peak


def bench(config: Config, threads: int = 1) -> dict:
    """Measures the training step of each stage: forward, backward and optimizer, fp32 on the CPU, on random clips.

    Keys with a value per stage: `train_step_cpu_s`, `sample_cpu_s` (None: an autoencoder samples nothing),
    `gflop` (convolutions and matrix products of a step), `peak_share`, and `peak_memory_mb`, what the stage
    adds to the process at rest. Times are medians of CPU seconds, summed over threads.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(config.training.seed)
    torch.optim.Adam([torch.zeros(1)])  # the first optimizer of a process loads 70 MB of code
    at_rest = peak_rss_mb()
    model = config.autoencoder.build()
    optimizer = build_optimizer(model, config.training)
    channels, *thw = config.video_shape
    frames = torch.randint(256, (config.training.batch, *thw, channels), dtype=torch.uint8)
    video = to_video(frames)  # as in training: each pixel's channels lie side by side, which convolutions like

    def step() -> None:
        optimizer.zero_grad()
        model.loss(video)[0].backward()
        optimizer.step()

    for _ in range(3):
        step()
    memory = peak_rss_mb() - at_rest
    with FlopCounterMode(display=False) as counter:
        step()
    gflop = counter.get_total_flops() / 1e9
    step_s, product_s = cpu_seconds(step)
    matmul_gflops = 2 * PRODUCT**3 / product_s / 1e9
    stage = {
        "train_step_cpu_s": step_s,
        "sample_cpu_s": None,
        "gflop": gflop,
        "peak_share": gflop / step_s / matmul_gflops,
        "peak_memory_mb": memory,
    }
    return {
        **{key: {"autoencoder": value} for key, value in stage.items()},
        "matmul_gflops": matmul_gflops,
        "threads": threads,
        "hardware": hardware(),
        "torch": torch.__version__,
    }


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

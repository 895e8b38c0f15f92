"""Speed and memory of training and sampling on this machine, beside the speed of a large matrix product."""

import platform
import random
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import active_children, get_context
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from lvlib.configs import Config
from lvlib.data.tensors import to_video
from lvlib.errors import UserError, said_plainly
from lvlib.reports.limits import check_training
from lvlib.training.engine import processes
from lvlib.training.step import Step

PRODUCT = 2048  # rows and columns of the matrices whose product is the peak
GIVEN = 5  # frames that are given to a prior that needs some, as in LVT, section 4.1


def bench(config: Config, threads: int = 1, stage: str | None = None) -> dict:
    """Measures each stage, or the one that is named, in a process of its own: fp32 on the CPU, random clips or latents,
    the config's optimizer.

    Keys with a value per stage, "autoencoder" and, where the config has them, "prior" and "refiner":
    `train_step_cpu_s`: forward, backward and optimizer, on `training.batch` clips. Beside a prior, a frame autoencoder
        takes one clip, which is a batch of frames. A prior's step begins with latents: encoding is not in it.
    `sample_cpu_s`: of a prior, drawing one clip's latents (after 5 given frames where it needs some); of a refiner,
        completing them; of an autoencoder, decoding them.
    `gflop`: convolutions, matrix products and attention of a training step; attention as if no position was masked.
    `peak_share`: their rate, as a share of that of a large matrix product.
    `peak_memory_mb`: what training steps add to the process at rest.
    Times are medians of CPU seconds, summed over threads.

    Raises UserError for sizes that do not fit each other, or this machine, and for a stage that the config has not.
    """
    if stage not in (None, *config.stages):
        raise UserError(f"this config has no {stage}; its stages are {', '.join(config.stages)}")
    stages = {name: config.up_to(name) for name in config.stages if stage in (None, name)}
    if "autoencoder" in stages and config.stands_on and config.autoencoder.frame_by_frame:
        autoencoder = stages["autoencoder"]
        stages["autoencoder"] = replace(autoencoder, training=replace(config.training, batch=1, accumulate=1))
    for part in stages.values():  # before the work on the first begins
        processes(part.training, 1, 1)
        check_training(part)
    measured = {name: _in_fresh_process(measure, part, threads) for name, part in stages.items()}
    keys = ("train_step_cpu_s", "sample_cpu_s", "gflop", "peak_share", "peak_memory_mb")
    return {
        **{key: {name: values[key] for name, values in measured.items()} for key in keys},
        "batch": {name: part.training.batch for name, part in stages.items()},
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
    model = config.build()
    training_step = Step(model, config.training)
    micro_batches = [random_inputs(config)] * config.training.accumulate

    def step() -> None:
        with patch.object(random, "random", lambda: 0.5):  # a model that draws how much it hides: half, as on average
            training_step(config.training.steps, micro_batches)

    for _ in range(3):
        step()
    memory = peak_rss_mb() - at_rest
    gflop = count_flops(step) / 1e9
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


def count_flops(work: Callable[[], None]) -> int:
    """Floating point operations of convolutions, matrix products and attention.

    torch's counter has no entry for the attention kernel of the CPU: its two products, and the five of its backward
    pass, are counted as those of other kernels are.
    """
    aten = torch.ops.aten
    attention = {
        aten._scaled_dot_product_flash_attention_for_cpu:
            lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value),
        aten._scaled_dot_product_flash_attention_for_cpu_backward:
            lambda grad_out, query, key, value, *_, **__: sdpa_backward_flop_count(grad_out, query, key, value),
    }
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        work()
    return counter.get_total_flops()


def random_inputs(config: Config) -> tuple:
    """What the loss takes: clips; or latents, with their condition. As many as go through at a time."""
    clips, config = config.training.batch // config.training.accumulate, config.learned
    if config.stage != "autoencoder":
        return config.latents.example(clips), {spec.name: spec.example(clips) for spec in config.conditions}
    channels, *thw = config.video_shape
    frames = torch.randint(256, (clips, *thw, channels), dtype=torch.uint8)
    return (to_video(frames),)  # as in training: each pixel's channels lie side by side, which convolutions like


def sampling(config: Config, model: nn.Module) -> Callable[[], Tensor]:
    """The work of generating one clip that is the stage's own."""
    condition = {spec.name: spec.example(1) for spec in config.conditions}
    if config.stage == "autoencoder":
        latents = config.latents.example(1)
        return lambda: model.decode(latents)
    if config.stage == "refiner":
        prior = config.up_to("prior")
        sampled = sampling(prior, prior.build().eval())()
        return lambda: model.refine(sampled, condition, config.refiner.Sampling())
    can, given, latent_frames = config.given_frames, None, None
    if can.least > can.most:  # it goes on from a clip alone: of a longer video the second is made
        config = replace(config, data=replace(config.data, frames=can.least + config.data.frames))
        can, latent_frames = config.given_frames, config.data.frames // config.latents.frames_per_latent
        condition = {spec.name: spec.example(1) for spec in config.conditions}
    if can.least and not any(spec.kind == "given-frames" for spec in config.conditions):
        frames = min(max(can.least, GIVEN), can.most) // can.multiple * can.multiple
        channels, clip_frames, height, width = config.video_shape
        shown = 2 * torch.rand(1, channels, frames, height, width) - 1
        given = config.up_to("autoencoder").build().eval().encode_start(shown, clip_frames)
    return lambda: said_plainly(lambda: model.sample(1, condition, given, config.prior.Sampling(), latent_frames))


def _in_fresh_process(work: Callable, *arguments) -> dict:
    """The most memory that a process has held never falls again, and freed memory is used anew: one stage would hide
    the other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool:
            raise UserError("the process that measures was ended from outside: too little memory?") from None
        except KeyboardInterrupt:  # SIGTERM reaches this process alone, and the pool waits for the other
            for child in active_children():
                child.terminate()
            raise


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
    if status.exists():  # Linux: of this program alone, where getrusage begins with what the parent held
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    import psutil

    if hasattr(memory := psutil.Process().memory_info(), "peak_wset"):  # Windows
        return memory.peak_wset / 2**20
    import resource  # macOS, and whatever else has it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def hardware() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

import json
import subprocess
import sys

import pytest
import torch

from lvlib.bench import cpu_seconds


def convolution_flops(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Forward: two per multiplication, over a side x side output (a transposed convolution: input)."""
    return 2 * inputs * outputs * kernel**2 * side**2


def test_bench_counts_what_a_count_by_hand_finds():
    """In a fresh process, as the command runs: it sets torch's threads, and measures the process's memory."""
    code = ("import sys; from lvlib.cli import main;"
            "sys.exit(main(['bench', 'bench-lvt', '--data.frames', '2', '--threads', '1', '--json']))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    residual = 2 * (convolution_flops(64, 32, 3, 16) + convolution_flops(32, 64, 1, 16))
    first = convolution_flops(3, 32, 4, 32)
    encoder = first + convolution_flops(32, 64, 4, 16) + convolution_flops(64, 64, 3, 16) + residual
    decoder = (convolution_flops(64, 64, 3, 16) + residual + convolution_flops(64, 32, 4, 16)
               + convolution_flops(32, 3, 4, 32))
    distances = 4 * 2 * 16 * 128 * 16**2  # no gradient flows through them
    # Backward costs twice the forward, but the first layer needs no gradient for the pixels.
    per_frame = 3 * (encoder + decoder) - first + distances
    assert report["gflop"]["autoencoder"] == pytest.approx(2 * per_frame / 1e9)

    seconds, share = report["train_step_cpu_s"]["autoencoder"], report["peak_share"]["autoencoder"]
    assert share == pytest.approx(2 * per_frame / 1e9 / seconds / report["matmul_gflops"])
    assert 0 < share < 1
    assert report["sample_cpu_s"] == {"autoencoder": None}
    assert 1 < report["peak_memory_mb"]["autoencoder"] < 1000
    assert report["threads"] == 1 and report["torch"] == torch.__version__ and report["hardware"]


def test_times_are_medians_that_stop_at_the_limit(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    calls = []
    step, product = cpu_seconds(lambda: calls.append(1), rounds=4)
    assert (step, product, len(calls)) == (1, 1, 16)
    calls.clear()
    cpu_seconds(lambda: calls.append(1), limit=5)
    assert len(calls) == 8


def test_bad_arguments_are_refused(refused):
    assert "--threads must be at least 1" in refused("bench", "bench-lvt", "--threads", "0")
    assert "unknown config" in refused("bench", "nothing")

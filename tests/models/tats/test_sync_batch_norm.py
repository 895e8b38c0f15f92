"""BatchNorm over two processes is torch's BatchNorm over both their batches."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from lvlib.models.tats.normalization import SyncBatchNorm, norm_of

BATCHES = (3, 1)  # clips of each process: a mean of means would be wrong
DTYPES = torch.float32, torch.float64


def example(dtype):
    """A batch of both processes, far from 0, and what its result is multiplied with."""
    torch.manual_seed(0)
    x = 300 + torch.randn(sum(BATCHES), 3, 2, 4, 5, dtype=dtype)
    return x, torch.randn_like(x)


def norm(kind, dtype):
    layer = kind(3).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        layer.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    return layer.train()


def seen_by(layer, x, weights):
    """Result, gradients of the input and of both parameters, running statistics."""
    x = x.clone().requires_grad_()
    out = layer(x)
    (out * weights).sum().backward()
    return {"out": out.detach(), "x": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad,
            "mean": layer.running_mean.clone(), "var": layer.running_var.clone(),
            "batches": layer.num_batches_tracked.clone()}


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    part = slice(BATCHES[0]) if rank == 0 else slice(BATCHES[0], None)
    seen = []
    for dtype in DTYPES:
        x, weights = example(dtype)
        layer = norm(SyncBatchNorm, dtype)
        seen.append(seen_by(layer, x[part], weights[part]))
        seen[-1]["eval"] = layer.eval()(x[part]).detach()
    torch.save(seen, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(process, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1], ids=["float32", "float64"])
def test_two_processes_are_one_batch(two, index):
    dtype = DTYPES[index]
    x, weights = example(dtype)
    layer = norm(nn.BatchNorm3d, dtype)
    one = seen_by(layer, x, weights)
    one["eval"] = layer.eval()(x).detach()
    first, second = (seen[index] for seen in two)
    close = {"rtol": 1e-3, "atol": 3e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for name in ("out", "x", "eval"):
        torch.testing.assert_close(torch.cat([first[name], second[name]]), one[name], **close, msg=name)
    for name in ("weight", "bias"):  # the training takes their mean over processes
        torch.testing.assert_close(first[name] + second[name], one[name], **close, msg=name)
    for name in ("mean", "var", "batches"):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], one[name], **close, msg=name)


@pytest.mark.parametrize("size", [(4, 3), (4, 3, 5, 6), (4, 3, 2, 5, 6)])
def test_alone_it_is_torchs(size):
    x = torch.randn(size)
    theirs = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(size)]
    ours, other = norm(SyncBatchNorm, torch.float32), norm(theirs, torch.float32)
    assert torch.equal(ours(x), other(x)) and torch.equal(ours.running_var, other.running_var)
    assert torch.equal(ours.eval()(x), other.eval()(x))


def test_groups_are_32_or_as_many_as_channels():
    assert norm_of("group", 64).num_groups == 32 and norm_of("group", 16).num_groups == 16
    assert isinstance(norm_of("batch", 16), SyncBatchNorm)

"""What a configuration amounts to, without the memory: its tensors have a shape and nothing in it."""

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from lvlib.configs import Config
from lvlib.stages import ConditionSpec
from lvlib.training.config import TrainingConfig
from lvlib.training.engine import processes
from lvlib.training.step import losses_of, parameters_of

MEMORY_ESTIMATE = ("in fp32: weights, gradients, the optimizers' two running means and the EMA if any, plus every "
                   "tensor kept for the backward pass of a batch; workspace and fragmentation come on top")


def parameter_count(model: nn.Module) -> dict[str, int]:
    """Learned numbers of a model, under "", and of each of its parts: parameters, and the codebooks that learn by
    moving averages instead of gradients."""
    codebooks = [(name, buffer) for name, buffer in model.named_buffers() if name.rpartition(".")[2] == "embedding"]
    learned = {name: tensor.numel() for name, tensor in [*model.named_parameters(), *codebooks]}
    return {"": sum(learned.values())} | {
        part: sum(count for name, count in learned.items() if name.startswith(f"{part}."))
        for part, _ in model.named_children()}


def describe(config: Config) -> dict:
    """Parameters per part, shapes of a clip and of its latents, tokens a clip, memory that training needs.

    Raises UserError where the configuration's sizes do not fit each other, or no machine.
    """
    # Fake tensors are meta tensors that know which device they stand for: what autocast asks. The counts of codes
    # (bincount) have a length that depends on values, hence the ShapeEnv. LVT draws slices by real numbers.
    fake = FakeTensorMode(shape_env=ShapeEnv(allow_dynamic_output_shape_ops=True), allow_non_fake_inputs=True)
    processes(config.training, 1, 1)  # the batch must divide into its micro-batches
    spec = config.latents
    with fake, warnings.catch_warnings():
        # torch says so of each fake that is copied, as layers of nn.TransformerEncoder are.
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        stages = {stage: config.up_to(stage).build() for stage in config.stages}
        inputs = example_inputs(config.learned, config.training.batch // config.training.accumulate)
        memory = training_bytes(stages[config.stage], inputs, config.training)
    parameters = {}
    for stage, model in stages.items():
        parameters |= {f"{stage}.{part}".rstrip("."): count for part, count in parameter_count(model).items()}
    return {
        "parameters": {"prior": 0} | parameters if config.prior is None else parameters,
        "video_shape": list(config.video_shape),
        "latent_shape": list(spec.shape),
        "tokens": spec.tokens,
        "trains": config.stage,
        "training_memory_mb": round(memory / 2**20),
        "training_memory_estimate": MEMORY_ESTIMATE,
    }


def example_inputs(config: Config, clips: int) -> tuple:
    """What the loss of the trained stage takes: (video,), or (latents, condition). Random, from torch's global random
    numbers."""
    if config.stage == "autoencoder":
        return (2 * torch.rand(clips, *config.video_shape) - 1,)
    return config.latents.example(clips), example_condition(config.conditions, clips)


def example_condition(specs: tuple[ConditionSpec, ...], clips: int) -> Mapping[str, Tensor]:
    """A condition of the right shapes; one class for all clips: of a single number that `torch.tensor` made a fake
    tensor knows the value, and models look whether it is in range. Of tokens and of per-frame numbers it is told that
    they are 0."""
    found = {spec.name: torch.tensor([spec.num_classes - 1]) if spec.kind == "class" else spec.example(clips)
             for spec in specs}
    with unset_fake_temporarily():
        for spec in specs:
            if spec.kind in ("tokens", "per-frame"):
                found[spec.name].constant = spec.example(clips)
    return found


@contextmanager
def storages_kept(model: nn.Module) -> Iterator[dict[int, torch.UntypedStorage]]:
    """By address, each storage but the weights that forward passes in the block keep for a backward pass."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # many views share one storage; holding it keeps its address its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        yield kept


def training_bytes(model: nn.Module, inputs: tuple, training: TrainingConfig) -> int:
    """MEMORY_ESTIMATE, in bytes, for a step on these inputs. Fake tensors do, and take no memory themselves.

    Of several losses the one that keeps most counts.
    """
    model.eval()  # the codebooks' updates read values, and there are none here
    most = 0
    # A model that draws how much it hides hides all: no step keeps more.
    with patch.object(random, "random", lambda: 0.0), storages_kept(model) as kept:
        for _ in losses_of(model, inputs, step=training.steps):
            most = max(most, sum(storage.nbytes() for storage in kept.values()))
            kept.clear()
    copies = 4 + bool(training.ema_decay)  # weights, gradients, two running means, EMA
    learned = sum(parameter.nbytes for parameters in parameters_of(model).values() for parameter in parameters)
    frozen = sum(parameter.nbytes for parameter in model.parameters() if not parameter.requires_grad)
    return most + copies * learned + frozen

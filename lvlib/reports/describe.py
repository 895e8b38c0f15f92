"""What a configuration amounts to, without the memory: its tensors have a shape and nothing in it."""

import math
from dataclasses import replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from lvlib.configs import Config
from lvlib.data.conditions import example_condition, needs
from lvlib.errors import UserError
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.training.config import TrainingConfig

MEMORY_ESTIMATE = ("in fp32: weights, gradients, the optimizer's two running means and the EMA if any, plus every "
                   "tensor kept for the backward pass of a batch; workspace and fragmentation come on top")


def parameter_count(module: nn.Module) -> int:
    """Learned numbers: parameters, and the codebooks that learn by moving averages instead of gradients."""
    codebooks = [buffer for name, buffer in module.named_buffers() if name.rpartition(".")[2] == "embedding"]
    return sum(tensor.numel() for tensor in [*module.parameters(), *codebooks])


def build(config: Config) -> nn.Module:
    """The model that the configuration trains, with new weights: the prior where there is one, else the autoencoder.

    Raises UserError where the configuration's sizes do not fit each other.
    """
    shape = latent_shape(config)
    if config.prior is None:
        return config.autoencoder.build()
    try:
        if isinstance(config.prior, VideoGPTConfig):  # it may look at frames
            return config.prior.build(shape, config.autoencoder.codes, config.video_shape)
        return config.prior.build(shape, config.autoencoder.codes)
    except ValueError as error:
        raise UserError(str(error)) from error


def latent_shape(config: Config) -> tuple[int, ...]:
    """(t, h, w) or (t, h, w, k) of a clip's codes. Raises UserError if the autoencoder cannot take the clip."""
    try:
        with torch.device("meta"):  # a shape needs no weights
            return config.autoencoder.build().latent_shape(config.video_shape)
    except ValueError as error:
        raise UserError(str(error)) from error


def describe(config: Config) -> dict:
    """Parameters per part, shapes of a clip and of its latents, tokens a clip, memory that training needs."""
    # Fake tensors are meta tensors that know which device they stand for: what autocast asks. The counts of codes
    # (bincount) have a length that depends on values, hence the ShapeEnv. LVT draws slices by real numbers.
    fake = FakeTensorMode(shape_env=ShapeEnv(allow_dynamic_output_shape_ops=True), allow_non_fake_inputs=True)
    shape = latent_shape(config)
    with fake:
        stages = {"autoencoder": config.autoencoder.build()}
        inputs = (torch.empty(config.training.batch, *config.video_shape),)
        if config.prior:
            stages["prior"] = build(_dense(config))
            codes = torch.empty(config.training.batch, *shape, dtype=torch.int64)
            inputs = codes, example_condition(needs(config.prior), config.video_shape, config.training.batch)
    parameters = {}
    for stage, model in stages.items():
        parts = {f"{stage}.{name}": parameter_count(part) for name, part in model.named_children()}
        parameters |= {stage: parameter_count(model), **parts}
    trained = list(stages)[-1]
    return {
        "parameters": parameters if config.prior else parameters | {"prior": 0},
        "video_shape": list(config.video_shape),
        "latent_shape": list(shape),
        "tokens": math.prod(shape),
        "trains": trained,
        "training_memory_mb": round(training_bytes(stages[trained], inputs, config.training) / 2**20),
        "training_memory_estimate": MEMORY_ESTIMATE,
    }


def _dense(config: Config) -> Config:
    """With full attention, which keeps as much for the backward pass as sparse attention does on a GPU. The mask that
    stands for a sparse pattern elsewhere would be real, and of gigabytes."""
    if not isinstance(config.prior, VideoGPTConfig):
        return config
    return replace(config, prior=replace(config.prior, attention="full"))


def training_bytes(model: nn.Module, inputs: tuple, training: TrainingConfig) -> int:
    """MEMORY_ESTIMATE, in bytes, for `model.loss(*inputs)`. Fake tensors do, and take no memory themselves."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # many views share one storage; holding it keeps its address its own
        return tensor

    model.eval()  # the codebooks' updates read values, and there are none here
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(*inputs)
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    activations = sum(storage.nbytes() for address, storage in kept.items() if address not in weights)
    copies = 4 + bool(training.ema_decay)  # weights, gradients, two running means, EMA
    return activations + copies * sum(parameter.nbytes for parameter in model.parameters())

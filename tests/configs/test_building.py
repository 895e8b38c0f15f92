import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lvlib.configs.building import MOST_PARTS, build_within_limits
from lvlib.errors import UserError
from lvlib.models.common.quantize import EMACodebook


def test_a_model_is_built_and_leaves_no_hook_behind():
    model = build_within_limits(lambda: nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    assert len(model) == 2 and model[0].weight.shape == (2, 3)
    assert not nn.modules.module._global_module_registration_hooks
    assert not nn.modules.module._global_parameter_registration_hooks
    assert not nn.modules.module._global_buffer_registration_hooks


def test_layers_without_number_end_soon():
    made = []

    def make() -> nn.Module:
        for _ in range(10**12):
            made.append(nn.Sequential(nn.ReLU()))

    with pytest.raises(UserError, match="more than 20,000 layers and weights"):
        build_within_limits(make)
    assert len(made) == MOST_PARTS


def test_lists_of_codebooks_without_number_end_too():
    """They have no layers inside: only buffers."""
    with pytest.raises(UserError, match="more than 20,000 layers and weights"):
        build_within_limits(lambda: [EMACodebook(1, 1) for _ in range(10**12)])


@pytest.mark.parametrize("place", [torch.device("meta"), FakeTensorMode()], ids=["meta", "fake"])
def test_weights_count_where_they_take_memory(place, monkeypatch):
    monkeypatch.setattr("lvlib.configs.building.free_memory", lambda: 40_000)
    with pytest.raises(UserError, match="weights take more than the 40 KB"):
        build_within_limits(lambda: nn.Linear(100, 101, bias=False))
    with pytest.raises(UserError, match="weights take more than the 40 KB"):
        build_within_limits(lambda: EMACodebook(100, 101))
    assert build_within_limits(lambda: nn.Linear(100, 100, bias=False)).weight.nbytes == 40_000
    with place:
        assert build_within_limits(lambda: nn.Linear(1000, 1000)).weight.shape == (1000, 1000)

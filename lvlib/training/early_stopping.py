"""When a training ends because its score no longer falls, and the weights that had the lowest. PVDM, App. A."""

import math

from torch import Tensor, nn


class EarlyStopping:
    """Takes in a score after each validation. `over` after `patience` of them in a row that were not the lowest.

    lowest: the lowest score so far. since: validations since then. weights: what the model had then, on the CPU.
    """

    def __init__(self, patience: int):
        self.patience, self.lowest, self.since = patience, math.inf, 0
        self.weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        return self.since >= self.patience

    def judge(self, score: float, model: nn.Module) -> None:
        """A score that is not a number is no lower one."""
        if score < self.lowest:
            self.lowest, self.since = score, 0
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        else:
            self.since += 1

    def state_dict(self) -> dict[str, float]:
        """All but the weights."""
        return {"lowest": self.lowest, "since": self.since}

    def load_state_dict(self, saved: dict[str, float], weights: dict[str, Tensor]) -> None:
        self.lowest, self.since, self.weights = saved["lowest"], int(saved["since"]), weights

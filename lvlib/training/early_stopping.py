"""When a training ends because its score no longer falls, and the weights that had the lowest. PVDM, App. A."""

import math

from torch import Tensor, nn

from lvlib.errors import UserError
from lvlib.training.config import TrainingConfig


def check_early_stopping(config: TrainingConfig, has_validation: bool) -> None:
    """Raises UserError for early stopping without clips to judge by."""
    if config.early_stopping and not has_validation:
        raise UserError("training.early_stopping needs a validation set, and there is none")


class EarlyStopping:
    """Takes in a score after each validation. `over` after `patience` of them in a row that were not the lowest.

    score: its name; with another one it begins anew. lowest: the lowest so far, at this `step`. since: validations
    since then. weights: what the model had then, on the CPU.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.score, self.lowest, self.step, self.since = "", math.inf, 0, 0
        self.weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        return self.since >= self.patience

    def judge(self, score: str, value: float, step: int, model: nn.Module) -> None:
        """A score that is not a number is no lower one."""
        if score != self.score:
            self.score, self.lowest, self.since = score, math.inf, 0
        if value < self.lowest:
            self.lowest, self.step, self.since = value, step, 0
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        else:
            self.since += 1

    def state_dict(self) -> dict[str, str | float | int]:
        """All but the weights."""
        return {"score": self.score, "lowest": self.lowest, "step": self.step, "since": self.since}

    def load_state_dict(self, saved: dict, weights: dict[str, Tensor]) -> None:
        self.score, self.lowest, self.step, self.since = (saved[key] for key in ("score", "lowest", "step", "since"))
        self.weights = weights

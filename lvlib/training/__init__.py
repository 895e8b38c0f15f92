"""Training: one loop that runs any model, with checkpoints that survive whatever happens to the process."""

from lvlib.training.config import TrainingConfig
from lvlib.training.loop import build_optimizer, train
from lvlib.training.run import load_run, load_weights

__all__ = ["TrainingConfig", "build_optimizer", "load_run", "load_weights", "train"]

"""Training: one loop that runs any model, with checkpoints that survive whatever happens to the process."""

from lvlib.training.config import TrainingConfig
from lvlib.training.loop import train
from lvlib.training.run import load_run, load_weights
from lvlib.training.step import Step, build_optimizer

__all__ = ["Step", "TrainingConfig", "build_optimizer", "load_run", "load_weights", "train"]

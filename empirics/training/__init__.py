"""What every fine-tuning shares: the loop, checkpoints, recorded steps, progress."""

from .graphed import GraphedLoss
from .loop import train

__all__ = ["GraphedLoss", "train"]

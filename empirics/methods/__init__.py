"""Fine-tuning methods, one definition each: a frozen configuration and ``apply(model, config) -> Handle``."""

from .base import Handle, MethodConfig, apply, count_trainable, load, method_config, method_names
from .dora import DoRA
from .in_place import BitFit, Full
from .lora import LoRA

__all__ = [
    "BitFit",
    "DoRA",
    "Full",
    "Handle",
    "LoRA",
    "MethodConfig",
    "apply",
    "count_trainable",
    "load",
    "method_config",
    "method_names",
]

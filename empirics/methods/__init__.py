"""Fine-tuning methods, one definition each: a frozen configuration and ``apply(model, config) -> Handle``."""

from .additional_scan import AdditionalScan
from .base import Handle, MethodConfig, apply, count_trainable, load, method_config, method_names
from .compile import compile_prefix
from .combined import Combined, SDTLoRA
from .dora import DoRA
from .in_place import BitFit, Full
from .initial_state import InitialState
from .lora import LoRA
from .peft_format import load_peft, save_peft
from .prefix import Prefix
from .prompt import Prompt
from .sdt import SDT
from .selection import Scores, Selection, precision_recall, select
from .state_offset import StateOffset

__all__ = [
    "SDT",
    "AdditionalScan",
    "BitFit",
    "Combined",
    "DoRA",
    "Full",
    "Handle",
    "InitialState",
    "LoRA",
    "MethodConfig",
    "Prefix",
    "Prompt",
    "SDTLoRA",
    "Scores",
    "Selection",
    "StateOffset",
    "apply",
    "compile_prefix",
    "count_trainable",
    "load",
    "load_peft",
    "method_config",
    "method_names",
    "precision_recall",
    "save_peft",
    "select",
]

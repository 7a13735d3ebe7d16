"""Fine-tuning methods, one definition each: a frozen configuration and ``apply(model, config) -> Handle``.

    lora, dora              low-rank updates of named matrices                          merge
    bitfit, full            biases, or any named tensors, in place                      merge
    sdt                     chosen states of chosen channels, as compact vectors        merge
    sdt_lora, combined      SDT with LoRA; any methods that do not collide              merge where all parts do
    prompt, prefix          tokens at the embedding, or at every mixer's input          compile_prefix
    initial_state           h_0, and the convolution's window with ``conv``
    state_offset            h' in y_t = C_t·(h_t + h') + D u_t
    additional_scan         extra states with their own decays and selectors

Every method but prompt and prefix starts at the base model, bit for bit.
"""

from ..hosts.export import export_cache
from .additional_scan import AdditionalScan
from .base import MethodConfig, method_config, method_names
from .combined import Combined, SDTLoRA
from .compile import compile_prefix
from .dora import DoRA
from .handle import Handle, apply, count_trainable, load
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
    "export_cache",
    "load",
    "load_peft",
    "method_config",
    "method_names",
    "precision_recall",
    "save_peft",
    "select",
]

"""Models whose parameter names are those of mamba-ssm checkpoints, with the scan chosen by name."""

from .config import Mamba1Config, Mamba2Config, MambaConfig
from .hooks import ExtraStates, MixerHook, PromptHook
from .lm import Backbone, MambaLM
from .loading import load_model, save_model
from .mamba1 import Mamba1
from .mamba2 import Mamba2
from .mixer import Mixer
from .sizes import SIZES, n_parameters, size_config
from .state import MixerState

__all__ = [
    "SIZES",
    "Backbone",
    "ExtraStates",
    "Mamba1",
    "Mamba1Config",
    "Mamba2",
    "Mamba2Config",
    "MambaConfig",
    "MambaLM",
    "Mixer",
    "MixerHook",
    "MixerState",
    "PromptHook",
    "load_model",
    "n_parameters",
    "save_model",
    "size_config",
]

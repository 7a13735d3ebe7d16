"""Empirical side of ssmproof: Mamba models, scans and fine-tuning methods. Needs the extra ``ssmproof[empirics]``.

Public names, loaded on first use: ``selective_scan``, ``ssd_scan`` (scans by name), ``MambaConfig``, ``MambaLM``,
``load_model``, ``save_model`` (models), ``MixerHook``, ``MixerState``, ``PromptHook``, ``ExtraStates`` (state methods),
``quick_checks`` (the small experiments as rows), ``bundled_model`` (a small byte-level Mamba-1).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import MissingPackage

if TYPE_CHECKING:
    from .kernels.dispatch import selective_scan, ssd_scan
    from .models import ExtraStates, MambaConfig, MambaLM, MixerHook, MixerState, PromptHook, load_model, save_model
    from .pretraining.bundle import bundled_model
    from .study.checks import quick_checks

_HOME = {
    "selective_scan": "kernels.dispatch",
    "ssd_scan": "kernels.dispatch",
    "quick_checks": "study.checks",
    "bundled_model": "pretraining.bundle",
    **dict.fromkeys(
        ("ExtraStates", "MambaConfig", "MambaLM", "MixerHook", "MixerState", "PromptHook", "load_model", "save_model"),
        "models",
    ),
}

__all__ = [
    "ExtraStates",
    "MambaConfig",
    "MambaLM",
    "MixerHook",
    "MixerState",
    "PromptHook",
    "bundled_model",
    "load_model",
    "quick_checks",
    "save_model",
    "selective_scan",
    "ssd_scan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'empirics' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingPackage("torch", "empirics") from error
        raise
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

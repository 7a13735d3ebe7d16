"""ssmproof: what fine-tuning can and cannot do to a state-space model.

``ssmproof.theory``, ``ssmproof.empirics`` and ``ssmproof.figures`` are the packages ``theory``, ``empirics`` and ``figures``:
the very same modules under a second name, with everything below them. The command ``ssmproof`` is their command lines in one.
"""

from __future__ import annotations

import importlib
from typing import Any

from theory.version import __version__

from .aliases import PACKAGES, install

install()

__all__ = ["__version__", "empirics", "figures", "theory"]


def __getattr__(name: str) -> Any:
    if name in PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

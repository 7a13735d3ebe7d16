"""Which parts of claims Rocq has checked, read from the manifest of theory.formal; without one, none."""

from __future__ import annotations

import importlib
import shutil
from functools import cache

from ..core.errors import InvalidInput


def theorems(claim_id: str, part: str) -> tuple[str, ...]:
    """Names of the theorems that cover the whole part for all sizes; empty where there are none, or where they are stale."""
    try:
        manifest = importlib.import_module("theory.formal.manifest")
    except ModuleNotFoundError:
        return ()
    try:
        if not manifest.covered(claim_id, part):
            return ()
        return tuple(e.theorem for e in manifest.load().entries if (e.claim, e.part) == (claim_id, part))
    except InvalidInput:  # no manifest, or one that cannot be read
        return ()


@cache
def rocq_is_installed() -> bool:
    """Whether ``make proofs`` could check the theorems here; else the verdict is what the manifest has recorded."""
    return shutil.which("coqc") is not None

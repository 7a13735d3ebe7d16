"""Comparisons as summaries hold them, for tests of what reads them."""

from __future__ import annotations

from typing import Any


def compared(kind: str, name: str, estimate: float, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    """A record with a verdict by its interval; ``more`` replaces entries."""
    null, below = (1.0, True) if kind == "ratio" else (0.0, False)
    verdict = "undecided"
    if low is not None and high is not None and (high < null or low > null):
        verdict = "reproduced" if (high < null) == below else "not reproduced"
    record = {
        "kind": kind, "name": name, "better": "a", "worse": "b", "estimate": estimate, "low": low, "high": high, "pairs": 5,
        "null": null, "predicted": "below" if below else "above", "unit": "", "verdict": verdict, "claim": "", "statement": "",
        "claim_verdict": "", "control": False, "note": "", "parts": [], "learned": None,
    }  # fmt: skip
    return record | more

"""What version 0.1.0 offered under a name is still there: the packages' ``__all__`` before the move of the rooms, and after."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

BEFORE: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "data" / "public_names_0.1.0.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("package", BEFORE)
def test_public_names_stay(package: str):
    if not package.startswith(("theory", "figures")):
        pytest.importorskip("torch")
    module = importlib.import_module(package)
    assert set(BEFORE[package]) <= set(getattr(module, "__all__", ())), set(BEFORE[package]) - set(module.__all__)
    for name in BEFORE[package]:
        getattr(module, name)


def test_a_lost_name_would_be_noticed():
    assert any("LTI" in names for names in BEFORE.values()) and sum(map(len, BEFORE.values())) > 100
    module = importlib.import_module("theory")
    with pytest.raises(AttributeError):
        _ = module.no_such_name

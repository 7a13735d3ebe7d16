"""No module imports itself through others, and the packages import each other one way only."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from test_contracts import ROOT, tracked

PACKAGES = {"theory": set(), "empirics": {"theory"}, "figures": {"theory"}, "ssmproof": {"theory"}}
"""Which packages each may import when it is loaded."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """The packages' modules, without tests."""
    found = [p for p in tracked("*.py") if p.relative_to(ROOT).parts[0] in PACKAGES]
    return {name_of(p): p for p in found if not p.name.startswith(("test_", "conftest"))}


def imported(name: str, source: str, package: bool, known: Mapping[str, object]) -> set[str]:
    """Modules that a module imports while it is loaded: statements at its top level, not those inside functions."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".") if package else name.split(".")[:-1]
            above = base[: len(base) - node.level + 1] if node.level else []
            target = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{target}.{a.name}" if f"{target}.{a.name}" in known else target for a in node.names}
    return {one for one in found if one in known and one != name}


def graph() -> dict[str, set[str]]:
    known = modules()
    return {
        name: imported(name, path.read_text(encoding="utf-8"), path.name == "__init__.py", known) for name, path in known.items()
    }


def test_no_module_imports_itself_through_others():
    TopologicalSorter(graph()).prepare()


def test_a_circle_would_be_noticed():
    arrows = graph()
    assert "theory.core.errors" in arrows["theory.core.lti"]
    arrows["theory.core.errors"] = {"theory.core.lti"}
    with pytest.raises(CycleError):
        TopologicalSorter(arrows).prepare()


def test_packages_import_each_other_one_way():
    arrows = graph()
    for package, allowed in PACKAGES.items():
        met = {target.split(".")[0] for name, targets in arrows.items() if name.split(".")[0] == package for target in targets}
        assert met - {package} <= allowed, package

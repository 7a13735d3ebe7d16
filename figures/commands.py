"""What the command line of figures does, once its options are read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from theory.core.files import require_writable

from .build import build, status
from .registry import chosen
from .report.page import build_report
from .report.readme import readme_status, write_readme
from .sources import MissingData


def show(names: Sequence[str], out: Path, *, everything: bool, fail: bool) -> int:
    """Print the state of figures and, for no names, of the generated pages; ``everything``: also of those that are current.

    Returns 1 where ``fail`` is asked for and something is stale, else 0.
    """
    wanted = chosen(names)
    states = {name: status(name, picture, out) for name, picture in wanted.items()}
    titles = {name: picture.title for name, picture in wanted.items()}
    if not names:
        states["readme"], titles["readme"] = readme_status(), "the scoreboard in README.md, docs/results.md"
    for name, state in states.items():
        if everything or state.startswith("stale"):
            print(f"{name:16} {state}" + (f"\n{'':16} {titles[name]}" if everything else ""))
    return 1 if fail and any(state.startswith("stale") for state in states.values()) else 0


def draw(names: Sequence[str], out: Path, *, only_stale: bool) -> int:
    """Build figures, all of them for no names."""
    wanted = chosen(names)
    if only_stale:
        wanted = {name: picture for name, picture in wanted.items() if status(name, picture, out).startswith("stale")}
        if not wanted:
            print("every figure is up to date")
    if wanted:
        require_writable(out)
    for name, picture in wanted.items():
        try:
            build(name, picture, out)
            print(f"{name:16} built")
        except MissingData as missing:
            print(f"{name:16} {missing}")
    return 0


def pages(*, check: bool) -> int:
    """Write the generated pages; with ``check`` only say whether they are current, 1 where they are not."""
    if check:
        state = readme_status()
        print(f"README.md and docs/results.md: {state}")
        return 0 if state == "current" else 1
    write_readme()
    return 0


def report(out: Path) -> int:
    """Write the report and say where it is."""
    try:
        size = build_report(out)
    except MissingData as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2
    print(f"The report is one page of {size / 1e6:.2f} MB. Open it in a browser, it needs no network:")
    print(out.resolve().as_uri())
    return 0

"""Whether the packages run from a checkout of the project or from an installed wheel, which has no pages, pictures or tests."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from .errors import InvalidInput

NAME = "ssmproof"
ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages: the checkout's root, or site-packages."""


@cache
def is_checkout(root: Path = ROOT) -> bool:
    """Whether ``root`` is the root of a checkout: its pyproject.toml names this project."""
    try:
        return bool(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == NAME)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def require_checkout(what: str, remedy: str, root: Path = ROOT) -> None:
    """Raise InvalidInput that says that ``what`` needs the checkout, and the remedy, where there is none."""
    if not is_checkout(root):
        raise InvalidInput(f"{what} needs a checkout of {NAME}, and this is an installed package; {remedy}")

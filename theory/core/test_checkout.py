"""A checkout is told from an installed package by its pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from theory.core.checkout import is_checkout, require_checkout
from theory.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('[project]\nname = "ssmproof"\n', True),
        ('[project]\nname = "other"\n', False),
        ("name = ", False),
        ("[project]\n", False),
    ],
)
def test_a_checkout_names_the_project(tmp_path: Path, text: str, is_one: bool) -> None:
    assert not is_checkout(tmp_path / "nowhere")
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert is_checkout(tmp_path) is is_one
    if is_one:
        require_checkout("drawing", "clone it", tmp_path)
    else:
        with pytest.raises(
            InvalidInput, match="drawing needs a checkout of ssmproof, and this is an installed package; clone it"
        ):
            require_checkout("drawing", "clone it", tmp_path)

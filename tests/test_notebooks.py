"""Notebooks: committed with the outputs of today's code, no library code of their own, claims and links that exist.

That they run from top to bottom is tested by nbmake (``make test``); here, what it does not look at.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from theory.formal.manifest import load
from theory.formal.recheck import CLOSED, entry_of
from theory.verification.registry import all_claims

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
EXACT = [path for path in BOOKS if not path.name.startswith("04")]
"""Notebooks that need no training: seconds to run, the same text on every machine."""


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code_cells(book: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def prose(book: dict[str, Any]) -> str:
    return "\n".join(source(cell) for cell in book["cells"] if cell["cell_type"] == "markdown")


def printed(cell: dict[str, Any]) -> str:
    """What a cell has printed, tables among it as the text that they have in a terminal; pictures are left out."""
    parts = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            parts.append("".join(output["text"]))
        elif "image/png" not in output.get("data", {}):
            parts.append("".join(output["data"]["text/plain"]) + "\n")
    return "".join(parts)


def differing(book: dict[str, Any]) -> list[str]:
    """Ids of the cells that print something else today than what is committed."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    found = []
    backend = plt.get_backend()
    plt.switch_backend("agg")
    try:
        with plt.rc_context():
            for cell in code_cells(book):
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(compile(source(cell), f"cell {cell['id']}", "exec"), namespace)
                if out.getvalue() != printed(cell):
                    found.append(cell["id"])
    finally:
        plt.close("all")
        plt.switch_backend(backend)
    return found


def test_tables_are_read_from_a_notebook_as_text():
    table = {"output_type": "display_data", "data": {"text/plain": ["n  x\n", "1  2"], "text/html": "<table>"}}
    picture = {"output_type": "display_data", "data": {"image/png": "", "text/plain": "<Figure>"}}
    assert printed({"outputs": [{"output_type": "stream", "text": ["a\n"]}, table, picture]}) == "a\nn  x\n1  2\n"


def anchors(path: Path) -> set[str]:
    """Anchors that GitHub gives to the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_there_are_five_in_order_and_the_index_lists_them():
    assert [path.name[:3] for path in BOOKS] == ["01_", "02_", "03_", "04_", "05_"]
    listed = re.findall(r"^\| \[.+?\]\((\w+\.ipynb)\)", (FOLDER / "README.md").read_text(encoding="utf-8"), flags=re.M)
    assert listed == [path.name for path in BOOKS]


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_committed_with_outputs_and_without_accidents(path: Path):
    book = read(path)
    cells = code_cells(book)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run from top to bottom and save"
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data"}, "an error, or a value nobody prints"
    assert all(output["name"] == "stdout" for output in outputs if output["output_type"] == "stream"), "a warning was saved"
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    text = "\n".join([prose(book), *(source(cell) + printed(cell) for cell in cells)])
    assert not re.search(r"(?:^|[\s'\"(])/(?:\w+/)+\w", text), "a path of some machine"
    assert not re.search(r"\d\s*(?:seconds|ms|µs)\b|\b0x[0-9a-f]{6,}", text), "text that changes from run to run"
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    assert "version" not in book["metadata"]["language_info"], "the interpreter's version changes from machine to machine"
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_library_code_stays_in_the_library(path: Path):
    for cell in code_cells(read(path)):
        nodes = list(ast.walk(ast.parse(source(cell))))
        assert not [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)], cell["id"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_teaches_claims_that_exist_and_lets_them_be_broken(path: Path):
    text = prose(read(path))
    head = next(part for part in text.split("\n\n") if part.startswith("**Claims shown:**"))
    named = re.findall(r"\[`(\w+\.\w+)`\]\(\.\./theory/(\w+)/(\w+)/README\.md\)", head)
    assert len(named) == head.count("`](") > 0
    known = {claim.id for claim in all_claims()}
    for claim, family, statement in named:
        assert claim in known and claim == f"{family}.{statement}"
    assert re.search(r"try to break it", text, flags=re.I)


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
def test_links_resolve(path: Path):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(read(path)))
    assert links
    for link in links:
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        assert (FOLDER / file).exists(), link
        assert not anchor or anchor in anchors(FOLDER / file), link


@pytest.mark.parametrize("path", EXACT, ids=lambda p: p.stem)
def test_committed_text_is_what_the_code_prints_today(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As on a machine without Rocq, where 05 quotes the record instead of checking again."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not differing(read(path)), f"execute {path.name} again and save it"


def test_05_shows_the_record_of_the_theorem_it_is_about():
    """Statement, type, file, hash and assumptions as the manifest has them, and that they are quoted and not checked."""
    (book,) = (read(path) for path in BOOKS if path.name.startswith("05"))
    text = "".join(map(printed, code_cells(book)))
    entry = entry_of("prefix_state.equivalent.equivalent")
    folded = " ".join(text.split())
    assert all(words in folded for words in (entry.statement, entry.type, entry.covers, entry.file, entry.sha256))
    assert f"{entry.theorem}: recorded, Rocq {load().rocq}: {CLOSED}\n" in text and "checked here" not in text


def test_a_stale_output_is_noticed():
    """Printed text that changed, and a table that changed."""
    book = read(BOOKS[0])
    stale = copy.deepcopy(book)
    text = next(c for c in code_cells(stale) if any(o["output_type"] == "stream" for o in c["outputs"]))
    table = next(c for c in code_cells(stale) if c is not text and any("text/html" in o.get("data", {}) for o in c["outputs"]))
    next(o for o in text["outputs"] if o["output_type"] == "stream")["text"] = ["something else\n"]
    next(o for o in table["outputs"] if "text/html" in o.get("data", {}))["data"]["text/plain"] = ["something else"]
    assert sorted(differing(stale)) == sorted([text["id"], table["id"]])


def test_anchors_are_githubs(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# A title\n## prefix_state.contained\n### What it means, here\n")
    assert anchors(page) == {"a-title", "prefix_statecontained", "what-it-means-here"}

"""Rules that hold over the whole repository: import direction, no machine paths, generated files up to date, links."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_notebooks import anchors

from theory.formal.page import stale_pages
from theory.verification.registry import all_claims, get_claim

ROOT = Path(__file__).resolve().parent.parent


def tracked(*patterns: str) -> list[Path]:
    """Files git tracks, or every file where this is no checkout."""
    try:
        out = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        names = [n for n in out.split("\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(ROOT)) for pattern in patterns or ("*",) for p in ROOT.rglob(pattern) if p.is_file()]
    return [ROOT / n for n in names if (ROOT / n).is_file() and ".venv" not in n]


def imports(path: Path, at_once: bool = False) -> set[str]:
    """Top-level packages that a module imports: anywhere in it, or ``at_once``, outside of its functions."""
    found: set[str] = set()
    left: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while left:
        node = left.pop()
        if at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        left += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {a.name.partition(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_imports_inside_a_function_are_told_apart(tmp_path: Path):
    (tmp_path / "m.py").write_text("import a.b\ndef f():\n    from figures.x import y\nclass C:\n    import d\n")
    assert imports(tmp_path / "m.py") == {"a", "figures", "d"}
    assert imports(tmp_path / "m.py", at_once=True) == {"a", "d"}


def test_theory_never_imports_torch_or_empirics():
    files = tracked("theory/*.py")
    assert len(files) > 20
    for path in files:
        assert not imports(path) & {"torch", "empirics", "triton", "mamba_ssm", "transformers"}, path


def test_figures_never_import_empirics():
    """What is measured reaches a figure as a file."""
    files = tracked("figures/*.py")
    assert len(files) > 20
    for path in files:
        assert not imports(path) & {"torch", "empirics", "triton", "mamba_ssm", "transformers"}, path


def test_empirics_imports_figures_only_inside_a_command():
    """Pictures of a diagnosis and a fine-tuning are drawn where they are asked for; the rest works without matplotlib."""
    users = {path.relative_to(ROOT).as_posix() for path in tracked("empirics/*.py") if "figures" in imports(path)}
    assert users == {"empirics/diagnosis/command.py", "empirics/tuning/command.py"}
    for path in users:
        assert "figures" not in imports(ROOT / path, at_once=True), f"{path} imports figures before it is asked to draw"


def test_importing_theory_loads_no_torch():
    code = "import sys, theory, theory.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_core_knows_no_claim():
    for path in tracked("theory/core/*.py"):
        text = path.read_text(encoding="utf-8")
        for family in ("prefix_state", "lora_limits", "sparse_dims", "beyond"):
            assert f"theory.{family}" not in text and f"from ..{family}" not in text, f"{path} imports a family"


def test_no_absolute_paths_of_a_machine():
    pattern = re.compile(r"(?:^|[^A-Za-z0-9_.])/(?:work|root|home|farm|Users)/[A-Za-z0-9_.-]")
    for path in tracked("*.py", "*.md", "*.toml", "*.json", "*.txt", "Makefile", ".ci/run"):
        assert not pattern.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_tolerances_live_in_one_file():
    """theory/ states no float tolerance outside core/tolerance.py (tests may name the budget they use)."""
    pattern = re.compile(r"\b(?:rtol|atol|tol|rel|abs)\s*=\s*\d*\.?\d+e-?\d+")
    for path in tracked("theory/*.py"):
        if path.name.startswith("test_") or path.name == "tolerance.py":
            continue
        assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_readme_table_is_generated_from_the_verdicts():
    run = subprocess.run([sys.executable, "-m", "theory", "readme", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_pages_show_the_recorded_theorems():
    stale = stale_pages()
    assert not stale, f"{', '.join(stale)}: run python -m theory.formal --page"


def test_verdicts_cover_every_claim():
    from theory.verification.registry import all_claims

    payload = json.loads((ROOT / "theory" / "verdicts.json").read_text(encoding="utf-8"))
    assert [c["id"] for c in payload["claims"]] == [c.id for c in all_claims()], "run `make verify` and commit verdicts.json"
    for claim in payload["claims"]:
        assert claim["verdict"] in {"FORMAL", "PROVED", "EXACT", "NUMERIC", "OPEN"}, claim["id"]
        assert {c["part"] for c in claim["checks"]} - {None} == {p["name"] for p in claim["parts"]}, claim["id"]
        assert all(c["planted"]["errors"] and c["planted"]["caught"] == len(c["planted"]["errors"]) for c in claim["checks"])


@pytest.mark.parametrize("claim", all_claims(), ids=lambda claim: claim.id)
def test_every_argument_stands_on_the_claims_page(claim):
    """The anchor is a heading's, and something is written under it; one that does not exist would prove nothing."""
    page = ROOT / claim.readme
    for part in claim.parts:
        if part.argument:
            assert part.argument in anchors(page), (claim.id, part.argument)
            assert len(section(page, part.argument)) > 200, (claim.id, part.argument)


def section(page: Path, anchor: str) -> str:
    """The text under the heading with that anchor, up to the next heading."""
    pieces = re.split(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    found = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return next(
        body for heading, body in found.items() if re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") == anchor
    )


def test_a_missing_argument_is_noticed():
    page = ROOT / "theory/prefix_state/contained/README.md"
    assert "derivation" in anchors(page) and "no-such-argument" not in anchors(page)
    assert "induction over" in section(page, "derivation") and "taps (2, 3)" not in section(page, "derivation")


@pytest.mark.parametrize("path", tracked("*.md"), ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_resolve(path: Path):
    assert not broken_links(path.read_text(encoding="utf-8"), path)


def broken_links(text: str, path: Path) -> list[str]:
    """Relative links of a Markdown file that lead to no file, or to no heading of one."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def test_a_broken_link_is_noticed():
    path = ROOT / "README.md"
    good = "[a](theory/prefix_state/contained/README.md#prefix_statecontained) [b](#what-is-decided) [c](https://example.org/#nowhere)"
    assert not broken_links(good, path)
    bad = ["theory/no_such.md", "theory/prefix_state/README.md#no-such", "#no-such"]
    assert broken_links(" ".join(f"[x]({link})" for link in bad), path) == bad


def test_no_pickles():
    """Nothing is written as a pickle, and foreign checkpoints are read as tensors only."""
    for path in tracked("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name == "test_contracts.py" or "tests" in path.parts:
            continue
        for forbidden in ("pickle.load", "pickle.dump", "torch.save(", "allow_pickle=True"):
            assert forbidden not in text, (path, forbidden)
        for call in re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "weights_only=True" in call, (path, call)


CLAIM_FOLDERS = sorted(path.parent for path in (ROOT / "theory").glob("*/*/claim.py"))


@pytest.mark.parametrize("folder", CLAIM_FOLDERS, ids=lambda folder: f"{folder.parent.name}.{folder.name}")
def test_a_claim_is_one_folder_of_one_shape(folder: Path):
    """README.md with the id as its title, claim.py with the claim of that id and the path of that page, a test, a row above."""
    name = f"{folder.parent.name}.{folder.name}"
    claim = get_claim(name)
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
    assert claim.readme == (folder / "README.md").relative_to(ROOT).as_posix()
    assert list(folder.glob("test_*.py")), f"{name} has no test beside it"
    rows = (folder.parent / "README.md").read_text(encoding="utf-8").splitlines()
    listed = f"]({folder.name}/README.md)"
    assert any(row.startswith("|") and listed in row for row in rows), f"{folder.parent.name} lists no {name}"


def test_every_claim_has_a_folder_and_every_folder_is_listed():
    folders = {f"{folder.parent.name}.{folder.name}" for folder in CLAIM_FOLDERS}
    assert folders == {claim.id for claim in all_claims()}

"""The distribution: one name, one command, and a wheel that works away from the checkout and writes nothing into itself."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from test_contracts import tracked

import ssmproof
import theory
from ssmproof.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent


def python(*arguments: str, path: Path = ROOT, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin", "HOME": str(cwd or path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", *arguments], cwd=cwd or path, env=environment, capture_output=True, text=True, timeout=300
    )


# -- one name ---------------------------------------------------------------------------------------------------------------


def test_the_packages_are_the_same_modules_under_either_name():
    """In a process of its own: what is imported first must not matter."""
    for first, second in (("theory.core.lti", "ssmproof.theory.core.lti"), ("ssmproof.theory.core.lti", "theory.core.lti")):
        program = (
            f"import importlib; a = importlib.import_module('{first}'); b = importlib.import_module('{second}')\n"
            "import ssmproof, theory\n"
            "assert a is b and ssmproof.theory is theory\n"
            "assert theory.__spec__.name == 'theory' and a.__spec__.name == 'theory.core.lti', a.__spec__\n"
            "importlib.reload(a)\n"
        )
        run = python("-c", program)
        assert run.returncode == 0, run.stderr


def test_unknown_names_are_no_aliases():
    with pytest.raises(AttributeError, match="no attribute 'notebooks'"):
        _ = ssmproof.notebooks  # type: ignore[attr-defined]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ssmproof.theory.no_such_module")


def test_the_version_has_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["dynamic"] == ["version"] and "version" not in project
    assert theory.__version__ == ssmproof.__version__
    assert f"version: {theory.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(theory.__version__)}\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)


# -- one command ------------------------------------------------------------------------------------------------------------


def test_every_command_is_named_in_the_help(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", told)] == []


def test_every_command_of_empirics_is_one_of_ssmproof_and_has_a_word_in_its_help(capsys: pytest.CaptureFixture[str]):
    from empirics.__main__ import COMMANDS as OWN
    from empirics.__main__ import main as empirics_main

    assert {name: COMMANDS.get(name) for name in OWN} == {name: ("empirics", (name,)) for name in OWN}
    assert empirics_main(["--help"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert [name for name in OWN if not any(re.search(rf"(^| ){name}([,: ]|$).* \w+ ", line) for line in lines)] == []


def test_the_command_says_its_version_and_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ssmproof {theory.__version__}\n"
    assert main([]) == 2
    assert main(["verfy"]) == 2
    assert "no command 'verfy'; did you mean verify" in capsys.readouterr().err


def test_a_command_is_handed_on(capsys: pytest.CaptureFixture[str]):
    assert main(["theory", "--list", "--claim", "prefix_state.equivalent"]) == 0
    assert capsys.readouterr().out.startswith("prefix_state.equivalent ")


def test_importing_loads_nothing_that_is_slow():
    """Counted in modules, since times belong into benchmarks: import theory, and the help of every quick command."""
    slow = ["torch", "sympy", "scipy", "matplotlib", "hypothesis", "networkx"]
    program = f"import sys, theory, empirics, figures, ssmproof; print([m for m in {slow} if m in sys.modules])"
    assert python("-c", program).stdout == "[]\n"
    assert python("-c", f"import sys, theory; theory.LTI; print([m for m in {slow} if m in sys.modules])").stdout != "[]\n"


def test_help_loads_nothing_that_is_slow():
    """Every command's --help, in one process that ends without torch or matplotlib in it."""
    program = """
import contextlib, io, sys
from ssmproof.__main__ import COMMANDS, main
import empirics.__main__, theory.__main__
lines = [[c, h] for c in COMMANDS for h in ("--help", "-h")]
lines += [["bench", b, "--help"] for b in empirics.__main__.BENCHMARKS]
lines += [["empirics", c, "--help"] for c in empirics.__main__.COMMANDS]
lines += [["theory", c, "--help"] for c in theory.__main__.COMMANDS]
for line in lines:
    with contextlib.redirect_stdout(io.StringIO()) as told:
        try:
            code = main(line)
        except SystemExit as stopped:
            code = stopped.code
    usage = "usage" in told.getvalue() or "COMMAND" in told.getvalue() or "python -m" in told.getvalue()
    assert usage and code == 0, (line, code, told.getvalue())
print([m for m in ("torch", "matplotlib", "scipy.stats", "transformers") if m in sys.modules])
"""
    run = python("-c", program)
    assert run.stdout == "[]\n", run.stdout + run.stderr


def test_only_claims_need_hypothesis():
    """Every public name loads without it; listing or deciding claims says in one line what to install."""
    program = """
import sys
sys.modules["hypothesis"] = None
import theory
for name in theory.__all__:
    getattr(theory, name)
print(theory.minimal_prefix_length(theory.LTI(["1/2", "1/3"], [1, 1], [2, -1])))
from theory.__main__ import main
sys.exit(main(["--list"]))
"""
    run = python("-c", program)
    assert run.returncode == 2 and run.stdout == "2\n", run.stdout + run.stderr
    assert run.stderr == "error: claims draw their instances with hypothesis; pip install 'ssmproof[verify]'\n"


# -- the wheel --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks: a build leaves files behind, which the next one would pack."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("source")
    for path in tracked():
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of a wheel, unpacked as an installation would."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    (wheel,) = out.glob("ssmproof-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(out / "site")
    return out / "site"


@pytest.mark.slow
def test_the_sdist_is_complete(source: Path, tmp_path: Path):
    command = [sys.executable, "setup.py", "-q", "sdist", "--formats=tar", "-d", str(tmp_path)]  # not packed: that takes long
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    (sdist,) = tmp_path.glob("*.tar")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    missing = {path.relative_to(ROOT).as_posix() for path in tracked()} - names
    assert missing <= {".gitignore"}, sorted(missing)[:10]


@pytest.mark.slow
def test_the_wheel_holds_what_is_used_and_no_more(installed: Path):
    names = [path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()]
    assert [n for n in names if re.search(r"(^|/)(test_[^/]*|conftest)\.py$", n)] == []
    assert [n for n in names if "/runs/" in n or n.endswith("runs.jsonl") or n.startswith("figures/out/")] == []
    assert [n for n in names if n.startswith("empirics/data/base")] == []
    for needed in (
        "theory/py.typed", "empirics/py.typed", "figures/py.typed", "ssmproof/py.typed", "theory/verdicts.json",
        "empirics/data/bundled/model.safetensors", "theory/prefix_state/equivalent/README.md",
    ):  # fmt: skip
        assert needed in names, needed
    (entry,) = installed.glob("ssmproof-*.dist-info/entry_points.txt")
    assert "ssmproof = ssmproof.__main__:main" in entry.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["draw"],
        ["draw", "hankel"],
        ["figures", "--list"],
        ["figures", "--check"],
        ["report"],
        ["readme"],
        ["readme", "--check"],
        ["unpack", "vision", "--out", "runs"],
    ],
    ids=" ".join,
)
def test_what_needs_the_checkout_says_so_in_one_line(installed: Path, tmp_path: Path, arguments: list[str]):
    run = python("-m", "ssmproof", *arguments, path=installed, cwd=tmp_path)
    assert run.returncode == 2, run.stdout
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1, run.stderr
    assert "checkout" in run.stderr


@pytest.mark.slow
def test_an_installed_package_works_and_writes_nothing_into_itself(installed: Path, tmp_path: Path):
    before = {path: path.stat().st_mtime_ns for path in installed.rglob("*") if "__pycache__" not in path.parts}
    for arguments in (
        ["verify", "--claim", "prefix_state.contained", "--profile", "quick", "--jobs", "1", "--out", "v.json"],
        ["lattice"],
        ["draw", "crossover", "--out", str(tmp_path / "pictures")],
    ):
        run = python("-B", "-m", "ssmproof", *arguments, path=installed, cwd=tmp_path)
        assert run.returncode == 0, (arguments, run.stderr)
    assert json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))["claims"][0]["id"] == "prefix_state.contained"
    assert (tmp_path / "pictures/crossover.png").is_file()
    after = {path: path.stat().st_mtime_ns for path in installed.rglob("*") if "__pycache__" not in path.parts}
    assert after == before

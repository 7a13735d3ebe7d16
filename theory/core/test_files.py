"""One-step writes, JSON that names its mistakes, generated parts, near names, provenance."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core import files, provenance
from theory.core.errors import InvalidInput
from theory.core.marks import with_part
from theory.core.names import LISTED, nearest, suggestion
from theory.version import __version__


class Broken(Exception):
    """Somebody else's error."""


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "long old text")
    files.write_text(path, "λ")
    assert path.read_bytes() == "λ".encode() and path.stat().st_mode & 0o777 == files.MODE
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")

    def half() -> None:
        with files.replacing(path) as part:
            part.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    files.write_text(path, "x")
    assert path.read_text() == "x"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_json_comes_back(value: object) -> None:
    assert files.parse_json(files.json_text(value), "x") == value
    assert files.parse_json(files.json_text(value, indent=None), "x") == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no readable JSON"),
        ("[NaN]", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("[1e999]", "1e999 is too large"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 150 + "]" * 150, "nested deeper than 100 levels"),
        ("9" * 5000, "no readable JSON"),
        ("", "no readable JSON"),
    ],
)
def test_what_is_no_json_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(Broken, match=said) as caught:
        files.read_json(path, Broken, "make it again")
    assert str(caught.value).startswith(str(path)) and str(caught.value).endswith("; make it again")
    assert "\n" not in str(caught.value)


def test_infinities_may_be_asked_for(tmp_path: Path) -> None:
    assert files.parse_json("[0.0, Infinity, -Infinity, 1e999]", "x", finite=False) == [0.0, math.inf, -math.inf, math.inf]
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.json_text(float("inf"))


def test_depth_is_counted_not_size() -> None:
    assert files.parse_json("[" * 100 + "]" * 100, "x")
    assert len(files.parse_json(json.dumps([[i] for i in range(10_000)]), "x")) == 10_000


@pytest.mark.parametrize("value", ["[1]", '"a"', "null", "3", "true"])
def test_an_object_is_asked_for(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(value)
    with pytest.raises(InvalidInput, match="instead of a JSON object"):
        files.read_object(path)
    path.write_text('{"a": 1}')
    assert files.read_object(path) == {"a": 1}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="No such file"):
        files.read_json(tmp_path / "absent.json", Broken)
    with pytest.raises(Broken, match="directory"):
        files.read_json(tmp_path, Broken)
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    with pytest.raises(Broken, match="no UTF-8 text"):
        files.read_json(tmp_path / "a", Broken)
    with pytest.raises(Broken, match="null"):
        files.read_text(Path("a\0b"), Broken)


def test_a_folder_is_tried_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.require_writable(tmp_path / "new")
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(Broken, match=r"--out .*file/x cannot be written to: Not a directory; name a folder"):
        files.require_writable(tmp_path / "file" / "x", Broken)
    with pytest.raises(Broken, match=r"--out .*file cannot be written to: it is a file; name a folder"):
        files.require_writable(tmp_path / "file", Broken)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InvalidInput, match="No space left on device"):
        files.require_writable(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]


def test_a_folder_is_tried_by_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def both(source: str | Path, target: str | Path) -> None:
        replace(source, target)
        os.unlink(target)  # as another process does that has just written its own

    monkeypatch.setattr(files.os, "replace", both)
    files.require_writable(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_file_is_tried_before_the_work(tmp_path: Path) -> None:
    files.require_replaceable(tmp_path / "new" / "page.md")
    (tmp_path / "old.md").write_text("old")
    files.require_replaceable(tmp_path / "old.md")
    assert (tmp_path / "old.md").read_text() == "old"  # trying changes nothing
    for path, said in [
        (tmp_path, "is a folder"),
        (tmp_path / "nothing" / "..", "is no regular file"),
        (Path(os.devnull), "is no regular file"),  # whoever may would replace the device by a file
        (tmp_path / "old.md" / "x", "is a file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ]:
        with pytest.raises(Broken, match=f"--page .*{said}.*; name a f"):
            files.require_replaceable(path, Broken, "--page")


def test_a_generated_part_is_replaced() -> None:
    marks = ("<a>", "</a>")
    assert with_part("x<a>old</a>y", marks, "new\n", "f") == "x<a>\nnew\n</a>y"
    once = with_part("x<a></a>y", marks, "n\n", "f")
    assert with_part(once, marks, "n\n", "f") == once
    for text in ("x", "<a>", "</a>", "</a><a>"):
        with pytest.raises(InvalidInput, match="f lacks the marks"):
            with_part(text, marks, "n", "f")


def test_near_names() -> None:
    known = ["lora_linear", "lora_ssm", "prefix", "FULL"]
    assert nearest("lora_liner", known) == ["lora_linear"] and nearest("full", known) == ["FULL"]
    assert nearest("xyz", known) == [] and len(nearest("lora", known, 2)) == 2
    assert suggestion("prefx", known) == "did you mean prefix?"
    assert suggestion("zzz", known) == "known: lora_linear, lora_ssm, prefix, FULL"
    assert suggestion("latt1ce", ["lattice", "selection"]) == "did you mean lattice?"
    many = [f"n{i}" for i in range(LISTED + 3)]
    assert suggestion("zzz", many).endswith(f"n{LISTED - 1} and 3 more") and "more" not in suggestion("zzz", many[:LISTED])


def test_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {"rev-parse": "f" * 40 + "\n", "status": ""}
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=answers[command[1]])

    commit = provenance.git_commit.__wrapped__
    monkeypatch.delenv(provenance.VARIABLE, raising=False)
    monkeypatch.setattr(provenance.subprocess, "run", run)
    assert commit(tmp_path) is None  # the checkout of another project
    monkeypatch.setattr(provenance, "is_checkout", lambda folder: folder == Path("f" * 40))
    assert commit(tmp_path) == "f" * 40 and "--untracked-files=no" in asked[-1]
    answers["status"] = " M theory/core/lti.py\n"
    assert commit(tmp_path, ("theory",)) == "f" * 40 + "-dirty" and asked[-1][-2:] == ["--", "theory"]
    monkeypatch.setenv(provenance.VARIABLE, "told")
    assert commit(tmp_path) == "told"
    monkeypatch.delenv(provenance.VARIABLE)

    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", absent)
    assert commit(tmp_path) is None


def test_versions() -> None:
    import numpy

    found = provenance.versions(["numpy", "no-such-package"])
    assert found["numpy"] == numpy.__version__ and "no-such-package" not in found and "python" in found


def test_the_project_s_version_is_the_code_s_and_not_the_installation_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance.metadata, "version", lambda package: "0.0.1")
    found = provenance.versions(["ssmproof", "numpy"])
    assert found["ssmproof"] == __version__ != "0.0.1" == found["numpy"]

"""Files that are written whole or not at all, and JSON that is read with its mistakes named.

Nothing here knows whose file it is: where an error belongs to another package, its class is an argument.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InvalidInput

MODE = 0o644
"""Permissions of what is written: a temporary file would be for its owner alone."""

DEEPEST = 100
"""Levels of nesting that a JSON file may have; ours have at most ten, and Python's own recursion ends near a thousand."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, for the block to write; at the block's end it takes the place of ``path``.

    A reader sees the old file or the new one, never a part, and after a power cut it is one of the two: the content is on the
    disk (fsync) before the name is. Where the block raises, ``path`` is as it was and nothing is left over.

    Raises
    ------
    OSError
        The folder cannot be made or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, MODE)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content in one step; see :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text (UTF-8) in one step; see :func:`replacing`."""
    write_bytes(path, text.encode("utf-8"))


def require_writable(folder: Path, error: type[Exception] = InvalidInput, what: str = "--out") -> None:
    """Make the folder and try to write there, before anything is computed whose result would be lost; else ``error``."""
    if os.path.isfile(folder):  # unlike Path.is_file, False where the name itself is impossible
        raise error(f"{what} {folder} cannot be written to: it is a file; name a folder")
    try:
        with replacing(folder / ".writable") as temporary:
            temporary.write_bytes(b"x")
        (folder / ".writable").unlink(missing_ok=True)  # another process that tries the same folder may have been first
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise error(f"{what} {folder} cannot be written to: {reason}; name a folder of yours with space left") from problem


def require_replaceable(path: Path, error: type[Exception] = InvalidInput, what: str = "--out") -> None:
    """The same of a file: its folder is tried, and a folder or a device of its name, which cannot be replaced, is refused."""
    try:
        other = path.name in ("", "..") or (path.exists() and not path.is_file())
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise error(f"{what} {path} cannot be written: {reason}; name a file in a folder of yours") from problem
    if other:
        raise error(f"{what} {path} is {'a folder' if path.is_dir() else 'no regular file'}; name a file in it, or another one")
    require_writable(path.parent, error, what)


def json_text(value: Any, indent: int | None = 1) -> str:
    """JSON as this project writes it: not escaped, keys in the given order, no NaN or infinity, a line's end at the end.

    Raises
    ------
    TypeError, ValueError
        A value that JSON does not have.
    """
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write :func:`json_text` in one step; see :func:`replacing`."""
    write_text(path, json_text(value, indent))


def parse_json(text: str, where: object, error: type[Exception] = InvalidInput, remedy: str = "", *, finite: bool = True) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    where:
        Name of the text, for the message.
    error, remedy:
        What is raised, and the end of its message: what would mend the file.
    finite:
        Refuse NaN and infinity, which Python's reader accepts although JSON has no such numbers.

    Raises
    ------
    error
        The text is no JSON, is nested deeper than :data:`DEEPEST`, or holds a number that is not finite.
    """

    def constant(name: str) -> float:
        if finite:
            raise ValueError(f"{name} is no JSON number")
        return float(name.replace("Infinity", "inf"))

    def number(digits: str) -> float:
        value = float(digits)
        if finite and not math.isfinite(value):
            raise ValueError(f"{digits} is too large for a number")
        return value

    try:
        value = json.loads(text, parse_constant=constant, parse_float=number)
    except RecursionError:
        raise error(_sentence(f"{where} is no readable JSON: nested too deeply", remedy)) from None
    except ValueError as problem:
        raise error(_sentence(f"{where} is no readable JSON: {problem}", remedy)) from problem
    if _deeper(value, DEEPEST):
        raise error(_sentence(f"{where} is no readable JSON: nested deeper than {DEEPEST} levels", remedy))
    return value


def read_json(path: Path, error: type[Exception] = InvalidInput, remedy: str = "", *, finite: bool = True) -> Any:
    """The value of a JSON file; parameters and errors of :func:`parse_json`, and ``error`` for a file that cannot be read."""
    return parse_json(read_text(path, error, remedy), path, error, remedy, finite=finite)


def read_object(path: Path, error: type[Exception] = InvalidInput, remedy: str = "", *, finite: bool = True) -> dict[str, Any]:
    """:func:`read_json` of a file that must hold a JSON object."""
    return as_object(read_json(path, error, remedy, finite=finite), path, error, remedy)


def as_object(value: Any, where: object, error: type[Exception] = InvalidInput, remedy: str = "") -> dict[str, Any]:
    """The value, once it is clear that it is a JSON object; else ``error``."""
    if not isinstance(value, dict):
        raise error(_sentence(f"{where} is corrupt: {_kind(value)} instead of a JSON object", remedy))
    return value


def read_text(path: Path, error: type[Exception] = InvalidInput, remedy: str = "") -> str:
    """The text (UTF-8) of a file; ``error`` for one that is missing, cannot be read, or is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(_sentence(f"cannot read {path}: {problem.strerror or problem}", remedy)) from problem
    except (UnicodeDecodeError, ValueError) as problem:  # ValueError: a path with a null byte
        raise error(_sentence(f"{path} is no UTF-8 text: {problem}", remedy)) from problem


def _sentence(problem: str, remedy: str) -> str:
    return f"{problem}; {remedy}" if remedy else problem


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than so many levels; walked level by level, without recursion."""
    level = [value]
    for _ in range(levels + 1):
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
        if not level:
            return False
    return True

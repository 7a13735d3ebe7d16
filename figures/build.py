"""Building figures, and telling which are stale.

A figure is a function of its data and of the code that draws it. The SHA-256 of both is its fingerprint: it stands in the PNG
(text chunk ``Inputs``), in the PDF (``Subject``) and in ``manifest.json``. A figure whose data give another fingerprint today is
stale. Nothing that is written depends on the time, so that the same data give the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import json
import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from theory.core.errors import InvalidInput, TheoryError
from theory.core.files import write_bytes, write_json

from . import plots, style
from .registry import Picture
from .sources import ROOT, MissingData, read_json

OUT = Path(__file__).resolve().parent / "out"
MANIFEST = "manifest.json"
DIGITS = 6
"""Significant digits of data: more than a reader sees, fewer than processors and libraries differ in."""


def canonical(value: Any) -> Any:
    """Data as they are hashed and drawn: JSON types, floats rounded to ``DIGITS`` significant digits.

    Raises InvalidInput for a number that is not finite (missing values are ``None``) or a type that JSON does not have.
    """
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, float):
        if value != value or abs(value) == float("inf"):
            raise InvalidInput(f"{value} among the data of a figure; give None where there is no number")
        return float(f"{value:.{DIGITS - 1}e}")
    if value is None or isinstance(value, str | int | bool):
        return value
    raise InvalidInput(f"{value!r} ({type(value).__name__}) among the data of a figure is no JSON value")


def drawn_by(name: str) -> list[ModuleType]:
    """The modules whose code draws a figure: its own, then those of this package that it imports as modules, by name."""
    found: dict[str, ModuleType] = {}
    left = [importlib.import_module(f"{plots.__name__}.{name}")]
    while left:
        module = left.pop()
        if module.__name__ not in found:
            found[module.__name__] = module
            parts = (part for part in vars(module).values() if inspect.ismodule(part))
            left += [part for part in parts if part.__name__.startswith(f"{__package__}.")]
    first, *rest = found
    return [found[first], *(found[part] for part in sorted(rest))]


def fingerprint(name: str, data: Any) -> str:
    """SHA-256 of canonical data and of the code that draws them."""
    digest = hashlib.sha256()
    for module in drawn_by(name):
        digest.update(inspect.getsource(module).encode())
        for path in getattr(module, "FILES", ()):
            digest.update((ROOT / path).read_bytes())
    digest.update(json.dumps(data, sort_keys=True, ensure_ascii=True, allow_nan=False).encode())
    return digest.hexdigest()


def render(name: str, picture: Picture, data: dict[str, Any]) -> dict[str, bytes]:
    """The PNG and the PDF of canonical data, by file name."""
    mark = fingerprint(name, data)
    about = {"Title": f"{name}: {picture.title}"}
    metadata: dict[str, dict[str, Any]] = {
        "png": {**about, "Inputs": mark, "Software": None},
        "pdf": {**about, "Subject": f"Inputs {mark}", "Creator": None, "Producer": None, "CreationDate": None},
    }
    out = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever a user's matplotlibrc says
        mpl.rcParams.update(style.RC)
        figure = picture.drawn(data)
        for kind, entries in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=entries, dpi=picture.dpi)
            content = buffer.getvalue()
            out[f"{name}.{kind}"] = with_palette(content) if kind == "png" else content
    return out


def with_palette(png: bytes) -> bytes:
    """The PNG with at most 256 colours, a third of the bytes, its text kept; colours move by a few units of 255 at most."""
    with Image.open(io.BytesIO(png)) as picture:
        text = PngInfo()
        for key, value in png_text(png).items():
            text.add_text(key, value)
        few = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        few.save(buffer, "png", optimize=True, pnginfo=text, dpi=picture.info["dpi"])
    return buffer.getvalue()


def manifest(out: Path) -> dict[str, Any]:
    """The record of a folder's figures; empty where there is none. InvalidInput for a file that is no record."""
    path = out / MANIFEST
    if not path.exists():
        return {}
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("figures"), dict):
        raise InvalidInput(f"{path} is no record of figures; delete it and run python -m figures")
    return dict(record["figures"])


@contextmanager
def readable(name: str, picture: Picture) -> Iterator[None]:
    """Committed files that hold something else than a figure reads (text or null for a number, say) are named as InvalidInput."""
    try:
        yield
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        if isinstance(error, TheoryError):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error}, {Path(last.filename).name}:{last.lineno}"
        raise InvalidInput(
            f"figure {name} cannot be drawn from {', '.join(picture.sources)} ({reason}); "
            "take the committed files, or make them again"
        ) from error


def build(name: str, picture: Picture, out: Path = OUT) -> list[Path]:
    """Build one figure and record it; returns the files.

    Raises
    ------
    MissingData
        Its data do not exist yet. Nothing is written.
    InvalidInput
        ``out`` is a file, or the data are unusable.
    """
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out {out} is a file, expected a folder")
    with readable(name, picture):
        data = canonical(picture.data())
        files, message = render(name, picture, data), picture.says(data)
    for file, content in files.items():
        write_bytes(out / file, content)
    record = {
        "inputs": fingerprint(name, data),
        "says": message,
        "claims": list(picture.claims),
        "sources": list(picture.sources),
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
    }
    everything = dict(sorted({**manifest(out), name: record}.items()))
    write_json(out / MANIFEST, {"matplotlib": mpl.__version__, "figures": everything})
    return [out / file for file in files]


def png_text(content: bytes) -> dict[str, str]:
    """The ``tEXt`` and uncompressed ``iTXt`` entries of a PNG (PNG specification, sections 11.3.3.2 and 11.3.3.4).

    Raises InvalidInput for bytes that are no PNG.
    """
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise InvalidInput("no PNG: the signature is missing")
    return dict(_entries(content))


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    position = 8
    while position + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        body = content[position + 8 : position + 8 + length]
        key, _, rest = body.partition(b"\0")
        if kind == b"tEXt":
            yield key.decode("latin-1"), rest.decode("latin-1")
        elif kind == b"iTXt" and rest[:1] == b"\0":
            yield key.decode("latin-1"), rest.split(b"\0", 4)[4].decode("utf-8")
        position += 12 + length


def status(name: str, picture: Picture, out: Path = OUT) -> str:
    """``current``, ``stale: why`` or ``no data: run COMMAND``."""
    record = manifest(out).get(name)
    try:
        with readable(name, picture):
            data = canonical(picture.data())
    except MissingData as missing:
        return f"stale: its data are gone; run {missing.command}" if record else str(missing)
    if record is None:
        return "stale: never built"
    mark = fingerprint(name, data)
    if record["inputs"] != mark:
        return "stale: its data or its code changed"
    for file, digest in record["files"].items():
        if not (out / file).is_file():
            return f"stale: {file} is missing"
        content = (out / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            return f"stale: {file} is not the file that was built"
        if mark not in (png_text(content).get("Inputs", "") if file.endswith(".png") else content.decode("latin-1")):
            return f"stale: {file} does not carry its fingerprint"
    return "current"

"""CUDA C++ on a CPU: compiles a kernel of the fused scan with g++ and ``cuda.h``, and runs it fibre by fibre."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from empirics.kernels.selective_scan import fused_cuda

HERE = Path(__file__).parent


def available() -> bool:
    """Is there a compiler?"""
    return shutil.which("g++") is not None


@cache
def _folder() -> Path:
    return Path(os.environ.get("SSMPROOF_EMULATED") or tempfile.mkdtemp(prefix="ssmproof-emulated-"))


@cache
def _library(kernel: str, options: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
    source = Path(fused_cuda.SOURCE).read_text(encoding="utf-8")
    shim = (
        f'\nextern "C" void run(const void* a, unsigned blocks, unsigned threads, size_t shared, uint64_t order) {{\n'
        f"    emulator::launch([](const void* given) {{ {kernel}(*(const Args*)given); }}, a, blocks, threads, shared, order);\n}}\n"
    )
    flags = [f"-D{name}={value}" for name, value in options]
    key = hashlib.sha256("\0".join([source, (HERE / "cuda.h").read_text(), shim, *flags]).encode()).hexdigest()[:20]
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{key}.so"
    if not target.exists():
        file = folder / f"{key}.{os.getpid()}.cpp"
        file.write_text(source + shim, encoding="utf-8")
        made = folder / f"{key}.{os.getpid()}.so"
        command = ["g++", "-O1", "-std=c++17", "-w", "-fPIC", "-shared", "-include", str(HERE / "cuda.h"), *flags]
        done = subprocess.run([*command, "-o", str(made), str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        made.replace(target)
    return ctypes.CDLL(str(target))


class Emulator:
    """Takes the place of :class:`empirics.kernels.nvrtc.Device`: same ``launch``, on CPU tensors.

    Attributes
    ----------
    order:
        Seed of the order in which threads run.
    launched:
        Names of the kernels that ran.
    """

    processors = 2

    def __init__(self, order: int = 0):
        self.order = order
        self.launched: list[str] = []

    def launch(
        self,
        source: str,
        kernel: str,
        options: Mapping[str, int],
        blocks: int,
        threads: int,
        shared: int,
        arguments: ctypes.Structure,
    ) -> None:
        """Run ``kernel`` to its end."""
        self.launched.append(kernel)
        run = _library(kernel, tuple(sorted(options.items()))).run
        run.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_size_t, ctypes.c_uint64]
        run(ctypes.addressof(arguments), blocks, threads, shared, self.order)

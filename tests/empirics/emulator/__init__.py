"""CUDA C++ on a CPU: compiles a kernel of the fused scan with g++ and ``cuda.h``, and runs it fibre by fibre."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from empirics.kernels.nvrtc import Kernel, Size

HERE = Path(__file__).parent


def available() -> bool:
    """Is there a compiler?"""
    return shutil.which("g++") is not None


@cache
def _folder() -> Path:
    return Path(os.environ.get("SSMPROOF_EMULATED") or tempfile.mkdtemp(prefix="ssmproof-emulated-"))


@cache
def _library(kernel: Kernel) -> ctypes.CDLL:
    shim = f"""
extern "C" void run(const void* arguments, unsigned blocks, unsigned threads, size_t shared, uint64_t order) {{
    emulator::launch([](const void* a) {{ {kernel.name}(*(const Args*)a); }}, arguments, blocks, threads, shared, order);
}}
"""
    flags = [f"-D{name}={value}" for name, value in kernel.options]
    key = hashlib.sha256("\0".join([kernel.source, (HERE / "cuda.h").read_text(), shim, *flags]).encode()).hexdigest()[:20]
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{key}.so"
    if not target.exists():
        file, made = (folder / f"{key}.{os.getpid()}.{end}" for end in ("cpp", "so"))
        file.write_text(kernel.source + shim, encoding="utf-8")
        command = ["g++", "-O1", "-std=c++17", "-w", "-fPIC", "-shared", "-include", str(HERE / "cuda.h"), *flags]
        done = subprocess.run([*command, "-o", str(made), str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        made.replace(target)
    return ctypes.CDLL(str(target))


class Emulator:
    """Takes the place of :class:`empirics.kernels.nvrtc.Device`: same ``prepare``, for CPU tensors.

    Attributes
    ----------
    order:
        Seed of the order in which threads run.
    launched:
        The kernels that ran.
    """

    processors = 2
    overlaps = True

    def __init__(self, order: int = 0):
        self.order = order
        self.launched: list[Kernel] = []

    def prepare(self, kernel: Kernel, size: Size) -> Callable[[ctypes.Structure], None]:
        """A function that runs ``kernel`` to its end."""
        run = _library(kernel).run
        run.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_size_t, ctypes.c_uint64]

        def launch(arguments: ctypes.Structure) -> None:
            self.launched.append(kernel)
            run(ctypes.addressof(arguments), size.blocks, size.threads, size.shared, self.order)

        return launch

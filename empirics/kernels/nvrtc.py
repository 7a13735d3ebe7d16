"""CUDA C++ compiled at run time: NVRTC, which PyTorch's CUDA builds bring along, and the driver's own launch calls.

No compiler has to be installed. A kernel is compiled once for each set of options and kept in a folder of the user's
(``SSMPROOF_CACHE``, else ``~/.cache/ssmproof``), where other processes and later ones find it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import site
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from theory.core.files import write_bytes

from ..errors import EmpiricsError, MissingPackage


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a translation unit, for one set of options.

    Attributes
    ----------
    source:
        CUDA C++.
    name:
        Of the ``extern "C"`` function.
    options:
        (macro, value), sorted.
    """

    source: str
    name: str
    options: tuple[tuple[str, int], ...]


class Size(NamedTuple):
    """How a kernel is launched.

    Attributes
    ----------
    blocks, threads, shared:
        Blocks, threads of each, and bytes of dynamic shared memory of each.
    dependent:
        Whether it may begin before the kernel ahead of it in the stream has ended; it then waits for that by itself.
    """

    blocks: int
    threads: int
    shared: int = 0
    dependent: bool = False


class _Attribute(ctypes.Structure):
    """``CUlaunchAttribute`` of the driver."""

    _fields_ = (("id", ctypes.c_int), ("_", ctypes.c_char * 4), ("value", ctypes.c_int), ("rest", ctypes.c_char * 60))


class _Launch(ctypes.Structure):
    """``CUlaunchConfig`` of the driver."""

    _fields_ = (
        *((name, ctypes.c_uint) for name in ("x", "y", "z", "threads_x", "threads_y", "threads_z", "shared")),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("count", ctypes.c_uint),
    )


_OVERLAP = 6
"""CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION."""


class CompileError(EmpiricsError):
    """NVRTC or the driver refused a kernel; the message holds what they said."""


def _libraries() -> Iterator[str]:
    yield from (f"libnvrtc.so.{torch.version.cuda.partition('.')[0]}",) if torch.version.cuda else ()
    folders = [Path(p) for p in (*sys.path, *site.getsitepackages(), os.environ.get("CUDA_HOME", "/usr/local/cuda")) if p]
    for folder in dict.fromkeys(folders):
        for pattern in ("nvidia/*/lib/libnvrtc.so.*", "nvidia/cuda_nvrtc/lib/libnvrtc.so.*", "lib64/libnvrtc.so.*"):
            yield from (str(p) for p in sorted(folder.glob(pattern)) if "builtins" not in p.name and "alt" not in p.name)


@cache
def _nvrtc() -> ctypes.CDLL:
    tried = []
    for name in _libraries():
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            tried.append(str(error))
    raise MissingPackage("libnvrtc", "cuda", tried[0] if tried else "PyTorch has no CUDA here")


def available() -> bool:
    """Can kernels be compiled here?"""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return False
    try:
        _nvrtc()
    except MissingPackage:
        return False
    return True


@cache
def supports(index: int) -> bool:
    """Can this NVRTC compile for the device of that number? It may be older than the device."""
    major, minor = torch.cuda.get_device_capability(index)
    try:
        compile_kernel(Kernel('extern "C" __global__ void probe() {}', "probe", ()), f"sm_{major}{minor}")
    except CompileError:
        return False
    return True


def _cache_folder() -> Path:
    chosen = os.environ.get("SSMPROOF_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssmproof"


def compile_kernel(kernel: Kernel, architecture: str, fresh: bool = False) -> bytes:
    """Machine code of a kernel's translation unit for one GPU (``sm_90`` and the like), from the cache or compiled now.

    Parameters
    ----------
    fresh:
        Compile even where the cache holds it.

    Raises
    ------
    CompileError
        With the compiler's messages.
    MissingPackage
        NVRTC is not here.
    """
    nvrtc = _nvrtc()
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    flags = [f"--gpu-architecture={architecture}", "--std=c++17", "--ftz=true", "--diag-suppress=128,177"]
    flags += [f"-D{name}={value}" for name, value in kernel.options]
    key = hashlib.sha256("\0".join([f"{major.value}.{minor.value}", kernel.source, *flags]).encode()).hexdigest()
    path = _cached_file(key)
    if not fresh and (known := _read(path)):
        return known
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), kernel.source.encode(), b"ssmproof.cu", 0, None, None):
        raise CompileError("NVRTC could not take the program")
    try:
        array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        failed = nvrtc.nvrtcCompileProgram(program, len(flags), array)
        size = ctypes.c_size_t()
        if failed:
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise CompileError(
                f"NVRTC {major.value}.{minor.value} for {architecture}: {log.value.decode(errors='replace')[:2000]}"
            )
        if nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) or not size.value:
            raise CompileError(f"NVRTC {major.value}.{minor.value} makes no machine code for {architecture}")
        code = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, code)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    _keep(path, code.raw)
    return code.raw


def _cached_file(key: str) -> Path | None:
    """Where the machine code of that key is kept; ``None`` for a user without a home."""
    try:
        return _cache_folder() / f"{key[:40]}.cubin"
    except RuntimeError:
        return None


def _read(path: Path | None) -> bytes:
    """The file's contents, nothing where it is not there or not to be read."""
    try:
        return b"" if path is None else path.read_bytes()
    except OSError:
        return b""


def _keep(path: Path | None, code: bytes) -> None:
    """Write the file in one piece, for all to read; a cache that cannot be written is none."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        write_bytes(path, code)


_WRONG_CONTEXT = (201, 400)
"""CUDA_ERROR_INVALID_CONTEXT and _HANDLE: this thread works on another device, or on none yet."""


_POINTER = ctypes.c_void_p * 1


def _stream_by_name(index: int) -> int:
    return torch.cuda.current_stream(index).cuda_stream


# What PyTorch's own launchers ask, where it is there: no object for a stream, no look at whether CUDA has started.
_current_stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream", _stream_by_name)
_current_device: Callable[[], int] = getattr(torch._C, "_cuda_getDevice", torch.cuda.current_device)


class Device:
    """Kernels on one CUDA device, launched on PyTorch's current stream."""

    def __init__(self, index: int):
        self.index = index
        self._functions: dict[Kernel, ctypes.c_void_p] = {}

    @cached_property
    def processors(self) -> int:
        """Multiprocessors."""
        return torch.cuda.get_device_properties(self.index).multi_processor_count

    @cached_property
    def overlaps(self) -> bool:
        """May a kernel begin before the one ahead of it has ended?"""
        return torch.cuda.get_device_capability(self.index) >= (9, 0)

    @cached_property
    def _driver(self) -> ctypes.CDLL:
        driver = ctypes.CDLL("libcuda.so.1")
        driver.cuGetErrorString.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
        driver.cuLaunchKernel.argtypes = [
            ctypes.c_void_p,
            *[ctypes.c_uint] * 7,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        return driver

    @cached_property
    def _context(self) -> ctypes.c_void_p:
        """The context that PyTorch uses, too."""
        context, handle = ctypes.c_void_p(), ctypes.c_int()
        self._check(self._driver.cuInit(0), "starting CUDA")
        self._check(self._driver.cuDeviceGet(ctypes.byref(handle), self.index), f"device {self.index}")
        self._check(self._driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle), f"context of device {self.index}")
        return context

    def _enter(self) -> None:
        """Make the context this thread's: autograd's threads may have none yet."""
        self._check(self._driver.cuCtxSetCurrent(self._context), f"context of device {self.index}")

    def _check(self, code: int, what: str) -> None:
        if code:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(text))
            raise CompileError(f"{what}: {(text.value or b'unknown error').decode()} (CUDA error {code})")

    def function(self, kernel: Kernel, shared: int) -> ctypes.c_void_p:
        """The kernel's handle, compiled and loaded at the first call."""
        if kernel not in self._functions:
            major, minor = torch.cuda.get_device_capability(self.index)
            architecture, module, function = f"sm_{major}{minor}", ctypes.c_void_p(), ctypes.c_void_p()
            if self._driver.cuModuleLoadData(ctypes.byref(module), compile_kernel(kernel, architecture)):
                code = compile_kernel(kernel, architecture, fresh=True)  # the cached file may be torn
                self._check(self._driver.cuModuleLoadData(ctypes.byref(module), code), f"loading {kernel.name}")
            found = self._driver.cuModuleGetFunction(ctypes.byref(function), module, kernel.name.encode())
            self._check(found, f"finding {kernel.name}")
            if shared > 48 * 1024:  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                self._check(self._driver.cuFuncSetAttribute(function, 8, shared), f"{shared} bytes of shared memory")
            self._functions[kernel] = function
        return self._functions[kernel]

    def prepare(self, kernel: Kernel, size: Size) -> Callable[[ctypes.Structure], None]:
        """A function that runs ``kernel(arguments)`` on PyTorch's current stream of this device.

        Raises
        ------
        CompileError
            It cannot be compiled or loaded; the function raises it where the launch fails.
        """
        with torch.cuda.device(self.index):
            self._enter()
            function = self.function(kernel, size.shared)
        blocks, threads, shared, dependent = size
        launch: Callable[..., int] = self._overlapping() if dependent else self._driver.cuLaunchKernel
        index = self.index

        def run(arguments: ctypes.Structure) -> None:
            given = _POINTER(ctypes.addressof(arguments))
            code = _WRONG_CONTEXT[0]
            if _current_device() == index:
                code = launch(function, blocks, 1, 1, threads, 1, 1, shared, _current_stream(index), given, None)
            if code:
                if code in _WRONG_CONTEXT:
                    with torch.cuda.device(index):
                        self._enter()
                        code = launch(function, blocks, 1, 1, threads, 1, 1, shared, _current_stream(index), given, None)
                self._check(code, f"launching {kernel.name}")

        return run

    def _overlapping(self) -> Callable[..., int]:
        """``cuLaunchKernel`` for kernels that may begin before the one ahead of them has ended."""
        attribute = _Attribute(id=_OVERLAP, value=1)
        launch_ex = self._driver.cuLaunchKernelEx
        launch_ex.argtypes = [ctypes.POINTER(_Launch), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]

        def launch(function: ctypes.c_void_p, *arguments: Any) -> int:
            *sizes, stream, given, extra = arguments
            config = _Launch(*sizes, stream, ctypes.pointer(attribute), 1)
            code: int = launch_ex(ctypes.byref(config), function, given, extra)
            return code

        return launch


@cache
def device(index: int) -> Device:
    """The device of that number."""
    return Device(index)

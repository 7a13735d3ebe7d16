"""The run-time compiler's cache and errors, with a stand-in for NVRTC; the real one is tested on a GPU (test_fused_cuda.py)."""

from __future__ import annotations

import ctypes

import pytest

torch = pytest.importorskip("torch")

from empirics.kernels import nvrtc  # noqa: E402

KERNEL = nvrtc.Kernel("source", "name", (("A", 1), ("B", 2)))


class StandIn:
    """Compiles anything to "code <times> <flags>", or fails with ``log``; as little of NVRTC's interface as is called."""

    def __init__(self, log: bytes = b"", minor: int = 0):
        self.log, self.minor, self.flags, self.times = log, minor, [], 0

    def nvrtcVersion(self, major, minor):
        major._obj.value, minor._obj.value = 13, self.minor
        return 0

    def nvrtcCreateProgram(self, program, source, name, *rest):
        program._obj.value = 1
        return 0

    def nvrtcCompileProgram(self, program, count, flags):
        self.flags, self.times = [flags[i].decode() for i in range(count)], self.times + 1
        return int(bool(self.log))

    def nvrtcGetProgramLogSize(self, program, size):
        size._obj.value = len(self.log) + 1
        return 0

    def nvrtcGetProgramLog(self, program, buffer):
        buffer.value = self.log
        return 0

    def code(self):
        return f"code {self.times} {self.flags[0]}".encode()

    def nvrtcGetCUBINSize(self, program, size):
        size._obj.value = len(self.code())
        return 0

    def nvrtcGetCUBIN(self, program, buffer):
        ctypes.memmove(buffer, self.code(), len(self.code()))
        return 0

    def nvrtcDestroyProgram(self, program):
        program._obj.value = 0
        return 0


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    made = StandIn()
    monkeypatch.setattr(nvrtc, "_nvrtc", lambda: made)
    monkeypatch.setenv("SSMPROOF_CACHE", str(tmp_path / "cache"))
    return made


def test_compiled_once_for_each_source_option_and_device(stand_in, tmp_path):
    first = nvrtc.compile_kernel(KERNEL, "sm_90")
    assert first == b"code 1 --gpu-architecture=sm_90" and {"-DA=1", "-DB=2", "--std=c++17"} <= set(stand_in.flags)
    assert nvrtc.compile_kernel(KERNEL, "sm_90") == first and stand_in.times == 1
    others = [
        (KERNEL, "sm_80"),
        (nvrtc.Kernel("another", "name", KERNEL.options), "sm_90"),
        (nvrtc.Kernel("source", "name", (("A", 1), ("B", 3))), "sm_90"),
    ]
    assert len({first, *(nvrtc.compile_kernel(*other) for other in others)}) == 4
    stand_in.minor = 1  # another compiler makes its own
    nvrtc.compile_kernel(KERNEL, "sm_90")
    assert stand_in.times == 5 and len(list((tmp_path / "cache").iterdir())) == 5


def test_a_torn_file_is_made_again(stand_in, tmp_path):
    first = nvrtc.compile_kernel(KERNEL, "sm_90")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b"")
    assert nvrtc.compile_kernel(KERNEL, "sm_90") != first == b"code 1 --gpu-architecture=sm_90"
    file.write_bytes(b"torn")  # not to be told from code; what cannot be loaded is asked for afresh
    assert nvrtc.compile_kernel(KERNEL, "sm_90") == b"torn"
    assert nvrtc.compile_kernel(KERNEL, "sm_90", fresh=True) == b"code 3 --gpu-architecture=sm_90" == file.read_bytes()


def test_a_cache_that_cannot_be_written_is_none(stand_in, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert nvrtc.compile_kernel(KERNEL, "sm_90") and nvrtc.compile_kernel(KERNEL, "sm_90") and stand_in.times == 2


def test_the_compilers_words_are_passed_on(stand_in):
    stand_in.log = b"name.cu(3): error: no such thing"
    with pytest.raises(nvrtc.CompileError, match=r"NVRTC 13\.0 for sm_90: name\.cu\(3\): error: no such thing"):
        nvrtc.compile_kernel(KERNEL, "sm_90")


def test_a_device_that_the_compiler_does_not_know(stand_in, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (99, 0))
    nvrtc.supports.cache_clear()
    stand_in.log = b"invalid value for --gpu-architecture"
    assert not nvrtc.supports(0)
    nvrtc.supports.cache_clear()
    stand_in.log = b""
    assert nvrtc.supports(0)
    nvrtc.supports.cache_clear()


def test_a_kernel_that_may_begin_before_the_one_ahead_has_ended(monkeypatch):
    """The driver's structures, as its header lays them out, and what is put in."""
    assert ctypes.sizeof(nvrtc._Attribute) == 72 and ctypes.sizeof(nvrtc._Launch) == 56
    seen = []

    class Driver:
        @staticmethod
        def cuLaunchKernelEx(config, function, given, extra):
            own = config._obj
            attribute = own.attributes[0]
            seen.append([own.x, own.y, own.threads_x, own.shared, own.stream, own.count, attribute.id, attribute.value, function])
            return 5

    device = nvrtc.Device(0)
    device.__dict__["_driver"] = Driver
    assert device._overlapping()("f", 3, 1, 1, 128, 1, 1, 512, 99, None, None) == 5
    assert seen == [[3, 1, 128, 512, 99, 1, 6, 1, "f"]]

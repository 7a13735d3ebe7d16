"""Tests marked ``gpu`` are skipped without a CUDA device, where Triton interprets its kernels instead; one thread each, so that
runs side by side do not fight."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# mamba-ssm's Triton kernels take one configuration each instead of trying a dozen for minutes; read when they are imported.
os.environ.setdefault("MAMBA_DETERMINISTIC", "1")

HAS_TORCH = importlib.util.find_spec("torch") is not None
HERE = Path(__file__).parent
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]

if HAS_TORCH:
    import torch

    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        # Read when a kernel is defined, so before any test module imports one: Triton's interpreter runs them on the CPU.
        os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if HAS_TORCH and torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu") and HERE in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def one_thread():
    """What a command line set for itself does not reach the next test: sums over other numbers of threads have other bits."""
    if HAS_TORCH:
        torch.set_num_threads(1)


@pytest.fixture
def tiny():
    """A tiny float64 model of either kind with lively weights: ``tiny("Mamba1")``, ``tiny("Mamba2", d_conv=3)``."""
    from empirics.models import MambaConfig, MambaLM

    def make(layer: str, dtype: torch.dtype = torch.float64, scan: str = "chunked", seed: int = 0, **options: object) -> MambaLM:
        sizes = {"d_state": 4, "dt_rank": 2} if layer == "Mamba1" else {"d_state": 5, "headdim": 4, "ngroups": 2}
        config = MambaConfig(8, 2, 19, {"layer": layer, **sizes, **options}, pad_vocab_size_multiple=1)
        torch.manual_seed(seed)
        model = MambaLM(config, scan=scan, dtype=torch.float64)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return model.to(dtype).eval()

    return make


@pytest.fixture
def emulated(monkeypatch):
    """The fused scan's CUDA kernels run in the emulator, which the fixture is; buffers are NaN until written."""
    import emulator

    from empirics.kernels.selective_scan.fused import cuda as fused_cuda

    runs = emulator.Emulator()
    monkeypatch.setattr(fused_cuda, "emulator", runs)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    yield runs
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def gpu(monkeypatch):
    """The device whose tensors stand for those of a GPU (:mod:`like_a_gpu`)."""
    import like_a_gpu

    return like_a_gpu.stand_for_a_gpu(monkeypatch)

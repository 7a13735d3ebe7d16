"""Stand-ins for GPU kernels on a CPU: the layout of their results and what they keep, without values; and small models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from empirics.kernels import table
from empirics.kernels.selective_scan import mamba_ssm as of_mamba_ssm
from empirics.kernels.selective_scan.fused import calls, scan
from empirics.kernels.selective_scan.fused import cuda as fused_cuda
from empirics.kernels.ssd import mamba_ssm as of_mamba_ssm_2
from empirics.methods import MethodConfig, Selection, apply
from empirics.methods.catalogue import recipes
from empirics.models import MambaConfig, MambaLM, conv, mamba1, norm
from empirics.models.mixer import Recompute

NO_CONV = conv.ConvKernels(lambda *given: None, lambda *given: None)
"""causal-conv1d's two kernels, which write nothing."""


class LikeCausalConv(torch.autograd.Function):
    """causal-conv1d's function with channels innermost: its output's layout, and what it keeps."""

    @staticmethod
    def forward(ctx, x, taps, bias):
        assert x.stride(1) == 1, "channels are innermost, so nothing is copied"
        ctx.save_for_backward(x, taps, bias)
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx, dy):
        return tuple(torch.empty_like(v) for v in ctx.saved_tensors)


class LikeFusedNorm(torch.autograd.Function):
    """PyTorch's RMS norm on a GPU, one kernel: what it keeps."""

    @staticmethod
    def forward(ctx, x, shape, weight, eps):
        ctx.save_for_backward(x, weight, x.new_empty((*x.shape[:-1], 1)))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx, dy):
        x, weight, _ = ctx.saved_tensors
        return torch.empty_like(x), None, torch.empty_like(weight), None


class LikeSelectiveScan(torch.autograd.Function):
    """mamba-ssm's selective scan with a gate: what it keeps."""

    @staticmethod
    def forward(ctx, u, dt, A, B, C, D, z, dt_bias):
        ctx.save_for_backward(u, dt, A, B, C, D, z, dt_bias, torch.empty(u.shape, device=u.device), torch.empty_like(u))
        return torch.empty_like(u)

    @staticmethod
    def backward(ctx, dy):
        return tuple(None if v is None else torch.empty_like(v) for v in ctx.saved_tensors[:8])


def selective_scan_fn(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state):
    """As mamba-ssm's, called for a training step."""
    assert delta_softplus and not return_last_state
    return LikeSelectiveScan.apply(u, delta, A, B, C, D, z, delta_bias)


class LikeChunkScan(torch.autograd.Function):
    """mamba-ssm's chunk scan: what it keeps, its own output included."""

    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, dt_bias, h0):
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        sums = torch.empty(x.shape[0], x.shape[2], x.shape[1], device=x.device)  # float32, of dt A inside chunks
        ctx.save_for_backward(out, x, dt, sums, A, B, C, D, dt_bias, h0)
        return out

    @staticmethod
    def backward(ctx, dy):
        _, x, dt, _, *others = ctx.saved_tensors
        return (torch.empty_like(x), torch.empty_like(dt), *(None if v is None else torch.empty_like(v) for v in others))


class LikeGatedNorm(torch.autograd.Function):
    """mamba-ssm's gated norm: what it keeps."""

    @staticmethod
    def forward(ctx, y, weight, z):
        ctx.save_for_backward(y, weight, z, torch.empty(y[..., 0].numel(), device=y.device))
        return torch.empty(y.shape, dtype=y.dtype, device=y.device)

    @staticmethod
    def backward(ctx, dy):
        y, weight, z, _ = ctx.saved_tensors
        return torch.empty_like(y), torch.empty_like(weight), torch.empty_like(z)


def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, D, z, dt_bias, initial_states, dt_softplus, return_final_states):
    """As mamba-ssm's, called for a training step."""
    assert dt_softplus and not return_final_states and z is None
    return LikeChunkScan.apply(x, dt, A, B, C, D, dt_bias, initial_states)


class LikeFused(calls.Direct):
    """The fused scan's two passes: their results' layouts."""

    def forward(self, tensors: Any, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        out, last, kept = fused_cuda.like_forward(self.inputs(tensors), keep)
        return out, last, kept if keep else None

    def backward(self, d_out: Any, d_last: Any, tensors: Any, kept: Any, need: Any) -> list[Tensor | None]:
        found = iter(fused_cuda.like_backward(self.inputs(tensors), need))
        return [next(found) if asked else None for asked in need]


def kernels_like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kernel's stand-in where the kernel would be called, on any device."""
    monkeypatch.setattr(conv, "_stock_serves", lambda x, width: True)
    monkeypatch.setattr(conv, "_stock_kernel", lambda: lambda x, taps, bias, activation: LikeCausalConv.apply(x, taps, bias))
    monkeypatch.setattr(conv, "_stock_kernels", lambda: NO_CONV)
    monkeypatch.setattr(norm, "_stock_serves", lambda y, z: True)
    monkeypatch.setattr(norm, "_stock_kernel", lambda: lambda y, weight, bias, z, **_: LikeGatedNorm.apply(y, weight, z))
    monkeypatch.setattr(table, "runs_on", lambda row, device: True)
    monkeypatch.setattr(of_mamba_ssm, "stock_scan", lambda: selective_scan_fn)
    monkeypatch.setattr(of_mamba_ssm_2, "stock_scan", lambda: mamba_chunk_scan_combined)
    monkeypatch.setattr(fused_cuda, "usable", lambda *given: True)
    monkeypatch.setattr(scan, "_directly", lambda: True)
    monkeypatch.setattr(calls, "Direct", LikeFused)
    monkeypatch.setattr(calls, "seen", lambda key: None)
    monkeypatch.setattr(calls, "remember", lambda key, inputs: None)


WAYS: dict[str, tuple[str, str, Callable[[pytest.MonkeyPatch], None]]] = {
    "Mamba-1, one function": ("Mamba1", "fused", lambda patch: None),
    "Mamba-1, operations": ("Mamba1", "fused", lambda patch: patch.setattr(mamba1, "conv_kernels", lambda x, width: None)),
    "Mamba-1, causal-conv1d's operator": (
        "Mamba1", "fused", lambda patch: patch.setattr(conv, "_stock_kernels", lambda: None),
    ),
    "Mamba-1, mamba-ssm's scan": ("Mamba1", "mamba_ssm", lambda patch: None),
    "Mamba-1, chunked": ("Mamba1", "chunked", lambda patch: None),
    "Mamba-2, mamba-ssm's scan": ("Mamba2", "mamba_ssm", lambda patch: None),
    "Mamba-2, chunked": ("Mamba2", "chunked", lambda patch: None),
}  # fmt: skip
"""How a block is computed → its kind, its scan, and what else is set."""


# --- small models ---

METHODS = recipes("bench_model")
AMOUNTS: tuple[Recompute, ...] = (False, "light", True, "all")
_SIZES = {"Mamba1": {"d_state": 4, "dt_rank": 2}, "Mamba2": {"d_state": 5, "headdim": 4, "ngroups": 2}}
_PROJECTIONS = {"Mamba1": ("in_proj", "x_proj", "dt_proj", "A_log", "out_proj"), "Mamba2": ("in_proj", "out_proj")}


def fresh(layer: str, scan_: str, device: str = "cpu") -> MambaLM:
    """A model of one block."""
    config = MambaConfig(8, 1, 19, {"layer": layer, **_SIZES[layer]}, pad_vocab_size_multiple=1)
    return MambaLM(config, scan=scan_, device=device)


def config_of(method: str, layer: str) -> MethodConfig:
    """A method of the catalogue for :func:`fresh`, SDT on two dimensions, low-rank updates of every matrix."""
    recipe, selection = METHODS[method], Selection.of({"backbone.layers.0.mixer": [(0, 0), (1, 1)]})
    options = {"rank": 1, "targets": _PROJECTIONS[layer]} if method in ("lora", "dora") else {}
    return recipe.config(selection=selection) if recipe.score else recipe.config(**options)


def adapted(layer: str, scan_: str, method: str) -> tuple[MambaLM, list[Tensor]]:
    """A model with a method on it, and what is trained."""
    model = fresh(layer, scan_)
    return model, list(apply(model, config_of(method, layer)).trainable().values())

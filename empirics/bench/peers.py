"""Other people's selective scans, each called in its own layout with the same numbers as ours."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidInput, UnknownName
from ..kernels.dispatch import selective_scan
from ..kernels.table import TABLE

Arguments = dict[str, Tensor]
ORDER = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")


@dataclass(frozen=True)
class Contender:
    """One implementation.

    Attributes
    ----------
    name, package:
        Its name, and the distribution it comes from (``None`` for this project's own).
    pip:
        What to give to pip where it is missing.
    convert:
        Brings the arguments (shapes of :func:`empirics.selective_scan`) into its own layout, before the clock starts.
    call:
        Computes the gated output from converted arguments.
    restore:
        Its output as (batch, D, L).
    """

    name: str
    package: str | None
    pip: str
    convert: Callable[[Arguments], Arguments]
    call: Callable[[Arguments], Tensor]
    restore: Callable[[Tensor], Tensor]


def _same(value: Any) -> Any:
    return value


def _ours(scan: str, v: Arguments) -> Tensor:
    arguments: dict[str, Any] = {**v}
    out = selective_scan(**arguments, dt_softplus=True, scan=scan)
    assert isinstance(out, Tensor)
    return out


def _mambapy_layout(v: Arguments) -> Arguments:
    return {k: t.transpose(1, 2).contiguous() if t.ndim == 3 else t for k, t in v.items()}


def _mambapy(v: Arguments) -> Tensor:
    """As mambapy's MambaBlock composes it: (B, L, D, N) decays and inputs, one parallel scan, one product."""
    pscan = importlib.import_module("mambapy.pscan").pscan
    dt = F.softplus(v["dt"] + v["dt_bias"])
    decay = torch.exp(dt.unsqueeze(-1) * v["A"])
    drive = dt.unsqueeze(-1) * v["B"].unsqueeze(2) * v["u"].unsqueeze(-1)
    states = pscan(decay, drive)
    y = (states @ v["C"].unsqueeze(-1)).squeeze(3) + v["D"] * v["u"]
    return y * F.silu(v["z"])


def _transformers(v: Arguments) -> Tensor:
    module = importlib.import_module("transformers.models.mamba.modeling_mamba")
    out: Tensor = module.mamba_selective_scan(
        v["u"], v["dt"], v["A"], v["B"], v["C"], D=v["D"], z=v["z"], delta_bias=v["dt_bias"], delta_softplus=True
    )
    return out


PEERS: dict[str, Contender] = {
    "mambapy": Contender("mambapy", "mambapy", "mambapy", _mambapy_layout, _mambapy, lambda y: y.transpose(1, 2)),
    "transformers": Contender("transformers", "transformers", "transformers>=5.0", _same, _transformers, _same),
}
"""Peers for CPUs: mambapy's parallel scan, and what transformers falls back to without mamba-ssm."""


def contender(name: str) -> Contender:
    """A peer or one of this project's scans, by name.

    Raises
    ------
    UnknownName
        No such peer or scan.
    """
    if name in PEERS:
        return PEERS[name]
    rows = {row.scan: row for row in TABLE if row.op == "selective_scan"}
    if name not in rows:
        raise UnknownName("contender", name, {*PEERS, *rows})
    package = rows[name].package
    pip = {"mamba_ssm": "mamba-ssm --no-build-isolation"}.get(package or "", package or "")
    return Contender(name, package, pip, _same, partial(_ours, name), _same)


def missing(one: Contender) -> str | None:
    """Why a contender cannot run here, or ``None``."""
    if one.package is None:
        return None
    try:
        importlib.import_module(one.package)
        if one.name == "transformers":
            module = importlib.import_module("transformers.models.mamba.modeling_mamba")
            if not hasattr(module, "mamba_selective_scan"):
                return "this version has no function of its own for the fallback scan"
    except ImportError as error:
        return str(error)
    return None


def version(one: Contender) -> str | None:
    """Version of the contender's distribution."""
    return None if one.package is None else importlib.metadata.version(one.package.replace("_", "-"))


def make_arguments(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str, seed: int = 0) -> Arguments:
    """Random arguments of a Mamba-1 layer of shape (B, D, L, N): A = -1..-N as at the start of training, dt around 0.01.

    Raises
    ------
    InvalidInput
        A size is not positive.
    """
    if len(shape) != 4 or min(shape) < 1:
        raise InvalidInput(f"shape is {shape}, expected four positive sizes B,D,L,N")
    batch, d, length, n = shape
    g = torch.Generator(device).manual_seed(seed)  # on the device itself: gigabytes drawn on a CPU would take minutes
    randn = partial(torch.randn, generator=g, device=device)
    values: Mapping[str, Tensor] = {
        "u": randn(batch, d, length),
        "dt": 0.5 * randn(batch, d, length),
        "A": -torch.arange(1.0, n + 1, device=device).repeat(d, 1),
        "B": randn(batch, n, length),
        "C": randn(batch, n, length),
        "D": torch.ones(d, device=device),
        "z": randn(batch, d, length),
        "dt_bias": randn(d) - 4.6,
    }
    wide = ("A", "D", "dt_bias")
    return {k: v.to(device=device, dtype=torch.float32 if k in wide else dtype) for k, v in values.items()}

"""Which scan trains on a device: the first of the fast ones that works there."""

from __future__ import annotations

import torch

from ..kernels.dispatch import selective_scan, ssd_scan
from ..kernels.table import Op, capability, runs_on, scan_names

PREFERRED = ("fused", "mamba_ssm", "chunked")
"""Fastest first; Mamba-2 has no fused one."""

OPS: dict[str, Op] = {"Mamba1": "selective_scan", "Mamba2": "ssd"}
"""The scan's kind by the kind of block."""


def choose_scan(device: str, wanted: str | None = None, layer: str = "Mamba1") -> str:
    """The scan asked for, or else the first of :data:`PREFERRED` that computes a small gradient on the device.

    Parameters
    ----------
    layer:
        ``Mamba1`` or ``Mamba2``.

    Raises
    ------
    UnknownName, UnsupportedScan
        The scan asked for does not exist or does not run here.
    """
    op = OPS[layer]
    if wanted is not None:
        _try(op, wanted, device)
        return wanted
    for scan in [name for name in PREFERRED[:-1] if name in scan_names(op)]:
        row = capability(op, scan)
        # On a CPU the fused scan exists in Triton's interpreter, for tests: far too slow to train with.
        if torch.device(device).type not in row.devices or not runs_on(row, torch.device(device).type):
            continue
        try:
            _try(op, scan, device)
        except Exception:  # a missing package or a compiler that fails: whatever it is, the next scan serves
            continue
        return scan
    return PREFERRED[-1]


def _try(op: Op, scan: str, device: str) -> None:
    if op == "selective_scan":
        u = torch.ones(1, 32, 128, device=device, requires_grad=True)
        B = torch.ones(1, 16, 128, device=device)
        out = selective_scan(u, torch.ones_like(u), -torch.ones(32, 16, device=device), B, B, scan=scan)
    else:
        u = torch.ones(1, 128, 2, 16, device=device, requires_grad=True)
        B = torch.ones(1, 128, 1, 16, device=device)
        out = ssd_scan(u, torch.ones(1, 128, 2, device=device), -torch.ones(2, device=device), B, B, scan=scan)
    assert isinstance(out, torch.Tensor)
    out.sum().backward()

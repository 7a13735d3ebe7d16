"""Which scan trains on a device: the first of the fast ones that works there."""

from __future__ import annotations

import torch

from ..kernels.dispatch import selective_scan
from ..kernels.table import capability, runs_on

PREFERRED = ("fused", "mamba_ssm", "chunked")
"""Fastest first."""


def choose_scan(device: str, wanted: str | None = None) -> str:
    """The scan asked for, or else the first of :data:`PREFERRED` that computes a small gradient on the device.

    Raises
    ------
    UnknownName, UnsupportedScan
        The scan asked for does not exist or does not run here.
    """
    if wanted is not None:
        _try(wanted, device)
        return wanted
    for scan in PREFERRED[:-1]:
        row = capability("selective_scan", scan)
        # On a CPU the fused scan exists in Triton's interpreter, for tests: far too slow to train with.
        if torch.device(device).type not in row.devices or not runs_on(row, torch.device(device).type):
            continue
        try:
            _try(scan, device)
        except Exception:  # a missing package or a compiler that fails: whatever it is, the next scan serves
            continue
        return scan
    return PREFERRED[-1]


def _try(scan: str, device: str) -> None:
    u = torch.ones(1, 32, 128, device=device, requires_grad=True)
    B = torch.ones(1, 16, 128, device=device)
    out = selective_scan(u, torch.ones_like(u), -torch.ones(32, 16, device=device), B, B, scan=scan)
    assert isinstance(out, torch.Tensor)
    out.sum().backward()

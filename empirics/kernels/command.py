"""The table of scans on the command line:  python -m empirics scans."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch

from .. import options
from .table import TABLE, Capability, runs_on


def main_scans(argv: Sequence[str]) -> int:
    """Print what each scan can do and whether it runs on this machine; 0."""
    options.scans().parse_args(argv)
    for op, kind in (("selective_scan", "Mamba-1"), ("ssd", "Mamba-2")):
        print(f"{op} ({kind})")
        for row in TABLE:
            if row.op == op:
                print("\n".join(f"  {line}" for line in lines(row)))
    return 0


def lines(row: Capability) -> list[str]:
    """Name and availability of a scan, and its properties, one a line."""
    bound = "any number" if row.max_state is None else f"at most {row.max_state}"
    return [
        f"{row.scan}: {availability(row)}",
        f"  inputs         {', '.join(str(d).removeprefix('torch.') for d in row.dtypes)}; "
        f"on {'any device' if 'any' in row.devices else ' or '.join(row.devices)}; states N: {bound}",
        f"  gradients      of every input, {'of any order' if row.twice else 'once'}",
        f"  initial state  {row.h0}",
        f"  any length     {row.off_grid}" + ("; products of float32 are TF32 products" if row.tf32 else ""),
    ]


def availability(row: Capability) -> str:
    """Whether the scan runs on this machine, and what it lacks if not."""
    if row.package is not None and importlib.util.find_spec(row.package) is None:
        return f"not here: {row.package} is not installed"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if not runs_on(row, device):
        return f"not here: it runs on {' or '.join(row.devices)}"
    return f"runs here, on {device}"

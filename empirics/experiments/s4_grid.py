"""The grid of the S4 study: learning rates tuned per method on a seed of their own, then the seeds that count; resumable.

    python -m empirics.experiments.s4_grid --out DIR [--device cuda] [--budget SECONDS] [--quick]

Every run is a JSON file of its own, written atomically; a finished run is never repeated, so the command can be cut off and
called again. ``DIR/s4_regression.json`` is rewritten from the finished runs at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from ..errors import CheckpointError, EmpiricsError, InvalidInput
from .s4_study import METHODS, Outcome, Sizes, train

TUNING_SEED = 100
LEARNING_RATES = (2e-3, 5e-3, 2e-2, 6e-2)
"""The published rate is 5e-3 for every method."""

QUICK = Sizes(width=16, layers=2, states=4, target_states=2, length=40, batch=64, steps=60)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, allow_nan=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read JSON; CheckpointError names a corrupt file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not readable: {error}; delete it to repeat that run") from error


class Grid:
    """Runs of the study under one folder."""

    def __init__(self, out: Path, sizes: Sizes, device: str, deadline: float):
        self.out, self.sizes, self.device, self.deadline = out, sizes, device, deadline
        self.complete = True

    def run(self, method: str, learning_rate: float, seed: int) -> Outcome | None:
        """The outcome of one run, from its file or by training; ``None`` where the time is up."""
        path = self.out / "runs" / f"{method}-lr{learning_rate:g}-seed{seed}.json"
        if path.is_file():
            record = read_json(path)
            if record.get("sizes") != asdict(self.sizes):
                raise InvalidInput(f"{path} belongs to other sizes {record.get('sizes')}; use another --out folder")
            return Outcome(**record["outcome"])
        if time.monotonic() > self.deadline:
            self.complete = False
            return None
        started = time.perf_counter()
        outcome = train(method, self.sizes, seed, learning_rate, device=self.device)
        seconds = time.perf_counter() - started
        write_json(
            path,
            {
                "method": method, "learning_rate": learning_rate, "seed": seed, "sizes": asdict(self.sizes),
                "device": device_name(self.device), "seconds": seconds, "outcome": asdict(outcome),
            },
        )  # fmt: skip
        print(f"{method:22} lr {learning_rate:<7g} seed {seed:<4} held-out {outcome.held_out:.4f} ({seconds:.1f} s)", flush=True)
        return outcome


def device_name(device: str) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % Student-t interval (0 for a single value)."""
    if len(values) < 2:
        return values[0], 0.0
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values), half


def run_grid(grid: Grid, methods: Sequence[str], rates: Sequence[float], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Tune every method's rate on the tuning seed, run the seeds at the best one, and summarise what is finished."""
    best: dict[str, float] = {}
    for method in methods:
        tried = {}
        for rate in rates if METHODS[method] else rates[:1]:
            outcome = grid.run(method, rate, TUNING_SEED)
            if outcome is not None:
                tried[rate] = outcome.held_out
        if tried:
            best[method] = min(tried, key=lambda r: tried[r] if tried[r] == tried[r] else float("inf"))
    rows = []
    for seed in seeds:  # seeds outermost, so that an interrupted grid has all methods at fewer seeds
        for method, rate in best.items():
            grid.run(method, rate, seed)
    for method, rate in best.items():
        finished = [o for seed in seeds if (o := _finished(grid, method, rate, seed)) is not None]
        if not finished:
            continue
        held, half = interval([o.held_out for o in finished])
        least, least_half = interval([o.least_train for o in finished])
        rows.append(
            {
                "method": method, "learning_rate": rate, "seeds": len(finished), "trainable": finished[0].trainable,
                "held_out": held, "held_out_half_width": half, "least_train": least, "least_train_half_width": least_half,
                "per_seed_held_out": [o.held_out for o in finished],
            }
        )  # fmt: skip
    return rows


def _finished(grid: Grid, method: str, rate: float, seed: int) -> Outcome | None:
    path = grid.out / "runs" / f"{method}-lr{rate:g}-seed{seed}.json"
    return Outcome(**read_json(path)["outcome"]) if path.is_file() else None


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m empirics.experiments.s4_grid", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no further run starts")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="fewer optimiser steps than the published 500")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small sizes for a CPU")
    args = parser.parse_args(argv)
    try:
        sizes = QUICK if args.quick else Sizes()
        if args.steps:
            sizes = Sizes(**(asdict(sizes) | {"steps": args.steps}))
        unknown = [m for m in args.methods if m not in METHODS]
        if unknown:
            raise InvalidInput(f"unknown method {unknown[0]!r}; choose {', '.join(METHODS)}")
        torch.set_float32_matmul_precision("high")  # TF32 products on CUDA: relative error 1e-3 of an output, 1e-6 of an MSE
        grid = Grid(args.out, sizes, args.device, time.monotonic() + args.budget)
        rows = run_grid(grid, args.methods, LEARNING_RATES, range(args.seeds))
    except EmpiricsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_json(
        args.out / "s4_regression.json",
        {
            "experiment": "s4_regression", "claim": "lora_limits.cheaper_sparse",
            "sizes": asdict(sizes), "complete": grid.complete,
            "learning_rates": list(LEARNING_RATES), "tuning_seed": TUNING_SEED, "device": device_name(args.device),
            "versions": {"torch": torch.__version__, "python": sys.version.split()[0]}, "git": _commit(), "matmul": "TF32 on CUDA",
            "command": "python -m empirics.experiments.s4_grid", "rows": rows,
        },
    )  # fmt: skip
    print("complete" if grid.complete else "cut off by --budget; call again to go on")
    return 0


def _commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    sys.exit(main())

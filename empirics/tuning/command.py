"""The command ``tune``: a method on one's own rows, against the base model and against LoRA with as many trained numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from theory.core.files import read_object, require_writable, write_json

from .. import options
from ..errors import CheckpointError, InvalidInput, MissingPackage
from ..experiments.lm_benchmark.examples import Item
from ..experiments.lm_benchmark.tokens import tokens_for
from ..hosts.loading import load_host, needs_transformers
from ..hosts.tiny import CONFIGS
from ..models.loading import load_model
from ..pretraining.bundle import BASE, base_folder, bundled_model
from ..study.results import versions
from ..study.runner import check_device
from ..training.progress import Tick, bar
from .identity import Settings, identity, require_same
from .objective import Measured, measure, saved
from .record import ADAPTER, BUNDLED_NAME, RECORD
from .rows import held_out, read_rows
from .session import COMPARED, Outcome, best_rate, fit, known_method, usual_rate

SHARE = 4
"""A run of the sweep takes one step in so many of the fine-tuning's."""


def open_model(name: str, device: str) -> nn.Module:
    """The model of that name in float32: this project's class for Mamba and Mamba-2, transformers' for hybrids.

    Raises
    ------
    CheckpointError
        There is no such model.
    """
    if name == BUNDLED_NAME:
        return bundled_model(device=device)
    if name in CONFIGS or needs_transformers(name):
        return load_host(name, device=device, dtype=torch.float32)
    return load_model(base_folder(name) if name in BASE else name, device=device, dtype=torch.float32)


def main_tune(argv: Sequence[str]) -> int:
    """Run the command; returns 0. Bad input raises an EmpiricsError."""
    args = options.tune().parse_args(list(argv))
    method = known_method(args.method)
    if args.rate is not None and not 0 < args.rate < math.inf:
        raise InvalidInput(f"--rate {args.rate} must be a positive number")
    if not 0 <= args.seed < 2**31:
        raise InvalidInput(f"--seed {args.seed} must lie in 0..{2**31 - 1}")
    check_device(args.device)
    require_writable(args.out, InvalidInput, "--out")
    drawing = None if args.no_plot else _drawing()  # a missing package is better known before the work
    model = open_model(args.model, args.device)
    size = int(getattr(model.config, "vocab_size", 0))
    tokens = tokens_for(BUNDLED_NAME if args.model in CONFIGS else args.model, size)
    items = read_rows(args.data, tokens, args.length, 1 if args.validation else 2)
    rows, validation = (items, read_rows(args.validation, tokens, args.length, 1)) if args.validation else held_out(items)
    settings = Settings(method, args.steps, args.batch, args.rate or usual_rate(method), args.rank, args.seed)
    before = measure(model, validation, args.batch)
    print(f"{_rows(len(rows))} to train on, {len(validation)} held out; {args.model} takes {before.per_token:.3f} bits per token")
    found = {}
    for name in dict.fromkeys([method] if args.no_comparison else [method, COMPARED]):
        own = replace(settings, method=name, rate=args.rate if args.rate and name == method else usual_rate(name))
        with bar("tune:", sys.stderr.isatty()) as tick:
            found[name] = _run(model, rows, validation, own, args, tick, keep=name == method)
    record = {
        "model": args.model, "data": str(args.data), "rows": len(rows), "held_out": len(validation), "length": args.length,
        "baseline": before.per_token, "versions": versions(),
        "runs": {name: _recorded(run, chosen, before) for name, (run, chosen) in found.items()},
    }  # fmt: skip
    write_json(args.out / RECORD, record)
    written = [args.out / ADAPTER, args.out / RECORD]
    if drawing is not None:
        written += drawing.write(record, args.out)
    for path in written:
        print(f"wrote {path}")
    print(verdict(method, before, {name: run for name, (run, _) in found.items()}))
    return 0


def _run(
    model: nn.Module,
    rows: Sequence[Item],
    validation: Sequence[Item],
    settings: Settings,
    args: Any,
    tick: Tick | None,
    keep: bool,
) -> tuple[Outcome, float]:
    """Choose the rate where a sweep is asked for, train, save the adapter of the main method, and take it off again."""
    folder: Path = args.out / "runs" / settings.method
    if args.sweep:
        settings = replace(settings, rate=_swept(model, rows, validation, settings, folder / "rate.json", tick))
    handle, outcome = fit(model, rows, validation, settings, folder, tick)
    if keep:
        handle.save(args.out / ADAPTER)
    handle.remove()
    return outcome, settings.rate


def _swept(
    model: nn.Module, rows: Sequence[Item], validation: Sequence[Item], settings: Settings, kept: Path, tick: Tick | None
) -> float:
    """The rate of the sweep, chosen once and kept."""
    own = identity(model, rows, validation, settings)
    if kept.is_file():
        found = read_object(kept, CheckpointError, "delete it to sweep again")
        require_same(found, own, kept.parent)
        try:
            return float(found["rate"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{kept} holds no rate; delete it to sweep again") from error

    def bits(rate: float) -> float:
        short = replace(settings, rate=rate, steps=max(1, settings.steps // SHARE))
        handle, outcome = fit(model, rows, validation, short, None, tick)
        handle.remove()
        return outcome.after.per_token

    rate, tried = best_rate(bits, settings.rate)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {**own, "rate": rate, "tried": {f"{k:.3g}": v if math.isfinite(v) else None for k, v in tried.items()}})
    return rate


def _recorded(run: Outcome, rate: float, before: Measured) -> dict[str, Any]:
    gain, half = saved(before, run.after)
    return {
        "trained": run.trained, "rate": rate, "curve": run.curve, "losses": list(run.losses), "saved": gain,
        "half_width": half if math.isfinite(half) else None,
    }  # fmt: skip


def verdict(method: str, before: Measured, runs: dict[str, Outcome]) -> str:
    """The last line: what the method saves, and how that compares with LoRA."""
    own = runs[method]
    gain, half = saved(before, own.after)
    change = f"{before.per_token:.3f} → {own.after.per_token:.3f} bits per token"
    line = f"{method}: {change}, saved {_pm(gain, half)}, {own.trained:,} numbers"
    other = runs.get(COMPARED)
    if other is None or method == COMPARED:
        return line
    more, width = saved(other.after, own.after)
    said = "not told apart from" if abs(more) <= width else "better than" if more > 0 else "worse than"
    return f"{line}; {said} LoRA with {other.trained:,} ({_pm(more, width)} bits per token, 95 % over held-out rows, one seed)"


def _pm(value: float, half: float) -> str:
    return f"{value:+.3f} ± {half:.3f}" if math.isfinite(half) else f"{value:+.3f} (one row: no interval)"


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"


def _drawing() -> ModuleType:
    """What draws the curves; MissingPackage without matplotlib."""
    try:
        from figures import tuning
    except ModuleNotFoundError as error:
        raise MissingPackage(error.name or "matplotlib", "figures") from error
    return tuning

"""The fused scan against mamba-ssm's over real shapes:  python -m empirics bench scan --targets.

Times are medians of alternating passes in one process, measured with CUDA events; ratios are medians over the rounds, above 1
where the fused scan is faster. Targets 1 and 2 are about kernels: passes are recorded as CUDA graphs and replayed. Beside each
stands the ratio when Python launches them ("launched"), which for a short scan is the ratio of the two wrappers. What each target
asks for (:data:`TARGETS`) was fixed before the kernel was written.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from ..kernels.dispatch import selective_scan
from ..kernels.selective_scan.oracle import selective_scan as oracle_scan
from .peers import ORDER, Arguments, make_arguments
from .timing import Pass, host_seconds, kept_by_autograd, peak, ratio, recorded, seconds

Bound = tuple[float | None, float | None]
"""Least and most that a number may be; ``None`` for no bound."""

SHOWN: Bound = (None, None)
"""A number that is shown and not asked for."""


@dataclass(frozen=True)
class Target:
    """What was asked for before anything was measured.

    Attributes
    ----------
    asked:
        In words.
    bounds:
        One for each number that decides it, or is shown beside.
    measured_by:
        The benchmark that measures it.
    """

    asked: str
    bounds: tuple[Bound, ...]
    measured_by: str = "scan --targets"

    def met(self, measured: Sequence[float | None]) -> bool:
        """Whether every number is within its bound; one that was not measured is not."""
        return all(within(value, bound) for value, bound in zip(measured, self.bounds, strict=True))


def within(value: float | None, bound: Bound) -> bool:
    """Whether a number was measured and lies within a bound."""
    low, high = bound
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


TARGETS: dict[int, Target] = {
    1: Target(
        "forward and backward with all gradients, lengths on mamba-ssm's grid: at least 2.0 times faster in the median, nowhere "
        "below 1.5",
        ((2.0, None), (1.5, None), SHOWN),
    ),
    2: Target(
        "lengths that prefixes and prompts make (300, 528, 1040, 2064): at least 4 times faster; a token at 2064 costs at most "
        "1.10 of one at 2048",
        ((4.0, None), SHOWN, SHOWN, (None, 1.10)),
    ),
    3: Target(
        "an initial state with its gradient: at most 1.03 of the time without; against one scan per state 20 times faster, 1/10 "
        "of the memory",
        ((None, 1.03), (20.0, None), (None, 0.1)),
    ),
    4: Target(
        "a block under LoRA on all four projections against mamba-ssm's slow path with peft: at least 1.7 times faster, at most "
        "0.35 of the bytes kept between the passes",
        ((1.7, None), (None, 0.35)),
        "block",
    ),
    5: Target(
        "a training step of a whole model with frozen weights (initial state, state offset, LoRA, SDT): at least 1.5 times "
        "faster than mamba-ssm's at the 130m shape, 1.3 at 1.4b",
        ((1.5, None), (1.3, None)),
        "model",
    ),
    6: Target("bytes kept for the backward pass: at most 0.66 of mamba-ssm's", ((None, 0.66),)),
    7: Target(
        "gradient of 1 % of A (SDT): at most 1.02 of the step with A frozen, 0.75 of the dense gradient that is then masked",
        ((None, 1.02), (None, 0.75)),
    ),
    8: Target("the same bits in every run", ((1.0, None),)),
    9: Target(
        "no error, measured against float64, exceeds mamba-ssm's; errors no larger than the rounding of the exact result are "
        "ignored",
        ((None, 1.0),),
    ),
    10: Target(
        "as launched from Python: nowhere slower than mamba-ssm, at least 1.5 times as fast in the median; the CPU's time for "
        "both passes at most mamba-ssm's",
        ((1.0, None), (1.5, None), (None, 1.0)),
    ),
    11: Target(
        "nowhere slower than jax-linear-attention, at least 1.15 times as fast in the median",
        ((1.0, None), (1.15, None)),
        "scan --peers",
    ),
    12: Target(
        "packed sequences: a step costs at most 1.05 of one of a single sequence of all their steps; 16 sequences of 512 steps "
        "at least 3 times as fast as padded to 2,048",
        ((None, 1.05), (3.0, None)),
        "scan --variants",
    ),
}
"""The targets by number. Target 9 has its bound once for each dtype."""

WIDTHS = {"130m": 1536, "370m": 2048, "1.4b": 4096, "2.8b": 5120}
"""Channels of the published Mamba sizes."""

ON_GRID, OFF_GRID = (512, 1024, 2048, 8192), (300, 528, 1040, 2064)
LONGEST = 65536
STATES = 16


@dataclass(frozen=True)
class Scale:
    """Sizes of the measurement; the defaults are the real ones.

    Attributes
    ----------
    widths:
        Channels by name.
    lengths:
        On stock's grid and off it.
    batches, repeats:
        Sequences at a time, and timed rounds.
    longest, narrow:
        Length and channels of the error measurement at the far end.
    """

    widths: Mapping[str, int]
    lengths: tuple[Sequence[int], Sequence[int]]
    batches: Sequence[int]
    repeats: int
    longest: int
    narrow: int


REAL = Scale(WIDTHS, (ON_GRID, OFF_GRID), (1, 8), 10, LONGEST, 64)


def step(scan: str, values: Arguments, wanted: Iterable[str] = ORDER, h0: Tensor | None = None) -> Pass:
    """Forward and backward with the gradients of ``wanted``, and of h0 where it is given."""
    leaves: dict[str, Any] = {k: v.detach().clone().requires_grad_(k in set(wanted)) for k, v in values.items()}
    inputs = [v for v in leaves.values() if v.requires_grad]
    if h0 is not None:
        leaves["h0"] = h0.detach().clone().requires_grad_()
        inputs.append(leaves["h0"])
    weight = torch.ones_like(leaves["u"])

    def run() -> tuple[Tensor, ...]:
        out = selective_scan(**leaves, dt_softplus=True, scan=scan)
        return torch.autograd.grad(out, inputs, weight)

    return run


def scan_per_state(values: Arguments, h0: Tensor, scan: str) -> Pass:
    """Initial-state tuning without an initial state in the kernel: one scan of one state each gives its trajectory, which is
    kept; the decayed h_0 is added to it, and C reads the sum (the way of the published state-tuning code)."""
    leaves = {k: v.detach().clone() for k, v in values.items()}
    start = h0.detach().clone().requires_grad_()
    one = torch.ones_like(leaves["C"][:, :1])

    def run() -> tuple[Tensor, ...]:
        dt = torch.nn.functional.softplus(leaves["dt"].float() + leaves["dt_bias"][:, None])
        total = dt.cumsum(-1)
        states = []
        for n in range(h0.shape[2]):
            own = selective_scan(
                leaves["u"], leaves["dt"], leaves["A"][:, n : n + 1].contiguous(), leaves["B"][:, n : n + 1].contiguous(), one,
                dt_bias=leaves["dt_bias"], dt_softplus=True, scan=scan,
            )  # fmt: skip
            assert isinstance(own, Tensor)
            states.append(own + (torch.exp(total * leaves["A"][:, n, None]) * start[:, :, n, None]).to(own.dtype))
        y = torch.einsum("nbdl,bnl->bdl", torch.stack(states), leaves["C"]) + leaves["D"].to(one.dtype)[:, None] * leaves["u"]
        y = y * torch.nn.functional.silu(leaves["z"])
        return torch.autograd.grad(y, [start], torch.ones_like(y))

    return run


def kept(scan: str, values: Arguments) -> int:
    """Bytes that autograd keeps between the passes beyond the arguments themselves."""
    leaves: dict[str, Any] = {k: v.detach().clone().requires_grad_() for k, v in values.items()}
    return kept_by_autograd(lambda: selective_scan(**leaves, dt_softplus=True, scan=scan), leaves.values())


def errors(scan: str, values: Arguments, wanted: Sequence[Tensor] | None = None) -> dict[str, float]:
    """Relative L2 error of the output and of every gradient against the oracle in float64, on the same rounded inputs.

    The gradient that comes from above is such an input: left unrounded in the oracle alone, it would stand in every gradient as
    an error of its own, a thousand times the errors of gradients in float32.

    Parameters
    ----------
    wanted:
        :func:`oracle_results`, where they are known.
    """
    wanted = oracle_results(values) if wanted is None else wanted
    leaves: dict[str, Any] = {k: v.detach().clone().requires_grad_() for k, v in values.items()}
    out = selective_scan(**leaves, dt_softplus=True, scan=scan)
    assert isinstance(out, Tensor)
    got = [out.detach(), *torch.autograd.grad(out, [leaves[k] for k in ORDER], _weight(out, out.dtype))]
    return {name: _error(a, b) for name, a, b in zip(("out", *ORDER), got, wanted, strict=True)}


def _error(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted).norm() / wanted.norm().clamp_min(1e-300))


def floors(values: Arguments, wanted: Sequence[Tensor]) -> dict[str, float]:
    """What rounding the exact results to their types costs, which is what an exact scan's errors would be."""
    types = (values["u"].dtype, *(values[k].dtype for k in ORDER))
    return {name: _error(b.to(dtype), b) for name, b, dtype in zip(("out", *ORDER), wanted, types, strict=True)}


def oracle_results(values: Arguments) -> list[Tensor]:
    """The output and, for a fixed random functional of it, every gradient, in float64."""
    exact: dict[str, Any] = {k: v.double().requires_grad_() for k, v in values.items()}
    expected = oracle_scan(**exact, dt_softplus=True)
    assert isinstance(expected, Tensor)
    weight = _weight(expected, values["u"].dtype).double()
    return [expected.detach(), *torch.autograd.grad((expected * weight).sum(), [exact[k] for k in ORDER])]


def _weight(out: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.device, dtype)


def speed(fused: str, stock: str, scale: Scale, size: str, dtype: torch.dtype, device: str) -> list[dict[str, Any]]:
    """Rows of targets 1 and 2 for one width: every batch and length."""
    rows, width = [], scale.widths[size]
    for batch in scale.batches:
        for grid, lengths in zip((True, False), scale.lengths, strict=True):
            for length in lengths:
                values = make_arguments((batch, width, length, STATES), dtype, device)
                passes = {fused: step(fused, values), stock: step(stock, values)}
                eager, host = (clock(passes, scale.repeats, device) for clock in (seconds, host_seconds))
                times = eager if device == "cpu" else seconds(recorded(passes, device), scale.repeats, device)
                rows.append(
                    {
                        "size": size, "B": batch, "D": width, "L": length, "on_grid": grid,
                        "fused_s": statistics.median(times[fused]), "stock_s": statistics.median(times[stock]),
                        "ratio": ratio(times, stock, fused), "launched_ratio": ratio(eager, stock, fused),
                        "fused_launched_s": statistics.median(eager[fused]),
                        "stock_launched_s": statistics.median(eager[stock]),
                        "fused_host_s": statistics.median(host[fused]), "stock_host_s": statistics.median(host[stock]),
                    }
                )  # fmt: skip
                del passes, times, eager, host, values
                gc.collect()
    return rows


def initial_state(fused: str, stock: str, scale: Scale, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Target 3, at the first width, the largest batch and the third length on the grid: everything frozen but h_0."""
    width, batch, length = next(iter(scale.widths.values())), max(scale.batches), scale.lengths[0][-2]
    values = make_arguments((batch, width, length, STATES), dtype, device)
    h0 = torch.randn(batch, width, STATES, generator=torch.Generator().manual_seed(2)).to(device)
    all_of_it = {"with": step(fused, values, h0=h0), "without": step(fused, values)}
    alone = {"fused": step(fused, values, (), h0), "per_state": scan_per_state(values, h0, stock)}
    times, alone_times = (seconds(recorded(p, device), scale.repeats, device) for p in (all_of_it, alone))
    memory = {name: peak(run, device) for name, run in alone.items()}
    fused_memory, other = memory["fused"], memory["per_state"]
    return {
        "B": batch, "D": width, "L": length, "with_over_without": ratio(times, "with", "without"),
        "faster_than_scan_per_state": ratio(alone_times, "per_state", "fused"),
        "memory_of_scan_per_state": None if fused_memory is None or other is None else fused_memory / other,
    }  # fmt: skip


def sparse(fused: str, scale: Scale, dtype: torch.dtype, device: str) -> dict[str, float]:
    """Target 7, same shape as target 3: 1 % of A selected, against A frozen and against the dense gradient that is masked."""
    width, batch, length = next(iter(scale.widths.values())), max(scale.batches), scale.lengths[0][-2]
    values = make_arguments((batch, width, length, STATES), dtype, device)
    frozen = [k for k in ORDER if k != "A"]
    entries = torch.randperm(width * STATES, generator=torch.Generator().manual_seed(3))[: max(1, width * STATES // 100)].to(
        device
    )
    mask = torch.zeros(width * STATES, device=device).index_fill_(0, entries, 1).view(width, STATES)
    leaves: dict[str, Any] = {k: v.detach().clone().requires_grad_(k != "A") for k, v in values.items()}
    compact = torch.zeros(len(entries), device=device, requires_grad=True)
    dense = leaves["A"].detach().clone().requires_grad_()
    rest, weight = [leaves[k] for k in frozen], torch.ones_like(leaves["u"])

    def selected() -> object:
        A = leaves["A"].view(-1).index_add(0, entries, compact).view(width, STATES)
        return torch.autograd.grad(selective_scan(**{**leaves, "A": A}, dt_softplus=True, scan=fused), [*rest, compact], weight)

    def masked() -> object:
        out = selective_scan(**{**leaves, "A": dense}, dt_softplus=True, scan=fused)
        *_, grad = torch.autograd.grad(out, [*rest, dense], weight)
        return grad * mask

    passes = {"frozen": step(fused, values, frozen), "selected": selected, "masked": masked}
    times = seconds(recorded(passes, device), scale.repeats, device)
    return {"over_frozen": ratio(times, "selected", "frozen"), "over_masked": ratio(times, "selected", "masked")}


def same_bits(fused: str, scale: Scale, dtype: torch.dtype, device: str, runs: int = 5) -> bool:
    """Target 8."""
    width, batch, length = next(iter(scale.widths.values())), max(scale.batches), scale.lengths[1][-1]
    run = step(fused, make_arguments((batch, width, length, STATES), dtype, device))
    first = run()
    assert isinstance(first, tuple)
    return all(torch.equal(a, b) for _ in range(runs) for a, b in zip(first, run(), strict=True))  # type: ignore[call-overload]


def accuracy(fused: str, stock: str, scale: Scale, length: int, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Target 9 at one length, with few channels: errors, those of rounded exact results, and the largest ratio."""
    values = make_arguments((1, scale.narrow, length, STATES), dtype, device)
    wanted = oracle_results(values)
    ours, theirs, least = errors(fused, values, wanted), errors(stock, values, wanted), floors(values, wanted)
    return {
        "L": length, "dtype": str(dtype).removeprefix("torch."), "fused": ours, "stock": theirs, "rounding": least,
        "worst_ratio": max(ratio_of_errors(ours[k], theirs[k], least[k]) for k in ours),
    }  # fmt: skip


SAME = 1e-6
"""Share of a rounding error below which one scan's is another's; two scans on a CPU, whose ties go other ways, differ by 1e-9."""


def ratio_of_errors(ours: float, theirs: float, rounding: float) -> float:
    """Our error through theirs; 1 at most where ours is the error of rounding the exact result, which no scan can be below."""
    found = ours / max(theirs, 1e-30)
    return min(found, 1.0) if ours <= (1 + SAME) * rounding else found


def measure_targets(
    fused: str = "fused",
    stock: str = "mamba_ssm",
    scale: Scale = REAL,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cuda",
    known: Mapping[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] = lambda parts: None,
) -> dict[str, Any]:
    """All of it, and a verdict for every target.

    Parameters
    ----------
    known:
        Parts that an earlier call has finished; they are not measured again.
    save:
        Receives all finished parts after each.

    Raises
    ------
    InvalidInput
        No CUDA device where one is asked for.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("the targets are measured on a CUDA device and there is none here")
    width, batch = next(iter(scale.widths.values())), max(scale.batches)

    def kept_bytes() -> dict[str, int]:
        values = make_arguments((batch, width, scale.lengths[0][-2], STATES), dtype, device)
        return {name: kept(name, values) for name in (fused, stock)}

    lengths = (*scale.lengths[0][:1], *scale.lengths[1], scale.longest)
    kinds = [(kind, length) for kind in dict.fromkeys((dtype, torch.float32)) for length in lengths]
    todo: dict[str, Callable[[], Any]] = {
        "initial_state": lambda: initial_state(fused, stock, scale, dtype, device),
        "sparse": lambda: sparse(fused, scale, dtype, device),
        "kept_bytes": kept_bytes,
        "same_bits": lambda: same_bits(fused, scale, dtype, device),
        **{f"speed {size}": _later(lambda s: speed(fused, stock, scale, s, dtype, device), size) for size in scale.widths},
        **{
            f"accuracy {kind} {length}": _later(lambda at: accuracy(fused, stock, scale, at[0], at[1], device), (length, kind))
            for kind, length in kinds
        },
    }
    parts: dict[str, Any] = {name: (known or {})[name] for name in todo if name in (known or {})}
    for name, measure in todo.items():
        if name not in parts:
            parts[name] = measure()
            save(parts)
    rows = [row for size in scale.widths for row in parts[f"speed {size}"]]
    error_rows = [parts[f"accuracy {kind} {length}"] for kind, length in kinds]
    return {
        "table": _table(rows, error_rows, parts, fused, stock, scale), "speed": rows, "accuracy": error_rows,
        **{name: parts[name] for name in ("initial_state", "kept_bytes", "sparse", "same_bits")},
    }  # fmt: skip


def _later(measure: Callable[[Any], Any], argument: Any) -> Callable[[], Any]:
    return lambda: measure(argument)


def _table(
    rows: Sequence[Mapping[str, Any]],
    error_rows: Sequence[Mapping[str, Any]],
    parts: Mapping[str, Any],
    fused: str,
    stock: str,
    scale: Scale,
) -> list[dict[str, Any]]:
    grid = [r["ratio"] for r in rows if r["on_grid"]]
    off = [r["ratio"] for r in rows if not r["on_grid"]]
    per_token = {
        (r["size"], r["B"]): r["fused_s"] / (r["B"] * r["L"]) for r in rows if not r["on_grid"] and r["L"] == scale.lengths[1][-1]
    }
    even = {
        (r["size"], r["B"]): r["fused_s"] / (r["B"] * r["L"]) for r in rows if r["on_grid"] and r["L"] == scale.lengths[0][-2]
    }
    token = statistics.median(per_token[k] / even[k] for k in per_token)
    worst: dict[str, float] = {}
    for row in error_rows:
        worst[row["dtype"]] = max(worst.get(row["dtype"], 0.0), row["worst_ratio"])
    third, seventh, held = parts["initial_state"], parts["sparse"], parts["kept_bytes"]
    memory = third["memory_of_scan_per_state"]
    return [
        _row(
            1, "times faster: median, least; median as launched from Python",
            [statistics.median(grid), min(grid), statistics.median(r["launched_ratio"] for r in rows if r["on_grid"])],
        ),
        _row(
            2, "times faster off the grid: least, median, least as launched; token at 2064 / 2048",
            [min(off), statistics.median(off), min(r["launched_ratio"] for r in rows if not r["on_grid"]), token],
        ),
        _row(
            3, "with h_0 / without; times faster, share of memory of one scan per state",
            [third["with_over_without"], third["faster_than_scan_per_state"], memory],
        ),
        _row(6, "bytes kept / stock's", [held[fused] / held[stock]]),
        _row(7, "1 % of A / frozen A; / dense and masked", [seventh["over_frozen"], seventh["over_masked"]]),
        _row(8, "same bits in every run", [float(parts["same_bits"])]),
        _row(9, f"largest error / stock's: {', '.join(worst)}", list(worst.values())),
        _row(
            10, "times faster as launched from Python: least, median; most of the CPU's time / stock's",
            [
                min(r["launched_ratio"] for r in rows), statistics.median(r["launched_ratio"] for r in rows),
                max(r["fused_host_s"] / r["stock_host_s"] for r in rows),
            ],
        ),
    ]  # fmt: skip


def _row(number: int, what: str, measured: Sequence[float | None]) -> dict[str, Any]:
    target = TARGETS[number]
    if len(target.bounds) == 1:  # one bound for each of the numbers
        target = replace(target, bounds=target.bounds * len(measured))
    asked = [f">= {low:g}" if low is not None else f"<= {high:g}" if high is not None else "shown" for low, high in target.bounds]
    return {"target": number, "what": what, "measured": list(measured), "asked": asked, "met": target.met(measured)}


def print_targets(table: Iterable[Mapping[str, Any]]) -> None:
    """One line for each target."""
    for row in table:
        values = ", ".join(
            "not measured" if v is None else f"{v:.5g} ({asked})" for v, asked in zip(row["measured"], row["asked"], strict=True)
        )
        print(f"{row['target']:>2}  {'met   ' if row['met'] else 'missed'}  {row['what']}: {values}")

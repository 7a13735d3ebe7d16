"""Selective scan, forward and backward, against other implementations:  python -m empirics bench scan.

Contenders take turns, so that a change of the machine's load reaches all of them; ratios are medians over the rounds. All
gradients are asked for. Before anything is timed, every output and gradient is compared with the oracle's float64 values at a
short length: a fast wrong scan does not enter the table.

On a machine that others use as well, set OMP_WAIT_POLICY=passive: threads that spin at OpenMP's barriers otherwise cost a
scheduler's time slice each, many times the work of a small operation.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theory.core.files import require_replaceable

from .. import options as parsers
from ..errors import EmpiricsError, InvalidInput, UnsupportedScan
from ..kernels.selective_scan.oracle import selective_scan as oracle_scan
from ..study.results import write_json
from ..study.runner import check_device
from .machine import machine
from .parts import complete, finished, saver
from .peers import ORDER, Arguments, Contender, contender, make_arguments, missing, version
from .timing import clock

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHAPES = {"cpu": (1, 768, 1024, 16), "cuda": (8, 1536, 2048, 16)}
_CONTENDERS = {"cpu": ("chunked", "mambapy", "transformers"), "cuda": ("mamba_ssm", "chunked")}
_AGREEMENT = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 2e-2}
_CHECK_LENGTH = 67


def _leaves(one: Contender, values: Arguments) -> Arguments:
    return {k: v.detach().clone().requires_grad_() for k, v in one.convert(values).items()}


def time_once(one: Contender, leaves: Arguments, device: str) -> tuple[float, float]:
    """Seconds of one forward and one backward pass with all gradients."""
    start = clock(device)
    out = one.call(leaves)
    middle = clock(device)
    torch.autograd.grad(out, [leaves[k] for k in ORDER], torch.ones_like(out))
    return middle - start, clock(device) - middle


def agreement(one: Contender, values: Arguments) -> float:
    """Largest relative error of the output and of all gradients against the oracle in float64."""
    short = {k: v[..., :_CHECK_LENGTH] if v.ndim == 3 else v for k, v in values.items()}
    exact: dict[str, Any] = {k: v.double().cpu().requires_grad_() for k, v in short.items()}
    expected = oracle_scan(**exact, dt_softplus=True)
    assert isinstance(expected, Tensor)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    wanted = [expected, *torch.autograd.grad((expected * weight).sum(), [exact[k] for k in ORDER])]
    # Differentiating with respect to the unconverted tensors includes the conversion, so layouts agree.
    given = {k: v.detach().clone().requires_grad_() for k, v in short.items()}
    out = one.restore(one.call(one.convert(given)))
    got = [out, *torch.autograd.grad((out.float() * weight.to(out.device)).sum(), [given[k] for k in ORDER])]
    return max(float(((a.double().cpu() - b).abs().max() / b.abs().max()).detach()) for a, b in zip(got, wanted, strict=True))


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def measure(
    names: Sequence[str], shape: tuple[int, int, int, int], dtype: torch.dtype, device: str, repeats: int, budget: float
) -> dict[str, Any]:
    """Times of the contenders, which take turns; the first is the one that ratios are relative to.

    A contender whose first pass exceeds ``budget`` seconds is timed by that pass alone, others after it as a warm-up.

    Raises
    ------
    InvalidInput, UnknownName, UnsupportedScan
        Unusable arguments, no such contender, or one that disagrees with the oracle.
    """
    if repeats < 1:
        raise InvalidInput(f"repeats is {repeats}, expected at least 1")
    chosen = [contender(name) for name in names]
    values = make_arguments(shape, dtype, device)
    absent = {c.name: why for c in chosen if (why := missing(c)) is not None}
    present = [c for c in chosen if c.name not in absent]
    errors = {c.name: agreement(c, values) for c in present}
    for name, error in errors.items():
        if not error <= _AGREEMENT[dtype]:
            raise UnsupportedScan(f"{name} differs from the oracle by {error:.1e} (relative); its time would mean nothing")
    times: dict[str, list[tuple[float, float]]] = {}
    prepared = {}
    for one in present:
        leaves = _leaves(one, values)
        first = time_once(one, leaves, device)
        times[one.name] = [first] if sum(first) > budget else []
        if not times[one.name]:
            prepared[one.name] = (one, leaves)
    for _ in range(repeats):
        for name, (one, leaves) in prepared.items():
            times[name].append(time_once(one, leaves, device))
    rows = {
        name: {
            "forward_s": _summary([f for f, _ in runs]),
            "backward_s": _summary([b for _, b in runs]),
            "total_s": _summary([f + b for f, b in runs]),
            "runs": len(runs),
            "error_against_oracle": errors[name],
            "version": version(contender(name)),
        }
        for name, runs in times.items()
    }
    return {"times": rows, "missing": absent, "ratios": _ratios(names[0], times)}


def _ratios(reference: str, times: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """How many times longer the others take than the reference: median over the rounds, or of medians where runs differ."""
    if reference not in times:
        return {}
    own = [sum(t) for t in times[reference]]
    ratios = {}
    for name, runs in times.items():
        totals = [sum(t) for t in runs]
        if name != reference:
            paired = len(totals) == len(own)
            ratios[name] = (
                statistics.median(b / a for a, b in zip(own, totals, strict=True))
                if paired
                else statistics.median(totals) / statistics.median(own)
            )
    return ratios


def peak_memory(name: str, shape: tuple[int, int, int, int], dtype_name: str, threads: int) -> float:
    """MiB by which one forward and backward pass raises a fresh process's resident memory at most (Linux)."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else "empirics.bench.scan", "--peak-memory-of", name]
    command += ["--shape", ",".join(map(str, shape)), "--dtype", dtype_name, "--threads", str(threads)]
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    if done.returncode:
        raise InvalidInput(f"measuring the memory of {name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return float(done.stdout.split()[-1])


def _own_peak(name: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> float:
    one = contender(name)
    small = make_arguments((1, 8, 8, shape[3]), dtype, "cpu")
    time_once(one, _leaves(one, small), "cpu")  # imports and thread pools
    leaves = _leaves(one, make_arguments(shape, dtype, "cpu"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on; getrusage's is inherited from the parent process
    before = _resident("VmRSS")
    time_once(one, leaves, "cpu")
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def _install(names: Sequence[str]) -> None:
    for one in map(contender, names):
        if missing(one) is not None:
            subprocess.run([sys.executable, "-m", "pip", "install", *one.pip.split()], check=False)


def _report(result: dict[str, Any], names: Sequence[str]) -> None:
    print(
        f"(B, D, L, N) = {tuple(result['shape'])}, {result['dtype']}, {result['machine']['threads']} threads, {result['device']}"
    )
    for name, row in result["times"].items():
        ratio = result["ratios"].get(name)
        beside = f"{ratio:9.1f} x {names[0]}" if ratio is not None else ""
        peak = result.get("peak_memory_mib", {}).get(name)
        memory = f"{peak:8.0f} MiB" if peak is not None else ""
        f, b, t = (row[f"{part}_s"]["median"] for part in ("forward", "backward", "total"))
        print(f"{name:>14}  forward {f:9.4f} s  backward {b:9.4f} s  both {t:9.4f} s  ({row['runs']} runs){memory}{beside}")
    for name, why in result["missing"].items():
        print(f"{name:>14}  missing ({why}): pip install '{contender(name).pip}', or give --install-peers")


def main_bench_scan(argv: Sequence[str]) -> int:
    """Run the benchmark from command-line arguments; 0, or 2 after a message about what is wrong with them."""
    options = parsers.bench_scan().parse_args(argv)
    if options.out is not None:
        require_replaceable(options.out, InvalidInput)
    dtype_name = options.dtype or ("float32" if options.device == "cpu" else "bfloat16")
    dtype, shape = _DTYPES[dtype_name], options.shape or _SHAPES[options.device]
    names = tuple(options.contenders or _CONTENDERS[options.device])
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    try:
        if options.peak_memory_of:
            print(_own_peak(options.peak_memory_of, shape, dtype))
            return 0
        check_device(options.device)
        for name in names:  # all of them before the first is measured
            contender(name)
        if options.out is not None:
            require_replaceable(options.out, InvalidInput)
        if options.install_peers:
            _install(names)
        if options.targets:
            if options.device != "cuda":
                raise InvalidInput("--targets measures a GPU; add --device cuda")
            from .targets import measure_targets, print_targets

            about = {"benchmark": "scan_targets", "dtype": dtype_name, "machine": machine(options.device)}
            known, save = finished(options.out, about), saver(options.out, about)
            found = measure_targets(dtype=dtype, device=options.device, known=known, save=save)
            print_targets(found["table"])
            complete(options.out, about, found)
            return 0
        if options.peers:
            if options.device != "cuda":
                raise InvalidInput("--peers measures a GPU; add --device cuda")
            from .scan_peers import SHAPES, measure_peers

            shapes = SHAPES if options.shape is None else (options.shape,)
            found = {"benchmark": "scan_peers", "dtype": dtype_name, "machine": machine(options.device)}
            found |= measure_peers(shapes, dtype)
            for name, why in found["absent"].items():
                print(f"{name}: absent ({why})")
            print(f"target 11 {'met' if found['target']['met'] else 'missed'}: {found['target']['measured']}")
            if options.out is not None:
                write_json(options.out, found)
            return 0
        if options.variants:
            if options.device != "cuda":
                raise InvalidInput("--variants measures a GPU; add --device cuda")
            from .scan_variants import measure_variants

            found = {"benchmark": "scan_variants", "dtype": dtype_name, "machine": machine(options.device)}
            found |= measure_variants(dtype)
            if options.out is not None:
                write_json(options.out, found)
            return 0
        result: dict[str, Any] = {
            "benchmark": "selective_scan",
            "device": options.device,
            "shape": list(shape),
            "dtype": dtype_name,
        }
        result["machine"] = machine(options.device)
        result |= measure(names, shape, dtype, options.device, options.repeats, options.budget)
        if options.memory and options.device == "cpu":
            quick = [n for n, row in result["times"].items() if row["total_s"]["median"] <= options.budget]
            result["peak_memory_mib"] = {n: peak_memory(n, shape, dtype_name, torch.get_num_threads()) for n in quick}
        _report(result, names)
        if options.out is not None:
            write_json(options.out, result)
            print(f"written to {options.out}")
    except EmpiricsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main_bench_scan(sys.argv[1:]))

"""One block under LoRA on all its projections, against mamba-ssm's with peft:  python -m empirics bench block.

The block alone, without embedding, norm and head: forward and backward to its input and to the adapters. Kernels are recorded as
a CUDA graph and replayed, contenders in turn, so neither the CPU nor the rest of a model is measured; beside that stands the time
as launched from Python. Stock's fused path is launched from Python only: recorded by itself, its backward pass waits for the
default stream (in a whole model it does not). Kept
bytes are what stays allocated between the passes beyond parameters, input and output.

ours             this project's block with the fused scan; ours/keep_all keeps more, ours/recompute and ours/recompute_all less
                 (models/mixer.py)
slow_lora        mamba-ssm's block with ``use_fast_path=False`` (Mamba-2: ``use_mem_eff_path=False``) and peft's LoRA, whose
                 wrapping reaches x_proj and out_proj only in Mamba-1
stock            mamba-ssm's fused path without adapters, every weight trained
"""

from __future__ import annotations

import gc
import importlib
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from theory.core.files import require_replaceable

from .. import options as parsers
from ..errors import EmpiricsError, InvalidInput, MissingPackage, UnknownName
from ..kernels.table import capability
from ..methods import LoRA, apply
from ..models import Mamba2Config, MambaConfig, size_config
from ..models.lm import make_mixer
from ..study.results import write_json
from ..study.runner import check_device
from .machine import machine
from .model import RANK, RECOMPUTE, full_name, op_of, projections
from .targets import TARGETS
from .timing import graphed, kept_bytes_of, ratio, seconds

CONTENDERS = ("ours", "ours/keep_all", "ours/recompute", "ours/recompute_all", "slow_lora", "stock")
REFERENCE = "slow_lora"


def default_scan(config: MambaConfig, device: str) -> str:
    """The fastest scan for blocks of this kind."""
    if device == "cpu":
        return "chunked"
    return "fused" if op_of(config) == "selective_scan" else "mamba_ssm"


def ours(name: str, config: MambaConfig, device: str, dtype: torch.dtype, scan: str) -> tuple[nn.Module, list[nn.Parameter]]:
    """This project's block and its adapters."""
    torch.manual_seed(0)
    mixer = make_mixer(config, scan).to(device, dtype)
    if "/" in name:
        mixer.recompute = RECOMPUTE[name.partition("/")[2]]
    handle = apply(nn.ModuleList([mixer]), LoRA(targets=projections(config), rank=RANK))
    return mixer, list(handle.trainable().values())


def peer(name: str, config: MambaConfig, device: str, dtype: torch.dtype) -> tuple[nn.Module, list[nn.Parameter]]:
    """mamba-ssm's block: the slow path with peft's LoRA, or the fused path.

    Raises
    ------
    MissingPackage
        mamba-ssm or peft is not installed.
    """
    try:
        kind = "Mamba2" if isinstance(config.mixer, Mamba2Config) else "Mamba"
        blocks = importlib.import_module("mamba_ssm.modules." + {"Mamba": "mamba_simple", "Mamba2": "mamba2"}[kind])
        peft = importlib.import_module("peft") if name == "slow_lora" else None
    except ImportError as error:
        raise MissingPackage(error.name or "mamba_ssm", "cuda", "a peer of the benchmark needs it") from error
    options = {k: v for k, v in config.ssm_cfg.items() if k != "layer"}
    options[{"Mamba": "use_fast_path", "Mamba2": "use_mem_eff_path"}[kind]] = peft is None
    block = getattr(blocks, kind)(config.d_model, **options, layer_idx=0, device=device, dtype=dtype)
    if peft is not None:
        block = peft.get_peft_model(block, peft.LoraConfig(r=RANK, target_modules=list(projections(config)))).base_model.model
    return block, [p for p in block.parameters() if p.requires_grad]


def passes(block: nn.Module, trained: Sequence[nn.Parameter], hidden: Tensor, weight: Tensor) -> Callable[[], object]:
    """Forward and backward to the input and to what is trained; adapters that get no gradient are passed over."""
    return lambda: torch.autograd.grad(block(hidden), [hidden, *trained], weight, allow_unused=True)


def kept_bytes(block: nn.Module, hidden: Tensor) -> int:
    """Bytes that stay between the passes beyond parameters, input and output: on a GPU what is allocated, which counts results
    that are kept beside autograd; on a CPU what operations made and is still held."""
    if not hidden.is_cuda:
        return kept_bytes_of(lambda: block(hidden), [hidden, *block.parameters()])
    kept = 0
    for _ in range(2):  # what earlier passes left may be freed during the first
        gc.collect()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        out = block(hidden)
        kept = torch.cuda.memory_allocated() - before - out.untyped_storage().nbytes()
        del out
    return kept


def measure_block(
    names: Sequence[str], config: MambaConfig, batch: int, length: int, device: str, scan: str, repeats: int
) -> dict[str, dict[str, Any]]:
    """A row for each contender: median seconds, kept bytes, and both as ratios to ``slow_lora`` where that was measured."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(batch, length, config.d_model, generator=generator).to(device, dtype).requires_grad_()
    weight = torch.randn(batch, length, config.d_model, generator=generator).to(device, dtype)
    rows: dict[str, dict[str, Any]] = {}
    eager: dict[str, Callable[[], object]] = {}
    for name in names:
        try:
            mine = name.startswith("ours")
            block, trained = ours(name, config, device, dtype, scan) if mine else peer(name, config, device, dtype)
        except MissingPackage as error:
            rows[name] = {"missing": str(error)}
            continue
        run = passes(block, trained, hidden, weight)
        run()  # compiles what is compiled at the first call
        rows[name] = {"kept_bytes": kept_bytes(block, hidden), "trained": sum(p.numel() for p in trained)}
        eager[name] = run
    launched = seconds(eager, repeats, device)
    runs = {name: run if device == "cpu" or name == "stock" else graphed(run) for name, run in eager.items()}
    times = seconds(runs, repeats, device)
    for name in runs:
        rows[name]["seconds"], rows[name]["launched_s"] = statistics.median(times[name]), statistics.median(launched[name])
        if REFERENCE in runs:
            rows[name]["times_as_fast"] = ratio(times, REFERENCE, name)
            rows[name]["share_of_kept"] = rows[name]["kept_bytes"] / rows[REFERENCE]["kept_bytes"]
    return rows


def line(name: str, row: dict[str, Any], target: bool = True) -> str:
    """One line of the report; with ``target`` whether one of ours meets target 4, which is about blocks of Mamba-1."""
    if "missing" in row:
        return f"{name:20} {row['missing']}"
    launched = f"({row['launched_s'] * 1e3:.3f} as launched from Python)"
    text = f"{name:20} {row['seconds'] * 1e3:8.3f} ms {launched}, kept {row['kept_bytes'] / 2**20:8.1f} MiB"
    if "times_as_fast" in row:
        text += f", {row['times_as_fast']:.2f} x as fast as {REFERENCE}, {row['share_of_kept']:.2f} of its bytes"
        if target and name.startswith("ours"):
            met = TARGETS[4].met([row["times_as_fast"], row["share_of_kept"]])
            text += f", target 4 {'met' if met else 'missed'}"
    return text


def main_bench_block(argv: Sequence[str]) -> int:
    """Run the benchmark from command-line arguments; 0, or 2 after a message about what is wrong with them."""
    options = parsers.bench_block().parse_args(argv)
    options.contenders = options.contenders or list(CONTENDERS)
    if options.out is not None:
        require_replaceable(options.out, InvalidInput)
    try:
        check_device(options.device)
        for name in ("batch", "length", "repeats"):
            if getattr(options, name) < 1:
                raise InvalidInput(f"--{name} {getattr(options, name)} must be at least 1")
        result: dict[str, Any] = {
            "benchmark": "block", "device": options.device, "batch": options.batch, "length": options.length,
            "machine": machine(options.device), "sizes": {},
        }  # fmt: skip
        # All names before the first measurement.
        for name in options.contenders:
            if name not in CONTENDERS:
                raise UnknownName("contender", name, CONTENDERS)
        scans = {size: options.scan or default_scan(size_config(size), options.device) for size in options.sizes}
        for size, scan in scans.items():
            capability(op_of(size_config(size)), scan)
        if options.out is not None:
            require_replaceable(options.out, InvalidInput)
        for size in options.sizes:
            print(f"a block of {full_name(size)}, {options.batch} x {options.length} tokens")
            rows = measure_block(
                options.contenders, size_config(size), options.batch, options.length, options.device, scans[size], options.repeats
            )
            result["sizes"][size] = rows
            for name, row in rows.items():
                print(line(name, row, op_of(size_config(size)) == "selective_scan"))
            if options.out is not None:
                write_json(options.out, result)
    except EmpiricsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main_bench_block(sys.argv[1:]))

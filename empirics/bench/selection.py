"""What choosing SDT's dimensions costs, by model size and sequence length:  python -m empirics bench selection.

For every size and length a fresh model with random weights: the warm-up that the change scores need (AdamW on A_log alone), the
gradient score on as many batches, ranking and selecting, and one evaluation of the loss, of which the ablation score needs one
for every channel of every block and one for every state of the channels that it goes into. Beside them stands a training step of
SDT with LoRA on out_proj at the same shape, so that the cost can be read in steps.
"""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from theory.core.files import require_replaceable

from .. import options as parsers
from ..errors import EmpiricsError, InvalidInput
from ..kernels.table import capability
from ..methods import SDT, LoRA, SDTLoRA, apply, select
from ..methods.geometry import find_mixers, geometry
from ..methods.scores import score, warm_up
from ..methods.selection import how_many
from ..models import MambaConfig, MambaLM, size_config
from ..study.results import write_json
from ..study.runner import check_device
from .machine import machine
from .model import RANK, SHARE, loss_of, op_of
from .timing import clock

STEPS = 10
"""Batches of the warm-up and of the gradient score."""


def _seconds(run: Callable[[], Any], device: str) -> tuple[float, Any]:
    began = clock(device)
    result = run()
    return clock(device) - began, result


def evaluations(model: MambaLM) -> int:
    """Evaluations of the loss that the ablation score takes when it goes into the share of channels that is kept."""
    total = 1
    for _, mixer in find_mixers(model):
        sizes = geometry(mixer)
        total += sizes.channels + how_many(SHARE, sizes.channels, "channels") * sizes.d_state
    return total


def measure_selection(
    config: MambaConfig, batch: int, length: int, device: str, scan: str, repeats: int, steps: int = STEPS
) -> dict[str, Any]:
    """Seconds of warm-up, gradient score and selecting; median seconds of an evaluation and of a training step; bytes at most.

    ``peak_bytes`` is that of the warm-up and the gradient score, weights included, ``None`` on a CPU.
    """
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = MambaLM(config, scan=scan, device=device, dtype=dtype).train()
    generator = torch.Generator().manual_seed(0)
    batches: list[Tensor] = [
        torch.randint(0, config.vocab_size, (batch, length), generator=generator).to(device) for _ in range(steps)
    ]
    warm_up(model, loss_of, batches[:2])  # compiles what is compiled at the first call
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    warm_s, moved = _seconds(lambda: warm_up(model, loss_of, batches), device)
    gradient_s, _ = _seconds(lambda: score("gradient", model, loss=loss_of, batches=batches), device)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    select_s, chosen = _seconds(lambda: select(score("change", model, moved=moved), channels=SHARE, states=SHARE), device)
    with torch.no_grad():  # the first one compiles and allocates
        evaluated = [_seconds(lambda: loss_of(model, batches[0]).item(), device)[0] for _ in range(1 + repeats)][1:]
    handle = apply(model, SDTLoRA(sdt=SDT(selection=chosen), lora=LoRA(targets=("out_proj",), rank=RANK)))
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=1e-5)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss_of(model, batches[0]).backward()
        optimiser.step()

    step()
    times = [_seconds(step, device)[0] for _ in range(repeats)]
    return {
        "batch": batch, "length": length, "steps": steps, "warm_up_s": warm_s, "gradient_s": gradient_s, "select_s": select_s,
        "evaluation_s": statistics.median(evaluated), "ablation_evaluations": evaluations(model),
        "step_s": statistics.median(times), "peak_bytes": peak,
    }  # fmt: skip


def line(size: str, row: dict[str, Any]) -> str:
    """One line of the report."""
    if "missing" in row:
        return f"mamba-{size} {row['length']:6} {row['missing']}"
    change = row["warm_up_s"] + row["select_s"]
    ablation = row["evaluation_s"] * row["ablation_evaluations"]
    return (
        f"mamba-{size} {row['length']:6} tokens: change {change:7.2f} s ({change / row['step_s']:.1f} steps), gradient "
        f"{row['gradient_s']:7.2f} s ({row['gradient_s'] / row['step_s']:.1f}), ablation at {row['ablation_evaluations']} "
        f"evaluations of {row['evaluation_s'] * 1e3:.1f} ms {ablation:9.0f} s; step {row['step_s'] * 1e3:.1f} ms"
    )


def main_bench_selection(argv: Sequence[str]) -> int:
    """Run the benchmark from command-line arguments; 0, or 2 after a message about what is wrong with them."""
    options = parsers.bench_selection().parse_args(argv)
    if options.out is not None:
        require_replaceable(options.out, InvalidInput)
    try:
        check_device(options.device)
        for name, least in (("batch", 1), ("repeats", 1)):
            if getattr(options, name) < least:
                raise InvalidInput(f"--{name} {getattr(options, name)} must be at least {least}")
        if min(options.lengths) < 2:
            raise InvalidInput(f"--lengths {min(options.lengths)} must be at least 2: the loss predicts the next token")
        scan = options.scan or ("fused" if options.device == "cuda" else "chunked")
        # All names before the first measurement.
        configs = {size: size_config(size) for size in options.sizes}
        for config in configs.values():
            capability(op_of(config), scan)
        if options.out is not None:
            require_replaceable(options.out, InvalidInput)
        result: dict[str, Any] = {
            "benchmark": "selection", "device": options.device, "scan": scan, "machine": machine(options.device), "sizes": {},
        }  # fmt: skip
        for size, config in configs.items():
            rows = result["sizes"].setdefault(size, [])
            for length in options.lengths:
                try:
                    rows.append(measure_selection(config, options.batch, length, options.device, scan, options.repeats))
                except torch.OutOfMemoryError:
                    rows.append({"batch": options.batch, "length": length, "missing": "out of memory"})
                gc.collect()
                if options.device == "cuda":
                    torch.cuda.empty_cache()
                print(line(size, rows[-1]))
                if options.out is not None:
                    write_json(options.out, result)  # after every row, so that a run that is cut off keeps what it has
    except EmpiricsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main_bench_selection(sys.argv[1:]))

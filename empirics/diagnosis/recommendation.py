"""What to use for a model: a method, its targets and rank, with the measured comparisons and the claims behind it.

The method is the winner of the committed language benchmark: LoRA on the linear projections, unless another method of the same
budget is above it by a whole 95 % interval. It was measured on one model and few tasks, which is said; nothing is known about
others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import InvalidInput
from ..experiments.lm_benchmark.methods import LINEAR
from ..study.config import EXPERIMENTS
from ..study.results import Comparison, read_json
from .advice import DECIDED, count, normed, spread

BENCHMARK = "lm_benchmark"
RESULTS = EXPERIMENTS / BENCHMARK / "results.json"
START = "lora_linear"
"""The method that others are compared with."""
TARGETS: dict[str, tuple[str, ...]] = {START: LINEAR, "sdt_lora": LINEAR, "lora_both": (*LINEAR, "A_log", "x_proj", "dt_proj")}
"""The methods that can be recommended, and the matrices on which each has its LoRA, where a model has them."""
CLAIMS = ("lora_limits.in_proj_dominates", "lora_limits.spectrum_frozen", "prefix_state.decay")


def recommend(diagnosis: Mapping[str, Any], verdicts: Mapping[str, str], results: Path = RESULTS) -> dict[str, Any]:
    """The recommendation as JSON types: ``method``, ``targets``, ``rank``, ``numbers``, ``because``, ``measured_on``.

    Parameters
    ----------
    diagnosis:
        As :func:`empirics.diagnosis.measure.measure` returns it.
    verdicts:
        Verdict of every claim in :data:`CLAIMS`; a claim that is not decided gives no reason.
    results:
        The benchmark's committed results; without the file there is nothing to recommend, and ``because`` says so.

    Raises
    ------
    InvalidInput
        The file is not what the benchmark writes.
    """
    if not results.is_file():
        return {"method": None, "because": [f"No recommendation: this installation has no results of {BENCHMARK}."]}
    found = read_json(results)
    try:
        compared = [Comparison.model_validate(row) for row in found["comparisons"]]
        method = winner(compared)
        rank = int(found["config"]["rank"])
        where = _measured_on(found, diagnosis)
    except (KeyError, TypeError, ValidationError) as error:
        raise InvalidInput(f"{results} is not what {BENCHMARK} writes ({error}); run python -m empirics collect") from error
    shapes = {("A_log" if m["name"] == "A" else m["name"]): (m["rows"], m["columns"]) for m in diagnosis["costs"]["matrices"]}
    targets = [name for name in TARGETS[method] if min(shapes.get(name, (0,))) > 1]  # Mamba-2's A is a vector
    numbers = diagnosis["model"]["layers"] * sum(rank * sum(shapes[name]) for name in targets)
    return {
        "method": method,
        "targets": targets,
        "rank": rank,
        "numbers": numbers,
        "because": [*_measured(compared, method), *_claims(diagnosis, verdicts), *_host(diagnosis)],
        "measured_on": where,
    }


def winner(compared: Sequence[Comparison]) -> str:
    """:data:`START`, or of the methods that are above it by a whole interval the one with the largest difference."""
    above = {}
    for row in compared:
        if row.low is None or row.high is None:
            continue
        if row.worse == START and row.better in TARGETS and row.low > row.null:
            above[row.better] = row.estimate
        if row.better == START and row.worse in TARGETS and row.high < row.null:
            above[row.worse] = -row.estimate
    return max(above, key=lambda name: above[name]) if above else START


def _measured(compared: Sequence[Comparison], method: str) -> list[str]:
    """What the method is above, and what it is not told apart from, with intervals; what might be better with another rate."""
    better: list[str] = []
    worse: list[str] = []
    level: list[str] = []
    held_back: list[str] = []
    for row in compared:
        if method not in (row.better, row.worse) or row.low is None or row.high is None or "frozen" in (row.better, row.worse):
            continue
        sign, other = (1, row.worse) if row.better == method else (-1, row.better)
        low, high = sorted((sign * row.low, sign * row.high))
        text = f"{other} {sign * row.estimate:+.1f} [{low:+.1f}, {high:+.1f}]"
        (better if low > 0 else worse if high < 0 else level).append(text)
        if row.note and low > 0:
            held_back.append(f"{other} ({row.note})")
    lines = []
    if better:
        lines.append(f"Measured ({BENCHMARK}): {method} is above, in points, {', '.join(better)}.")
    if worse:
        lines.append(f"Measured: below {', '.join(worse)}.")
    if level:
        lines.append(f"Measured: not told apart from {', '.join(level)}.")
    if held_back:
        lines.append(f"With reserve: {', '.join(held_back)}.")
    return lines


def _claims(diagnosis: Mapping[str, Any], verdicts: Mapping[str, str]) -> list[str]:
    sdt, rows = diagnosis["costs"]["sdt"], diagnosis["layers"]
    said = {
        "lora_limits.in_proj_dominates": "in a block without convolution and gate, with equal rows of A and one clock, a change "
        "of in_proj alone does what changes of the selectors and of out_proj do.",
        "lora_limits.spectrum_frozen": "adapters on projections leave every decay's direction as it is. If the task needs other "
        f"decays, add SDT, which trains {count(sdt['on_A'], 'number')} of A a layer.",
        "prefix_state.decay": "what a prefix or an initial state adds to a module halves every "
        f"{spread(row['carry']['zero_input'] for row in rows)} tokens at zero input and fades.",
    }  # fmt: skip
    if normed(diagnosis):  # a norm on B and C is not linear in what in_proj gives
        del said["lora_limits.in_proj_dominates"]
    return [f"{claim} ({verdicts[claim]}): {said[claim]}" for claim in CLAIMS if claim in said and verdicts[claim] in DECIDED]


def _host(diagnosis: Mapping[str, Any]) -> list[str]:
    """What another library's class adds: its attention layers, about which nothing was measured, and peft's wrappers."""
    host = diagnosis.get("host")
    if host is None:
        return []
    lines = []
    if host["attention"]:
        lines.append(
            f"Attention layers ({host['attention']}): LoRA on {', '.join(host['targets'])} is what is usual there (Hu et al. "
            "2021, arXiv 2106.09685). None of it was measured here, and no claim is about it: compare with and without."
        )
    lines.append(
        f"Put it on with apply(model, LoRA(...)). peft's wrapper refuses or skips some tensors of {host['model']}: "
        "ssmproof targets MODEL says which."
    )
    return lines


def _measured_on(found: Mapping[str, Any], diagnosis: Mapping[str, Any]) -> str:
    tasks = list(dict.fromkeys(row["task"] for row in found["table"] if "task" in row))
    model = found["config"]["model"]
    other = f"not on this model ({diagnosis['host']['model']})" if "host" in diagnosis else "not on this model"
    same = "which is this model" if diagnosis["source"] == model else f"{other}: the order may differ here"
    setting = f"rank {found['config']['rank']}, {found['config']['steps']} steps, {len(found['seeds'])} seeds"
    return f"Measured on the {model} model, {same}; tasks {', '.join(tasks)}; {setting}; {found['device']}."

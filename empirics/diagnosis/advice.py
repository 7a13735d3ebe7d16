"""What the numbers of a diagnosis mean for prefixes, initial states and adapters: one line for each claim that says something.

A line holds a number computed for this model, the claim it rests on, the claim's verdict as theory wrote it, and what the claim
assumes. Where a claim is OPEN or REFUTED there is no advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from .carry import until

Payload = Mapping[str, Any]
DECIDED = ("FORMAL", "PROVED", "EXACT", "NUMERIC")


@dataclass(frozen=True)
class Line:
    """``says`` in words what ``claim`` means for this model, if what it ``assumes`` holds."""

    claim: str
    says: str
    assumes: str


def number(x: float) -> str:
    """Three digits, thousands with commas."""
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"


def count(n: int, what: str) -> str:
    """``1 head``, ``2 heads``."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def normed(d: Payload) -> bool:
    """Whether dt's low-rank part, B and C pass RMS norms."""
    return d.get("host", {}).get("bound") is not None


def spread(rows: Iterable[Mapping[str, float]]) -> str:
    """Median of the layers' medians, and the least and the largest of all: ``3 [2, 5]``."""
    rows = list(rows)
    middle = median(row["median"] for row in rows)
    return f"{number(middle)} [{number(min(r['min'] for r in rows))}, {number(max(r['max'] for r in rows))}]"


def _finite_precision(d: Payload) -> Line:
    rows = d["layers"]
    formats = " and ".join(f"{spread(r['usable_directions'][f] for r in rows)} in {f}" for f in d["settings"]["eps"])
    frozen = "the channel frozen at its step for zero input, b and c as in the notes of the table"
    if d["model"]["kind"] == "mamba2":
        says = f"A head has one decay: per input and output coordinate prefixes have one direction, of which they keep {formats}."
        return Line("prefix_state.finite_precision", says, frozen)
    says = (
        f"Of {d['model']['d_state']} directions per channel, prefixes of any length keep {formats} "
        f"(median [least, most], {rows[0]['sampled_channels']} channels a layer). The others change the outputs by less than "
        "the format's spacing times what the best prefix of the same norm does."
    )
    return Line("prefix_state.finite_precision", says, frozen)


def _minimal_length(d: Payload) -> Line | None:
    if d["model"]["kind"] == "mamba2":
        return None
    modes = [r["distinct_modes"] for r in d["layers"]]
    most, n = max(m["max"] for m in modes), d["model"]["d_state"]
    says = (
        f"In exact numbers {number(most)} tokens before the module can act as every initial state of a layer, and fewer cannot."
    )
    if min(m["min"] for m in modes) < n:
        says += f" Equal entries of A count once: a channel has {spread(modes)} distinct modes of {n}."
    return Line("prefix_state.minimal_length", says, "frozen channels, free tokens for each of them, no readout c_n or residue 0")


def _selective(d: Payload) -> Line | None:
    if d["model"]["kind"] == "mamba2":
        return None
    reach = [r["reach"] for r in d["layers"]]
    reached = sum(r["every_state"] is True for r in reach)
    blocked, open_ = sum(r["every_state"] is False for r in reach), sum(r["every_state"] is None for r in reach)
    n, channels = d["model"]["d_state"], d["model"]["d_inner"]
    says = (
        f"In {reached} of {len(reach)} layers some finite prefix reaches all {channels} × {n} states at once, exactly; it needs "
        f"at least {n} tokens, and no bound on their number or norm comes with it."
    )
    if blocked:
        says += f" In {blocked} no prefix does ({sum(r['obstructed'] for r in reach):,} states obstructed)."
    if open_:
        says += f" In {open_} it is not decided ({sum(r['undecided'] for r in reach):,} decay values shared by several states)."
    return Line(
        "prefix_state.selective", says, "dt held at its value for zero input, free tokens at the module, decays in float64"
    )


def _mamba2(d: Payload) -> Line | None:
    if d["model"]["kind"] != "mamba2":
        return None
    c, m, reach = d["tokens"], d["model"], [r["reach"] for r in d["layers"]]
    shown, sampled = sum(r["independent_heads"] for r in reach), sum(r["sampled_heads"] for r in reach)
    least = max(c["group_tokens"], c["all_tokens"])
    says = (
        f"M tokens leave the heads of a group a state of rank ≤ M of {c['group_tokens']}, so every state of them needs at least "
        f"{c['group_tokens']} tokens; all {m['heads']} heads together at least {least}, as {c['state']:,} numbers of state "
        f"come from M · {m['d_model']}. One head alone: {c['head_tokens']} tokens reach every state in {shown:,} of {sampled:,} "
        "heads, whose projection rows are independent."
    )
    return Line("prefix_state.mamba2", says, "free tokens at the projections, no convolution or activation between")


def _decay(d: Payload) -> Line:
    rows = [r["carry"] for r in d["layers"]]
    longest = max(r["zero_input"]["max"] for r in rows)
    over = f"{number(min(r['over_inputs']['min'] for r in rows))} to {number(max(r['over_inputs']['max'] for r in rows))}"
    gone = ", ".join(f"{name}'s after {number(until(longest, eps))}" for name, eps in d["settings"]["eps"].items())
    says = (
        f"What an initial state can add to a channel's outputs halves every {spread(r['zero_input'] for r in rows)} tokens at "
        f"zero input (its slowest state), and every {over} over inputs of norm ≤ {d['settings']['radius']:g}. At zero input the "
        f"longest has fallen to a format's spacing times its start, {gone} tokens."
    )
    rows_of = ", each row of a head read as a channel" if d["model"]["kind"] == "mamba2" else ""
    readout = "‖C_t‖ bounded by its norm" if normed(d) else "‖C_t‖ too"
    return Line("prefix_state.decay", says, f"one module, its inputs unchanged, dt staying at that value, {readout}{rows_of}")


def _cheaper_sparse(d: Payload) -> Line:
    sdt, (a, *projections) = d["costs"]["sdt"], d["costs"]["matrices"]
    unit = "head" if d["model"]["kind"] == "mamba2" else "channel"
    chosen = count(sdt["channels"], unit) + ("" if a["columns"] == 1 else f" × the same {count(sdt['states'], 'state')}")
    times = number(sdt["lora_stored"] / sdt["on_A"])
    says = (
        f"SDT on {chosen} trains {count(sdt['on_A'], 'number')} of A a layer, {sdt['share_of_A']:.1%} of it "
        f"({sdt['released']:,} with its part of the projections). The LoRA on A that holds such a change exactly needs "
        f"rank {sdt['lora_rank']} and stores {sdt['lora_stored']:,}, {times} times as many. "
    )
    most = ", ".join(f"{m['largest_rank']} on {m['name']}" for m in projections)
    on_a = f"{a['largest_rank']} on A, " if a["largest_rank"] else ""
    says += f"A dense change is cheaper as LoRA if its rank is at most {on_a}{most}"
    says += "." if on_a else "; on A never, with one number per head."
    return Line("lora_limits.cheaper_sparse", says, "an exact change with generic values, indices not counted")


def _rank_floor(d: Payload) -> Line:
    a = d["costs"]["matrices"][0]
    if a["columns"] == 1:
        a = next(m for m in d["costs"]["matrices"] if m["name"] == "in_proj")
    full = min(a["rows"], a["columns"])
    says = (
        f"LoRA of rank {a['rank']} on {a['name']} ({a['rows']} × {a['columns']}) stores {a['stored']:,} numbers and reaches "
        f"a set of dimension {a['degrees']:,} of {a['entries']:,}"
    )
    if a["equal_share"] < 1:
        says += f"; as many numbers train {a['equal_share']:.1%} of its entries one by one."
    else:
        says += "; that is more numbers than the matrix has." if a["stored"] > a["entries"] else "."
    if a["rank"] < full:
        says += f" From rank {full} on every update is reached."
    return Line("lora_limits.rank_floor", says, "of the parameter, not of the function it defines")


def _unreachable(d: Payload) -> Line | None:
    a = d["costs"]["matrices"][0]
    short = min(a["rows"], a["columns"])
    if d["model"]["kind"] == "mamba2" or a["rank"] >= short:
        return None
    codimension = (a["rows"] - a["rank"]) * (a["columns"] - a["rank"])
    says = (
        f"LoRA of rank {a['rank']} on A, or on log A, misses a generic target function even with B and C free: what it matches "
        f"are finitely many sets of codimension {codimension:,} of the {a['entries']:,} decays. Rank {short} is not limited so."
    )
    return Line("lora_limits.unreachable", says, "dt frozen, real target modes distinct in each channel, long sequences")


def _spectrum_frozen(d: Payload) -> Line:
    rows, m = d["layers"], d["model"]
    moving, total = sum(r["moving_clocks"] for r in rows), sum(r["channels"] for r in rows)
    if m["kind"] == "mamba2":
        says = (
            "Adapters on projections leave every head's A as it is, and no clock makes up for it: a head with another A and a "
            f"step that depends on its input, as that of {moving:,} of {total:,} heads here does, has other decays at some token."
        )
        return Line("lora_limits.spectrum_frozen", says, "one head of one module, clocks softplus(w·u + β) without a clamp")
    says = (
        f"Adapters on projections keep the direction of every channel's log-decays A[d, :]: its fastest state decays "
        f"{spread(r['rates'] for r in rows)} times as fast as its slowest, before and after."
    )
    if not normed(d):  # the claim's clocks are softplus(w·u + β) of the input itself
        says += (
            " Nor does another clock make up for another A where the step depends on its input, as in "
            f"{moving:,} of {total:,} channels here."
        )
    return Line("lora_limits.spectrum_frozen", says, "one channel of one module; several channels of a block can imitate others")


def _minimal_adjustment(d: Payload) -> Line | None:
    if d["model"]["kind"] == "mamba2":
        return None
    n, k = d["model"]["d_state"], d["costs"]["sdt"]["channels"]
    says = (
        f"An S4 channel of {n} states becomes any other with at most {n} modes by at most {2 * n} changed numbers (modes and "
        f"residues), {count(k, 'channel')} by {2 * n * k:,}."
    )
    return Line(
        "sparse_dims.minimal_adjustment", says, "LTI channels with residues of their own; channels of a Mamba layer share B and C"
    )


RULES: dict[str, Callable[[Payload], Line | None]] = {
    "prefix_state.finite_precision": _finite_precision,
    "prefix_state.minimal_length": _minimal_length,
    "prefix_state.selective": _selective,
    "prefix_state.mamba2": _mamba2,
    "prefix_state.decay": _decay,
    "lora_limits.cheaper_sparse": _cheaper_sparse,
    "lora_limits.rank_floor": _rank_floor,
    "lora_limits.unreachable": _unreachable,
    "lora_limits.spectrum_frozen": _spectrum_frozen,
    "sparse_dims.minimal_adjustment": _minimal_adjustment,
}
"""What each claim says about a diagnosis; ``None`` where it says nothing about this kind of model."""


def advice(diagnosis: Payload, verdicts: Mapping[str, str]) -> list[dict[str, str]]:
    """The lines, with the claims' verdicts: ``claim``, ``verdict``, ``says``, ``assumes``.

    Parameters
    ----------
    diagnosis:
        As :func:`empirics.diagnosis.measure.measure` returns it.
    verdicts:
        Verdict of every claim in :data:`RULES`.
    """
    out = []
    for claim, rule in RULES.items():
        line, verdict = rule(diagnosis), verdicts[claim]
        if line is None:
            continue
        says = line.says if verdict in DECIDED else f"No advice: the claim is {verdict}."
        out.append({"claim": line.claim, "verdict": verdict, "says": says, "assumes": line.assumes})
    return out

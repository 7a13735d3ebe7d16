"""Which fine-tuning method contains which, per class of system: ``theory.lattice()`` and ``python -m theory lattice``.

Stated are elementary facts only: "everything a does, b does" and "something a does, b cannot", each with the claim that decides
it and the conditions it needs. Everything else follows by composition (a ⊆ b ⊆ c; a ⊆ b and a ⊄ c give b ⊄ c; a ⊄ c and b ⊆ c
give a ⊄ b), which carries all conditions along and never joins two that contradict each other. What neither is stated nor
follows is listed as OPEN.

Containments hold on sequences of every length. Exclusions hold on all that are long enough: where a condition names L, from there
on (on one token A does not enter the outputs at all).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.arguments import Parser
from ..core.brief import outline
from ..core.errors import InvalidInput, UnknownName
from ..core.files import read_json
from ..core.names import suggestion
from ..core.shown import Shown
from ..verification.registry import get_claim

METHODS: dict[str, str] = {
    "prompt": "tokens before the first layer",
    "prefix": "tokens before every SSM module, or at every block's input (the facts say which)",
    "initial_state": "free h_0 (with conv window) per layer",
    "state_offset": "y_t += C_t h'",
    "lora_selectors": "LoRA on W_B, W_C, W_dt",
    "lora_A": "LoRA on A",
    "lora_in_proj": "LoRA on in_proj",
    "lora_out_proj": "LoRA on out_proj (S4: the mixing matrix W)",
    "sdt": "chosen channels × states of A (and residues)",
    "sdt_lora": "SDT and LoRA on the projections",
    "full": "all weights",
}

SYSTEMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "LTI": (
        "one layer of D LTI channels with free inputs",
        ("prompt", "prefix", "initial_state", "state_offset", "lora_A", "sdt", "full"),
    ),
    "deep S4": (
        "S4 layers with mixing matrices",
        ("prompt", "prefix", "initial_state", "state_offset", "lora_A", "lora_out_proj", "sdt", "sdt_lora", "full"),
    ),
    "S6": ("Mamba-1's module and block", tuple(m for m in METHODS if m != "sdt_lora")),
    "Mamba-2": (
        "Mamba-2's module; A is one number per head, so it takes no LoRA",
        tuple(m for m in METHODS if m not in ("lora_A", "sdt_lora")),
    ),
}

# Conditions that exclude each other: facts that need both sides are never joined.
_OPPOSITES = (
    ("M ≥ n_obs", "M < n_obs"),
    ("M ≥ min(P·H, N)", "M < min(P·H, N)"),
    ("rank ≥ term rank of the support", "rank < term rank of the support"),
    ("every row of W_B has two nonzero entries", "a row of W_B has one nonzero entry"),
    ("one layer", "two layers or more"),
    ("r = min(D, N)", "r < min(D, N)"),
    ("free module inputs", "prefix at block inputs"),  # two meanings of "prefix": what holds for one is not joined with the other
    ("residues tuned", "SDT on A alone"),
)


@dataclass(frozen=True)
class Fact:
    """One elementary or derived relation.

    Attributes
    ----------
    system:
        Class of systems.
    smaller, larger:
        Methods.
    holds:
        True: everything ``smaller`` does, ``larger`` does. False: something ``smaller`` does, ``larger`` cannot.
    claims:
        Ids of the claims that decide it.
    conditions:
        What it needs beyond the class; empty for always.
    path:
        Methods through which a derived fact was found; empty for a stated one.
    """

    system: str
    smaller: str
    larger: str
    holds: bool
    claims: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    @property
    def derived(self) -> bool:
        """Whether it was composed from others."""
        return bool(self.path)

    def __str__(self) -> str:
        sign = "⊆" if self.holds else "⊄"
        given = f" if {'; '.join(self.conditions)}" if self.conditions else ""
        how = f" (via {' → '.join(self.path)})" if self.derived else ""
        return f"{self.smaller} {sign} {self.larger}{given}: {', '.join(self.claims)}{how}"

    def to_json(self) -> dict[str, Any]:
        """The fact as JSON types."""
        return {
            "system": self.system,
            "smaller": self.smaller,
            "larger": self.larger,
            "relation": "contained" if self.holds else "not contained",
            "claims": list(self.claims),
            "conditions": list(self.conditions),
            "derived_via": list(self.path),
        }


def _fact(system: str, smaller: str, sign: str, larger: str, claim: str, *conditions: str) -> Fact:
    return Fact(system, smaller, larger, sign == "⊆", (claim,), tuple(conditions))


_P, _L, _S = "prefix_state", "lora_limits", "sparse_dims"
_LONG = "L > n_obs"
_LINEAR = "one layer or linear activations"
_SEEN = "an observable mode"
_RESIDUE = "a mode of nonzero residue is tuned"
_BLOCK = "prefix at block inputs"
_FREE = "free module inputs"
_FIRST = "d_model ≥ 2, equal dynamics"
_MIXED = "C_n B_n of the target independent over n"
_A_SHOWS = "A shows in the outputs"
_TUNED_SHOW = "every tuned state shows in the outputs"
_IN_SHOWS = "in_proj shows in the outputs"
_OUT_SHOWS = "out_proj shows in the outputs"
_SELECTORS_SHOW = "the selectors show in the outputs"

FACTS: tuple[Fact, ...] = (
    # LTI: one layer, free inputs
    _fact("LTI", "prompt", "⊆", "prefix", f"{_P}.depth"),
    _fact("LTI", "prefix", "⊆", "prompt", f"{_P}.depth", "one layer"),
    _fact("LTI", "prefix", "⊆", "initial_state", f"{_P}.contained"),
    _fact("LTI", "initial_state", "⊆", "prefix", f"{_P}.equivalent", "M ≥ n_obs", "no observable residue vanishes"),
    _fact("LTI", "initial_state", "⊄", "prefix", f"{_P}.equivalent", "M < n_obs", "L ≥ n_obs"),
    _fact("LTI", "state_offset", "⊄", "initial_state", f"{_P}.state_offset", _LONG, "no observable mode at 1", _SEEN),
    _fact("LTI", "initial_state", "⊄", "state_offset", f"{_P}.state_offset", _LONG, "an observable mode outside {0, 1}"),
    _fact("LTI", "full", "⊄", "initial_state", f"{_P}.input_independent", "inputs vary"),
    _fact("LTI", "sdt", "⊄", "initial_state", f"{_P}.input_independent", "inputs vary", _RESIDUE),
    _fact("LTI", "lora_A", "⊄", "initial_state", f"{_P}.input_independent", "inputs vary", _RESIDUE),
    _fact("LTI", "full", "⊄", "state_offset", f"{_P}.input_independent", "inputs vary"),
    _fact("LTI", "sdt", "⊄", "state_offset", f"{_P}.input_independent", "inputs vary", _RESIDUE),
    _fact("LTI", "lora_A", "⊄", "state_offset", f"{_P}.input_independent", "inputs vary", _RESIDUE),
    _fact("LTI", "initial_state", "⊄", "full", f"{_P}.input_independent", "zero inputs occur", _SEEN),
    _fact("LTI", "state_offset", "⊄", "full", f"{_P}.input_independent", "zero inputs occur", _SEEN),
    _fact("LTI", "lora_A", "⊆", "full", f"{_L}.rank_floor"),
    _fact("LTI", "sdt", "⊆", "full", f"{_S}.minimal_adjustment"),
    _fact("LTI", "full", "⊄", "lora_A", f"{_S}.essential"),
    _fact("LTI", "sdt", "⊄", "lora_A", f"{_S}.essential", "residues tuned"),
    _fact("LTI", "sdt", "⊄", "lora_A", f"{_L}.cheaper_sparse", "SDT on A alone", "rank < term rank of the support",
          "frozen modes distinct in each channel", "generic values", _TUNED_SHOW),
    _fact("LTI", "lora_A", "⊄", "sdt", f"{_S}.essential", "the support leaves out a mode", "no frozen residue vanishes"),
    _fact("LTI", "full", "⊄", "sdt", f"{_S}.essential", "the support leaves out a mode"),
    # deep S4
    _fact("deep S4", "prompt", "⊆", "prefix", f"{_P}.depth"),
    _fact("deep S4", "prefix", "⊆", "initial_state", f"{_P}.depth"),
    _fact("deep S4", "prefix", "⊄", "prompt", f"{_P}.depth", "two layers or more", "certified shapes"),
    _fact("deep S4", "initial_state", "⊄", "prefix", f"{_P}.depth", "fewer tokens than state dimensions", "certified shapes"),
    _fact("deep S4", "lora_out_proj", "⊆", "full", f"{_L}.rank_floor"),
    _fact("deep S4", "lora_A", "⊆", "full", f"{_L}.rank_floor"),
    _fact("deep S4", "sdt", "⊆", "full", f"{_S}.minimal_adjustment"),
    _fact("deep S4", "sdt_lora", "⊆", "full", f"{_S}.exact_match"),
    _fact("deep S4", "full", "⊆", "sdt_lora", f"{_S}.exact_match", "all channels and states chosen, full rank, u and β tuned",
          "a state for the direct term"),
    _fact("deep S4", "sdt", "⊆", "sdt_lora", f"{_S}.exact_match"),
    _fact("deep S4", "lora_out_proj", "⊆", "sdt_lora", f"{_S}.exact_match"),
    _fact("deep S4", "lora_A", "⊄", "lora_out_proj", f"{_L}.spectrum_frozen", _LINEAR, "L ≥ n_frozen + 2", _RESIDUE,
          _A_SHOWS),
    _fact("deep S4", "sdt", "⊄", "lora_out_proj", f"{_L}.spectrum_frozen", _LINEAR, "L ≥ n_frozen + 2", _RESIDUE,
          _A_SHOWS),
    _fact("deep S4", "full", "⊄", "lora_A", f"{_S}.essential"),
    _fact("deep S4", "lora_A", "⊄", "initial_state", f"{_P}.input_independent", _LINEAR, "inputs vary", _RESIDUE, _A_SHOWS),
    _fact("deep S4", "sdt", "⊄", "initial_state", f"{_P}.input_independent", _LINEAR, "inputs vary", _RESIDUE, _A_SHOWS),
    _fact("deep S4", "lora_out_proj", "⊄", "initial_state", f"{_P}.input_independent", _LINEAR, "inputs vary", _OUT_SHOWS),
    _fact("deep S4", "full", "⊄", "initial_state", f"{_P}.input_independent", _LINEAR, "inputs vary"),
    # S6
    _fact("S6", "prompt", "⊆", "prefix", f"{_P}.depth", _BLOCK),
    _fact("S6", "prompt", "⊆", "initial_state", f"{_P}.depth"),
    _fact("S6", "prefix", "⊆", "initial_state", f"{_P}.contained"),
    _fact("S6", "prefix", "⊄", "prompt", f"{_P}.depth", _BLOCK, "two layers or more", "certified shapes"),
    _fact("S6", "initial_state", "⊆", "prefix", f"{_P}.selective", _FREE, "constant clock, distinct decays",
          "every row of W_B has two nonzero entries", "M large enough"),
    _fact("S6", "initial_state", "⊄", "prefix", f"{_P}.selective", _FREE, "constant clock, distinct decays",
          "a row of W_B has one nonzero entry", "W_C of full row rank"),
    _fact("S6", "initial_state", "⊄", "full", f"{_P}.decay", "one module", "W_C not zero", "L ≥ 2"),
    _fact("S6", "state_offset", "⊄", "initial_state", f"{_P}.decay", "Σ dt grows without bound", "C_t h' does not fade"),
    _fact("S6", "state_offset", "⊄", "initial_state", f"{_P}.selective_offset", "W_C not zero", "L > ν"),
    _fact("S6", "initial_state", "⊄", "state_offset", f"{_P}.selective_offset", "W_C not zero", "L > ν"),
    _fact("S6", "full", "⊄", "initial_state", f"{_P}.decay", "Σ dt grows without bound"),
    _fact("S6", "lora_selectors", "⊆", "lora_in_proj", f"{_L}.selector_absorption", "no conv or activation between",
          "value path separate", "S of full row rank", "rank as the target asks"),
    _fact("S6", "lora_out_proj", "⊆", "lora_in_proj", f"{_L}.in_proj_dominates", "equal rows of A, one clock, no conv, no gate",
          "D_skip = δ1", "S of full row rank", "rank as the target asks"),
    _fact("S6", "lora_in_proj", "⊄", "lora_selectors", f"{_L}.in_proj_dominates", _FIRST, _IN_SHOWS),
    _fact("S6", "lora_out_proj", "⊄", "lora_selectors", f"{_L}.in_proj_dominates", _FIRST, _OUT_SHOWS),
    _fact("S6", "lora_selectors", "⊄", "lora_out_proj", f"{_L}.in_proj_dominates", _FIRST, "W_out of rank two or more",
          _SELECTORS_SHOW),
    _fact("S6", "full", "⊄", "lora_A", f"{_L}.in_proj_dominates"),
    _fact("S6", "lora_out_proj", "⊄", "lora_A", f"{_L}.in_proj_dominates", _OUT_SHOWS),
    _fact("S6", "lora_in_proj", "⊄", "lora_A", f"{_L}.in_proj_dominates", _IN_SHOWS),
    _fact("S6", "lora_selectors", "⊄", "lora_A", f"{_L}.in_proj_dominates", _SELECTORS_SHOW),
    _fact("S6", "lora_A", "⊄", "lora_in_proj", f"{_L}.spectrum_frozen", _MIXED, "constant clocks, no conv, no gate", _A_SHOWS),
    _fact("S6", "sdt", "⊄", "lora_in_proj", f"{_L}.spectrum_frozen", _MIXED, "constant clocks, no conv, no gate", _A_SHOWS),
    _fact("S6", "lora_A", "⊄", "lora_out_proj", f"{_L}.spectrum_frozen", "one module", _A_SHOWS),
    _fact("S6", "lora_A", "⊄", "lora_selectors", f"{_L}.spectrum_frozen", "one module", _A_SHOWS),
    _fact("S6", "lora_A", "⊆", "full", f"{_L}.rank_floor"),
    _fact("S6", "lora_selectors", "⊆", "full", f"{_L}.rank_floor"),
    _fact("S6", "lora_in_proj", "⊆", "full", f"{_L}.rank_floor"),
    _fact("S6", "lora_out_proj", "⊆", "full", f"{_L}.rank_floor"),
    _fact("S6", "sdt", "⊆", "full", f"{_S}.minimal_adjustment"),
    _fact("S6", "sdt", "⊆", "lora_A", f"{_L}.cheaper_sparse", "SDT on A alone", "rank ≥ term rank of the support"),
    _fact("S6", "sdt", "⊄", "lora_A", f"{_L}.cheaper_sparse", "SDT on A alone", "rank < term rank of the support",
          "frozen modes distinct in each channel", "generic values", _TUNED_SHOW),
    # Mamba-2
    _fact("Mamba-2", "prompt", "⊆", "prefix", f"{_P}.depth", _BLOCK),
    _fact("Mamba-2", "prompt", "⊆", "initial_state", f"{_P}.depth"),
    _fact("Mamba-2", "prefix", "⊆", "initial_state", f"{_P}.contained"),
    _fact("Mamba-2", "initial_state", "⊆", "prefix", f"{_P}.mamba2", _FREE, "M ≥ min(P·H, N)", "independent projection rows"),
    _fact("Mamba-2", "initial_state", "⊄", "prefix", f"{_P}.mamba2", _FREE, "M < min(P·H, N)", "W_C of full row rank"),
    _fact("Mamba-2", "initial_state", "⊄", "full", f"{_P}.decay", "one module", "W_C not zero", "L ≥ 2"),
    _fact("Mamba-2", "state_offset", "⊄", "initial_state", f"{_P}.decay", "Σ dt grows without bound", "C_t h' does not fade"),
    _fact("Mamba-2", "full", "⊄", "initial_state", f"{_P}.decay", "Σ dt grows without bound"),
    _fact("Mamba-2", "lora_selectors", "⊆", "lora_in_proj", f"{_L}.rank_floor", "rank as the target asks"),
    _fact("Mamba-2", "lora_out_proj", "⊄", "lora_selectors", f"{_L}.in_proj_dominates", _FIRST, _OUT_SHOWS),
    _fact("Mamba-2", "lora_selectors", "⊄", "lora_out_proj", f"{_L}.in_proj_dominates", _FIRST, "W_out of rank two or more",
          _SELECTORS_SHOW),
    _fact("Mamba-2", "lora_out_proj", "⊄", "lora_in_proj", f"{_L}.mamba2", "different decays at rest, no conv, gate or norm",
          "a head's columns of W_out leave a direction out", "W_CᵀW_B not zero"),
    _fact("Mamba-2", "sdt", "⊄", "lora_in_proj", f"{_L}.spectrum_frozen", "one module", "the clock depends on the token",
          _A_SHOWS),
    _fact("Mamba-2", "sdt", "⊄", "lora_out_proj", f"{_L}.spectrum_frozen", "one module", _A_SHOWS),
    _fact("Mamba-2", "lora_selectors", "⊆", "full", f"{_L}.rank_floor"),
    _fact("Mamba-2", "lora_in_proj", "⊆", "full", f"{_L}.rank_floor"),
    _fact("Mamba-2", "lora_out_proj", "⊆", "full", f"{_L}.rank_floor"),
    _fact("Mamba-2", "sdt", "⊆", "full", f"{_S}.minimal_adjustment"),
)  # fmt: skip


def _joined(*groups: tuple[str, ...]) -> tuple[str, ...] | None:
    """All conditions once each, or None where two exclude each other."""
    together = tuple(dict.fromkeys(c for group in groups for c in group))
    return None if any(a in together and b in together for a, b in _OPPOSITES) else together


class Lattice(Shown):
    """The relations of one or all classes of systems.

    Attributes
    ----------
    facts:
        Stated and derived facts.
    """

    def __init__(self, systems: Sequence[str] = tuple(SYSTEMS), stated: Sequence[Fact] = FACTS):
        self.systems = tuple(systems)
        self.facts: list[Fact] = []
        for system in self.systems:
            self.facts += _closure([f for f in stated if f.system == system])

    def __repr__(self) -> str:
        stated = sum(not fact.derived for fact in self.facts)
        pairs = sum(len(self.open_pairs(system)) for system in self.systems)
        counts = f"{stated} stated facts, {len(self.facts) - stated} that follow, {pairs} open pairs"
        return f"Lattice({', '.join(self.systems)}: {counts})"

    def graph(self, system: str) -> nx.MultiDiGraph:
        """Containments of a class: an edge a → b for "a ⊆ b", with its fact; nodes are the methods that exist there."""
        out: nx.MultiDiGraph[str] = nx.MultiDiGraph(system=system)
        out.add_nodes_from(SYSTEMS[_known(system)][1])
        for fact in self.facts:
            if fact.system == system and fact.holds:
                out.add_edge(fact.smaller, fact.larger, fact=fact, claims=fact.claims)
        return out

    def between(self, system: str, a: str, b: str) -> list[Fact]:
        """Every fact about a pair, both directions, stated before derived; UnknownName for methods that the class lacks."""
        pair = {_method(system, a), _method(system, b)}
        found = [f for f in self.facts if f.system == system and {f.smaller, f.larger} == pair]
        return sorted(found, key=lambda f: (f.derived, len(f.conditions)))

    def relation(self, system: str, a: str, b: str) -> str:
        """``=``, ``⊂``, ``⊃``, ``⊆``, ``⊇``, ``∥``, ``⊄``, ``⊅`` or ``?``: what holds without conditions, else in round
        brackets what holds under some."""
        facts = self.between(system, a, b)
        if a == b:
            return "="
        plain = _symbol([f for f in facts if not f.conditions], a)
        under = _symbol(facts, a)
        if plain == under:
            return plain
        both = {(f.smaller, f.holds) for f in facts}
        if ((a, True) in both and (a, False) in both) or ((b, True) in both and (b, False) in both):
            under = "depends"
        return f"{plain} ({under})" if plain != "?" else f"({under})"

    def open_pairs(self, system: str) -> list[tuple[str, str]]:
        """Pairs about which nothing is stated nor follows."""
        methods = SYSTEMS[_known(system)][1]
        return [(a, b) for a, b in combinations(methods, 2) if not self.between(system, a, b)]

    def to_json(self) -> dict[str, Any]:
        """Facts and open pairs as JSON types."""
        return {
            "methods": METHODS,
            "systems": {s: {"about": SYSTEMS[s][0], "methods": list(SYSTEMS[s][1])} for s in self.systems},
            "facts": [f.to_json() for f in self.facts],
            "open": {s: [list(p) for p in self.open_pairs(s)] for s in self.systems},
        }


def _symbol(facts: Sequence[Fact], a: str) -> str:
    inside = {f.smaller == a for f in facts if f.holds}
    outside = {f.smaller == a for f in facts if not f.holds}
    ab, ba, not_ab, not_ba = True in inside, False in inside, True in outside, False in outside
    if ab and ba:
        return "="
    if ab:
        return "⊂" if not_ba else "⊆"
    if ba:
        return "⊃" if not_ab else "⊇"
    if not_ab and not_ba:
        return "∥"
    return "⊄" if not_ab else ("⊅" if not_ba else "?")


def _closure(stated: Sequence[Fact]) -> list[Fact]:
    """Stated facts and those that follow; of several derivations the one with the fewest conditions and steps is kept."""
    best: dict[tuple[str, str, bool], list[Fact]] = {}
    for fact in stated:
        best.setdefault((fact.smaller, fact.larger, fact.holds), []).append(fact)
    changed = True
    while changed:
        changed = False
        known = [f for group in best.values() for f in group]
        for f in known:
            for g in known:
                for new in _compose(f, g):
                    key = (new.smaller, new.larger, new.holds)
                    have = best.setdefault(key, [])
                    if any(set(h.conditions) <= set(new.conditions) for h in have):
                        continue
                    have[:] = [h for h in have if not h.derived or not set(new.conditions) <= set(h.conditions)] + [new]
                    changed = True
    return [f for group in best.values() for f in group]


def _compose(f: Fact, g: Fact) -> list[Fact]:
    conditions = _joined(f.conditions, g.conditions)
    if conditions is None or not f.holds:
        return []
    claims = tuple(dict.fromkeys(f.claims + g.claims))

    def make(smaller: str, larger: str, holds: bool, middle: str) -> list[Fact]:
        if smaller == larger:
            return []
        path = tuple(dict.fromkeys((*f.path, middle, *g.path)))
        return [Fact(f.system, smaller, larger, holds, claims, conditions, path)]

    if g.holds:  # a ⊆ b, b ⊆ c
        return make(f.smaller, g.larger, True, f.larger) if f.larger == g.smaller else []
    out = []
    if f.smaller == g.smaller:  # a ⊆ b, a ⊄ c: b ⊄ c
        out += make(f.larger, g.larger, False, f.smaller)
    if f.larger == g.larger:  # a ⊄ c, b ⊆ c: a ⊄ b
        out += make(g.smaller, f.smaller, False, f.larger)
    return out


def contradictions(facts: Sequence[Fact]) -> list[tuple[Fact, Fact]]:
    """Pairs that say a ⊆ b and a ⊄ b under conditions that do not exclude each other and of which one implies the other."""
    out = []
    for f in facts:
        for g in facts:
            same = (f.system, f.smaller, f.larger) == (g.system, g.smaller, g.larger)
            if (
                same
                and f.holds
                and not g.holds
                and (set(f.conditions) <= set(g.conditions) or set(g.conditions) <= set(f.conditions))
            ):
                out.append((f, g))
    return out


def _known(system: str) -> str:
    if not isinstance(system, str) or system not in SYSTEMS:
        raise UnknownName(f"no system class named {outline(system)}; {suggestion(system, SYSTEMS)}")
    return system


def _method(system: str, name: str) -> str:
    methods = SYSTEMS[_known(system)][1]
    if not isinstance(name, str) or name not in methods:
        raise UnknownName(f"{system} has no method named {outline(name)}; {suggestion(name, methods)}")
    return name


def lattice(system: str | None = None) -> Lattice:
    """The relations among the methods, for one class of systems or all: ``LTI``, ``deep S4``, ``S6``, ``Mamba-2``.

    Raises UnknownName for another class; the nearest is named.
    """
    for fact in FACTS:
        for claim in fact.claims:
            get_claim(claim)  # every edge carries a claim that exists
    return Lattice(tuple(SYSTEMS) if system is None else (_known(system),))


# -- witnesses: small runs of the claims' own functions behind the stated facts --------------------------------------------


def _lti() -> Any:
    from ..core.lti import LTI

    return LTI(["1/2", "1/3"], [1, 1], [1, 1])


def _prefix_is_state() -> bool:
    from ..prefix_state.equivalent.claim import criterion

    return criterion(_lti(), 2) and not criterion(_lti(), 1)


def _offset_is_no_state() -> bool:
    from ..prefix_state.state_offset.claim import compare_offset

    return compare_offset(_lti(), 3).relation == "incomparable"


def _floor_is_positive() -> bool:
    from ..prefix_state.input_independent.risk_floor import state_tuning_risk_floor

    found = state_tuning_risk_floor(_lti(), _lti().replace(c=[2, 1]), 0, 1, 4)
    return bool(found.optimum == found.floor > 0)


def _low_rank_misses() -> bool:
    from ..lora_limits.unreachable.relabelling import reach_certificate

    return reach_certificate(3, 3, 2).decides and not reach_certificate(3, 3, 3).decides


def _selective_rows() -> bool:
    from ..core.selective import SelectiveSSM
    from ..prefix_state.reach.reachable import reachable

    good = SelectiveSSM([[1, 1]], dt=1, decay=[["1/2"], ["1/3"]])
    bad = SelectiveSSM([[1, 0]], dt=1, decay=[["1/2"], ["1/3"]])
    return reachable(good, [[-1], [0]]).verdict == "witness" and reachable(bad, [[-1], [0]]).verdict == "obstruction"


def _mamba2_rank() -> bool:
    from ..core.ssd import Mamba2Head
    from ..prefix_state.reach.reachable import reachable

    head = Mamba2Head([[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]], dt=1, decay="1/2")
    h0 = [[1, 0], [0, 1]]
    return reachable(head, h0).length == 2 and reachable(head, h0, max_length=1).verdict == "obstruction"


def _selectors_absorbed() -> bool:
    from ..lora_limits.selector_absorption.claim import absorb_selectors

    return absorb_selectors([[1], [1]], [[1, 0], [0, 1]], [[2], [3]], [[1, 1], [0, 1]]).possible


def _poles_stay() -> bool:
    from ..lora_limits.spectrum_frozen.poles import fit_with_frozen_modes

    target = [Fraction(7, 10) ** j for j in range(4)]
    return not fit_with_frozen_modes([Fraction(1, 2), Fraction(3, 10)], target, skip=True).possible


WITNESSES: dict[str, Callable[[], bool]] = {
    f"{_P}.equivalent": _prefix_is_state,
    f"{_P}.state_offset": _offset_is_no_state,
    f"{_P}.input_independent": _floor_is_positive,
    f"{_P}.selective": _selective_rows,
    f"{_P}.mamba2": _mamba2_rank,
    f"{_L}.unreachable": _low_rank_misses,
    f"{_L}.selector_absorption": _selectors_absorbed,
    f"{_L}.spectrum_frozen": _poles_stay,
}
"""Claim → a run of its own functions on a concrete small system that shows the fact quoted from it."""


# -- command line ---------------------------------------------------------------------------------------------------------


def _verdicts() -> dict[str, str]:
    path = Path(__file__).parents[1] / "verdicts.json"
    try:
        return {c["id"]: c["verdict"] for c in read_json(path)["claims"]}
    except (InvalidInput, KeyError, TypeError):
        return {}


LEGEND = (
    "⊂ strictly contained, ⊆ contained, = equal, ∥ neither contains the other, ⊄ not contained, ? OPEN; in brackets: under "
    "the conditions listed; 'depends': both occur, under conditions that exclude each other; exclusions hold on long enough "
    "sequences"
)
"""What the signs of the tables mean."""


def summary(found: Lattice) -> Table:
    """How many pairs of methods are decided, per class of systems and in all."""
    table = Table(title="Pairs of methods", title_justify="left")
    for name in ("systems", "pairs", "decided always", "under conditions", "OPEN"):
        table.add_column(name, justify="left" if name == "systems" else "right")
    total = [0, 0, 0, 0]
    for system in found.systems:
        pairs = list(combinations(SYSTEMS[system][1], 2))
        always = sum(any(not fact.conditions for fact in found.between(system, a, b)) for a, b in pairs)
        open_ = len(found.open_pairs(system))
        counts = [len(pairs), always, len(pairs) - always - open_, open_]
        table.add_row(system, *map(str, counts))
        total = [a + b for a, b in zip(total, counts, strict=True)]
    if len(found.systems) > 1:
        table.add_section()
        table.add_row("all", *map(str, total))
    return table


def print_lattice(found: Lattice, console: Console) -> None:
    """The signs, how much is decided, then per class a matrix of relations, the stated facts with verdicts, and what is OPEN."""
    verdicts = _verdicts()
    console.print(f"{LEGEND}\n", markup=False, highlight=False)
    console.print(summary(found))
    for system in found.systems:
        about, methods = SYSTEMS[system]
        table = Table(title=f"{system}: {about}", title_justify="left")
        table.add_column("row against column")
        for m in methods:
            table.add_column(m, justify="center")
        for a in methods:
            table.add_row(a, *(Text("·" if a == b else found.relation(system, a, b)) for b in methods))
        console.print(table)
        for fact in found.facts:
            if fact.system == system and not fact.derived:
                note = ", ".join(verdicts.get(c, "not run") for c in fact.claims)
                console.print(f"  {fact} [{note}]", markup=False, highlight=False)
        pairs = found.open_pairs(system)
        listed = ", ".join(f"{a} and {b}" for a, b in pairs) or "none"
        console.print(f"  OPEN ({len(pairs)} pairs): {listed}\n", markup=False, highlight=False)


def main_lattice(argv: Sequence[str]) -> int:
    """Run ``python -m theory lattice``; returns the exit code."""
    parser = Parser(prog="python -m theory lattice", description="Which fine-tuning method contains which.")
    parser.add_argument("--system", metavar="NAME", help=f"one of {', '.join(SYSTEMS)}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(list(argv))
    found = lattice(args.system)
    if not found.facts:
        raise InvalidInput("the lattice is empty")
    if args.json:
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        print_lattice(found, Console(width=None if sys.stdout.isatty() else 200))
    return 0

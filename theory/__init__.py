"""Exact decisions about what fine-tuning can do to a state-space model.

The public face of the package. Systems run on exact rationals, sympy expressions, float64 or complex128:

    LTI(a, b, c)        one channel  h_t = a ⊙ h_{t−1} + b x_t,  y_t = c·h_t
    SelectiveSSM(...)   S6, Mamba-1's SSM module
    Mamba2Head(...)     one head of Mamba-2

and are asked about prefixes, initial states and each other. ``claims()`` lists the statements, ``verify()`` decides them.

Names are loaded on first use, so that ``import theory`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .core.certificate import dimension_certificate, exclusion
    from .core.conv import Conv, ConvState
    from .core.deep_s4 import DeepS4, S4Layer
    from .core.errors import InvalidInput, InvalidSystem, KindMismatch, TheoryError, Undecided, UnknownName, Unreachable
    from .core.function_equality import same_function
    from .core.gramians import gramians, hankel_singular_values
    from .core.initialisations import initialisation
    from .core.lti import LTI
    from .core.scalars import gaussian
    from .core.selective import SelectiveSSM
    from .core.ssd import Mamba2Group, Mamba2Head
    from .lora_limits.in_proj_dominates.block import in_proj_update
    from .lora_limits.low_rank import lora_floor
    from .lora_limits.selector_absorption.absorption import absorb_selectors
    from .prefix_state.decay.fading import decay_bound, half_life, half_lives
    from .prefix_state.finite_precision.geometry import effective_prefix_dimension, prefix_cost
    from .prefix_state.input_independent.risk_floor import StateTuningRisk, state_tuning_risk_floor
    from .prefix_state.reach.lti import minimal_prefix_length, prefix_for
    from .prefix_state.reach.mamba2 import minimal_prefix_length_mamba2
    from .prefix_state.reach.reachable import reachable
    from .prefix_state.reach.result import Reach
    from .prefix_state.reach.window import state_after
    from .relations.lattice import Lattice, lattice
    from .sparse_dims.adjustment import exact_minimal_adjustment, minimal_adjustment
    from .sparse_dims.exact_match.witness import sdt_lora_witness
    from .sparse_dims.selection.truth import true_dimensions
    from .verification.claim import Assumption, Claim
    from .verification.decide import verify
    from .verification.registry import get_claim
    from .verification.results import Report
    from .verification.verdict import Verdict

_HOME = {
    **dict.fromkeys(("dimension_certificate", "exclusion"), "core.certificate"),
    **dict.fromkeys(("Conv", "ConvState"), "core.conv"),
    **dict.fromkeys(("DeepS4", "S4Layer"), "core.deep_s4"),
    **dict.fromkeys(
        ("InvalidInput", "InvalidSystem", "KindMismatch", "TheoryError", "Undecided", "UnknownName", "Unreachable"), "core.errors"
    ),
    **dict.fromkeys(("same_function",), "core.function_equality"),
    **dict.fromkeys(("gramians", "hankel_singular_values"), "core.gramians"),
    **dict.fromkeys(("initialisation",), "core.initialisations"),
    **dict.fromkeys(("LTI",), "core.lti"),
    **dict.fromkeys(("gaussian",), "core.scalars"),
    **dict.fromkeys(("SelectiveSSM",), "core.selective"),
    **dict.fromkeys(("Mamba2Group", "Mamba2Head"), "core.ssd"),
    **dict.fromkeys(("in_proj_update",), "lora_limits.in_proj_dominates.block"),
    **dict.fromkeys(("lora_floor",), "lora_limits.low_rank"),
    **dict.fromkeys(("absorb_selectors",), "lora_limits.selector_absorption.absorption"),
    **dict.fromkeys(("decay_bound", "half_life", "half_lives"), "prefix_state.decay.fading"),
    **dict.fromkeys(("effective_prefix_dimension", "prefix_cost"), "prefix_state.finite_precision.geometry"),
    **dict.fromkeys(("StateTuningRisk", "state_tuning_risk_floor"), "prefix_state.input_independent.risk_floor"),
    **dict.fromkeys(("minimal_prefix_length", "prefix_for"), "prefix_state.reach.lti"),
    **dict.fromkeys(("minimal_prefix_length_mamba2",), "prefix_state.reach.mamba2"),
    **dict.fromkeys(("reachable",), "prefix_state.reach.reachable"),
    **dict.fromkeys(("Reach",), "prefix_state.reach.result"),
    **dict.fromkeys(("state_after",), "prefix_state.reach.window"),
    **dict.fromkeys(("Lattice", "lattice"), "relations.lattice"),
    **dict.fromkeys(("exact_minimal_adjustment", "minimal_adjustment"), "sparse_dims.adjustment"),
    **dict.fromkeys(("sdt_lora_witness",), "sparse_dims.exact_match.witness"),
    **dict.fromkeys(("true_dimensions",), "sparse_dims.selection.truth"),
    **dict.fromkeys(("Assumption", "Claim"), "verification.claim"),
    **dict.fromkeys(("verify",), "verification.decide"),
    **dict.fromkeys(("get_claim",), "verification.registry"),
    **dict.fromkeys(("Report",), "verification.results"),
    **dict.fromkeys(("Verdict",), "verification.verdict"),
}
"""Where each public name is defined, below this package."""


def claims(family: str | None = None) -> tuple[Claim, ...]:
    """Every claim, or those of one family (``"prefix_state"``, ``"lora_limits"``, ``"sparse_dims"``, ``"beyond"``)."""
    from .verification.registry import all_claims, family_claims

    return all_claims() if family is None else family_claims(family)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


__all__ = [
    "LTI",
    "Assumption",
    "Claim",
    "Conv",
    "ConvState",
    "DeepS4",
    "InvalidInput",
    "InvalidSystem",
    "KindMismatch",
    "Lattice",
    "Mamba2Group",
    "Mamba2Head",
    "Reach",
    "Report",
    "S4Layer",
    "SelectiveSSM",
    "StateTuningRisk",
    "TheoryError",
    "Undecided",
    "UnknownName",
    "Unreachable",
    "Verdict",
    "absorb_selectors",
    "claims",
    "decay_bound",
    "dimension_certificate",
    "effective_prefix_dimension",
    "exact_minimal_adjustment",
    "exclusion",
    "gaussian",
    "get_claim",
    "gramians",
    "half_life",
    "half_lives",
    "hankel_singular_values",
    "in_proj_update",
    "initialisation",
    "lattice",
    "lora_floor",
    "minimal_adjustment",
    "minimal_prefix_length",
    "minimal_prefix_length_mamba2",
    "prefix_cost",
    "prefix_for",
    "reachable",
    "same_function",
    "sdt_lora_witness",
    "state_after",
    "state_tuning_risk_floor",
    "true_dimensions",
    "verify",
]

"""Where every claim is found: one folder for each family, with a folder for each of its ``STATEMENTS``."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache
from typing import Any

from ..core.brief import outline
from ..core.errors import InvalidInput, UnknownName
from ..core.given import entries_of
from ..core.names import suggestion
from .claim import Claim

FAMILIES = ("prefix_state", "lora_limits", "sparse_dims", "beyond")


@cache
def all_claims() -> tuple[Claim, ...]:
    """Every claim, in the order of the families and of their statements.

    Raises InvalidInput without hypothesis, whose strategies draw the instances of the checks.
    """
    out = [_claim(family, statement) for family in FAMILIES for statement in _statements(family)]
    ids = [c.id for c in out]
    repeated = {i for i in ids if ids.count(i) > 1}
    if repeated:
        raise ValueError(f"claim ids must be unique; repeated: {sorted(repeated)}")
    return tuple(out)


def _statements(family: str) -> tuple[str, ...]:
    found: tuple[str, ...] = importlib.import_module(f"theory.{family}").STATEMENTS
    return found


def _claim(family: str, statement: str) -> Claim:
    try:
        claim: Claim = importlib.import_module(f"theory.{family}.{statement}.claim").CLAIM
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise InvalidInput("claims draw their instances with hypothesis; pip install 'ssmproof[verify]'") from error
    return claim


def _unknown(what: str, name: Any, known: Iterable[str]) -> UnknownName:
    return UnknownName(f"no {what} named {outline(name)}; {suggestion(name, known, most=3)}")


def family_claims(families: Iterable[str] | str | None = None) -> tuple[Claim, ...]:
    """The claims of some families (all by default); UnknownName lists the nearest names."""
    if families is None:
        return all_claims()
    several = entries_of(families)
    wanted = (families,) if several is None else several
    for name in wanted:
        if not isinstance(name, str) or name not in FAMILIES:
            raise _unknown("family", name, FAMILIES)
    return tuple(c for c in all_claims() if c.family in wanted)


def get_claim(claim_id: str) -> Claim:
    """One claim by its id; UnknownName lists the nearest ids."""
    family, _, statement = claim_id.partition(".") if isinstance(claim_id, str) else ("", "", "")
    if family in FAMILIES and statement in _statements(family):  # without loading the others
        claim = _claim(family, statement)
        if claim.id == claim_id:
            return claim
    for claim in all_claims():
        if isinstance(claim_id, str) and claim.id == claim_id:
            return claim
    raise _unknown("claim", claim_id, [c.id for c in all_claims()])

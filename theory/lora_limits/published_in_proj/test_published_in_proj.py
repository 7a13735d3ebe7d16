"""lora_limits.published_in_proj: the witness, and the same change where the rows are independent."""

from __future__ import annotations

import numpy as np
import pytest

from theory.conftest import GLANCE
from theory.verification.claim import Verdict

from ..in_proj_dominates.block import in_proj_update, out_of_reach
from ..in_proj_dominates.instances import tied_rows
from . import claim as own


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


def test_the_same_change_with_independent_rows() -> None:
    task = own._independent()
    found = in_proj_update(task.frozen, task.target)
    assert found.rank == 1 and list(np.ravel(task.frozen.W_in + found.update)) == [2, 1, 1, 1]
    assert not out_of_reach(task.frozen, task.target)  # negative twin
    assert own.missed(tied_rows()) and not own.missed(task)


def test_assumption() -> None:
    assert own.ASSUMPTIONS[0].examine(GLANCE).verdict is Verdict.REFUTED

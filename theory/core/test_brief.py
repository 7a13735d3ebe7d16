"""Numbers in messages: exact while short, of the right size beyond every float and beyond what Python prints."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy

from theory import LTI, InvalidInput, InvalidSystem, Unreachable, prefix_for, reachable
from theory.core.brief import LONGEST, brief, decimal, outline
from theory.core.scalars import gaussian

LONG = Fraction(10**5000)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Fraction(1, 3), "1/3"),
        (7, "7"),
        (True, "True"),
        (LONG, "≈ 1.00000e+5000"),
        (-LONG / 3, "≈ -3.33333e+4999"),
        (1 / LONG, "≈ 1.00000e-5000"),
        (gaussian("1/3", 2), "1/3 + 2*I"),
        (gaussian(1 / LONG, -1), "≈ 1.00000e-5000 - 1.00000i"),
        (sympy.sqrt(2), "sqrt(2)"),
        (np.float64(0.5), "0.5"),
    ],
)
def test_sizes(value: object, shown: str) -> None:
    assert brief(value) == shown


def test_the_last_exact_one() -> None:
    edge = Fraction(10 ** (LONGEST - 1))
    assert brief(edge) == str(edge) and brief(10 * edge).startswith("≈")
    assert decimal(Fraction(2, 3)) == "0.666667"


def test_what_a_caller_gave_is_one_line() -> None:
    assert outline(np.zeros((3, 3))).count("\n") == 0 and len(outline([1] * 1000)) == LONGEST + 1
    assert outline([10**5000]) == "a list" and outline("x") == "'x'"


def test_systems_beyond_what_python_prints() -> None:
    """Objects and errors that hold such numbers say so; none fails to be printed."""
    assert LTI([gaussian(1 / LONG, 1 / LONG)], [1], [1]).to("symbolic").to("exact").a[0] == gaussian(1 / LONG, 1 / LONG)
    system = LTI([1 - 1 / LONG, "1/2"], [1, 1], [LONG, 1])
    assert "≈ 1.00000" in repr(system) and "≈ 1.00000e+5000" in system._repr_html_()
    assert "≈" in repr(reachable(LTI([1 - 1 / LONG], [0], [1]), [1]))
    with pytest.raises(InvalidSystem, match=r"a\[0\] = ≈ 1\.00000e\+5000"):
        LTI([LONG], [1], [1])
    with pytest.raises(Unreachable, match=r"≈ 1\.00000e-5000"):
        prefix_for(LTI(["1/2", 1 / LONG], [1, 1], [1, 1]), [1, 2], 1)
    with pytest.raises(InvalidInput, match="beyond the range of float64"):
        LTI([0.5], [1.0], [10**5000])

"""lora_limits.rank_floor: the floor is reached, nothing is better, and the identities fail when they are bent."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given

from theory.conftest import GLANCE
from theory.lora_limits.low_rank import excess, lora_floor, squared_distance
from theory.lora_limits.rank_floor import claim as rank_floor
from theory.verification.claim import Assumption, Check, Profile, Verdict
from theory.verification.refutation import Refuted

CLAIM = rank_floor.CLAIM
F = Fraction


@given(rank_floor.approximations(2))
def test_floor_is_reached(instance):
    rank_floor.check_floor_reached(instance)


@given(rank_floor.approximations())
def test_nothing_is_better(instance):
    rank_floor.check_nothing_better(instance)


@given(rank_floor.approximations())
def test_dropping_the_wrong_direction_costs_more(instance):
    """Negative twin: keep the smallest of the first r + 1 directions out of order and the floor is missed, by their gap."""
    svd, r = instance.svd, instance.rank
    if r == 0:
        return
    s = list(svd.singular_values)
    left, right = svd.left[:, [*range(r - 1), r]], svd.right[:, [*range(r - 1), r]]
    kept = np.array([*s[: r - 1], s[r]], dtype=object)
    candidate = (left * kept) @ right.T
    miss = squared_distance(svd.matrix(), candidate) - svd.floor(r)
    assert miss == s[r - 1] ** 2 - s[r] ** 2 == excess(svd, candidate, r).total


@given(rank_floor.approximations(2))
def test_the_floor_does_not_depend_on_the_bases(instance):
    """Rotations leave it alone: the floor of diag(s) is the floor of L diag(s) Rᵀ."""
    svd = instance.svd
    plain = np.array(
        [[s if i == j else F(0) for j, s in enumerate(svd.singular_values)] for i in range(len(svd.singular_values))]
    )
    assert lora_floor(plain.tolist(), instance.rank).value == svd.floor(instance.rank)


@pytest.mark.parametrize("size", [(1, 2, 1), (2, 2, 1), (3, 3, 2)])
def test_split_identity(size):
    assert rank_floor.split_identity(*size)


@pytest.mark.parametrize(("n", "r"), [(1, 0), (3, 1), (5, 4)])
def test_weights_identity(n, r):
    assert rank_floor.weights_identity(n, r)
    q, p, t = sympy.symbols(f"q0:{n}"), sympy.symbols(f"p0:{n}"), sympy.Symbol("t")
    lhs = sum(a * b for a, b in zip(q, p, strict=True)) - sum(q[r:])
    bent = (
        sum((q[i] - t) * p[i] for i in range(r)) + sum((t - q[i]) * (1 - p[i]) for i in range(r, n)) + t * (sum(p) - (n - r - 1))
    )
    assert sympy.expand(lhs - bent) == -t  # negative twin: N − r off by one shows as one t


@pytest.mark.parametrize("assumption", CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", CLAIM.checks, ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


def test_a_wrong_floor_is_refuted():
    """The property itself must be able to fail: a claimed SVD with another singular value is caught."""

    class Bent(rank_floor.RationalSVD):
        def floor(self, rank):
            return super().floor(rank) + 1

    svd = Bent(np.array([[F(1)]], dtype=object), (F(2),), np.array([[F(1)]], dtype=object))
    bad = rank_floor.Approximation(svd, 0, [[]], [])
    with pytest.raises(Refuted):
        rank_floor.check_floor_reached(bad)
    with pytest.raises(Refuted):
        rank_floor.check_nothing_better(bad)

"""Whether several S6 channels with rates (1, 2) imitate one with rates (1, 3): decided over all constant clocks and residues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM

from .poles import fit_with_frozen_modes


@dataclass(frozen=True)
class Imitation:
    """A target channel with rates (1, 3) and base q, and a student whose channels have rates (1, 2).

    The target reads scalars: B_n = b_n z, C_n = c_n z, so its B and C rows are parallel.
    """

    channels: int
    b: tuple[Fraction, Fraction]
    c: tuple[Fraction, Fraction]
    q: Fraction
    inputs: tuple[Fraction, ...]


def target_outputs(i: Imitation) -> Array:
    """The target module's outputs: one channel, rates (1, 3)."""
    system = SelectiveSSM([[v] for v in i.b], [[v] for v in i.c], dt=1, decay=[[i.q, i.q**3]])
    return system.run([[z] for z in i.inputs])[0][:, 0]


def student_outputs(i: Imitation, clocks: Sequence[int] = (1, 3)) -> Array:
    """Channels with rows (1, 2) and the given clocks (bases q^τ), W_out = (r_1/τ_1, r_2/τ_2, 0, …), r_n = b_n c_n.

    All channels see the same token. The second state is silenced by zero rows of W_B and W_C; the first has B = C = z.
    """
    d = len(clocks)
    mean = [[Fraction(1, d)] * d, [Fraction(0)] * d]
    decay = [[i.q**tau, i.q ** (2 * tau)] for tau in clocks]
    y = SelectiveSSM(mean, mean, dt=list(clocks), decay=decay).run([[z] * d for z in i.inputs])[0]
    return sum((y[:, k] * i.b[k] * i.c[k] / clocks[k] for k in range(min(d, 2))), y[:, 0] * 0)


def imitated_by_channels(i: Imitation) -> bool:
    """Whether the student's channels reproduce the target, any constant clocks, residues and output weights allowed.

    A necessary condition first, with the residues set free: the target's poles q, q³ lie among the p_d, p_d² for some bases p_d
    (each p_d or p_d² is then q or q³, or the channel is not needed). Where it holds, the witness is run.
    """
    kernel = [i.b[0] * i.c[0] * i.q**j + i.b[1] * i.c[1] * i.q ** (3 * j) for j in range(2 * i.channels + 3)]
    # with q = s² the roots s and s³ are rational: all bases of which the base or its square is a pole of the target
    s = linalg.rational_root(i.q)
    if s is None:
        raise InvalidInput(f"q = {i.q} is no square of a rational; its bases s and s³ would not be rational")
    for bases in product((i.q, i.q**3, s, s**3), repeat=i.channels):
        modes = sorted({m for p in bases for m in (p, p * p)})
        if fit_with_frozen_modes(modes, kernel, skip=False).possible:
            return bool(np.all(student_outputs(i, (1, 3)[: i.channels]) == target_outputs(i)))
    return False

r"""What adapters on the projections around an SSM can never change, read off the model before and after training.

S4 with linear activations: the poles of the kernel (:func:`kernel_poles`). S6: the direction of each channel's vector of
log-decays (:func:`log_decays`). :func:`frozen_spectrum` picks the one that the model has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput
from theory.core.lti import group_by_value
from theory.core.scalars import Array, as_array, exact_value, is_zero
from theory.core.selective import SelectiveSSM
from theory.core.tolerance import budget

from .poles import Recurrence, divides, kernel_recurrence, minimal_recurrence, polynomial_from_modes

# -- S4: poles -----------------------------------------------------------------------------------------------------------


def matrix_kernel(model: S4Layer | DeepS4, length: int) -> Array:
    """K_0..K_{L−1}, shape (L, D, D), of a linear S4 layer or stack: outputs for a unit impulse in each input channel.

    Raises InvalidInput for a layer with an activation or a bias, whose outputs no kernel describes.
    """
    layers = model.layers if isinstance(model, DeepS4) else (model,)
    for layer in layers:
        if layer.activation != "linear" or any(b != 0 for b in layer.bias):
            raise InvalidInput("a kernel describes linear layers without bias; this one has an activation or a bias")
    d = layers[0].n_channels
    columns = []
    for i in range(d):
        x = np.full((length, d), Fraction(0), dtype=object)
        x[0, i] = Fraction(1)
        columns.append(DeepS4(layers).run(x))
    return np.stack(columns, axis=2)


def frozen_polynomial(model: S4Layer | DeepS4) -> flint.fmpq_poly:
    """Π (x − λ) over the distinct nonzero modes of each layer, layers multiplied: all poles the frozen bank can show."""
    out = flint.fmpq_poly([1])
    for layer in model.layers if isinstance(model, DeepS4) else (model,):
        modes = group_by_value([a for channel in layer.channels for a in channel.closed().a])
        out *= polynomial_from_modes(value for value, _ in modes if not is_zero(value))
    return out


def kernel_poles(model: S4Layer | DeepS4) -> Recurrence:
    """The poles of a linear layer or stack, read off its outputs: the invariant to compare before and after training."""
    order = int(frozen_polynomial(model).degree())
    return kernel_recurrence(matrix_kernel(model, 2 * order + 3))


# -- S6: log-decays ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogDecays:
    """Directions of the log-decay vectors, (D, N): log a_dn / min_n log a_dn, in (0, 1], 1 for the fastest state.

    ``condition`` is the largest 1/|log a_dn| (at least 1): the logarithm of a decay near 1 loses that many digits.
    """

    directions: Array
    condition: float

    def unchanged(self, before: LogDecays) -> bool:
        """Whether the directions agree with those of before, to float64 rounding at the worse condition."""
        if self.directions.shape != before.directions.shape:
            raise InvalidInput(f"directions have shapes {self.directions.shape} and {before.directions.shape}; compare one model")
        allowed = budget(4, max(self.condition, before.condition))
        return bool(allowed < 1 and np.max(np.abs(self.directions / before.directions - 1)) <= allowed)


def log_decays(model: SelectiveSSM, token: Any) -> LogDecays:
    """Directions of A[d, :], from the decays that the module applies at one token.

    Parameters
    ----------
    model:
        An S6 module of real numbers; exact decays are rounded to float64.
    token:
        z (D,), any token: the clock may depend on it, the directions do not.

    Raises
    ------
    InvalidInput
        A token of the wrong shape, free symbols, or decays that round to 0 or 1, whose logarithms say nothing.
    """
    decay = as_array(model.clock(model.inputs([token], "token", allow_empty=False)[0])[1], "float64", "decay")
    if not np.all((decay > 0) & (decay < 1)):
        raise InvalidInput(f"decays between {decay.min()} and {decay.max()} round to 0 or 1; use another token")
    logs = np.log(decay)
    return LogDecays(logs / logs.min(axis=1, keepdims=True), max(1.0, float(np.max(1 / np.abs(logs)))))


def frozen_spectrum(model: S4Layer | DeepS4 | SelectiveSSM, token: Any = None) -> Recurrence | LogDecays:
    """The invariant of an SSM under training of its projections; compute it before and after.

    Linear S4 layers and stacks: the minimal polynomial of the kernel, whose roots are the poles. Afterwards it divides
    :func:`frozen_polynomial` of the frozen model (for one layer, it only loses poles whose residue became 0). S6: the
    directions of the log-decay vectors, equal before and after (``after.unchanged(before)``).

    Parameters
    ----------
    model:
        An exact S4 layer or stack with linear activations, or an S6 module.
    token:
        S6 only: the token (D,) at which the decays are taken; ones by default.

    Raises
    ------
    InvalidInput
        A model with activations, a token for S4, or one of the wrong shape. Source: our formulation, after Galim et al. 2024.
    """
    if isinstance(model, SelectiveSSM):
        if token is None:
            token = [1.0 if model.kind == "float64" else 1] * model.n_channels
        return log_decays(model, token)
    if not isinstance(model, S4Layer | DeepS4):
        raise InvalidInput(f"a {type(model).__name__} has no spectrum here; pass S4Layer, DeepS4 or SelectiveSSM")
    if token is not None:
        raise InvalidInput("the poles of S4 depend on no token; leave token out")
    return kernel_poles(model)


def poles_stayed(frozen: S4Layer | DeepS4, tuned: S4Layer | DeepS4) -> bool:
    """Whether every pole of the tuned model is a frozen one, with at most its multiplicity."""
    return divides(kernel_poles(tuned).polynomial, frozen_polynomial(frozen))


def rates_explain(poles: Sequence[Any], rates: Sequence[int]) -> bool:
    """Whether one base q gives all poles, λ_n = q^{k_n}, decided exactly: λ_i^{k_j} = λ_j^{k_i} for all pairs.

    ``rates`` are k_n = |A_n| in whole units; a constant clock only chooses q = exp(−dt).
    """
    if len(poles) != len(rates):
        raise InvalidInput(f"{len(poles)} poles and {len(rates)} rates; one rate per pole is needed")
    exact = [exact_value(x) for x in poles]
    return all(is_zero(x ** rates[j] - y ** rates[i]) for i, x in enumerate(exact) for j, y in enumerate(exact))


def measured_poles(system: SelectiveSSM) -> dict[Fraction, int]:
    """Poles of one channel, read off what an initial state of ones adds to the outputs under constant later tokens."""
    n = system.n_states
    z = [[Fraction(1)]] * (2 * n + 2)
    delta = system.run(z, [[1] * n])[0] - system.run(z)[0]
    return minimal_recurrence(delta[:, 0]).poles()


# -- clocks --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoftplusClock:
    """A decay exp(A softplus(w z + β)) with A < 0 and ``weight`` = e^β > 0; w = 0 is a constant clock.

    With the weight rational a constant clock's decay is (1 + weight)^A, so two of them are compared exactly.
    """

    w: Fraction
    weight: Fraction
    A: Fraction

    def __post_init__(self) -> None:
        if self.A >= 0 or self.weight <= 0:
            raise InvalidInput(f"A = {self.A} must be negative and weight = exp(β) = {self.weight} positive")

    def log_decay(self, z: Fraction) -> flint.arb:
        """A softplus(w z + β) = A ln(1 + weight e^{w z}), as a ball."""
        return _ball(self.A) * (1 + _ball(self.weight) * _ball(self.w * z).exp()).log()


def _ball(x: Fraction) -> flint.arb:
    return flint.arb(flint.fmpq(x.numerator, x.denominator))


MOST_BITS = 1 << 12
"""Working precision up to which two clocks are compared at a token."""


def separating_token(first: SoftplusClock, second: SoftplusClock) -> Fraction | None:
    """A token z at which two clocks certainly differ (disjoint balls), or None where none of the tried ones shows it.

    None is no proof that they agree: :func:`clocks_differ` decides.
    """
    bits = 64
    while bits <= MOST_BITS:
        with flint.ctx.workprec(bits):
            for k in (0, 1, 2, 4, 8, 16, 32, 64):
                for z in (Fraction(k), Fraction(-k)):
                    if not first.log_decay(z).overlaps(second.log_decay(z)):
                        return z
        bits *= 4
    return None


def same_constant_decay(first: SoftplusClock, second: SoftplusClock) -> bool:
    """Whether two clocks agree at z = 0 (for constant clocks: everywhere): (1 + p)^A = (1 + p̃)^Ã, decided exactly."""
    scale = first.A.denominator * second.A.denominator
    return (1 + first.weight) ** int(-first.A * scale) == (1 + second.weight) ** int(-second.A * scale)


def clocks_differ(first: SoftplusClock, second: SoftplusClock) -> bool:
    """Whether two clocks give different decays at some token, decided exactly.

    Constant clocks by their decays. Otherwise by rigidity (README): with one w ≠ 0, equal decays at every token force equal w,
    β, A.
    """
    if first.w == 0 and second.w == 0:
        return not same_constant_decay(first, second)
    return first != second


def rescaled(clock: SoftplusClock, A: Fraction) -> SoftplusClock:
    """The constant clock with another A and the same decay at z = 0: e^β̃ = (1 + e^β)^{A_old/A} − 1.

    Raises InvalidInput where A_old/A is no whole number, so that e^β̃ would not be rational.
    """
    ratio = clock.A / A
    if ratio.denominator != 1 or ratio <= 0:
        raise InvalidInput(f"A_old/A = {ratio} must be a positive whole number for a rational weight")
    return SoftplusClock(Fraction(0), (1 + clock.weight) ** int(ratio) - 1, A)

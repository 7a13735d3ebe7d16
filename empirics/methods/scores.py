"""Scores of channels and states: what a short warm-up, a gradient or an ablation says about where training pays.

Notation for one mixer: a = A_log, A = -exp(a), dt = softplus(dt_bias) the step size of an input that asks for nothing special;
0 and 1 mark values before and after the warm-up.

    change             |exp(dt A_1) - exp(dt A_0)|, the change of the decay that the scan applies
    change_log_A       |a_1 - a_0|
    released           (a_1 - a_0)², as the authors' code scores Mamba
    magnitude          |exp(dt A_1) + exp(dt A_0)|, as the authors' code scores S4: its subtraction has the wrong sign
    gradient           |mean over batches of dL/da|, no warm-up
    ablation           L(a_1 with this entry put back to a_0) - L(a_1), one evaluation for each entry
    data_free          exp(-dt |A_0|) dt |A_0|, |d exp(dt A_0) / da|: how far the decay moves with its parameter; no data
    random             uniform
    oracle             1 on a known support, else 0

S4 has complex modes A themselves in the place of a, log A in that of log A_log, and |exp(dt A_0) dt A_0| as ``data_free``. Its
``magnitude`` is the released one to the letter, which also loses the imaginary unit:
|exp(dt (Re A_1 + Im A_1)) + exp(dt (Re A_0 + Im A_0))|.

On Mamba-2, a head has one decay for all of its states: scores of its states are equal, and ties go to the lower index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName
from ..models.norm import widen
from ..models.s4 import S4Mixer
from ..training.graphed import GraphedLoss
from .base import MethodConfig, evaluating
from .combined import Combined
from .geometry import Geometry, find_mixers, geometry
from .handle import Handle, apply
from .in_place import Full
from .selection import Scores, Selection, how_many
from .targets import named_tensors, select_tensors

Loss = Callable[[nn.Module, Any], Tensor]
"""loss(model, batch) -> scalar."""

GRAPHS = 16
"""Shapes of batches that a warm-up keeps recorded."""

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Moved:
    """Decays of one mixer before and after a warm-up.

    Attributes
    ----------
    before, after:
        A_log, (D, N) or (H,), at least float32; for S4 the complex modes A, (D, N).
    dt:
        softplus of the step-size bias, (D,) or (H,).
    states:
        N.
    """

    before: Tensor
    after: Tensor
    dt: Tensor
    states: int

    def decays(self) -> tuple[Tensor, Tensor]:
        """exp(dt A) before and after, in A_log's shape."""
        dt = self.dt[:, None] if self.before.ndim == 2 else self.dt
        if self.before.is_complex():
            return torch.exp(dt * self.before), torch.exp(dt * self.after)
        return torch.exp(-dt * self.before.exp()), torch.exp(-dt * self.after.exp())


def shared(values: Tensor, states: int) -> Scores:
    """Scores from values in A_log's shape; a head's value is shared among its N states."""
    return Scores.of_states(values if values.ndim == 2 else values[:, None].expand(-1, states) / states)


def warm_up(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Any],
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    targets: tuple[str, ...] = ("A_log",),
    beside: MethodConfig | None = None,
    graphed: bool = False,
) -> dict[str, Moved]:
    """Train ``targets`` for one AdamW step on every batch, note where the decays went, and put the model back.

    Parameters
    ----------
    beside:
        A method that is trained at the same time, on other tensors, and thrown away with the rest; its random values are those
        of seed 0.
    graphed:
        Record the passes (:class:`~empirics.training.graphed.GraphedLoss`): every batch is a tuple of tensors on the model's
        device, and whether the loss is finite is looked at once, at the end.

    Raises
    ------
    InvalidInput
        No batch, a loss that is not a finite scalar, a learning rate that is not positive, or a model with a method on it.
    """
    if not learning_rate > 0:
        raise InvalidInput(f"learning_rate is {learning_rate!r}, expected a positive number")
    before = {name: (_decay(mixer), _step(mixer), sizes) for name, mixer, sizes in _selective(model)}
    with _in_float32(model, targets):
        full = Full(targets=targets)
        method = full if beside is None else Combined(parts=(full, beside))
        after = _trained(model, loss, batches, learning_rate, weight_decay, method, before, graphed)
    return {name: Moved(old, after[name], dt, s.d_state) for name, (old, dt, s) in before.items()}


@contextmanager
def _in_float32(model: nn.Module, targets: Iterable[str]) -> Iterator[None]:
    """The targets hold float32 inside: steps of a warm-up are smaller than what half precision can add to a decay."""
    narrow = [t.parameter for t in select_tensors(list(named_tensors(model)), targets) if t.parameter.dtype in HALF]
    kept = [parameter.data for parameter in narrow]
    for parameter in narrow:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, values in zip(narrow, kept, strict=True):
            parameter.data = values


def _trained(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Any],
    learning_rate: float,
    weight_decay: float,
    method: MethodConfig,
    mixers: Iterable[str],
    graphed: bool,
) -> dict[str, Tensor]:
    """The mixers' decays after the warm-up; the model is as before."""
    handle = apply(model, method)
    try:
        trained = handle.trainable().values()
        fused = graphed and next(iter(trained)).is_cuda
        optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay, fused=fused or None)
        passes = GraphedLoss(lambda *batch: loss(model, batch), trained, GRAPHS) if graphed else None
        value, steps = torch.zeros(()), 0
        for batch in batches:
            optimiser.zero_grad()
            if passes is None:
                _finite(loss(model, batch)).backward()
            else:
                value = passes(*batch)
            optimiser.step()
            steps += 1
        if not steps:
            raise InvalidInput("the warm-up got no batch; give at least one")
        _finite(value)
        return {name: _decay(model.get_submodule(name)) for name in mixers}
    finally:
        handle.remove()


def score(
    name: str,
    model: nn.Module,
    *,
    moved: Mapping[str, Moved] | None = None,
    loss: Loss | None = None,
    batches: Sequence[Any] = (),
    seed: int = 0,
    support: Selection | None = None,
    channels: float | int = 1.0,
) -> dict[str, Scores]:
    """Scores of every mixer by the name of the rule (:data:`SCORES`).

    Parameters
    ----------
    moved:
        Result of :func:`warm_up`, for ``change``, ``change_log_A``, ``released``, ``magnitude`` and ``ablation``.
    loss, batches:
        For ``gradient`` and ``ablation``.
    seed:
        For ``random``.
    support:
        For ``oracle``.
    channels:
        For ``ablation``: states are ablated in the best so many channels only; the states of others score 0.

    Raises
    ------
    UnknownName
        No such rule.
    InvalidInput
        Something that the rule needs is missing.
    """
    if name not in RULES:
        raise UnknownName("selection score", name, RULES)
    rule, evidence = RULES[name], Evidence(model, moved, loss, batches, seed, support, channels)
    for need in rule.needs:
        value = getattr(evidence, need)
        if value is None or (need == "batches" and not value):
            raise InvalidInput(f"selection score {name!r} needs {NEEDS[need]}")
    return rule.scores(evidence)


@dataclass(frozen=True)
class Evidence:
    """What a rule may read: the arguments of :func:`score`."""

    model: nn.Module
    moved: Mapping[str, Moved] | None
    loss: Loss | None
    batches: Sequence[Any]
    seed: int
    support: Selection | None
    channels: float | int


NEEDS = {"moved": "moved, the result of warm_up", "loss": "loss", "batches": "batches", "support": "support"}
"""Evidence that a rule can need, in words."""


@dataclass(frozen=True)
class Rule:
    """A selection rule.

    Attributes
    ----------
    scores:
        Its scores of every mixer.
    needs:
        The evidence that it cannot do without.
    """

    scores: Callable[[Evidence], dict[str, Scores]]
    needs: tuple[str, ...] = ()


def _of_moved(value: Callable[[Moved], Tensor]) -> Rule:
    """A rule that is a function of one mixer's decays before and after the warm-up."""

    def scores(evidence: Evidence) -> dict[str, Scores]:
        assert evidence.moved is not None
        return {mixer: shared(value(m), m.states) for mixer, m in evidence.moved.items()}

    return Rule(scores, ("moved",))


def _change(m: Moved) -> Tensor:
    before, after = m.decays()
    return (after - before).abs()


def _change_log(m: Moved) -> Tensor:
    before, after = (m.before.log(), m.after.log()) if m.before.is_complex() else (m.before, m.after)
    return (after - before).abs()


def _magnitude(m: Moved) -> Tensor:
    if m.before.is_complex():
        before, after = (torch.exp(m.dt[:, None] * (A.real + A.imag)) for A in (m.before, m.after))
    else:
        before, after = m.decays()
    return (before + after).abs()


def _random(evidence: Evidence) -> dict[str, Scores]:
    generator = torch.Generator().manual_seed(evidence.seed)
    mixers = _selective(evidence.model)
    return {name: Scores.of_states(torch.rand(_shape(sizes), generator=generator)) for name, _, sizes in mixers}


def _data_free(evidence: Evidence) -> dict[str, Scores]:
    scores = {}
    for name, mixer, sizes in _selective(evidence.model):
        decay, dt = _decay(mixer), _step(mixer)
        A = decay if decay.is_complex() else -decay.exp()
        exponent = (dt[:, None] if A.ndim == 2 else dt) * A
        scores[name] = shared((exponent * exponent.exp()).abs(), sizes.d_state)
    return scores


def _oracle(evidence: Evidence) -> dict[str, Scores]:
    model, support = evidence.model, evidence.support
    assert support is not None
    scores = {n: torch.zeros(_shape(sizes)) for n, _, sizes in _selective(model)}
    for mixer, pairs in support.layers:
        if mixer not in scores:
            raise UnknownName("mixer", mixer, scores)
        for d, n in pairs:
            scores[mixer][d, n] = 1
    return {mixer: Scores.of_states(values) for mixer, values in scores.items()}


def _gradient(evidence: Evidence) -> dict[str, Scores]:
    model, loss, batches = evidence.model, evidence.loss, evidence.batches
    assert loss is not None
    sizes = {name: s for name, _, s in _selective(model)}
    if any(s.kind == "s4" for s in sizes.values()):
        raise InvalidInput(
            "score 'gradient' needs A_log, which S4 has not; use change, change_log_A, magnitude, random or oracle"
        )
    handle = apply(model, Full(targets=("A_log",)))
    try:
        with evaluating(model):
            for batch in batches:
                _finite(loss(model, batch)).backward()
        scores = {}
        for name, s in sizes.items():
            gradient = handle.trainable()[f"{name}.A_log"].grad
            if gradient is None:
                raise InvalidInput(f"the loss does not depend on {name}.A_log; give a loss of the model's output")
            values = (gradient / len(batches)).abs()
            scores[name] = shared(values, s.d_state)
        return scores
    finally:
        handle.remove()


@torch.no_grad()
def _ablation(evidence: Evidence) -> dict[str, Scores]:
    model, moved, loss, batches = evidence.model, evidence.moved, evidence.loss, evidence.batches
    assert moved is not None and loss is not None

    def total(handle: Handle) -> float:
        return sum(_finite(loss(handle.model, batch)).item() for batch in batches) / len(batches)

    if any(m.before.is_complex() for m in moved.values()):
        raise InvalidInput(
            "score 'ablation' needs A_log, which S4 has not; use change, change_log_A, magnitude, random or oracle"
        )
    with _in_float32(model, ("A_log",)):
        return _ablated(model, moved, total, evidence.channels)


def _ablated(
    model: nn.Module, moved: Mapping[str, Moved], total: Callable[[Handle], float], channels: float | int
) -> dict[str, Scores]:
    handle = apply(model, Full(targets=("A_log",)))
    try:
        handle.set_values({f"{name}.A_log": m.after for name, m in moved.items()})
        with evaluating(model):
            reached = total(handle)
            scores = {}
            for name, m in moved.items():
                value = handle.trainable()[f"{name}.A_log"]
                of_channels = torch.zeros(m.after.shape[0], dtype=torch.float64)
                for d in range(m.after.shape[0]):
                    value[d] = m.before[d]
                    of_channels[d] = total(handle) - reached
                    value[d] = m.after[d]
                if m.after.ndim == 1:
                    scores[name] = shared(of_channels, m.states)
                    continue
                of_states = torch.zeros(m.after.shape, dtype=torch.float64)
                best = torch.argsort(of_channels, descending=True, stable=True)
                for d in best[: how_many(channels, len(best), "channels")].tolist():
                    for n in range(m.after.shape[1]):
                        value[d, n] = m.before[d, n]
                        of_states[d, n] = total(handle) - reached
                        value[d, n] = m.after[d, n]
                scores[name] = Scores(of_states, of_channels)
        return scores
    finally:
        handle.remove()


def _selective(model: nn.Module) -> list[tuple[str, nn.Module, Geometry]]:
    return [(name, mixer, geometry(mixer)) for name, mixer in find_mixers(model)]


def _shape(sizes: Geometry) -> tuple[int, int]:
    return sizes.channels, sizes.d_state


def _decay(mixer: nn.Module) -> Tensor:
    if isinstance(mixer, S4Mixer):
        return torch.complex(-mixer.log_A_real.exp(), mixer.A_imag).detach().clone()
    A_log = mixer.A_log
    if not isinstance(A_log, Tensor):
        raise InvalidInput(f"{type(mixer).__name__} has no A_log")
    return widen(A_log.detach()).clone()


def _step(mixer: nn.Module) -> Tensor:
    if isinstance(mixer, S4Mixer):
        return mixer.log_dt.detach().exp()
    bias = getattr(mixer, "dt_bias", None)
    if bias is None:
        bias = mixer.get_submodule("dt_proj").bias
    if not isinstance(bias, Tensor):
        raise InvalidInput(f"{type(mixer).__name__} has no step-size bias")
    return F.softplus(widen(bias.detach()))


def _finite(value: Tensor) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise InvalidInput("the loss function must return a scalar tensor")
    if not torch.isfinite(value):
        raise InvalidInput(f"the loss is {value.item()}: training diverged or the batch is bad; lower the learning rate")
    return value


RULES: dict[str, Rule] = {
    "change": _of_moved(_change),
    "change_log_A": _of_moved(_change_log),
    "released": _of_moved(lambda m: _change_log(m).square()),
    "magnitude": _of_moved(_magnitude),
    "gradient": Rule(_gradient, ("loss", "batches")),
    "ablation": Rule(_ablation, ("moved", "loss", "batches")),
    "data_free": Rule(_data_free),
    "random": Rule(_random),
    "oracle": Rule(_oracle, ("support",)),
}
"""The rules by name."""

SCORES = tuple(RULES)

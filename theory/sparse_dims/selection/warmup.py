r"""A short training run of a deep S4 student in numpy (float64): what a selection score gets to see.

    y = φ(W S4(x) + β + u ⊙ x) per layer,   S4 channel: k_j = Σ_n c_n dt a_n^j,  a_n = exp(−dt e^{ℓ_n}),  B = 1 (Mamba's rule)

Trainable: ℓ = log(−A) and c of every layer. Gradients are the exact derivatives of the convolution form; the loss is the
mean squared error over a fixed batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from theory.core.deep_s4 import Activation, DeepS4, S4Layer
from theory.core.errors import InvalidInput
from theory.core.invariants import known
from theory.core.lti import LTI

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Student:
    """A deep S4 network in floats: log_A and c (layers, D, N), dt, bias and u (layers, D), W (layers, D, D)."""

    log_A: Real
    c: Real
    dt: Real
    W: Real
    bias: Real
    u: Real
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        layers, width, _ = self.log_A.shape
        expected = {"c": self.log_A.shape, "dt": (layers, width), "W": (layers, width, width)}
        expected |= {"bias": (layers, width), "u": (layers, width)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if value.shape != shape or not np.all(np.isfinite(value)):
                raise InvalidInput(f"{name} must be finite with shape {shape}, got shape {value.shape}")
        if not np.all(self.dt > 0):
            raise InvalidInput(f"dt must be positive, got a smallest value of {self.dt.min()}")

    @property
    def decay(self) -> Real:
        """a = exp(dt A), shape (layers, D, N)."""
        return np.asarray(np.exp(-self.dt[..., None] * np.exp(self.log_A)))

    @property
    def residue(self) -> Real:
        """r = c dt, shape (layers, D, N)."""
        return np.asarray(self.c * self.dt[..., None])

    def as_network(self) -> DeepS4:
        """The same network as a :class:`~theory.core.deep_s4.DeepS4` of floats (b = dt)."""
        layers = []
        for i in range(self.log_A.shape[0]):
            channels = [LTI(a, np.full(a.size, step), c) for a, c, step in zip(self.decay[i], self.c[i], self.dt[i], strict=True)]
            layers.append(S4Layer(channels, self.W[i], self.bias[i], self.u[i], self.activation))
        return DeepS4(layers)


def initial_student(rng: np.random.Generator, layers: int, width: int, states: int, activation: Activation = "relu") -> Student:
    """S4D-Real: A_n = −n, dt log-uniform on [0.01, 0.3], c and W standard normal (W over √D), β small, u = 1."""
    log_A = np.broadcast_to(np.log(np.arange(1.0, states + 1.0)), (layers, width, states)).copy()
    return Student(
        log_A,
        rng.standard_normal((layers, width, states)),
        np.exp(rng.uniform(np.log(0.01), np.log(0.3), (layers, width))),
        rng.standard_normal((layers, width, width)) / np.sqrt(width),
        0.1 * rng.standard_normal((layers, width)),
        np.ones((layers, width)),
        activation,
    )


def perturbed(rng: np.random.Generator, student: Student, channels: int, states: int) -> Student:
    """A teacher: in every layer ``channels`` channels get new A and c on ``states`` states each, all else is the same floats."""
    layers, width, size = student.log_A.shape
    if not 1 <= channels <= width or not 1 <= states <= size:
        raise InvalidInput(f"channels = {channels} must be in 1..{width} and states = {states} in 1..{size}")
    log_A, c = student.log_A.copy(), student.c.copy()
    for i in range(layers):
        for d in rng.choice(width, channels, replace=False):
            for n in rng.choice(size, states, replace=False):
                log_A[i, d, n] += rng.uniform(0.5, 1.5) * rng.choice([-1.0, 1.0])
                c[i, d, n] += rng.uniform(1.0, 3.0) * rng.choice([-1.0, 1.0])
    return replace(student, log_A=log_A, c=c)


def _convolve(kernel: Real, x: Real) -> Real:
    """Σ_j k_{d,j} x_{t−j,d} for kernels (D, L) and inputs (batch, L, D)."""
    n = 2 * x.shape[1]
    out = np.fft.irfft(np.fft.rfft(kernel.T, n, axis=0) * np.fft.rfft(x, n, axis=1), n, axis=1)
    return np.asarray(out[:, : x.shape[1]])


def _correlate(first: Real, second: Real) -> Real:
    """Σ_t first_{t+j,d} second_{t,d} for j = 0..L−1, (batch, L, D)."""
    n = 2 * first.shape[1]
    out = np.fft.irfft(np.fft.rfft(first, n, axis=1) * np.conj(np.fft.rfft(second, n, axis=1)), n, axis=1)
    return np.asarray(out[:, : first.shape[1]])


def _powers(student: Student, layer: int, length: int) -> Real:
    """a_n^j as (D, N, L)."""
    exponent = -student.dt[layer, :, None] * np.exp(student.log_A[layer])
    return np.asarray(np.exp(exponent[..., None] * np.arange(length)))


def outputs(student: Student, x: Real) -> Real:
    """y of shape (batch, L, D) for inputs of that shape."""
    for i in range(student.log_A.shape[0]):
        kernel = np.einsum("dn,dnl->dl", student.residue[i], _powers(student, i, x.shape[1]))
        x = _convolve(kernel, x) @ student.W[i].T + student.bias[i] + student.u[i] * x
        x = np.maximum(x, 0.0) if student.activation == "relu" else x
    return x


def loss(student: Student, x: Real, y: Real) -> float:
    """Mean squared error."""
    return float(np.mean((outputs(student, x) - y) ** 2))


def loss_and_gradient(student: Student, x: Real, y: Real) -> tuple[float, Real, Real]:
    """Mean squared error and its derivatives by log_A and c."""
    if x.shape != y.shape or x.ndim != 3 or x.shape[2] != student.log_A.shape[1] or not x.size:
        raise InvalidInput(f"x and y must share one shape (batch, L, D = {student.log_A.shape[1]}), got {x.shape} and {y.shape}")
    layers, length = student.log_A.shape[0], x.shape[1]
    tape = []
    for i in range(layers):
        powers = _powers(student, i, length)
        kernel = np.einsum("dn,dnl->dl", student.residue[i], powers)
        before = _convolve(kernel, x) @ student.W[i].T + student.bias[i] + student.u[i] * x
        tape.append((x, powers, kernel, before))
        x = np.maximum(before, 0.0) if student.activation == "relu" else before
    error = x - y
    value = float(np.mean(error**2))
    grad = 2.0 * error / error.size
    by_log_A, by_c = np.zeros_like(student.log_A), np.zeros_like(student.c)
    steps = np.arange(length)
    for i in reversed(range(layers)):
        inputs, powers, kernel, before = tape[i]
        grad = grad * (before > 0) if student.activation == "relu" else grad
        inner = grad @ student.W[i]
        by_kernel = _correlate(inner, inputs).sum(axis=0).T  # (D, L)
        by_residue = np.einsum("dl,dnl->dn", by_kernel, powers)
        by_c[i] = by_residue * student.dt[i, :, None]
        exponent = -student.dt[i, :, None] * np.exp(student.log_A[i])  # ∂ a^j/∂ log A = j · (dt A) · a^j
        by_log_A[i] = student.residue[i] * exponent * np.einsum("dl,dnl,l->dn", by_kernel, powers, steps)
        flipped = _convolve(kernel, inner[:, ::-1])[:, ::-1]
        grad = flipped + grad * student.u[i]
    return value, by_log_A, by_c


@dataclass(frozen=True)
class WarmUp:
    """A warm-up run: the student before and after, the gradient at the start, and the loss of every step."""

    before: Student
    after: Student
    gradient_log_A: Real
    gradient_c: Real
    losses: tuple[float, ...]


def warm_up(
    student: Student, x: Real, y: Real, steps: int, lr: float, optimizer: Literal["adam", "sgd"] = "adam", eps: float = 1e-8
) -> WarmUp:
    """Train log A and c for ``steps`` steps on a fixed batch; Adam with β = (0.9, 0.999), or plain gradient descent."""
    if steps < 1 or not 0 < lr < np.inf:
        raise InvalidInput(f"steps = {steps} must be at least 1 and lr = {lr} positive")
    if optimizer not in ("adam", "sgd"):
        raise InvalidInput(f"unknown optimizer {optimizer!r}; choose 'adam' or 'sgd'")
    current, losses = student, []
    first = second = np.zeros((2, *student.log_A.shape))
    start: tuple[Real, Real] | None = None
    for t in range(1, steps + 1):
        value, by_log_A, by_c = loss_and_gradient(current, x, y)
        start = start or (by_log_A, by_c)
        losses.append(value)
        g = np.stack([by_log_A, by_c])
        if optimizer == "adam":
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            g = (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + eps)
        current = replace(current, log_A=current.log_A - lr * g[0], c=current.c - lr * g[1])
    by_log_A, by_c = known(start, "there is at least one step")
    return WarmUp(student, current, by_log_A, by_c, tuple(losses))

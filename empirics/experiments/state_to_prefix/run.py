"""A random initial state and the best prefix of M tokens for it: what is left over, what the prefix costs, per precision.

A prefix x adds the outputs H x to the zero-input response, H_tm = k_{t+m} the Hankel matrix, and a state adds o. With tokens of
norm at most R no prefix comes closer to o than

    e(R) = min over ‖x‖ ≤ R of ‖o - H x‖,

and a number format that resolves eps sees only the directions whose singular value exceeds eps·σ_1 (claim
prefix_state.finite_precision). Prefixes are found from the model's own responses in the given precision and by gradient steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import brentq
from torch import Tensor

from theory import effective_prefix_dimension, initialisation

from ...errors import InvalidInput, UnknownName
from ...methods import apply, method_config
from ...models.s4 import DeepS4
from ...study.config import Strict
from ...study.results import Judgement, Metrics, Result
from ...study.runner import Context, limit
from ...training.loop import Optimiser
from ..lti_channels import channels, mixer_of, systems

PRECISIONS = {
    "float64": (torch.float64, torch.float64, 1e-10),
    "float32": (torch.float32, torch.float32, 1e-4),
    "bfloat16 tokens": (torch.float32, torch.bfloat16, 3e-2),
}
"""Name to (the model's dtype, the tokens' dtype, resolution eps). eps lies above the rounding of both by a factor of about ten,
so that a singular value at eps·σ_1 is still measured."""


class Config(Strict):
    """Options.

    Attributes
    ----------
    width:
        Channels, each with its own C and its own random state.
    modes, dt:
        Complex modes stored (S4D-Lin), and step sizes to go through.
    horizon:
        Outputs compared, in units of 1/dt: the response has faded by exp(-horizon/2).
    tokens:
        Prefix lengths M.
    precisions:
        Of :data:`PRECISIONS`.
    steps, learning_rate:
        Of the gradient-trained prefix (0 steps for none), in float64.
    """

    width: int = Field(default=8, ge=1)
    modes: int = Field(default=8, ge=1)
    dt: list[float] = Field(default=[0.1, 0.01], min_length=1)
    horizon: float = Field(default=40.0, gt=0)
    tokens: list[int] = Field(default=[1, 2, 4, 8, 16, 32, 64], min_length=1)
    precisions: list[str] = Field(default=list(PRECISIONS), min_length=1)
    steps: int = Field(default=1000, ge=0)
    learning_rate: float = Field(default=0.1, gt=0)


def layer(config: Config, dt: float, seed: int) -> DeepS4:
    """Channels of the S4D-Lin initialisation at one step size, without skip."""
    model = channels(config.width, config.modes, seed, torch.float64, skip=False)
    mixer = mixer_of(model)
    with torch.no_grad():
        mixer.log_dt.fill_(float(np.log(dt)))
        mixer.log_A_real.fill_(float(np.log(0.5)))
        mixer.A_imag.copy_(torch.pi * torch.arange(config.modes, dtype=torch.float64).expand_as(mixer.A_imag))
    own = systems(model)[0].a
    if not np.allclose(np.sort_complex(own), np.sort_complex(initialisation("s4d_lin", 2 * config.modes, dt).a), rtol=1e-12):
        raise InvalidInput("the layer's modes are not theory's S4D-Lin modes")
    return model


@torch.no_grad()
def responses(model: DeepS4, tokens: int, length: int) -> Tensor:
    """H as the model computes it: outputs (D, L, M) at the L zero inputs after a unit token at each prefix position."""
    mixer = mixer_of(model)
    x = torch.zeros(tokens, tokens + length, mixer.d_model, dtype=mixer.log_dt.dtype, device=mixer.log_dt.device)
    for m in range(tokens):
        x[m, m] = 1
    out = model(x)
    assert isinstance(out, Tensor)
    return out[:, tokens:].permute(2, 1, 0)


def run(config: Config, ctx: Context) -> Metrics:
    """Every step size, precision and prefix length; one row for each channel."""
    rows: list[dict[str, Any]] = []
    for name in config.precisions:
        if name not in PRECISIONS:
            raise UnknownName("precision", name, PRECISIONS)
    for dt in config.dt:
        length = round(config.horizon / dt)
        exact = layer(config, dt, ctx.seed)
        lti = systems(exact)
        generator = torch.Generator().manual_seed(ctx.seed)
        shape = (config.width, config.modes)
        h0 = torch.complex(*(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)))
        kernel = np.stack([np.real(s.kernel(length + max(config.tokens))) for s in lti])
        o = np.stack([np.real(s.free_response(h.numpy(), length)) for s, h in zip(lti, h0, strict=True)])
        for name in config.precisions:
            dtype, token_dtype, eps = PRECISIONS[name]
            model = layer(config, dt, ctx.seed).to(dtype).to(ctx.device)
            target = _state_response(model, h0, length)
            for tokens in config.tokens:
                H = responses(model, tokens, length)
                x, rank = _truncated(H, target, eps)
                measured = _prefix_response(model, x.to(token_dtype).to(dtype), length)
                for d in range(config.width):
                    curve = TradeOff(_hankel(kernel[d], length, tokens), o[d])
                    rows.append(
                        _row(dt, name, tokens, d, "least squares", x[d], measured[d], target[d], curve, eps)
                        | {"rank": rank[d], "predicted_rank": effective_prefix_dimension(lti[d], eps, prefix_length=tokens)}
                    )
        if config.steps:
            rows += _trained(config, ctx, dt, exact.to(ctx.device), h0, kernel, o)
    return Metrics(held_out={"prefixes": rows})


class TradeOff:
    """e(R) of one channel, relative to ‖o‖."""

    def __init__(self, H: np.ndarray, o: np.ndarray):
        u, self.sigma, _ = np.linalg.svd(H, full_matrices=False)
        self.norm = float(np.linalg.norm(o))
        self.inside = u.T @ o
        self.outside = float(np.linalg.norm(o - u @ self.inside))

    def __call__(self, radius: float) -> float:
        """The least relative residual of a prefix of norm at most ``radius``."""
        s, g = self.sigma, self.inside
        keep = s > 1e-14 * s[0]  # below that float64 singular values are rounding; leaving them unused only raises e by as much

        def norm(log_penalty: float) -> float:
            return float(np.linalg.norm(s[keep] * g[keep] / (s[keep] ** 2 + np.exp(log_penalty)))) - radius

        low, high = 2 * np.log(1e-16 * s[0]), 2 * np.log(s[0]) + 60
        if norm(low) <= 0:
            penalty = 0.0
        elif norm(high) >= 0:
            return 1.0
        else:
            penalty = float(np.exp(brentq(norm, low, high)))
        rest = np.where(keep, g * penalty / (s**2 + penalty), g) if penalty else np.where(keep, 0.0, g)
        return float(np.hypot(np.linalg.norm(rest), self.outside)) / self.norm


def _hankel(kernel: np.ndarray, length: int, tokens: int) -> np.ndarray:
    """Columns k_{t+m}, t = 1..L, for the token m + 1 places before the first output, oldest first."""
    return np.stack([kernel[1 + m : 1 + m + length] for m in reversed(range(tokens))], axis=1)


def _truncated(H: Tensor, target: Tensor, eps: float) -> tuple[Tensor, list[int]]:
    """The prefixes (D, M) from the directions above eps·σ_1, and their numbers; in H's own precision."""
    u, s, vh = torch.linalg.svd(H, full_matrices=False)
    seen = s > eps * s[:, :1]
    inside = (u.mT @ target[:, :, None]).squeeze(-1)
    weights = torch.where(seen, inside / torch.where(seen, s, torch.ones_like(s)), torch.zeros_like(s))
    return (vh.mT @ weights[:, :, None]).squeeze(-1), [int(n) for n in seen.sum(1)]


@torch.no_grad()
def _state_response(model: DeepS4, h0: Tensor, length: int) -> Tensor:
    handle = apply(model, method_config("initial_state"))
    handle.set_values({"layers.0.hook.ssm": h0.to(mixer_of(model).C)})
    out = _zero_input(model, length)
    handle.remove()
    return out


@torch.no_grad()
def _prefix_response(model: DeepS4, x: Tensor, length: int) -> Tensor:
    handle = apply(model, method_config("prefix", tokens=x.shape[1]))
    (name,) = handle.trainable()
    handle.set_values({name: x.T})
    out = _zero_input(model, length)
    handle.remove()
    return out


def _zero_input(model: DeepS4, length: int) -> Tensor:
    """Outputs (D, L) on inputs of zeros."""
    mixer = mixer_of(model)
    out = model(torch.zeros(1, length, mixer.d_model, dtype=mixer.log_dt.dtype, device=mixer.log_dt.device))
    assert isinstance(out, Tensor)
    return out[0].T


def _row(
    dt: float, precision: str, tokens: int, channel: int, how: str, x: Tensor, measured: Tensor, target: Tensor,
    curve: TradeOff, eps: float,
) -> dict[str, Any]:  # fmt: skip
    radius = float(x.double().norm())
    return {
        "dt": dt, "precision": precision, "tokens": tokens, "channel": channel, "how": how, "norm": radius,
        "residual": float((measured - target).double().norm()) / curve.norm, "least_possible": curve(radius * (1 + eps)),
        "noise": eps * (1 + float(curve.sigma[0]) * radius / curve.norm),
    }  # fmt: skip


def _trained(
    config: Config, ctx: Context, dt: float, model: DeepS4, h0: Tensor, kernel: np.ndarray, o: np.ndarray
) -> list[dict[str, Any]]:
    """Prefixes by AdamW on the zero-input response."""
    rows = []
    length = o.shape[1]
    target = _state_response(model, h0, length)
    weight = target.square().sum(1, keepdim=True)
    for tokens in config.tokens:
        handle = apply(model, method_config("prefix", tokens=tokens), seed=ctx.seed)

        def loss(_: int) -> Tensor:
            return ((_zero_input(model, length) - target).square() / weight).sum()

        optimiser = Optimiser(config.learning_rate, config.steps, linear_decay=True)
        ctx.train(f"dt{dt}-tokens{tokens}", handle.trainable(), loss, optimiser)
        (x,) = handle.values().values()
        with torch.no_grad():
            measured = _zero_input(model, length)
        handle.remove()
        for d in range(config.width):
            curve = TradeOff(_hankel(kernel[d], length, tokens), o[d])
            rows.append(_row(dt, "float64", tokens, d, "AdamW", x[:, d], measured[d], target[d], curve, 1e-10))
    return rows


THRESHOLDS = ("factor", "rank", "noise")


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """No prefix lies below e(R) by more than noise; least-squares ones lie within ``factor`` of it; ranks agree within
    ``rank`` directions."""
    factor, rank, slack = (limit(threshold, name) for name in ("factor", "rank", "noise"))
    rows = [row for r in results for row in r.held_out["prefixes"]]
    below = max((row["least_possible"] - row["residual"]) / row["noise"] for row in rows)
    solved = [row for row in rows if row["how"] == "least squares"]
    above = max(row["residual"] / (row["least_possible"] + slack * row["noise"]) for row in solved)
    apart = max(abs(row["rank"] - row["predicted_rank"]) for row in solved)
    table = []
    for key in dict.fromkeys((r["dt"], r["precision"], r["how"], r["tokens"]) for r in rows):
        group = [r for r in rows if (r["dt"], r["precision"], r["how"], r["tokens"]) == key]
        table.append(
            dict(zip(("dt", "precision", "how", "tokens"), key, strict=True))
            | {name: float(np.median([r[name] for r in group])) for name in ("residual", "least_possible", "norm")}
            | ({"rank": max(r["rank"] for r in group), "predicted_rank": max(r["predicted_rank"] for r in group)}
               if "rank" in group[0] else {})
        )  # fmt: skip
    line = f"deepest below the bound {below:.2g} noise units; furthest above it x{above:.2f}; ranks differ by at most {apart}"
    good = below <= slack and above <= factor and apart <= rank
    return Judgement(verdict="reproduced" if good else "not reproduced", measured=line, table=table)

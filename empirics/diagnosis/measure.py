"""The numbers of a diagnosis: theory's table, and per layer what prefixes reach, states carry and adapters leave as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from theory.checkpoints.diagnose import diagnose
from theory.core.errors import TheoryError
from theory.core.scalars import Array

from ..errors import InvalidInput
from .carry import carry, until
from .costs import costs
from .reach import distinct_modes, group_counts, head_reach, selective_reach, states_after
from .subject import Layer, Subject

Tick = Callable[[str, int, int], None]


def measure(
    subject: Subject,
    *,
    channels: int = 64,
    readout: str = "random",
    seed: int = 0,
    radius: float | None = None,
    rank: int = 8,
    sdt: tuple[float | int, float | int] = (0.05, 0.25),
    tick: Tick | None = None,
) -> dict[str, Any]:
    """A diagnosis as JSON types: what theory's :func:`~theory.checkpoints.diagnose.diagnose` returns, with more in each layer.

    Parameters
    ----------
    channels, readout, seed, radius:
        As for theory's command; ``channels`` also bounds the heads whose projection rows are looked at. ``radius`` is the
        subject's own where it is left out.
    rank, sdt:
        See :func:`.costs.costs`.

    Returns
    -------
    Beside theory's keys: ``model`` (sizes, layers, stored dtype, hash of its file), ``costs``, for Mamba-2 ``tokens`` with
    ``states_after`` (:func:`.reach.states_after`, token by token), ``half_lives_to_eps`` (half-lives until a state has fallen
    to a format's spacing times its size); in each layer ``reach``, ``carry``, ``distinct_modes``, ``rates`` (max|A|/min|A|
    per channel) and ``moving_clocks`` (channels whose step depends on the input). For a class that only transformers builds,
    ``host`` (:class:`.subject.Host`).

    Raises
    ------
    InvalidInput
        Settings out of range, or decays and steps that under- or overflow.
    """
    counted = costs(subject.sizes, subject.n_layers, rank, *sdt)
    radius = subject.radius if radius is None else radius
    dynamics, more = [], []
    try:
        # With no layer it only looks at the settings, which is better done before the work.
        diagnose([], subject.source, channels=channels, readout=readout, seed=seed, radius=radius)
        for i, layer in enumerate(subject.layers()):
            dynamics.append(layer.dynamics)
            more.append(_layer(subject, layer, channels, radius))
            if tick is not None:
                tick("reading layers", i + 1, subject.n_layers)
        done = iter(range(1, subject.n_layers + 1))
        progress = None if tick is None else lambda: tick("spectra of layers", next(done), subject.n_layers)
        out = diagnose(dynamics, subject.source, channels=channels, readout=readout, seed=seed, radius=radius, progress=progress)
    except TheoryError as error:
        raise InvalidInput(str(error)) from error
    out["layers"] = [row | extra for row, extra in zip(out["layers"], more, strict=True)]
    out["model"] = {
        **asdict(subject.sizes),
        "layers": subject.n_layers,
        "stored_dtype": subject.dtype,
        "sha256": subject.sha256,
    }
    if subject.host is not None:
        out["assumes"] += subject.host.notes
        out["host"] = {name: value for name, value in asdict(subject.host).items() if name != "notes"}
    out["half_lives_to_eps"] = {name: until(1, eps) for name, eps in out["settings"]["eps"].items()}
    out["costs"] = counted
    if subject.sizes.kind == "mamba2":
        counts = group_counts(subject.sizes)
        tokens = np.arange(int(1.15 * max(counts["group_tokens"], counts["all_tokens"])) + 2)
        by_rank, by_numbers = states_after(subject.sizes, tokens)
        bounds = {"tokens": tokens.tolist(), "by_rank": by_rank.tolist(), "by_numbers": by_numbers.tolist()}
        out["tokens"] = {**counts, "states_after": bounds}
    return out


def _layer(subject: Subject, layer: Layer, channels: int, radius: float) -> dict[str, Any]:
    dynamics = layer.dynamics
    if subject.sizes.kind == "mamba2":
        reach = head_reach(subject.sizes, layer.writes, channels)
    else:
        reach = selective_reach(dynamics, layer.writes)
    assert dynamics.row_norms is not None
    return {
        "reach": reach,
        "carry": carry(dynamics, radius),
        "distinct_modes": _spread(distinct_modes(dynamics.A)),
        "rates": _spread(dynamics.A.min(axis=1) / dynamics.A.max(axis=1)),
        "moving_clocks": int(np.count_nonzero(dynamics.row_norms)),
    }


def _spread(values: Array) -> dict[str, float]:
    return {"min": float(np.min(values)), "median": float(np.median(values)), "max": float(np.max(values))}

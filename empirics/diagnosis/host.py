"""Models that only transformers builds, under diagnosis: FalconMamba and the hybrids. Their mixers are those of the methods.

What differs from Mamba and Mamba-2 as published:

    FalconMamba, Jamba    dt's low-rank part, B and C each pass an RMS norm
    Falcon-H1             in_proj's input and output are multiplied
    hybrids               only some layers are mixers
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from theory.checkpoints.dynamics import dynamics_of

from ..errors import InvalidInput
from ..hosts.attention import attention_layers
from ..hosts.borrowed import BorrowedMamba1, BorrowedMamba2, weight_of
from ..hosts.loading import load_host
from ..methods.geometry import Geometry, find_mixers, geometry
from .advice import count
from .subject import Host, Layer, Subject, mamba2_layer, numbers, weights_hash


def host_subject(name: str) -> Subject:
    """A folder, a hub name or a class, as :func:`~empirics.hosts.loading.load_host` takes them.

    Raises
    ------
    CheckpointError, MissingPackage
        As :func:`~empirics.hosts.loading.load_host`.
    InvalidInput
        The model has no mixer that is known here, or mixers of several sizes.
    """
    model = load_host(name)
    mixers = find_mixers(model)
    found = {geometry(mixer) for _, mixer in mixers}
    if len(found) > 1:
        raise InvalidInput(f"{name} has mixers of {len(found)} sizes; a diagnosis is of mixers of one size")
    (sizes,) = found

    def layers() -> Iterator[Layer]:
        for place, mixer in mixers:
            if isinstance(mixer, BorrowedMamba1):
                yield _mamba1(f"{place}.", mixer, sizes, name)
            elif isinstance(mixer, BorrowedMamba2):
                yield _mamba2(f"{place}.", mixer, sizes, name)

    attention = attention_layers(model)
    first = mixers[0][1]
    bound = math.sqrt(sizes.dt_rank) if isinstance(first, BorrowedMamba1) and first.normed else None
    projections = tuple(dict.fromkeys(projection for layer in attention.values() for projection in layer))
    kind = type(model).__name__
    host = Host(kind, len(attention), projections, bound, tuple(_notes(kind, len(mixers), len(attention), bound)))
    stored = str(first.A_log.dtype).removeprefix("torch.")
    return Subject(name, stored, weights_hash(Path(name)), sizes, len(mixers), layers, host)


def _mamba1(prefix: str, mixer: BorrowedMamba1, sizes: Geometry, where: str) -> Layer:
    """With a norm, its weights count to the rows that read what it gives."""
    rank, states = sizes.dt_rank, sizes.d_state
    rows, writes = (numbers(weight_of(mixer.host, layer)) for layer in ("dt_proj", "x_proj"))
    writes = writes[rank : rank + states]
    if mixer.normed:
        scale_dt, scale_B = map(numbers, mixer.norm_weights())
        rows, writes = rows * scale_dt, writes * scale_B[:, None]
    tensors = {"A_log": numbers(mixer.A_log), "dt_proj.bias": numbers(mixer.dt_proj.bias), "dt_proj.weight": rows}
    (dynamics,) = dynamics_of({prefix + key: values for key, values in tensors.items()}, where)
    return Layer(dataclasses.replace(dynamics, bound=math.sqrt(rank)) if mixer.normed else dynamics, writes)


def _mamba2(prefix: str, mixer: BorrowedMamba2, sizes: Geometry, where: str) -> Layer:
    """With multipliers, the rows and the bias are those of the linear map that the mixer computes with them."""
    weight, bias = weight_of(mixer.host, "in_proj"), mixer.in_proj.bias
    steps = slice(len(weight) - sizes.heads, None)
    written = slice(sizes.d_inner, 2 * sizes.d_inner + sizes.groups * sizes.d_state)
    rows, writes = numbers(weight[steps]), numbers(weight[written])
    shift = np.zeros(sizes.heads) if bias is None else numbers(bias[steps])
    multipliers = mixer.multipliers()
    if multipliers is not None:
        before, behind = multipliers[0], numbers(multipliers[1])
        rows, writes = before * behind[steps, None] * rows, before * behind[written, None] * writes
        shift = behind[steps] * shift
    return mamba2_layer(prefix, where, numbers(mixer.A_log), numbers(mixer.dt_bias) + shift, rows, writes, mixer.dt_limit)


def _notes(kind: str, mixers: int, attention: int, bound: float | None) -> Iterator[str]:
    if attention:
        yield (
            f"{kind} has {count(mixers, 'state-space mixer')} and {count(attention, 'attention layer')}. The numbers are of the "
            "former. Attention keeps every token that it has read: what a state forgets may still be seen there."
        )
    if bound is not None:
        yield (
            "dt's low-rank part, B and C each pass an RMS norm. The dt projection's inputs are the normed ones, and the norms' "
            "weights count to the rows that read them. A norm on B rescales what single tokens write; free tokens reach the same "
            "states."
        )
    if kind.startswith("FalconMamba"):
        yield (
            "This is transformers' path in PyTorch. mamba-ssm's fused kernel norms step sizes behind the dt projection, which is "
            "another function."
        )

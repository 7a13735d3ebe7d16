"""Which rows each step trains on: rows of like length together, so that little is padded, in an order that the seed decides.

As with transformers' ``group_by_length``: every epoch is a random order of all rows, cut into pools; a pool is sorted by length
and cut into batches. The batches of an epoch then come in a random order, so that no length comes first. Rows that fill no whole
batch are left out of that epoch, other ones each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import torch

from ...errors import InvalidInput

POOL = 50
"""Batches in a pool."""


def batches(lengths: Sequence[int], steps: int, size: int, generator: torch.Generator) -> list[list[int]]:
    """Row numbers of ``steps`` batches of ``size`` rows; with fewer rows than that, rows are repeated in a batch."""
    rows = len(lengths)
    if not rows:
        raise InvalidInput("there is no row to train on; give training rows")
    found: list[list[int]] = []
    while len(found) < steps:
        order = torch.randperm(rows, generator=generator).tolist()
        while len(order) < size:
            order += torch.randperm(rows, generator=generator).tolist()
        whole = len(order) // size * size
        epoch: list[list[int]] = []
        for start in range(0, whole, POOL * size):
            pool = sorted(order[start : min(start + POOL * size, whole)], key=lambda i: lengths[i])
            epoch += [pool[i : i + size] for i in range(0, len(pool), size)]
        found += [epoch[i] for i in torch.randperm(len(epoch), generator=generator).tolist()]
    return found[:steps]


def widths(lengths: Sequence[int], drawn: Sequence[Sequence[int]], multiple: int, recording: int) -> list[int]:
    """The number of tokens that each batch is padded to: its longest row, rounded up to a ``multiple`` or further.

    Every width is another recording of the passes. A width goes, its batches taking the next larger one, as long as that adds at
    most ``recording`` tokens of padding to a row, summed over its batches; the cheapest one goes first.
    """
    if multiple < 1 or recording < 0:
        raise InvalidInput(f"multiple {multiple} must be at least 1, and recording {recording} at least 0")
    own = [-(-max(lengths[i] for i in rows) // multiple) * multiple for rows in drawn]
    count = Counter(own)
    larger = {width: width for width in count}
    while len(count) > 1:
        cost, width, into = min((count[a] * (b - a), a, b) for a, b in pairwise(sorted(count)))
        if cost > recording:
            break
        count[into] += count.pop(width)
        larger = {a: into if b == width else b for a, b in larger.items()}
    return [larger[width] for width in own]

"""A byte n-gram model with interpolated Witten-Bell smoothing: what counting alone achieves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.corpus import Bytes
from ..errors import InvalidInput

Codes = NDArray[np.uint64]

_BLOCK = 1 << 22
"""Positions that are counted at a time, so that memory holds the distinct n-grams and not the corpus in 64-bit numbers."""


@dataclass(frozen=True)
class _Table:
    """The k-grams of one length: sorted codes with counts N(h, c), and for their contexts h: N(h) and T(h)."""

    codes: Codes
    counts: NDArray[np.int64]
    contexts: Codes
    totals: NDArray[np.int64]
    types: NDArray[np.int64]


class ByteNgram:
    """p_k(c | h) = (N(h, c) + T(h) p_{k-1}(c | h')) / (N(h) + T(h)),   p_0 = 1/256.

    h is the k-1 bytes before c, h' is h without its first byte, N counts in the training bytes, and T(h) is the number of
    different bytes seen after h. An h that was never seen leaves p_{k-1}. Counts of shorter grams are sums of those of the
    longest, so all lengths count the same positions.

    Parameters
    ----------
    data:
        Training bytes, at least ``order``.
    order:
        Length of the longest gram, context and byte, 1..8.

    Raises
    ------
    InvalidInput
        The order is out of range, or there are too few bytes.

    Source: Witten and Bell 1991, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4), method C.
    """

    def __init__(self, data: Bytes, order: int = 5):
        if not 1 <= order <= 8:
            raise InvalidInput(f"order = {order}: an n-gram has 1 to 8 bytes")
        if len(data) < order:
            raise InvalidInput(f"{len(data)} bytes hold no {order}-gram; give more text")
        self.order = order
        codes, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        for start in range(0, len(data) - order + 1, _BLOCK):
            grams = _grams(data[start : start + _BLOCK + order - 1], order)
            found, times = np.unique(grams, return_counts=True)
            codes, counts = _merged(np.concatenate([codes, found]), np.concatenate([counts, times]))
        self._tables: list[_Table] = []
        for length in range(1, order + 1):
            mask = np.uint64((1 << 8 * length) - 1)
            own, times = _merged(codes & mask, counts)
            contexts, first, types = np.unique(own >> np.uint64(8), return_index=True, return_counts=True)
            self._tables.append(_Table(own, times, contexts, np.add.reduceat(times, first), types.astype(np.int64)))

    def probabilities(self, data: Bytes) -> NDArray[np.float64]:
        """p(x_i | x_{i-4} .. x_{i-1}) for each of the bytes x_0..x_{n-1}, (n,); the first ones have shorter contexts."""
        p = np.full(len(data), 1 / 256)
        for length, table in enumerate(self._tables, start=1):
            if len(data) < length:
                break
            grams = _grams(data, length)
            count = _lookup(table.codes, table.counts, grams)
            total = _lookup(table.contexts, table.totals, grams >> np.uint64(8))
            types = _lookup(table.contexts, table.types, grams >> np.uint64(8))
            at = slice(length - 1, None)
            p[at] = np.where(total > 0, (count + types * p[at]) / np.maximum(total + types, 1), p[at])
        return p

    def bits_per_byte(self, data: Bytes) -> float:
        """-mean log2 p(x_i | ...) over all bytes.

        Raises
        ------
        InvalidInput
            There is no byte.
        """
        if not len(data):
            raise InvalidInput("no held-out byte to measure on; give more text")
        return float(-np.log2(self.probabilities(data)).mean())


def _grams(data: Bytes, length: int) -> Codes:
    """Codes of the grams that end at each position from ``length`` - 1 on: their bytes as one big-endian number."""
    codes = np.zeros(len(data) - length + 1, np.uint64)
    for i in range(length):
        codes = (codes << np.uint64(8)) | data[i : len(data) - length + 1 + i]
    return codes


def _merged(codes: Codes, counts: NDArray[np.int64]) -> tuple[Codes, NDArray[np.int64]]:
    """Each code once, sorted, with the sum of its counts."""
    order = np.argsort(codes, kind="stable")
    codes, counts = codes[order], counts[order]
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    return codes[first], np.add.reduceat(counts, first)


def _lookup(keys: Codes, values: NDArray[np.int64], wanted: Codes) -> NDArray[np.int64]:
    """The values at the wanted keys, 0 where a key is missing."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)

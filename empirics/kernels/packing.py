"""Several sequences in one tensor, one after the other in time: where each begins and ends.

Each sequence is computed by itself, so nothing of it reaches another sequence's outputs, states or gradients, not even a NaN.
Gradients of what all sequences share (A, D, dt_bias, weights) are sums over them, and a NaN of one is in the sum. Where the scan
has no kernel for packed sequences, those of one length run together as a batch, one call for every length, and their results are
put back in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput

Which = tuple[int, ...]
"""Numbers of sequences."""


@dataclass(frozen=True)
class Packing:
    """Where sequences lie in tensors of (batch, L) steps. Made once, it serves every layer without reading the GPU again.

    Attributes
    ----------
    shape:
        (batch, L).
    spans:
        (row, first step, step after the last) of each sequence, row by row and in time. Steps in none are padding.
    """

    shape: tuple[int, int]
    spans: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, seq_idx: Tensor | Packing | None, cu_seqlens: Tensor | None, shape: tuple[int, int]) -> Packing | None:
        """The packing that one of the two describes, ``None`` without either.

        Parameters
        ----------
        seq_idx:
            (batch, L) integers: neighbours with one number are of one sequence, steps with a negative number are padding. Or a
            packing.
        cu_seqlens:
            (S + 1,) integers from 0 to L, for batch 1: where each sequence begins, and L.
        shape:
            (batch, L) of the tensors.

        Raises
        ------
        InvalidInput
            Both are given, or one that does not fit.
        """
        if seq_idx is not None and cu_seqlens is not None:
            raise InvalidInput("seq_idx and cu_seqlens both say where sequences begin; give one of them")
        if seq_idx is None:
            return None if cu_seqlens is None else cls._of_cu_seqlens(cu_seqlens, shape)
        if not isinstance(seq_idx, Packing):
            return cls._of_seq_idx(seq_idx, shape)
        if seq_idx.shape != shape:
            raise InvalidInput(f"the packing is of {seq_idx.shape} steps (batch, L), the tensors have {shape}")
        return seq_idx

    @classmethod
    def _of_seq_idx(cls, seq_idx: Tensor, shape: tuple[int, int]) -> Packing:
        _require_integers("seq_idx", seq_idx)
        if tuple(seq_idx.shape) != shape:
            raise InvalidInput(f"seq_idx has shape {tuple(seq_idx.shape)}, expected (batch, L) = {shape}")
        numbers = seq_idx.to("cpu", torch.int64)
        spans = []
        for row, own in enumerate(numbers):
            edges = [0, *((own[1:] != own[:-1]).nonzero()[:, 0] + 1).tolist(), shape[1]]
            spans += [(row, start, stop) for start, stop in pairwise(edges) if own[start] >= 0]
        if not spans:
            raise InvalidInput("seq_idx is negative everywhere: no step belongs to a sequence")
        return cls(shape, tuple(spans))

    @classmethod
    def _of_cu_seqlens(cls, cu_seqlens: Tensor, shape: tuple[int, int]) -> Packing:
        _require_integers("cu_seqlens", cu_seqlens)
        if shape[0] != 1:
            raise InvalidInput(f"cu_seqlens is for tensors of batch 1, these have batch {shape[0]}; give seq_idx (batch, L)")
        if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 2:
            raise InvalidInput(f"cu_seqlens has shape {tuple(cu_seqlens.shape)}, expected (S + 1,) with S at least 1")
        edges = cu_seqlens.tolist()
        if edges[0] != 0 or edges[-1] != shape[1]:
            raise InvalidInput(f"cu_seqlens goes from {edges[0]} to {edges[-1]}, expected from 0 to L = {shape[1]}")
        for start, stop in pairwise(edges):
            if start >= stop:
                raise InvalidInput(f"cu_seqlens has {stop} after {start}: a sequence has at least one step")
        return cls(shape, tuple((0, start, stop) for start, stop in pairwise(edges)))

    @classmethod
    def of_mask(cls, mask: Tensor, shape: tuple[int, int], ends: bool = True) -> Packing | None:
        """One sequence a row, padded in front or behind: (batch, L), 0 or ``False`` where a step is padding.

        Read off the device once. ``None`` where there is nothing to cut: nothing is padded or, without ``ends``, nothing in
        front, since padding behind a sequence reaches nothing in it.

        Parameters
        ----------
        ends:
            Whether the states that the sequences leave are wanted.

        Raises
        ------
        InvalidInput
            The shape does not fit, or a row's sequence is empty or has padding inside.
        """
        if not isinstance(mask, Tensor) or tuple(mask.shape) != shape:
            what = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else f"type {type(mask).__name__}"
            raise InvalidInput(f"attention_mask has {what}, expected (batch, L) = {shape}")
        rows = mask.bool().cpu()
        spans = []
        for number, row in enumerate(rows):
            places = row.nonzero()[:, 0].tolist()
            if not places or places[-1] - places[0] + 1 != len(places):
                raise InvalidInput(
                    f"row {number} of attention_mask is no run of ones; pad in front of each sequence or behind it"
                )
            spans.append((number, places[0], places[-1] + 1))
        if all(start == 0 and (stop == shape[1] or not ends) for _, start, stop in spans):
            return None
        return cls(shape, tuple(spans))

    @cached_property
    def calls(self) -> dict[Any, Any]:
        """What scans have worked out for their calls with this packing, which goes with it."""
        return {}

    def __reduce__(self) -> tuple[type[Packing], tuple[Any, ...]]:
        """Copies and other processes' packings begin without what was worked out for this one."""
        return Packing, (self.shape, self.spans)

    @property
    def count(self) -> int:
        """S, the number of sequences."""
        return len(self.spans)

    @cached_property
    def by_length(self) -> dict[int, Which]:
        """The sequences of each length, which run together."""
        found: dict[int, list[int]] = {}
        for number, (_, start, stop) in enumerate(self.spans):
            found.setdefault(stop - start, []).append(number)
        return {length: tuple(numbers) for length, numbers in found.items()}

    @cached_property
    def _pieces(self) -> tuple[tuple[tuple[int, ...], tuple[int | None, ...]], ...]:
        """Of each row: the lengths of its pieces in time, and each one's sequence, ``None`` for padding."""
        found = []
        for row in range(self.shape[0]):
            sizes: list[int] = []
            owners: list[int | None] = []
            reached = 0
            own = [(number, span) for number, span in enumerate(self.spans) if span[0] == row]
            for number, (_, start, stop) in own:
                if start > reached:
                    sizes.append(start - reached)
                    owners.append(None)
                sizes.append(stop - start)
                owners.append(number)
                reached = stop
            if reached < self.shape[1]:
                sizes.append(self.shape[1] - reached)
                owners.append(None)
            found.append((tuple(sizes), tuple(owners)))
        return tuple(found)

    def cut(self, value: Tensor, axis: int) -> dict[int, Tensor]:
        """The sequences of each length as a batch: of (batch, ..., L, ...) with time at ``axis``, (n, ..., length, ...)."""
        pieces: dict[int, Tensor] = {}
        for row, (sizes, owners) in zip(value.unbind(0), self._pieces, strict=True):
            # One split for all: its gradient is put together once, and not once for every sequence.
            cuts = torch.split(row, list(sizes), dim=axis - 1)
            pieces |= {owner: piece for owner, piece in zip(owners, cuts, strict=True) if owner is not None}
        return {length: torch.stack([pieces[number] for number in which]) for length, which in self.by_length.items()}

    def put(self, parts: Mapping[int, Tensor], axis: int) -> Tensor:
        """The inverse of :meth:`cut`: (batch, ..., L, ...), zero in the padding."""
        pieces = {
            number: piece
            for length, which in self.by_length.items()
            for number, piece in zip(which, parts[length].unbind(0), strict=True)
        }
        like = next(iter(pieces.values()))

        def padding(size: int) -> Tensor:
            return like.new_zeros([*like.shape[: axis - 1], size, *like.shape[axis:]])

        rows = [
            torch.cat([padding(size) if owner is None else pieces[owner] for size, owner in zip(*row, strict=True)], dim=axis - 1)
            for row in self._pieces
        ]
        return torch.stack(rows)

    def in_order(self, parts: Mapping[int, Tensor]) -> Tensor:
        """What there is one of for each sequence, (n, ...) for every length, as (S, ...) in the order of the sequences."""
        together = torch.cat([parts[length] for length in self.by_length])
        order = [number for which in self.by_length.values() for number in which]
        back = sorted(range(len(order)), key=order.__getitem__)
        return together if back == list(range(len(order))) else together[torch.tensor(back, device=together.device)]


def rows(value: Tensor, which: Sequence[int]) -> Tensor:
    """Rows of a tensor (S, ...) by number."""
    if list(which) == list(range(value.shape[0])):
        return value
    return value[torch.tensor(which, device=value.device)]


def _require_integers(name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise InvalidInput(f"{name} is {what}, expected a tensor of integers such as torch.int32")

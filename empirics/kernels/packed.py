"""Scans of packed sequences (:mod:`.packing`), by scans that know none."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .inputs import Outcome, SelectiveInputs, SSDInputs, require_real, require_shape
from .packing import Packing, rows


def packed_selective(
    run: Callable[..., Outcome],
    inputs: SelectiveInputs,
    h0: Tensor | None,
    want_last: bool,
    packing: Packing,
    at_once: Callable[..., Outcome | None] | None = None,
) -> Outcome:
    """A selective scan of packed sequences by ``run``, which knows none: each by itself, those of one length as a batch.

    Parameters
    ----------
    h0:
        (S, D, N) or (D, N).
    at_once:
        What takes packed sequences as they lie (:func:`.table.packing_scan`), if there is such a scan.

    Raises
    ------
    InvalidInput
        h0 does not fit.
    """
    u, dt, A, B, C, D, z, dt_bias, _, dt_softplus = inputs
    starts = _starts(h0, u, "u", (u.shape[1], A.shape[1]), "D, N", packing)
    found = None if at_once is None else at_once(inputs._replace(h0=starts), want_last, packing)
    if found is not None:
        return found
    outs, lasts = {}, {}
    us, dts = packing.cut(u, 2), packing.cut(dt, 2)
    Bs, Cs = (dict.fromkeys(packing.by_length, v) if v.ndim == 2 else packing.cut(v, v.ndim - 1) for v in (B, C))
    zs = {} if z is None else packing.cut(z, 2)
    for n, which in packing.by_length.items():
        own = None if starts is None else rows(starts, which)
        outs[n], last = run(SelectiveInputs(us[n], dts[n], A, Bs[n], Cs[n], D, zs.get(n), dt_bias, own, dt_softplus), want_last)
        if last is not None:
            lasts[n] = last
    return packing.put(outs, 2), packing.in_order(lasts) if want_last else None


def packed_ssd(run: Callable[..., Outcome], inputs: SSDInputs, h0: Tensor | None, want_last: bool, packing: Packing) -> Outcome:
    """An SSD scan of packed sequences; as :func:`packed_selective`, h0 (S, H, P, N) or (H, P, N)."""
    x, dt, A, B, C, D, z, dt_bias, _, dt_softplus = inputs
    starts = _starts(h0, x, "x", (*x.shape[2:], B.shape[-1]), "H, P, N", packing)
    outs, lasts = {}, {}
    xs, dts, Bs, Cs = (packing.cut(v, 1) for v in (x, dt, B, C))
    zs = {} if z is None else packing.cut(z, 1)
    for n, which in packing.by_length.items():
        own = None if starts is None else rows(starts, which)
        outs[n], last = run(SSDInputs(xs[n], dts[n], A, Bs[n], Cs[n], D, zs.get(n), dt_bias, own, dt_softplus), want_last)
        if last is not None:
            lasts[n] = last
    return packing.put(outs, 1), packing.in_order(lasts) if want_last else None


def _starts(h0: Tensor | None, main: Tensor, name: str, shape: tuple[int, ...], letters: str, packing: Packing) -> Tensor | None:
    """h0 for each sequence, (S, ...)."""
    if h0 is None:
        return None
    require_real((name, main), h0=h0)
    if h0.ndim == len(shape):
        require_shape("h0", h0, shape, letters)
        return h0.expand(packing.count, *shape)
    require_shape("h0", h0, (packing.count, *shape), f"S, {letters}")
    return h0

"""What the mixers share: how a sequence starts (hooks, explicit states) and how it ends (the state it leaves)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import InvalidInput
from ..kernels.packing import Packing
from ..kernels.table import Op, capability
from .again import computing_again, derived, formula_of, is_derived, saving
from .functions import functions_serve, linear_of
from .hooks import ExtraStates, MixerHook
from .low_rank import factored_update, low_rank_linear, weight_of
from .norm import widen
from .recompute import draws, recomputed
from .state import MixerState

Inner = Callable[[Tensor], tuple[Tensor, MixerState]]
"""The part of a mixer between its outer projections."""

Recompute = Literal[False, "light", True, "all"]


def linear(x: Tensor, module: nn.Module, with_bias: bool = True, again: bool = False) -> Tensor:
    """The linear layer in x's dtype. Reads ``module.weight``, so a parametrisation of it always takes effect; a low-rank one's
    gradients are computed without the gradient of the whole matrix (:mod:`.low_rank`). A module that is no plain linear layer,
    such as peft's wrapper around one, is called, so that what it adds takes effect as well. With ``again`` the backward pass may
    compute the plain layer's output again (:mod:`.again`)."""
    if not plain(module):
        with saving():
            return _called(x, module, with_bias)
    assert isinstance(module, nn.Linear)
    bias = None if module.bias is None or not with_bias else module.bias.to(x.dtype)
    update = factored_update(module)
    if update is not None and torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type):
        return low_rank_linear(x, module, update, bias)
    weight = weight_of(module).to(x.dtype)
    formula = formula_of(x) if bias is None and functions_serve(x, weight) else None
    if formula is not None:
        return linear_of(x, weight, formula)
    with saving() if is_derived(x) else nullcontext():
        out = F.linear(x, weight, bias)
    return derived(out, F.linear, x, weight, bias) if again else out


def plain(module: nn.Module) -> bool:
    """Is it a linear layer that does nothing but read its weight?"""
    wrapped = type(module).forward is not nn.Linear.forward or "forward" in vars(module)
    return not (wrapped or module._forward_hooks or module._forward_pre_hooks)


def _called(x: Tensor, module: nn.Module, with_bias: bool) -> Tensor:
    """The module's own forward pass; where its bias is not wanted, the bias of the wrapped layer is replaced by zeros."""
    biases = {} if with_bias else {n: p for n, p in module.named_parameters() if n in ("bias", "base_layer.bias")}
    zeros = {name: torch.zeros_like(bias) for name, bias in biases.items()}
    out: Tensor = functional_call(module, zeros, (x,)) if zeros else module(x)
    return out.to(x.dtype)


def plain_conv(module: nn.Module) -> nn.Conv1d:
    """The convolution in front of a scan, whose weight is read.

    Raises
    ------
    InvalidInput
        It is wrapped: what the wrapper adds would have no effect.
    """
    if not isinstance(module, nn.Conv1d) or type(module).forward is not nn.Conv1d.forward:
        raise InvalidInput(
            f"conv1d is wrapped in {type(module).__name__}, which would have no effect: only its weight is read; leave conv1d "
            "out of target_modules, or train it with empirics.methods.Full(targets=('conv1d',))"
        )
    return module


class Mixer(nn.Module, ABC):
    """A block's sequence map (B, L, d_model) -> (B, L, d_model) with a recurrent state.

    Attributes
    ----------
    hook:
        What a state method changes (:class:`~.hooks.MixerHook`), ``None`` for nothing. Attach with ``mixer.hook = hook``.
    scan:
        Name of the scan; change it with :meth:`set_scan`.
    stock_conv:
        Whether causal-conv1d's kernel may go before this scan.
    recompute:
        How much the backward pass computes again instead of keeping it, the same gradients, bit for bit. ``"light"``, the
        default: what mamba-ssm's block does, the convolution's output and the step sizes, and beside it adapted matrices and the
        norm's output in front (:mod:`.again`). ``True``: all that lies between the outer projections but the fused scan;
        ``"all"``: in_proj's product as well (:mod:`.recompute`). ``False``: nothing.
    """

    op: ClassVar[Op]
    hook: MixerHook | None
    scan: str
    stock_conv: bool
    recompute: Recompute

    def __init__(self, d_model: int, scan: str):
        super().__init__()
        self.d_model = d_model
        self.hook = None
        self.recompute = "light"
        self.set_scan(scan)

    def may_draw(self) -> bool:
        """Not by itself; its parts say it for themselves."""
        return False

    def set_scan(self, scan: str) -> None:
        """Choose the scan by name.

        Raises
        ------
        UnknownName, UnsupportedScan
            No such scan, or none for this kind of block.
        """
        self.stock_conv = capability(self.op, scan).stock_conv
        self.scan = scan

    def forward(
        self, hidden: Tensor, state: MixerState | None = None, return_state: bool = False, packing: Packing | None = None
    ) -> Tensor | tuple[Tensor, MixerState]:
        """Map a sequence.

        Parameters
        ----------
        hidden:
            (B, L, d_model).
        state:
            The state to continue from. ``None`` starts a sequence: the hook's initial state and prefix are then applied.
        packing:
            Several sequences one after the other in time. States, given and returned, are then those of S sequences.

        Returns
        -------
        (B, L, d_model) and, with ``return_state``, the state after the last token.

        Raises
        ------
        InvalidInput
            Shapes do not fit, or the sequence is empty.
        """
        if hidden.ndim != 3 or hidden.shape[2] != self.d_model:
            raise InvalidInput(f"hidden has shape {tuple(hidden.shape)}, expected (B, L, d_model) with d_model = {self.d_model}")
        if 0 in hidden.shape:
            raise InvalidInput(f"hidden has shape {tuple(hidden.shape)}: an empty sequence or batch has no output")
        drop = 0
        sequences = hidden.shape[0] if packing is None else packing.count
        if packing is not None and packing.shape != tuple(hidden.shape[:2]):
            raise InvalidInput(f"the packing is of {packing.shape} tokens (B, L), hidden has {tuple(hidden.shape[:2])}")
        if state is None:
            state = self._initial_state(sequences)
            prefix = self._prefix()
            if prefix is not None and packing is not None:
                raise InvalidInput("a prefix has no place inside packed sequences; compile_prefix(handle) makes it a state")
            if prefix is not None:
                drop = prefix.shape[0]
                hidden = torch.cat([prefix.to(hidden.dtype).expand(hidden.shape[0], -1, -1), hidden], dim=1)
        with computing_again(self.recompute == "light"):
            out, last = self._mix(hidden, self._fitted(state, sequences), drop, return_state, packing)
        return (out, last) if return_state else out

    def new_state(self, batch: int) -> MixerState:
        """The state before the first token, after the hook's initial state and prefix.

        Raises
        ------
        InvalidInput
            ``batch`` is no positive integer.
        """
        if not isinstance(batch, int) or batch < 1:
            raise InvalidInput(f"batch is {batch!r}, expected an integer of at least 1")
        state = self._filled(self._fitted(self._initial_state(batch), batch), batch)
        prefix = self._prefix()
        if prefix is None:
            return state
        tokens = prefix.to(self._activation_dtype()).expand(batch, -1, -1)
        return self._mix(tokens, state, tokens.shape[1] - 1, want_state=True)[1]

    @abstractmethod
    def step(self, hidden: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
        """One token: hidden (B, d_model) and the state before it to the output (B, d_model) and the state after it."""

    @abstractmethod
    def state_shapes(self) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
        """Shapes, without the batch, of the convolution's window (``None`` without one) and of the scan's state."""

    @abstractmethod
    def _mix(
        self, hidden: Tensor, start: MixerState, drop: int, want_state: bool, packing: Packing | None = None
    ) -> tuple[Tensor, MixerState]:
        """Outputs from position ``drop`` on of a non-empty sequence that starts from ``start``, and the last state.

        Without ``want_state`` the state may be left empty: a stock kernel would compute it a second time for its gradient.
        """

    def _each(
        self,
        inner: Callable[[Tensor, MixerState], tuple[Tensor, MixerState]],
        start: MixerState,
        packing: Packing | None,
        axis: int,
    ) -> Inner:
        """``inner(rows, start)`` as a function of the rows; of packed sequences by each, those of one length as a batch.

        Parameters
        ----------
        axis:
            Of time in what ``inner`` returns.
        """
        if packing is None:
            return lambda given: inner(given, start)

        def by_sequence(given: Tensor) -> tuple[Tensor, MixerState]:
            outs: dict[int, Tensor] = {}
            lasts: dict[int, MixerState] = {}
            for length, own in packing.cut(given, 1).items():
                outs[length], lasts[length] = inner(own, start.rows(packing.by_length[length]))
            kept = {name: {n: getattr(last, name) for n, last in lasts.items()} for name in ("conv", "ssm", "extra")}
            joined = {n: packing.in_order(parts) for n, parts in kept.items() if all(v is not None for v in parts.values())}
            return packing.put(outs, axis), MixerState(**joined)

        return by_sequence

    def _projected(self, hidden: Tensor) -> Tensor:
        """in_proj(hidden), what the mixer starts from."""
        return linear(hidden, self.get_submodule("in_proj"))

    def _between(self, inner: Inner, hidden: Tensor) -> tuple[Tensor, MixerState]:
        """inner(in_proj(hidden)), of which the backward pass keeps as much as ``recompute`` says."""
        if self.recompute == "all":
            return recomputed(lambda h: inner(self._projected(h)), hidden, draws(self))
        projected = self._projected(hidden)
        return recomputed(inner, projected, draws(self)) if self.recompute is True else inner(projected)

    @abstractmethod
    def _extra_shape(self, extra: ExtraStates) -> tuple[int, ...]:
        """Shape of the extra states without the batch; raises InvalidInput where the hook's tensors do not fit."""

    def _activation_dtype(self) -> torch.dtype:
        projection = self.get_submodule("out_proj")
        assert isinstance(projection.weight, Tensor)
        return projection.weight.dtype  # that of the model, also where an adapter's own tensors are wider

    def _state_dtype(self) -> torch.dtype:
        return widen(torch.empty(0, dtype=self._activation_dtype())).dtype

    def _initial_state(self, batch: int) -> MixerState:
        state = None if self.hook is None else self.hook.initial_state(batch)
        if state is None:
            return MixerState()
        dtype = self._state_dtype()
        cast = state.ssm if state.ssm is None or state.ssm.is_complex() else state.ssm.to(dtype)
        return state.with_(ssm=cast)

    def _prefix(self) -> Tensor | None:
        prefix = None if self.hook is None else self.hook.prefix_tokens()
        if prefix is not None and (prefix.ndim != 2 or prefix.shape[0] == 0 or prefix.shape[1] != self.d_model):
            raise InvalidInput(f"the hook's prefix has shape {tuple(prefix.shape)}, expected (M >= 1, d_model = {self.d_model})")
        return prefix

    def _fitted(self, state: MixerState, batch: int) -> MixerState:
        """The state for this batch, shapes checked."""
        window, ssm = self.state_shapes()
        extra = self._extra()
        for name, value, shape in (
            ("conv", state.conv, window),
            ("ssm", state.ssm, ssm),
            ("extra", state.extra, None if extra is None else self._extra_shape(extra)),
        ):
            if value is None:
                continue
            if shape is None:
                raise InvalidInput(f"the state has {name} of shape {tuple(value.shape)}, but this mixer has none; pass None")
            if tuple(value.shape[1:]) != shape or value.shape[0] not in (1, batch):
                raise InvalidInput(f"the state's {name} has shape {tuple(value.shape)}, expected {(batch, *shape)}")
        return state.expand(batch)

    def _filled(self, state: MixerState, batch: int) -> MixerState:
        """The state with zeros in place of ``None``."""
        window, ssm = self.state_shapes()
        extra = self._extra()
        like = next(self.parameters())
        if state.conv is None and window is not None:
            state = state.with_(conv=like.new_zeros(batch, *window))
        if state.ssm is None:
            state = state.with_(ssm=like.new_zeros(batch, *ssm, dtype=self._state_dtype()))
        if state.extra is None and extra is not None:
            state = state.with_(extra=like.new_zeros(batch, *self._extra_shape(extra), dtype=self._state_dtype()))
        return state

    def _offset(self) -> Tensor | None:
        offset = None if self.hook is None else self.hook.readout_offset()
        if offset is not None and tuple(offset.shape) != self.state_shapes()[1]:
            raise InvalidInput(f"the hook's readout offset has shape {tuple(offset.shape)}, expected {self.state_shapes()[1]}")
        return offset

    def _extra(self) -> ExtraStates | None:
        return None if self.hook is None else self.hook.extra_states()

    def _check_step(self, hidden: Tensor, state: MixerState) -> MixerState:
        if hidden.ndim != 2 or hidden.shape[1] != self.d_model or hidden.shape[0] == 0:
            raise InvalidInput(f"hidden has shape {tuple(hidden.shape)}, expected (B, d_model) with d_model = {self.d_model}")
        return self._filled(self._fitted(state, hidden.shape[0]), hidden.shape[0])


def check_selectors(extra: ExtraStates, width: int) -> int:
    """Nx, once W_B and W_C are both (Nx, width); raises InvalidInput where they are not."""
    for name, value in (("W_B", extra.W_B), ("W_C", extra.W_C)):
        if value.ndim != 2 or value.shape[0] == 0 or value.shape[1] != width:
            raise InvalidInput(f"the extra states' {name} has shape {tuple(value.shape)}, expected (Nx, d_inner = {width})")
    if extra.W_B.shape != extra.W_C.shape:
        raise InvalidInput(f"the extra states' W_B {tuple(extra.W_B.shape)} and W_C {tuple(extra.W_C.shape)} differ in shape")
    return extra.W_B.shape[0]

"""A host's mixer runs this project's forward pass while a method acts on its state, and its own before and after.

The states live where the library keeps them, so that its generation, beam search and loops go on as they are:

    transformers   a Cache: the last K inputs of the convolution, and the scan's state
    mamba-ssm      inference_params: the same two tensors, in place

States of a hook's additional scan lie behind the scan's own along the last axis: N + Nx instead of N.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInput
from ..kernels.packing import Packing
from ..kernels.table import TABLE, Op, runs_on
from ..models.mixer import Mixer
from ..models.state import MixerState
from .replacing import replace_forward, restore_forward
from .table import borrow, recognise

_VIEW = "_ssmproof_mixer"
_ALLOCATE = "allocate_inference_cache"


def mixer_of(module: nn.Module) -> Mixer | None:
    """This project's mixer on a host's tensors, the same one while the host is taken over; ``None`` for other modules."""
    host = recognise(module)
    if host is None:
        return None
    kept: Mixer | None = vars(module).get(_VIEW)
    return borrow(module, host) if kept is None else kept


def take_over(module: nn.Module) -> None:
    """Give the host's mixer this project's forward pass; its ``hook`` says what it does beyond the host's own."""
    host = recognise(module)
    if host is None or _VIEW in vars(module):
        return
    view = borrow(module, host)
    vars(module)[_VIEW] = view  # not a submodule of the host: its tensors would be listed twice
    replace_forward(module, _FORWARD[host.library])
    if host.library == "mamba_ssm":
        vars(module)[_ALLOCATE] = MethodType(_allocate, module)


def give_back(module: nn.Module) -> None:
    """Undo :func:`take_over`, and take the hook off."""
    for name in (_VIEW, _ALLOCATE):
        vars(module).pop(name, None)
    restore_forward(module, lambda function: function in _FORWARD.values())
    module._modules.pop("hook", None)


def taken_over(module: nn.Module) -> bool:
    """Whether the module is a host's mixer under this project's forward pass."""
    return _VIEW in vars(module)


def forget_graphs(model: nn.Module) -> None:
    """Drop the CUDA graph that mamba-ssm's generation keeps on a model: it repeats the kernels of the model as it was."""
    vars(model).pop("_decoding_cache", None)


def choose_scan(op: Op, like: Tensor) -> str:
    """The scan for a device and dtype: this project's fused kernel where it runs, else the one in PyTorch."""
    for row in TABLE:
        if row.op == op and row.scan == "fused" and runs_on(row, like.device.type) and like.is_cuda and like.dtype in row.dtypes:
            return row.scan
    return "chunked"


def _run(
    module: nn.Module, hidden: Tensor, state: MixerState | None, packing: Packing | None = None, keep: bool = True
) -> tuple[Tensor, MixerState | None]:
    view = cast(Mixer, vars(module)[_VIEW])
    scan = choose_scan(view.op, hidden)
    if view.scan != scan:
        view.set_scan(scan)
    if state is not None and hidden.shape[1] == 1 and packing is None:
        out, last = view.step(hidden[:, 0], state)
        return out[:, None], last
    if packing is not None and state is None and view.hook is not None and view.hook.prefix_tokens() is not None:
        state = view.new_state(packing.count)  # a prefix acts through the state that it leaves
    if keep:
        return cast("tuple[Tensor, MixerState]", view(hidden, state, return_state=True, packing=packing))
    return cast(Tensor, view(hidden, state, packing=packing)), None


def _widths(module: nn.Module) -> tuple[int, int]:
    """K, and N."""
    view = vars(module)[_VIEW]
    return int(view.d_conv), int(view.d_state)


def wide_window(window: Tensor, width: int) -> Tensor:
    """The library's K inputs from this project's K - 1: the oldest is read by nothing any more."""
    return F.pad(window, (width - window.shape[-1], 0))


def _joined(state: MixerState) -> Tensor:
    assert state.ssm is not None
    return state.ssm if state.extra is None else torch.cat([state.ssm, state.extra], dim=-1)


def _parted(conv: Tensor, ssm: Tensor, states: int) -> MixerState:
    extra = ssm[..., states:] if ssm.shape[-1] > states else None
    return MixerState(conv[..., 1:], ssm[..., :states], extra)


# --- transformers ---


def _forward_transformers(
    self: nn.Module,
    hidden_states: Tensor,
    cache_params: Any = None,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    width, states = _widths(self)
    layer: int = cast(Any, self).layer_idx
    state = None
    if cache_params is not None:
        kept = cache_params.layers[layer]  # whose own attributes are the same before and after transformers 5.21
        if kept.record_past:
            raise InvalidInput("assisted generation rolls states back, which methods on states cannot; generate without it")
        if kept.has_previous_state[0]:
            state = _parted(kept.conv_states[0], kept.recurrent_states[0], states)
    packing = _packing(hidden_states, attention_mask, cache_params is not None, kwargs)
    out, last = _run(self, hidden_states, state, packing, keep=cache_params is not None)
    if cache_params is not None:
        assert last is not None and last.conv is not None
        cache_params.update_conv_state(wide_window(last.conv, width), layer, conv_kernel_size=width)
        cache_params.update_recurrent_state(_joined(last), layer)
    return out


def _packing(hidden: Tensor, mask: Tensor | None, cached: bool, kwargs: dict[str, Any]) -> Packing | None:
    """Where sequences lie: as the caller says, or between the padding.

    Padding behind a sequence reaches nothing in it, so that without a cache only padding in front counts.
    """
    shape = (hidden.shape[0], hidden.shape[1])
    packing = Packing.of(kwargs.get("seq_idx"), kwargs.get("cu_seqlens"), shape)
    if packing is not None or mask is None or mask.ndim != 2 or shape[1] == 1:
        return packing
    return Packing.of_mask(mask[:, -shape[1] :], shape, ends=cached)


# --- mamba-ssm ---


def _forward_mamba_ssm(self: nn.Module, hidden_states: Tensor, *args: Any, inference_params: Any = None, **kwargs: Any) -> Tensor:
    if args or kwargs.get("seqlen") is not None:
        raise InvalidInput("methods on states take (batch, length, width) inputs; leave seqlen out")
    width, states = _widths(self)
    packing = Packing.of(kwargs.get("seq_idx"), kwargs.get("cu_seqlens"), (hidden_states.shape[0], hidden_states.shape[1]))
    if inference_params is None:
        return _run(self, hidden_states, None, packing, keep=False)[0]
    kept, layer = inference_params.key_value_memory_dict, cast(Any, self).layer_idx
    if layer not in kept:
        kept[layer] = cast(Any, self).allocate_inference_cache(hidden_states.shape[0], 0)
    conv, ssm = kept[layer]
    state = _parted(conv, ssm, states) if inference_params.seqlen_offset > 0 else None
    out, last = _run(self, hidden_states, state, packing)
    assert last is not None and last.conv is not None
    conv.copy_(wide_window(last.conv, width))
    ssm.copy_(_joined(last))
    return out


def _allocate(self: nn.Module, batch_size: int, max_seqlen: int, dtype: torch.dtype | None = None, **_: Any) -> Any:
    """The two tensors of an inference cache, with room for a hook's additional states. The scan's state stays wide."""
    view = cast(Any, vars(self)[_VIEW])
    state = view.new_state(1)
    conv_dtype = dtype if dtype is not None else view.conv1d.weight.dtype
    conv = state.conv.new_zeros(batch_size, state.conv.shape[1], view.d_conv, dtype=conv_dtype)
    joined = _joined(state)
    return conv, joined.new_zeros(batch_size, *joined.shape[1:])


_FORWARD = {"transformers": _forward_transformers, "mamba_ssm": _forward_mamba_ssm}

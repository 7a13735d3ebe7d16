"""Soft prompts on another library's language model: tokens at its embedding, whose logits are dropped and enter no loss.

A prompt goes before each sequence's first real token, behind padding in front, so that nothing lies between prompt and sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from ..models.state import MixerState
from .attention import attention_layers
from .replacing import replace_forward, restore_forward, stock_forward
from .table import recognise
from .takeover import mixer_of

_CACHES = ("cache_params", "past_key_values")
_PACKED = ("seq_idx", "cu_seqlens", "cu_seq_lens_q", "cu_seq_lens_k")
"""Options that say where the sequences of a packed row begin."""
_MINE = "_ssmproof_prompt"
_IGNORED = -100
"""The label that transformers' losses leave out."""


def takes_prompt(model: nn.Module) -> bool:
    """Whether the model is a language model of another library whose mixers are known."""
    return bool(hasattr(model, "lm_head")) and any(recognise(module) is not None for module in model.modules())


def prompt_model(model: nn.Module) -> None:
    """Let the model's forward pass put ``model.prompt_tokens`` in front; this project's own models do so by themselves."""
    if not takes_prompt(model):
        return
    named = "inputs_embeds" in inspect.signature(model.forward).parameters
    forward = _prompted(model.forward) if named else _forward_mamba_ssm
    vars(forward)[_MINE] = True
    replace_forward(model, forward)


def unprompt_model(model: nn.Module) -> bool:
    """Undo :func:`prompt_model` and take the prompt off; ``False`` where the model is this project's own."""
    if not takes_prompt(model):
        return False
    restore_forward(model, lambda function: hasattr(function, _MINE))
    model._modules.pop("prompt_tokens", None)
    return True


def _prompted(stock: Callable[..., Any]) -> Callable[..., Any]:
    """transformers' forward pass, with prompts."""
    signature = inspect.signature(stock)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = dict(signature.bind_partial(*args, **kwargs).arguments)
        given |= given.pop("kwargs", {})
        tokens: Tensor = self.prompt_tokens.tokens()
        count = tokens.shape[0]
        plain = stock_forward(self)
        cache = next((given[name] for name in _CACHES if given.get(name) is not None), None)
        mask, places = given.get("attention_mask"), given.get("position_ids")
        if isinstance(mask, dict):  # which generate makes for a static cache
            raise InvalidInput("a static cache has no room for a prompt's tokens; leave cache_implementation out")
        if mask is not None and mask.ndim != 2:
            raise InvalidInput(f"attention_mask has shape {tuple(mask.shape)}; with a prompt it has to be (B, L)")
        _refuse_packing(given, mask, places)
        first = None if mask is None else mask.long().argmax(1)
        if cache is not None and _begun(cache):
            _refuse_gap(cache, given, mask, places, count)
            if mask is not None:
                given["attention_mask"] = insert(mask.new_ones(mask.shape[0], count), mask, first)
            if places is not None:
                given["position_ids"] = places + count
            return plain(**given)
        if first is not None and not bool(first.any()):  # asked here once, and never in a step of generation
            first = None
        embedded = given.pop("inputs_embeds", None)
        ids = given.pop("input_ids", None)
        if embedded is None:
            # FalconH1 multiplies what it has embedded itself, and nothing that is given to it.
            scale = getattr(self.model, "embedding_multiplier", 1) if type(self).__name__.startswith("FalconH1") else 1
            embedded = self.get_input_embeddings()(ids) * scale
            tokens = tokens * scale
        batch, length = embedded.shape[:2]
        given["inputs_embeds"] = insert(tokens.to(embedded.dtype).expand(batch, -1, -1), embedded, first)
        if mask is not None:
            given["attention_mask"] = insert(mask.new_ones(batch, count), mask, first)
        if places is not None:
            ahead = torch.arange(count, device=places.device).expand(places.shape[0], -1)
            given["position_ids"] = insert(ahead, places + count, first)
        if given.get("labels") is not None:
            labels = given["labels"].clone()
            start = torch.zeros(batch, dtype=torch.long, device=labels.device) if first is None else first
            labels.scatter_(1, start[:, None], _IGNORED)  # the prompt does not predict the first token
            given["labels"] = insert(labels.new_full((batch, count), _IGNORED), labels, first)
        if given.get("shift_labels") is not None:  # of the token behind each place
            labels = given["shift_labels"]
            given["shift_labels"] = insert(labels.new_full((batch, count), _IGNORED), labels, first)
        wanted = given.pop("logits_to_keep", 0)
        few = isinstance(wanted, int) and 0 < wanted <= length - (0 if first is None else int(first.max()))
        out = plain(**given, **({"logits_to_keep": wanted} if few else {}))
        if few:
            return out
        kept = _without(_logits(out), count, first)
        return _with_logits(out, kept if isinstance(wanted, int) and wanted == 0 else _last(kept, wanted))

    # Trainer and generate read the names of the parameters.
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    vars(forward)["__signature__"] = signature.replace(parameters=[own, *signature.parameters.values()])
    return forward


def _forward_mamba_ssm(self: Any, input_ids: Tensor, *args: Any, inference_params: Any = None, **kwargs: Any) -> Any:
    """mamba-ssm's forward pass, with prompts."""
    tokens: Tensor = self.prompt_tokens.tokens()
    plain = stock_forward(self)
    _refuse_packing(kwargs, None, kwargs.get("position_ids"))
    if inference_params is not None and inference_params.seqlen_offset > 0:
        return plain(input_ids, *args, inference_params=inference_params, **kwargs)
    with _embedding_gives(self.backbone.embedding, tokens):
        out = plain(input_ids, *args, inference_params=inference_params, **kwargs)
    return out if kwargs.get("num_last_tokens", 0) else _with_logits(out, _logits(out)[:, tokens.shape[0] :])


def _refuse_gap(cache: Any, given: Mapping[str, Any], mask: Tensor | None, places: Tensor | None, count: int) -> None:
    """Refuse inputs that do not begin where the cache ends: generate counts a prompt in an older cache as tokens of its own."""
    rows = given["inputs_embeds"] if given.get("input_ids") is None else given["input_ids"]
    if mask is None and places is None:
        return
    try:
        held = int(cache.get_seq_length())
    except ValueError:  # a cache of states alone, which counts no tokens
        return
    begin = mask.shape[1] - rows.shape[1] if mask is not None else int(places[0, 0])  # type: ignore[index]
    if begin + count != held:
        raise InvalidInput(
            f"the cache holds {held} tokens, the prompt's {count} among them, and inputs begin at {begin}: generate takes the "
            "prompt in an earlier call's cache for tokens of the sequence; give it the whole sequence without that cache"
        )


def _refuse_packing(options: Mapping[str, Any], mask: Tensor | None, places: Tensor | None) -> None:
    """Refuse several sequences in one row, of which only the first would get the prompt."""
    packed = next((name for name in _PACKED if options.get(name) is not None), None)
    # A lone token repeats none; reading its positions would hold up every step of generation, and end the recording of one.
    if packed is None and places is not None and places.ndim == 2 and places.shape[1] > 1:
        again = places[:, 1:] < places[:, :-1]
        if mask is not None:  # positions of padding say nothing
            real = mask[:, -places.shape[1] :].bool()
            again = again & real[:, 1:] & real[:, :-1]
        packed = "position_ids" if bool(again.any()) else None
    if packed is not None:
        raise InvalidInput(
            f"{packed} packs several sequences into a row, of which only the first would get the prompt; give each a row of its "
            "own, or train an initial state or a prefix, from which every packed sequence starts"
        )


@contextmanager
def _embedding_gives(embedding: nn.Module, tokens: Tensor, alone: bool = False) -> Iterator[None]:
    """Inside, the embedding gives ``tokens`` (M, d_model) in front of what it embeds, or ``alone``."""

    def give(_: nn.Module, __: Any, embedded: Tensor) -> Tensor:
        front = tokens.to(embedded.dtype).expand(embedded.shape[0], -1, -1)
        return front if alone else torch.cat([front, embedded], dim=1)

    removed = embedding.register_forward_hook(give)
    try:
        yield
    finally:
        removed.remove()


def insert(front: Tensor, rows: Tensor, first: Tensor | None) -> Tensor:
    """``front`` (B, M, ...) put into ``rows`` (B, L, ...) before each row's position ``first`` (B,), 0 where left out."""
    if first is None:
        return torch.cat([front, rows], dim=1)
    index = _places(first, front.shape[1], rows.shape[1])
    return _gather(torch.cat([front, rows], dim=1), index)


def _begun(cache: Any) -> bool:
    """Whether a cache of transformers holds a state already."""
    held = [layer.has_previous_state for layer in cache.layers if hasattr(layer, "has_previous_state")]
    return any(any(states.values()) for states in held)


def _places(first: Tensor, count: int, length: int) -> Tensor:
    """(B, M + L): where each place of the result is found in (front, rows)."""
    at = torch.arange(count + length, device=first.device).expand(first.shape[0], -1)
    first = first[:, None]
    return torch.where(at < first, at + count, torch.where(at < first + count, at - first, at))


def _without(rows: Tensor, count: int, first: Tensor | None) -> Tensor:
    """(B, M + L, ...) without what :func:`insert` put in."""
    if first is None:
        return rows[:, count:]
    at = torch.arange(rows.shape[1] - count, device=first.device).expand(first.shape[0], -1)
    return _gather(rows, torch.where(at < first[:, None], at, at + count))


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    return rows[torch.arange(rows.shape[0], device=rows.device)[:, None], index.to(rows.device)]


def _last(logits: Tensor, wanted: Any) -> Tensor:
    return logits[:, -wanted:] if isinstance(wanted, int) else logits[:, wanted]


def _logits(out: Any) -> Tensor:
    if hasattr(out, "logits"):
        return cast(Tensor, out.logits)
    raise InvalidInput("return_dict=False has no place for a prompt's logits; leave return_dict out")


def _with_logits(out: Any, logits: Tensor) -> Any:
    """The library's own output with other logits."""
    if hasattr(out, "_replace"):  # mamba-ssm's named tuple
        return out._replace(logits=logits)
    out["logits"] = logits
    return out


def prompt_states(model: nn.Module, mixers: Sequence[str]) -> list[MixerState]:
    """What the model's prompt leaves in the mixers of these names, in their order, for one sequence.

    Raises
    ------
    InvalidInput
        The model has attention layers.
    """
    attention = next(iter(attention_layers(model)), None)
    if attention is not None:
        raise InvalidInput(
            f"{type(model).__name__} has attention ({attention}): attention layers remember the tokens themselves, which no "
            "state of a mixer replaces; keep the prompt, or train a prefix, which compiles"
        )
    left: dict[str, MixerState] = {}

    def record(name: str) -> Callable[..., Tensor]:
        view = mixer_of(model.get_submodule(name))
        assert view is not None

        def forward(_self: nn.Module, hidden: Tensor | None = None, *_: Any, **options: Any) -> Tensor:
            given = options["hidden_states"] if hidden is None else hidden
            out, left[name] = cast("tuple[Tensor, MixerState]", view(given, return_state=True))
            return out

        vars(forward)[_MINE] = True
        return forward

    own: Any = model
    device = next(model.parameters()).device
    for name in mixers:
        replace_forward(model.get_submodule(name), record(name))
    try:
        embedding = own.get_input_embeddings() if hasattr(own, "get_input_embeddings") else own.backbone.embedding
        with _embedding_gives(embedding, own.prompt_tokens.tokens(), alone=True):
            own.backbone(torch.zeros(1, 1, dtype=torch.long, device=device))
    finally:
        for name in mixers:
            restore_forward(model.get_submodule(name), lambda function: hasattr(function, _MINE))
    return [left[name] for name in mixers]

"""Text from a model of bytes or of learned tokens, one token at a time through the step path."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from ..hosts.reading import read_on
from ..models.lm import MambaLM
from .recipe import BYTES


def generate(
    model: nn.Module, prompt: Sequence[int], tokens: int, temperature: float = 0.8, seed: int = 0, vocabulary: int = BYTES
) -> Iterator[int]:
    """Tokens that continue the prompt, drawn from softmax(logits / temperature); the likeliest ones at temperature 0.

    The prompt is read by the scan, every further token from the states that it left: by :meth:`MambaLM.step`, or through the
    cache of transformers' class. On one machine the same arguments give the same tokens.

    Parameters
    ----------
    model:
        This project's, or one of transformers.
    prompt:
        Tokens; a ``bytes`` where the model reads bytes.
    vocabulary:
        Number of tokens that the prompt's writer knows; 0 where that is checked already.

    Raises
    ------
    InvalidInput
        The model has another number of tokens, the prompt is empty, or a number is out of range.
    """
    known = int(cast(Any, model).config.vocab_size)
    if vocabulary and known != vocabulary:
        what = f"{BYTES} bytes" if vocabulary == BYTES else f"{vocabulary} of its tokenizer"
        raise InvalidInput(f"the model has {known} tokens, not the {what}; give a folder with its tokenizer.json")
    if not prompt:
        raise InvalidInput("the prompt is empty; give at least one byte to continue")
    if tokens < 1:
        raise InvalidInput(f"tokens is {tokens}, expected at least 1")
    if not 0 <= temperature < math.inf:
        raise InvalidInput(f"temperature is {temperature}, expected a number of at least 0")
    if not 0 <= seed < 2**63:
        raise InvalidInput(f"seed is {seed}, expected an integer from 0 to 2^63 - 1")
    drawn = _drawn(_own if isinstance(model, MambaLM) else read_on, model, prompt, known, temperature, seed)
    return islice(drawn, tokens)


def _drawn(
    read: Callable[[Any, Tensor, Any], tuple[Tensor, Any]],
    model: nn.Module,
    prompt: Sequence[int],
    known: int,
    temperature: float,
    seed: int,
) -> Iterator[int]:
    generator, memory, ids = torch.Generator().manual_seed(seed), None, list(prompt)
    device = next(model.parameters()).device
    while True:
        with torch.inference_mode():
            logits, memory = read(model, torch.tensor([ids], device=device), memory)
        scores = logits[0, -1, :known].double().cpu()
        if temperature > 0:
            chosen = int(torch.multinomial(torch.softmax(scores / temperature, -1), 1, generator=generator))
        else:
            chosen = int(scores.argmax())
        yield chosen
        ids = [chosen]


def _own(model: MambaLM, ids: Tensor, states: Any) -> tuple[Tensor, Any]:
    """Logits (1, L, V) of the tokens, and the states after them."""
    if states is None:
        logits, states = model(ids, return_states=True)
        return logits, states
    step, states = model.step(ids[:, 0], states)
    return step[:, None], states


def decoded(values: Iterable[int]) -> Iterator[str]:
    """The bytes as text as soon as a character is complete; what is no UTF-8 becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for value in values:
        text = decoder.decode(bytes([value]))
        if text:
            yield text
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


def grown(tokens: Iterable[int], decode: Callable[[Sequence[int]], str]) -> Iterator[str]:
    """The text of tokens as it grows, as soon as a character is complete: what one token says may depend on those before it."""
    kept: list[int] = []
    told = 0
    for token in tokens:
        kept.append(token)
        text = decode(kept)
        if not text.endswith("\ufffd"):
            yield text[told:]
            told = len(text)
    rest = decode(kept)[told:]
    if rest:
        yield rest

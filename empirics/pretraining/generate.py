"""Text from a model of bytes or of learned tokens, one token at a time through the step path."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from ..errors import InvalidInput
from ..models.lm import MambaLM
from .recipe import BYTES


def generate(
    model: MambaLM, prompt: Sequence[int], tokens: int, temperature: float = 0.8, seed: int = 0, vocabulary: int = BYTES
) -> Iterator[int]:
    """Tokens that continue the prompt, drawn from softmax(logits / temperature); the likeliest ones at temperature 0.

    The prompt is read by the scan, every further token by :meth:`MambaLM.step` from the states that it left. On one machine the
    same arguments give the same tokens.

    Parameters
    ----------
    prompt:
        Tokens; a ``bytes`` where the model reads bytes.
    vocabulary:
        Number of tokens that the prompt's writer knows.

    Raises
    ------
    InvalidInput
        The model has another number of tokens, the prompt is empty, or a number is out of range.
    """
    if model.config.vocab_size != vocabulary:
        what = f"{BYTES} bytes" if vocabulary == BYTES else f"{vocabulary} of its tokenizer"
        raise InvalidInput(
            f"the model has {model.config.vocab_size} tokens, not the {what}; give a folder with its tokenizer.json"
        )
    if not prompt:
        raise InvalidInput("the prompt is empty; give at least one byte to continue")
    if tokens < 1:
        raise InvalidInput(f"tokens is {tokens}, expected at least 1")
    if not 0 <= temperature < math.inf:
        raise InvalidInput(f"temperature is {temperature}, expected a number of at least 0")
    if not 0 <= seed < 2**63:
        raise InvalidInput(f"seed is {seed}, expected an integer from 0 to 2^63 - 1")
    return _drawn(model, prompt, tokens, temperature, torch.Generator().manual_seed(seed))


def _drawn(model: MambaLM, prompt: Sequence[int], tokens: int, temperature: float, generator: torch.Generator) -> Iterator[int]:
    device = model.lm_head.weight.device
    with torch.inference_mode():
        logits, states = model(torch.tensor([list(prompt)], device=device), return_states=True)
        last = logits[0, -1]
        for i in range(tokens):
            scores = last[: model.config.vocab_size].double().cpu()
            if temperature > 0:
                chosen = int(torch.multinomial(torch.softmax(scores / temperature, -1), 1, generator=generator))
            else:
                chosen = int(scores.argmax())
            yield chosen
            if i + 1 < tokens:
                step, states = model.step(torch.tensor([chosen], device=device), states)
                last = step[0]


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

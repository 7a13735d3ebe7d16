"""Text to tokens: bytes for byte-level models, a checkpoint's own tokenizer for all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import CheckpointError, InvalidInput, MissingPackage
from ...pretraining.bundle import BASE, base_folder

BYTES = "bytes"
"""As a tokenizer's name: one token for each byte of UTF-8."""

GPT_NEOX = "EleutherAI/gpt-neox-20b"
"""Tokenizer of the hub's ``state-spaces/mamba-*``, whose repositories hold none."""

_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


class Tokens(Protocol):
    """What a task needs of a tokenizer."""

    @property
    def end(self) -> int:
        """Token that ends an answer."""
        ...

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, none added."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens."""
        ...


class ByteTokens:
    """One token for each byte of UTF-8; an answer ends with a line feed."""

    end = 10

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(t for t in tokens if t < 256).decode(errors="replace")


class HubTokens:
    """A tokenizer of transformers; an answer ends with its end-of-sequence token."""

    def __init__(self, tokenizer: Any, name: str):
        if tokenizer.eos_token_id is None:
            raise InvalidInput(
                f"the tokenizer of {name} has no end-of-sequence token; set eos_token in its tokenizer_config.json"
            )
        self._tokenizer = tokenizer
        self.end = int(tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        return [int(t) for t in self._tokenizer.encode(text, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        # A model's padded vocabulary has rows that are no token.
        known = [t for t in tokens if t < len(self._tokenizer)]
        return str(self._tokenizer.decode(known, skip_special_tokens=True))


def tokens_for(model: str, vocabulary: int, tokenizer: str | None = None) -> Tokens:
    """The tokenizer that belongs to a model.

    Parameters
    ----------
    model:
        As given to the experiment: a folder, a file, a hub name, or the name of a byte-level model.
    vocabulary:
        Its number of tokens.
    tokenizer:
        ``"bytes"``, a folder or a hub name, where the model's own is not wanted.

    Raises
    ------
    CheckpointError
        The folder holds no tokenizer, or the hub cannot be reached.
    InvalidInput
        The tokenizer has more tokens than the model.
    MissingPackage
        transformers is not installed.
    """
    name = tokenizer or _own(model, vocabulary)
    if name == BYTES:
        if vocabulary < 256:
            raise InvalidInput(f"the model has {vocabulary} tokens, but bytes need 256; give its tokenizer")
        return ByteTokens()
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise MissingPackage("transformers", "dev", "it reads the tokenizers of published checkpoints") from error
    try:
        found = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"no tokenizer in {name} ({reason}); give tokenizer = a folder that has tokenizer.json") from error
    if len(found) > vocabulary:
        raise InvalidInput(f"the tokenizer of {name} has {len(found)} tokens, the model {vocabulary}; give the model's tokenizer")
    return HubTokens(found, name)


def _own(model: str, vocabulary: int) -> str:
    path = base_folder(model) if model in BASE else Path(model)
    folder = path.parent if path.is_file() else path
    if folder.is_dir() and path.exists():
        if any((folder / name).is_file() for name in _FILES):
            return str(folder)
        if vocabulary == 256:
            return BYTES
        raise CheckpointError(
            f"{model} has no tokenizer ({' or '.join(_FILES)}) and {vocabulary} tokens, so that it is no byte-level model; "
            f"put its tokenizer files there, or give tokenizer = a folder, a hub name, or {BYTES!r}"
        )
    if "/" not in model:
        return BYTES
    return GPT_NEOX if model.startswith("state-spaces/") else model


@dataclass(frozen=True)
class Answers:
    """Classes as single next tokens.

    Attributes
    ----------
    shared:
        Tokens that all answers begin with; they become the end of the prompt.
    first:
        For each class the first token that tells its answer from the others.
    """

    shared: tuple[int, ...]
    first: tuple[int, ...]


def answer_tokens(answers: Sequence[str], tokens: Tokens) -> Answers:
    """The answers of a task as next tokens: " good" and " bad" share a space as bytes, so that "g" and "b" decide.

    Raises
    ------
    InvalidInput
        Two answers do not differ in their first token after those that all share.
    """
    encoded = [tokens.encode(answer) for answer in answers]
    length = 0
    while all(len(e) > length for e in encoded) and len({e[length] for e in encoded}) == 1:
        length += 1
    first = tuple(e[length] for e in encoded if len(e) > length)
    if len(set(first)) < len(answers):
        raise InvalidInput(f"the answers {list(answers)} do not differ in one next token: choose answers that do")
    return Answers(tuple(encoded[0][:length]), first)

"""A corpus as tokens: its bytes, or a byte-level BPE vocabulary that is learned from its training split.

Text is cut at the recipe's separator into documents; the separator itself becomes the token :data:`END`, so that tokens and bytes
are one-to-one. Documents are encoded in pieces, cut in front of line feeds that follow a printing character: no token of
byte-level BPE spans such a place, so that the pieces' tokens are the document's.

Sources: Sennrich et al. 2016, arXiv 1508.07909 (BPE); Radford et al. 2019 (bytes as its alphabet, the pattern of words).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.corpus import Bytes, Corpus
from ..errors import CheckpointError, InvalidInput, MissingPackage
from ..study.results import read_json, write_json
from ..training import checkpoint
from ..training.progress import Tick
from .parallel import Team
from .recipe import BYTES, Recipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Tokens = NDArray[np.uint8] | NDArray[np.uint16]

END = "<|endoftext|>"
"""The token between documents; its number is 0."""

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
"""Files of the hub's format."""

_SOURCE, _ENCODED = "tokenizer_source.json", "tokens.safetensors"
_SPLITS = ("train", "validation", "test")
_PIECE, _PIECES = 1 << 14, 1 << 10  # characters of a piece, pieces encoded at a time
_PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTE = {
    chr(byte if byte in _PRINTED else 256 + i): byte
    for i, byte in [(0, byte) for byte in _PRINTED] + list(enumerate(b for b in range(256) if b not in _PRINTED))
}
"""The byte that each character of byte-level BPE's alphabet writes: printing characters themselves, others from 256 on."""
_CUT = re.compile(r"(?<=\S)(?=\n)")


@dataclass(frozen=True)
class Encoded:
    """The splits of a corpus as tokens.

    Attributes
    ----------
    train, validation, test:
        (n,) uint8 or uint16.
    widths:
        (V,) int64: how many bytes each token stands for.
    sha256:
        Of the corpus and its tokenizer.
    tokenizer:
        Content of tokenizer.json; ``None`` where tokens are bytes.
    """

    train: Tokens
    validation: Tokens
    test: Tokens
    widths: NDArray[np.int64]
    sha256: str
    tokenizer: str | None = None

    @property
    def bytes_per_token(self) -> float:
        """Of the training split."""
        return float(self.widths[self.train].mean()) if self.tokenizer is not None else 1.0


def as_bytes(corpus: Corpus) -> Encoded:
    """Every byte is a token."""
    return Encoded(corpus.train, corpus.validation, corpus.test, np.ones(BYTES, np.int64), corpus.sha256)


def encoded(
    recipe: Recipe,
    corpus: Corpus,
    folder: Path,
    team: Team | None = None,
    tick: Tick | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Encoded:
    """The corpus in the recipe's tokens.

    A BPE vocabulary is learned once and kept in ``folder`` with the encoded splits, both known by hashes of what they were made
    from; a later call reads them. One process of the team does that work, on all cores.

    Raises
    ------
    InvalidInput
        The text is not UTF-8, or holds :data:`END`.
    MissingPackage
        tokenizers is not installed.
    """
    if recipe.tokens == "bytes":
        return as_bytes(corpus)
    team = team or Team()
    if team.leads:
        folder.mkdir(parents=True, exist_ok=True)
        content = _tokenizer(recipe, corpus, folder, say)
        if _read(folder, recipe, corpus, content) is None:
            say(f"encoding {sum(len(getattr(corpus, split)) for split in _SPLITS):,} bytes")
            _write(folder, recipe, corpus, content, tick)
    team.wait()
    content = (folder / TOKENIZER).read_text(encoding="utf-8")
    found = _read(folder, recipe, corpus, content)
    if found is None:
        raise CheckpointError(f"{folder / _ENCODED} was changed while it was read; start again")
    return found


def learned(documents: Callable[[], Iterator[str]], vocabulary: int) -> Tokenizer:
    """A byte-level BPE tokenizer of at most ``vocabulary`` tokens: :data:`END`, the 256 bytes, and the most frequent merges."""
    tokenizers = _package()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for text in documents() for piece in pieces(text)), trainer)
    return tokenizer


def pieces(text: str, size: int = _PIECE) -> Iterator[str]:
    """The text in pieces of about ``size`` characters whose tokens, one after the other, are those of the text."""
    start = 0
    while start < len(text):
        found = _CUT.search(text, start + size)
        stop = len(text) if found is None else found.start()
        yield text[start:stop]
        start = stop


def encode(tokenizer: Tokenizer, data: Bytes, separator: str, tick: Tick | None = None, what: str = "text") -> NDArray[np.uint16]:
    """Tokens of the text, (n,) uint16, :data:`END` in place of every separator."""
    parts: list[NDArray[np.uint16]] = []
    done, rest = 0, _marked(data, separator, what)
    while group := list(islice(rest, _PIECES)):
        for piece in tokenizer.encode_batch_fast(group, add_special_tokens=False):
            parts.append(np.array(piece.ids, np.uint16))
        done += sum(map(len, group))
        if tick is not None:
            tick(f"characters of the {what} split", done, len(data))
    return np.concatenate(parts) if parts else np.empty(0, np.uint16)


def widths(tokenizer: Tokenizer, separator: str, vocabulary: int) -> NDArray[np.int64]:
    """(vocabulary,) bytes of each token: byte-level BPE writes a byte as one character. 0 where the tokenizer has no token."""
    found = np.zeros(vocabulary, np.int64)
    for token, number in tokenizer.get_vocab().items():
        found[number] = len(separator.encode()) if token == END else len(token)
    return found


class Reader:
    """Text of a prompt to a folder's tokens, and tokens back to bytes.

    Raises
    ------
    CheckpointError
        The folder's tokenizer.json is none.
    MissingPackage
        tokenizers is not installed.
    """

    def __init__(self, folder: Path):
        package = _package()
        try:
            self._tokenizer = package.Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers raises no other kind
            raise CheckpointError(f"{folder / TOKENIZER} is no tokenizer ({error}); take the model's folder again") from error
        self.size = int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Tokens, none added."""
        return [int(i) for i in self._tokenizer.encode(text, add_special_tokens=False).ids]

    def bytes_of(self, tokens: Iterable[int]) -> Iterator[int]:
        """The bytes that the tokens stand for, until a document ends."""
        for token in tokens:
            written = self._tokenizer.id_to_token(token)
            if written == END:
                return
            yield from (_BYTE[character] for character in written)


def settings() -> dict[str, Any]:
    """tokenizer_config.json: how transformers reads the tokenizer."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }


def _package() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingPackage("tokenizers", "empirics", str(error)) from error
    return tokenizers


def _documents(data: Bytes, separator: str, what: str) -> Iterator[str]:
    try:
        text = data.tobytes().decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"byte {error.start} of the {what} split is no UTF-8 ({error.reason}); convert the text, or use tokens = 'bytes'"
        ) from error
    if END in text:
        raise InvalidInput(f"the {what} split holds {END}, which marks the end of a document; take it out")
    yield from text.split(separator) if separator else (text,)


def _marked(data: Bytes, separator: str, what: str) -> Iterator[str]:
    """The pieces of all documents, and :data:`END`, which is encoded as itself, between two documents."""
    for i, document in enumerate(_documents(data, separator, what)):
        if i:
            yield END
        yield from pieces(document)


def _made_from(recipe: Recipe, corpus: Corpus) -> dict[str, Any]:
    return {"corpus": corpus.sha256, "vocabulary": recipe.vocabulary, "separator": recipe.separator}


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _tokenizer(recipe: Recipe, corpus: Corpus, folder: Path, say: Callable[[str], None]) -> str:
    """Content of tokenizer.json, learned where the folder has none that was made from this."""
    path, source = folder / TOKENIZER, folder / _SOURCE
    if path.is_file() and source.is_file():
        content = path.read_text(encoding="utf-8")
        if read_json(source) == {**_made_from(recipe, corpus), "sha256": _hash(content)}:
            return content
    say(f"learning {recipe.vocabulary:,} tokens from {len(corpus.train):,} bytes")
    tokenizer = learned(lambda: _documents(corpus.train, recipe.separator, "train"), recipe.vocabulary)
    write_json(path, json.loads(tokenizer.to_str()))
    content = path.read_text(encoding="utf-8")
    write_json(source, {**_made_from(recipe, corpus), "sha256": _hash(content)})
    return content


def _write(folder: Path, recipe: Recipe, corpus: Corpus, content: str, tick: Tick | None) -> None:
    tokenizer = _package().Tokenizer.from_str(content)
    sizes = widths(tokenizer, recipe.separator, recipe.vocabulary)
    found: dict[str, torch.Tensor] = {}
    for split in _SPLITS:
        data = getattr(corpus, split)
        tokens = encode(tokenizer, data, recipe.separator, tick, split)
        if sizes[tokens].sum() != len(data):
            raise InvalidInput(f"the {split} split is not what its tokens stand for; use another separator, or tokens = 'bytes'")
        found[split] = torch.from_numpy(tokens.view(np.int16))  # many operations lack uint16
    values = {**_made_from(recipe, corpus), "tokenizer": _hash(content)}
    checkpoint.save(folder / _ENCODED, {**found, "widths": torch.from_numpy(sizes)}, values)


def _read(folder: Path, recipe: Recipe, corpus: Corpus, content: str) -> Encoded | None:
    """What :func:`_write` wrote; ``None`` where it is missing or was made from something else."""
    path = folder / _ENCODED
    if not path.is_file():
        return None
    tensors, values = checkpoint.load(path)
    if values != {**_made_from(recipe, corpus), "tokenizer": _hash(content)}:
        return None
    splits = {split: tensors[split].numpy().view(np.uint16) for split in _SPLITS}
    sha256 = _hash(f"{corpus.sha256} {recipe.separator!r} {values['tokenizer']}")
    return Encoded(**splits, widths=tensors["widths"].numpy(), sha256=sha256, tokenizer=content)

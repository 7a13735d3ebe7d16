"""The finished model as a folder: weights, configuration, record and card; and the one that comes with the package."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from theory.core.files import write_text

from ..data.corpus import Corpus
from ..errors import CheckpointError, UnknownName
from ..models.hub import save_hub
from ..models.lm import MambaLM
from ..models.loading import WEIGHTS, load_model, save_model
from ..study.results import device_name, file_hash, git_commit, versions, write_json
from ..training.progress import Tick
from .baselines import kept_baselines
from .heldout import STREAMS, bits_per_byte
from .loop import Journal
from .recipe import Recipe
from .tokens import END, SETTINGS, TOKENIZER, Encoded, settings

DATA = Path(__file__).parents[1] / "data"

BUNDLED = DATA / "bundled"
"""Folder of the model that comes with the package."""

BASE = ("base", "base_mamba2")
"""Names of the larger models, which a checkout has and an installed package has not."""

RECORD, CARD = "record.json", "MODEL_CARD.md"

CURVE = 200
"""Points of the loss curve in the record."""

WINDOW = 2048
"""Tokens of a window that is read without what came before it."""

OPTIMISERS = {"adamw": "AdamW", "muon": "Muon on the projections and AdamW"}
"""In words, by the recipe's ``matrices``."""


def bundled_model(
    *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32, scan: str = "chunked"
) -> MambaLM:
    """The byte-level Mamba-1 that comes with the package, in evaluation mode; tokens are bytes 0..255.

    Parameters
    ----------
    device, dtype, scan:
        As for :func:`empirics.load_model`. The weights are stored as bfloat16; float32 computes faster on CPUs.

    Raises
    ------
    CheckpointError
        This installation has no model, or its file is corrupt.
    """
    if not (BUNDLED / WEIGHTS).is_file():
        raise CheckpointError("this installation has no bundled model; make one with python -m empirics pretrain")
    return load_model(BUNDLED, device=device, dtype=dtype, scan=scan)


def base_folder(name: str) -> Path:
    """Folder of a larger model, in the hub's format.

    Raises
    ------
    UnknownName
        There is no model of that name.
    CheckpointError
        This installation has no such folder.
    """
    if name not in BASE:
        raise UnknownName("base model", name, BASE)
    folder = DATA / name
    if not (folder / RECORD).is_file():
        raise CheckpointError(
            f"this installation has no model {name!r}: take empirics/data/{name} from a checkout, or make one with "
            f"python -m empirics pretrain {name}, and give its folder"
        )
    return folder


def thinned(losses: list[float], points: int = CURVE) -> list[dict[str, float]]:
    """The loss curve in at most ``points`` equal parts: steps taken at the end of each part, mean bits per byte in it."""
    if not losses:
        return []
    size = math.ceil(len(losses) / points)
    parts = [losses[i : i + size] for i in range(0, len(losses), size)]
    ends = [min(i + size, len(losses)) for i in range(0, len(losses), size)]
    return [{"step": end, "bits_per_byte": sum(part) / len(part)} for end, part in zip(ends, parts, strict=True)]


def write_bundle(
    folder: Path,
    model: MambaLM,
    recipe: Recipe,
    corpus: Corpus,
    text: Encoded,
    journal: Journal,
    about: str = "",
    tick: Tick | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the model as bfloat16, measure what was written, and write record and card; returns the record.

    A model of bytes is written in mamba-ssm's layout, one of tokens for transformers, with its tokenizer. ``text`` is the corpus
    in the recipe's tokens. ``about`` says in words what the corpus is and under what licence. The held-out bits per byte are
    those of the weights as stored, read back and computed in float32. The baselines are kept in the folder above.

    Raises
    ------
    InvalidInput
        The test split has fewer than 2 tokens.
    """
    device, scan = str(model.lm_head.weight.device), model.mixers[0].scan
    rounded = MambaLM(model.config, scan="chunked")
    rounded.load_state_dict(model.state_dict())
    weights = _write_model(rounded.to(torch.bfloat16), folder, text)
    stored = load_model(folder, device=device, dtype=torch.float32, scan=scan)
    say(f"held-out bits per byte of {len(corpus.test)} bytes")
    measured = bits_per_byte(stored, text.test, tick=tick, widths=text.widths)
    say("baselines: xz and 5-gram")
    record: dict[str, Any] = {
        "recipe": recipe.model_dump(),
        "parameters": sum(p.numel() for p in stored.parameters()),
        "model_sha256": file_hash(*weights),
        "corpus": {
            "about": about,
            "sha256": corpus.sha256,
            "bytes": {split: len(getattr(corpus, split)) for split in ("train", "validation", "test")},
            "files": [source.record() for source in corpus.sources],
        },
        "steps": len(journal.losses),
        "trained_bytes": round(len(journal.losses) * recipe.batch * recipe.sequence * text.bytes_per_token),
        "seconds": journal.seconds,
        "calls": journal.calls,
        "device": device_name(device),
        "versions": versions(),
        "git": git_commit(),
        "curve": thinned(journal.losses),
        "validation": [{"step": step, "bits_per_byte": bits} for step, bits in journal.validation],
        "held_out": {
            "bits_per_byte": measured,
            "bytes": len(corpus.test),
            "how": _how(text),
        },
        "baselines": kept_baselines(corpus, folder.parent),
    }
    if recipe.keep_best:
        record["best_step"] = min(journal.validation, key=lambda point: point[1])[0]
    if text.tokenizer is not None:
        record["tokens"] = {
            "sha256": file_hash(folder / TOKENIZER),
            "count": {split: len(getattr(text, split)) for split in ("train", "validation", "test")},
            "bytes_per_token": text.bytes_per_token,
            "trained": len(journal.losses) * recipe.batch * recipe.sequence,
        }
        streams = max(1, (len(text.test) - 1) // WINDOW)
        record["held_out"]["windows"] = {
            "bits_per_byte": bits_per_byte(stored, text.test, streams, tick=tick, widths=text.widths),
            "how": f"{streams} windows of about {WINDOW} tokens, each with empty states and the token before it",
        }
    write_json(folder / RECORD, record)
    write_text(folder / CARD, card(record))
    return record


def _write_model(model: MambaLM, folder: Path, text: Encoded) -> list[Path]:
    """The files of weights, written."""
    if text.tokenizer is None:
        save_model(model, folder)
        return [folder / WEIGHTS]
    written = save_hub(model, folder)
    write_text(folder / TOKENIZER, text.tokenizer)
    write_json(folder / SETTINGS, settings())
    return written


def _how(text: Encoded) -> str:
    streams = min(STREAMS, len(text.test) - 1)
    first = "first byte of all at 8 bits" if text.tokenizer is None else f"first token of all at log2 {len(text.widths)} bits"
    return (
        f"whole test split in {streams} contiguous streams, states carried from start to end; {first}; "
        "weights as stored (bfloat16), computed in float32"
    )


_CLASSES = {"Mamba1": "MambaForCausalLM", "Mamba2": "Mamba2ForCausalLM"}


def _quoted(separator: str) -> str:
    return f"`{separator!r}`" if separator else "nothing"


def card(record: dict[str, Any]) -> str:
    """The model card of a record, in Markdown."""
    recipe, corpus, held_out = Recipe(**record["recipe"]), record["corpus"], record["held_out"]
    device = "" if record["device"] == "cpu" else " --device cuda"
    files = "".join(
        f"| `{f['name']}` | {f['bytes']:,} | `{f['sha256']}` | "
        + "; ".join(f"{split} {start:,}–{stop:,}" for split, (start, stop) in f["blocks"].items())
        + " |\n"
        for f in corpus["files"]
    )
    rows = "".join(f"| {row['name']} | {row['bits_per_byte']:.4f} | {row['how']} |\n" for row in record["baselines"])
    note = (
        "**Placeholder**: trained briefly, to hold the place of the full recipe's model. No measure of what Mamba can do.\n\n"
        if recipe.placeholder
        else ""
    )
    about = f"{corpus['about']}\n\n" if corpus["about"] else ""
    processes = max((call["processes"] for call in record["calls"]), default=1)
    scans = ", ".join(sorted({call["scan"] for call in record["calls"]}))
    kind = recipe.layer.replace("Mamba", "Mamba-")
    if recipe.tokens == "bytes":
        what, title, seen = "bytes", f"Byte-level {kind}", f"{record['trained_bytes']:,} bytes seen"
        windows = ""
        reading = f"""A language model whose tokens are the 256 bytes: d_model {recipe.d_model}, {recipe.n_layer} layers, \
{recipe.d_state} states, tied embedding. Weights are bfloat16 in `{WEIGHTS}`; `config.json` has mamba-ssm's layout. Read it \
with `empirics.load_model(folder)`, or the bundled one with `empirics.bundled_model()`."""
    else:
        tokens, cut = record["tokens"], held_out["windows"]
        what, title = "tokens", f"{kind} with {recipe.vocabulary:,} learned tokens"
        seen = f"{tokens['trained']:,} tokens seen, {tokens['trained'] / tokens['count']['train']:.1f} times the training text"
        windows = f"| this model, in windows | {cut['bits_per_byte']:.4f} | {cut['how']} |\n"
        reading = f"""A language model whose tokens are a byte-level BPE vocabulary, learned from its training text: d_model \
{recipe.d_model}, {recipe.n_layer} layers, {recipe.d_state} states, tied embedding. The folder is in the hub's format, \
weights in bfloat16. Three programs read it:

- transformers: `AutoTokenizer.from_pretrained(folder)` and `{_CLASSES[recipe.layer]}.from_pretrained(folder)`;
- this project: `empirics.load_model(folder)`;
- mamba-ssm: `empirics.models.read_model(folder)` gives the tensors by the names that its `MambaLMHeadModel` has.

Token 0 is `{END}`. It stands between documents, where the training files have {_quoted(recipe.separator)}."""
    extra = f", dropout {recipe.dropout:g}" if recipe.dropout else ""
    best = f" The model is the one of step {record['best_step']:,}, the best validation." if recipe.keep_best else ""
    return f"""# {title}, {record["parameters"]:,} parameters

{note}{reading}

## Held-out

| model | bits per byte | how |
| --- | --- | --- |
| this model | {held_out["bits_per_byte"]:.4f} | {held_out["how"]} |
{windows}{rows}
{held_out["bytes"]:,} held-out bytes, none of them trained on.

## Training

Recipe `{recipe.name}`: {record["steps"]:,} steps of {recipe.batch} windows of {recipe.sequence} {what} \
({seen}), {OPTIMISERS[recipe.matrices]} at {recipe.learning_rate:g} with warm-up and \
cosine decay{extra}, \
{record["seconds"]:,.0f} s on {record["device"]} ({processes} {"process" if processes == 1 else "processes"}, \
scan {scans}).{best} \
Loss curve, versions and commit: `{RECORD}`.

## Data

{about}| file | bytes | SHA-256 (unpacked) | blocks |
| --- | --- | --- | --- |
{files}
## Use and limits

Made to test fine-tuning methods offline. It knows nothing reliably, reflects the language and the prejudices of its corpus, and \
is not meant for readers.

## Again

    python -m empirics pretrain {recipe.name} --steps {record["steps"]}{device} --corpus FILES --held-out FILES --out DIR

Killed or out of budget, the same command goes on from its checkpoint. The folder's `bundle/` is this one. Corpus and full recipe:
`empirics/pretraining/README.md`.
"""

"""Commands: pretrain, pretrain-baselines, generate."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from theory.core.files import require_replaceable, require_writable

from ..errors import CheckpointError, InvalidInput

if TYPE_CHECKING:
    from torch import nn

    from .parallel import Team
    from .recipe import Recipe
    from .tokens import Encoded


class _Parser(argparse.ArgumentParser):
    """Mistakes are errors of one line, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInput(f"{self.prog}: {message}")


def _corpus_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, metavar="PATH", help="text files and folders, also .xz")
    parser.add_argument(
        "--held-out", type=Path, nargs="+", default=[], metavar="PATH", help="test split (default: the end of each corpus file)"
    )


def main_pretrain(argv: Sequence[str]) -> int:
    """``python -m empirics pretrain``."""
    parser = _Parser(
        prog="python -m empirics pretrain",
        description="Train a Mamba on bytes or on tokens that it learns. The same command goes on after a kill. Several GPUs: "
        "torchrun --nproc-per-node 4 -m empirics pretrain ...",
    )
    parser.add_argument(
        "recipe",
        nargs="?",
        metavar="CONFIG",
        help="a TOML file or base, base_mamba2, full, small (default: full; small on a cpu)",
    )
    _corpus_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint; the finished model in DIR/bundle")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--scan", metavar="NAME", help="default: fused, mamba_ssm or chunked, the first that works")
    parser.add_argument(
        "--launch", action="store_true", help="launch every kernel from Python, instead of replaying a CUDA graph for each step"
    )
    parser.add_argument("--budget", type=float, default=math.inf, metavar="SECONDS", help="stop training with a checkpoint")
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument("--steps", type=int, metavar="N", help="instead of the recipe's")
    steps.add_argument("--within", type=float, metavar="SECONDS", help="as many steps as end within that time, all else included")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default 1)")
    parser.add_argument("--about", default="", metavar="TEXT", help="what the corpus is and its licence, for the model card")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the command itself")
    args = parser.parse_args(argv)
    began = time.monotonic()

    from ..data.corpus import read_corpus
    from ..study.runner import OutOfTime, check_device
    from ..training.progress import bar
    from .bundle import write_bundle
    from .loop import pretrain
    from .parallel import team
    from .recipe import load_recipe
    from .scans import choose_scan
    from .tokens import encoded

    for name, value in (("budget", args.budget), ("within", args.within)):
        if value is not None and not value > 0:
            raise InvalidInput(f"--{name} {value} must be a positive number of seconds")
    check_device(args.device)
    changes: dict[str, Any] = {}
    if args.steps is not None:
        changes["steps"] = args.steps
    recipe = load_recipe(args.recipe or ("full" if args.device.startswith("cuda") else "small"), args.quick, **changes)
    corpus = read_corpus(args.corpus, args.held_out, recipe.validation_share, recipe.test_share)
    if len(corpus.test) < 2:
        raise InvalidInput(f"the test split has {len(corpus.test)} bytes; give more text, or --held-out files")
    require_writable(args.out, InvalidInput)
    _use_threads(args.threads)
    with team(args.device) as members:
        scan = choose_scan(members.device, args.scan, recipe.layer)

        def say(line: str) -> None:
            if members.leads:
                print(line, file=sys.stderr, flush=True)

        say(f"{recipe.name}: {len(corpus.train):,} bytes to train on, scan {scan}, {members.world} × {members.device}")
        graph = members.device.startswith("cuda") and not args.launch
        with bar(recipe.name, members.leads and sys.stderr.isatty()) as tick:
            text = encoded(recipe, corpus, args.out, members, tick, say)
        if args.within is not None:
            recipe = _fitted(recipe, text, args.out, scan, members, args.within + began, say, graph)
        try:
            with bar(recipe.name, members.leads and sys.stderr.isatty()) as tick:
                model, journal = pretrain(
                    recipe, text, args.out, scan=scan, deadline=began + args.budget, team=members, tick=tick, say=say, graph=graph
                )
        except OutOfTime:
            if members.leads:
                print("pretrain: not complete: call again to go on")
            return 0
        if members.leads:
            with bar(recipe.name, sys.stderr.isatty()) as tick:
                record = write_bundle(args.out / "bundle", model, recipe, corpus, text, journal, args.about, tick, say)
            _print_rows(record["parameters"], record["held_out"]["bits_per_byte"], record["baselines"])
    return 0


def _fitted(
    recipe: Recipe,
    text: Encoded,
    out: Path,
    scan: str,
    members: Team,
    end: float,
    say: Callable[[str], None],
    graph: bool = False,
) -> Recipe:
    """The recipe with as many steps as end before ``end``; a training that was begun keeps the number it began with."""
    from ..study.results import read_json, write_json
    from .loop import CHECKPOINT
    from .pace import seconds_per_step, steps_within

    chosen, owner = out / "steps.json", {"recipe": recipe.identity, "corpus": text.sha256}
    kept = read_json(chosen) if chosen.is_file() and (out / CHECKPOINT).is_file() else None
    if isinstance(kept, dict) and {key: kept.get(key) for key in owner} == owner and isinstance(kept.get("steps"), int):
        say(f"{kept['steps']} steps, as begun")
        return recipe.model_copy(update={"steps": kept["steps"]})
    pace = seconds_per_step(recipe, text, scan, members, end, graph)
    # The same in all processes, which began at different times.
    left, pace = members.means([end - time.monotonic(), pace])
    steps = steps_within(recipe, left, pace)
    say(f"{1e3 * pace:.1f} ms a step: {steps} steps")
    members.wait()  # until all have looked for the file
    if members.leads:
        write_json(chosen, {"steps": steps, **owner})
    return recipe.model_copy(update={"steps": steps})


def _use_threads(threads: int) -> None:
    import torch

    if threads < 1:
        raise InvalidInput(f"--threads {threads} must be at least 1")
    torch.set_num_threads(threads)


def _print_rows(parameters: int, measured: float, rows: list[dict[str, Any]]) -> None:
    print(f"{'model':10} {measured:8.4f} bits per byte   {parameters:,} parameters")
    for row in rows:
        print(f"{row['name']:10} {row['bits_per_byte']:8.4f} bits per byte   {row['how']}")


def main_baselines(argv: Sequence[str]) -> int:
    """``python -m empirics pretrain-baselines``."""
    parser = _Parser(
        prog="python -m empirics pretrain-baselines",
        description="Bits per byte of xz and an n-gram model on a corpus's test split.",
    )
    _corpus_options(parser)
    parser.add_argument("--order", type=int, default=5, metavar="N", help="length of the n-grams (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    args = parser.parse_args(argv)

    from ..data.corpus import read_corpus
    from ..study.results import write_json
    from .baselines import baselines

    if args.json is not None:
        require_replaceable(args.json, InvalidInput, "--json")
    rows = baselines(read_corpus(args.corpus, args.held_out), args.order)
    for row in rows:
        print(f"{row['name']:10} {row['bits_per_byte']:8.4f} bits per byte   {row['how']}")
    if args.json is not None:
        write_json(args.json, rows)
    return 0


def _of_transformers(model: nn.Module, name: str, prompt: bytes, drawn: Callable[..., Iterator[int]]) -> Iterator[str]:
    """Text from a model that only transformers builds, in its own tokens, until the one that ends a text."""
    from ..experiments.lm_benchmark.tokens import ByteTokens, tokens_for
    from .generate import decoded, grown

    tokens = tokens_for(name, int(cast(Any, model).config.vocab_size))
    if isinstance(tokens, ByteTokens):
        return decoded(drawn(prompt))
    told = tokens.encode(prompt.decode("utf-8", "replace"))
    return grown(itertools.takewhile(lambda token: token != tokens.end, drawn(told, vocabulary=0)), tokens.decode)


def main_generate(argv: Sequence[str]) -> int:
    """``python -m empirics generate``."""
    parser = _Parser(prog="python -m empirics generate", description="Continue a prompt, token by token.")
    parser.add_argument("--prompt", required=True, metavar="TEXT")
    parser.add_argument("--model", metavar="PATH", help="base, or a folder (default: the bundled model)")
    parser.add_argument(
        "--adapter", type=Path, metavar="DIR", help="of ssmproof tune or handle.save; its model where --model is left out"
    )
    parser.add_argument("--tokens", type=int, default=200, metavar="N", help="tokens to generate (default 200)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 for the likeliest token (default 0.8)")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="CPU threads (default 1: a step is too small for more)"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    args = parser.parse_args(argv)

    from ..methods.handle import load
    from ..models.lm import MambaLM
    from ..study.runner import check_device
    from ..tuning.command import open_model
    from ..tuning.record import BUNDLED_NAME, tuned
    from .bundle import BASE, base_folder
    from .generate import decoded, generate
    from .tokens import TOKENIZER, Reader

    check_device(args.device)
    _use_threads(args.threads)
    adapter, named = (None, None) if args.adapter is None else tuned(args.adapter)
    chosen = args.model if args.model is not None else named or BUNDLED_NAME
    place = Path(base_folder(chosen) if chosen in BASE else chosen)
    try:
        model = open_model(chosen, args.device)
    except CheckpointError as error:
        if args.model is not None or named is None:
            raise
        raise CheckpointError(f"{args.adapter} was made on the model {named}: {error}; say by --model where it is now") from error
    if adapter is not None:
        load(model, adapter)
    # Bytes that the shell could not decode come as surrogates; a model of bytes gets them as they were.
    prompt = args.prompt.encode("utf-8", "surrogateescape")
    drawn: Callable[..., Iterator[int]] = partial(
        generate, model, tokens=args.tokens, temperature=args.temperature, seed=args.seed
    )
    texts: Iterator[str]
    if not isinstance(model, MambaLM):
        texts = _of_transformers(model, chosen, prompt, drawn)
    elif chosen != BUNDLED_NAME and (place / TOKENIZER).is_file():
        reader = Reader(place)
        told = reader.encode(prompt.decode("utf-8", "replace"))
        texts = decoded(reader.bytes_of(drawn(told, vocabulary=reader.size)))
    else:
        texts = decoded(drawn(prompt))
    encoding = sys.stdout.encoding or "utf-8"
    try:
        for text in itertools.chain([prompt.decode("utf-8", "replace")], texts):
            print(text.encode(encoding, "replace").decode(encoding), end="", flush=True)
        print()
    except BrokenPipeError:  # the reader has seen enough; Python's own flush at exit must not complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0

"""The options of the commands whose work needs torch, read before torch is loaded, so that --help and mistakes answer at once.

A parser for each command by name; the modules that do the work read the same arguments with the same parser.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from theory.core.arguments import Parser

PACKAGE = Path(__file__).parent
DTYPES = ("float32", "bfloat16", "float16")
READOUTS = ("random", "ones")
SELECTION_LENGTHS = (256, 512, 1024, 2048, 4096, 8192)


def shape(text: str) -> tuple[int, int, int, int]:
    """B,D,L,N: batch, channels, length, states, all at least 1."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) != 4 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected four positive sizes B,D,L,N such as 1,768,1024,16")
    return sizes[0], sizes[1], sizes[2], sizes[3]


def positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive integer")
    return int(text)


def _parser(command: str, description: str) -> Parser:
    return Parser(prog=f"python -m empirics {command}", description=description)


def bench_scan() -> Parser:
    """Of ``bench scan``."""
    parser = _parser("bench scan", "Selective scan, forward and backward, against other implementations.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shape", type=shape, metavar="B,D,L,N", help="default 1,768,1024,16 (cpu) or 8,1536,2048,16 (cuda)")
    parser.add_argument("--dtype", choices=DTYPES, help="default float32 (cpu) or bfloat16 (cuda)")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="the first is the one that ratios are relative to")
    parser.add_argument("--repeats", type=positive, default=7)
    parser.add_argument("--threads", type=positive, help="CPU threads; all cores where left out")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds above which one pass is enough")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of contenders within the budget (cpu)")
    parser.add_argument("--install-peers", action="store_true", help="pip install what is missing first")
    parser.add_argument("--targets", action="store_true", help="the fused scan against mamba-ssm's over real shapes (cuda)")
    parser.add_argument("--peers", action="store_true", help="the fused scan beside mamba-ssm and jax-linear-attention (cuda)")
    parser.add_argument(
        "--variants", action="store_true", help="variants of the fused scan's kernels, and packed sequences (cuda)"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--peak-memory-of", metavar="NAME", help=argparse.SUPPRESS)
    return parser


def bench_model() -> Parser:
    """Of ``bench model``."""
    parser = _parser("bench model", "A training step of a whole model, per method and scan, against other libraries'.")
    parser.add_argument("--sizes", nargs="+", default=["130m"], metavar="SIZE", help="published sizes: 130m, mamba2-130m, ...")
    parser.add_argument("--layers", type=int, help="so many blocks instead of the size's own (for a small machine)")
    parser.add_argument("--batch", type=int, nargs="+", default=[8], metavar="B", help="sequences: one number, or one a size")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--kernels", type=int, default=0, metavar="N", help="list the N longest kernels of each step")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="default: the peers and every method")
    parser.add_argument(
        "--alone", action="store_true", help="no turns with mamba-ssm's step: less memory, ratios follow the CPU's drift"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def bench_block() -> Parser:
    """Of ``bench block``."""
    parser = _parser("bench block", "One block under LoRA on all its projections, against mamba-ssm's with peft.")
    parser.add_argument("--sizes", nargs="+", default=["130m", "370m", "1.4b"], metavar="SIZE", help="published sizes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--scan", help="of our block (default: fused or, for Mamba-2, mamba_ssm on cuda; chunked on cpu)")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def bench_selection() -> Parser:
    """Of ``bench selection``."""
    parser = _parser("bench selection", "What choosing SDT's dimensions costs, by model size and sequence length.")
    parser.add_argument("--sizes", nargs="+", default=["130m", "370m", "1.4b"], metavar="SIZE", help="published sizes")
    parser.add_argument("--lengths", nargs="+", type=int, default=list(SELECTION_LENGTHS), metavar="L")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--scan", help="default: fused on cuda, chunked on cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def collect() -> Parser:
    """Of ``collect``."""
    parser = _parser("collect", "Summaries from finished runs alone, on any machine, and the files that are committed.")
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="TOML files, or names of committed experiments")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="the small form")
    parser.add_argument("--scan", metavar="NAME", help="the runs that were made with this scan")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="also pack runs and summary into FOLDER/<experiment>")
    return parser


def unpack() -> Parser:
    """Of ``unpack``."""
    parser = _parser("unpack", "Packed runs as one file a run, from which a sweep goes on.")
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="names of committed experiments")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder that gets the runs")
    parser.add_argument(
        "--source",
        type=Path,
        default=PACKAGE / "experiments",
        metavar="FOLDER",
        help="folder with <experiment>/runs.jsonl (default: the committed ones)",
    )
    return parser


def coverage() -> Parser:
    """Of ``coverage``."""
    parser = _parser("coverage", "How often the intervals of the experiments hold the mean, by simulation.")
    parser.add_argument("--confidence", type=float, default=0.95, metavar="SHARE", help="of the intervals (default 0.95)")
    parser.add_argument("--repeats", type=int, default=20_000, metavar="N", help="simulated experiments (default 20000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the shares to FILE")
    return parser


def rejudge() -> Parser:
    """Of ``rejudge``."""
    parser = _parser("rejudge", "The first editions of vision and s4_regression, judged by the rules that were declared later.")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table to FILE")
    return parser


def replicate() -> Parser:
    """Of ``replicate``."""
    parser = _parser("replicate", "A share of the test runs, drawn by a seed, run again and compared with the first time.")
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a TOML file, or the name of a committed experiment")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the second time's results")
    parser.add_argument("--share", type=float, default=0.1, metavar="SHARE", help="of the test runs (default 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    parser.add_argument("--of", type=Path, metavar="DIR", help="folder of the first runs (default: the committed ones)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS", help="start no further run after that")
    parser.add_argument("--quick", action="store_true", help="the small form")
    parser.add_argument("--plan", action="store_true", help="print how many runs are missing and what they took; run nothing")
    parser.add_argument("--collect", action="store_true", help="compare the runs that --out holds, a GPU's too; run nothing")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="also file runs and report in FOLDER/<experiment>")
    parser.add_argument("--workers", type=int, metavar="N", help="start N processes for each GPU, or N on the CPU")
    return parser


def scans() -> Parser:
    """Of ``scans``."""
    return _parser("scans", "What each scan can do, and where it runs.")


def diagnose() -> Parser:
    """Of ``diagnose``."""
    parser = _parser("diagnose", "What prefixes, initial states and adapters can do in a model, claim by claim.")
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="bundled (default), a folder in the hub's format, a safetensors file, a hub name, or a class such as "
        "BambaForCausalLM (a tiny random one)",
    )
    parser.add_argument("--init", metavar="SIZE", help="an untrained model of a published size instead, e.g. mamba-130m")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of c and of an untrained model (default 0)")
    parser.add_argument("--channels", type=int, default=64, metavar="K", help="channels per layer for spectra (default 64)")
    parser.add_argument("--c", default="random", metavar="KIND", help=f"the frozen c: {' or '.join(READOUTS)}")
    parser.add_argument(
        "--radius", type=float, metavar="R",
        help="norm of the inputs in dt's range (default 1; behind an RMS norm, as in FalconMamba, what it lets through)",
    )  # fmt: skip
    parser.add_argument("--rank", type=int, default=8, metavar="R", help="rank of LoRA where its size is counted (default 8)")
    parser.add_argument(
        "--sdt", nargs=2, default=("0.05", "0.25"), metavar=("CHANNELS", "STATES"),
        help="SDT's choice, counts or shares (default 0.05 0.25)",
    )  # fmt: skip
    parser.add_argument("--verdicts", type=Path, metavar="FILE", help="theory's verdicts (default: those shipped)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write diagnose.json and the picture (PNG, PDF) there")
    parser.add_argument("--no-picture", action="store_true", help="no picture in DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the JSON to FILE")
    return parser


def targets() -> Parser:
    """Of ``targets``."""
    parser = _parser(
        "targets",
        "Does LoRA on each tensor take effect, by peft's wrapper and by this project's reparametrisation? Decided by running it.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL",
        help="a folder in the hub's format, a hub name, bundled, or a class such as BambaForCausalLM (a tiny random one)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="every class of transformers that is known, tiny and random")
    parser.add_argument("--targets", nargs="+", metavar="NAME", help="these tensors only, e.g. in_proj x_proj A_log")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda, where libraries use their fused kernels")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the result as a Markdown page")
    return parser


def tune() -> Parser:
    """Of ``tune``."""
    parser = _parser("tune", "Fine-tune a model on texts or pairs of your own; the same command goes on after a kill.")
    parser.add_argument("--model", default="bundled", metavar="PATH", help="bundled (default), a folder, a hub name")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help='lines {"text": ...} or {"prompt": ..., "completion": ...}, or .txt',
    )
    parser.add_argument("--validation", type=Path, metavar="FILE", help="rows held out (default: every tenth of --data)")
    parser.add_argument(
        "--method", default="sdt_lora", metavar="NAME", help="default sdt_lora; lora, initial_state, prefix, ... (see list)"
    )
    parser.add_argument(
        "--rank", type=positive, default=4, metavar="R",
        help="sizes every method: as many trained numbers as LoRA of rank R on in_proj and out_proj (default 4)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets the adapter, curves and checkpoints")
    parser.add_argument("--steps", type=positive, default=40, metavar="N", help="optimiser steps (default 40)")
    parser.add_argument("--batch", type=positive, default=4, metavar="B", help="rows a step (default 4)")
    parser.add_argument("--length", type=positive, default=256, metavar="L", help="longest row in tokens (default 256)")
    parser.add_argument("--rate", type=float, metavar="LR", help="learning rate (default: by method)")
    parser.add_argument("--sweep", action="store_true", help="choose the rate among three by a short run of each first")
    parser.add_argument("--no-comparison", action="store_true", help="do not train LoRA at the same budget for the last line")
    parser.add_argument("--no-plot", action="store_true", help="no curves.png in DIR")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    return parser


def convert() -> Parser:
    """Of ``convert``."""
    parser = _parser("convert", "A Mamba or Mamba-2 checkpoint from mamba-ssm's layout to transformers', or back.")
    parser.add_argument("model", metavar="MODEL", help="a folder in either layout, or a hub name")
    parser.add_argument("--to", choices=("transformers", "mamba_ssm"), required=True, help="the layout to write")
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="merge this adapter (of handle.save) into the weights first")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    return parser


def demo() -> Parser:
    """Of ``demo``."""
    parser = _parser("demo", "Compile a trained prefix, then adapt a model to film reviews with LoRA and with SDT + LoRA.")
    parser.add_argument("--model", default="bundled", metavar="PATH", help="a language model (default: the bundled one)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="optimiser steps of each method (default 20)")
    parser.add_argument("--rows", type=int, default=100, metavar="N", help="test sentences (default 100, at most 200)")
    parser.add_argument("--tokens", type=int, default=16, metavar="M", help="length of the prefix (default 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the training rows (default 0)")
    return parser


PARSERS: dict[str, Callable[[], Parser]] = {
    "bench scan": bench_scan,
    "bench model": bench_model,
    "bench block": bench_block,
    "bench selection": bench_selection,
    "collect": collect,
    "unpack": unpack,
    "coverage": coverage,
    "replicate": replicate,
    "rejudge": rejudge,
    "scans": scans,
    "diagnose": diagnose,
    "targets": targets,
    "tune": tune,
    "convert": convert,
    "demo": demo,
}
"""Command → its parser."""

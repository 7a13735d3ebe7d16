"""The command ``diagnose``: theory's table for a model, what follows from it claim by claim, and a picture."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from theory.checkpoints.diagnose import READOUTS, print_diagnosis
from theory.core.files import require_replaceable, require_writable

from .. import options
from ..errors import InvalidInput, MissingPackage, UnknownName
from ..study.results import write_json
from ..study.verdicts import SHIPPED, read_verdicts
from ..training.progress import bar
from .advice import RULES, advice
from .measure import measure
from .recommendation import CLAIMS, recommend
from .subject import BUNDLED, fresh, subject


def _count_or_share(name: str, text: str) -> float | int:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise InvalidInput(f"--sdt {name} is {text!r}; give a count such as 16, or a share such as 0.05")


def print_advice(diagnosis: Mapping[str, Any], console: Console) -> None:
    """Each line with its claim and verdict, then what it assumes."""
    console.print("\nWhat follows for this model", style="bold")
    for line in diagnosis["advice"]:
        console.print(Text(f"{line['claim']}  {line['verdict']}", style="bold cyan"))
        console.print(Padding(Text(line["says"]), (0, 0, 0, 2)))
        console.print(Padding(Text(f"if: {line['assumes']}", style="dim"), (0, 0, 0, 2)))


def print_recommendation(found: Mapping[str, Any], console: Console) -> None:
    """The method with its targets and rank, why, and where that was measured."""
    console.print("\nRecommendation", style="bold")
    if found["method"] is not None:
        where = f"on {' and '.join(found['targets'])}, rank {found['rank']}: {found['numbers']:,} trained numbers"
        console.print(Text(f"{found['method']} {where}", style="bold green"))
    for line in found["because"] + ([found["measured_on"]] if "measured_on" in found else []):
        console.print(Padding(Text(f"- {line}"), (0, 0, 0, 2)))


def main_diagnose(argv: Sequence[str]) -> int:
    """Run the command; returns 0. Bad input raises an EmpiricsError, which the caller prints with exit code 2."""
    args = options.diagnose().parse_args(list(argv))
    if args.init is not None and args.model is not None:
        raise InvalidInput(f"give one of MODEL and --init SIZE, not both ({args.model} and {args.init})")
    if args.c not in READOUTS:
        raise UnknownName("--c", args.c, READOUTS)
    if not 0 <= args.seed < 2**32:
        raise InvalidInput(f"--seed {args.seed} must lie in 0..{2**32 - 1}")
    drawn = args.out is not None and not args.no_picture
    if drawn:
        _picture()  # a missing package is better known before the work
    choice = (_count_or_share("CHANNELS", args.sdt[0]), _count_or_share("STATES", args.sdt[1]))
    verdicts = read_verdicts(args.verdicts or SHIPPED, {*RULES, *CLAIMS})
    if args.out is not None:
        require_writable(args.out, InvalidInput)
    if args.json is not None:
        require_replaceable(args.json, InvalidInput, "--json")
    chosen = fresh(args.init, args.seed) if args.init is not None else subject(BUNDLED if args.model is None else args.model)
    with bar("diagnosis:", sys.stderr.isatty()) as tick:
        diagnosis = measure(
            chosen,
            channels=args.channels,
            readout=args.c,
            seed=args.seed,
            radius=args.radius,
            rank=args.rank,
            sdt=choice,
            tick=tick,
        )
    diagnosis["advice"] = advice(diagnosis, verdicts)
    diagnosis["recommendation"] = recommend(diagnosis, verdicts)
    console = Console(width=None if sys.stdout.isatty() else 160)
    print_diagnosis(diagnosis, console)
    print_advice(diagnosis, console)
    print_recommendation(diagnosis["recommendation"], console)
    try:
        written = _write(diagnosis, args.json, args.out, drawn)
    except OSError as error:
        raise InvalidInput(f"cannot write {error.filename or args.out}: {error.strerror or error}") from error
    for path in written:
        print(f"wrote {path}")
    return 0


def _picture() -> ModuleType:
    """What draws a diagnosis; MissingPackage without matplotlib."""
    try:
        from figures import diagnosis
    except ModuleNotFoundError as error:
        raise MissingPackage(error.name or "matplotlib", "figures") from error
    return diagnosis


def _write(diagnosis: Mapping[str, Any], file: Path | None, folder: Path | None, drawn: bool) -> list[Path]:
    jsons = [path for path in (file, folder and folder / "diagnose.json") if path is not None]
    for path in jsons:
        write_json(path, diagnosis)
    return jsons + (_picture().write(diagnosis, folder) if folder is not None and drawn else [])

"""Summaries from finished runs alone, on any machine, and the files that are committed.

Nothing is run. A sweep that was spread over machines, or finished on another one, becomes one summary; what was measured on a GPU
can be judged again on a laptop. ``--into FOLDER`` also packs: FOLDER/<id>/runs.jsonl gets every run, beside those that it holds
already, and FOLDER/<id>/results.json the summary (results_<scan>.json where the experiment names a scan). ``unpack`` is the way
back: one file a run below --out, from which a sweep goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from theory.core.files import read_object, require_writable

from .. import options
from ..errors import CheckpointError, InvalidInput
from ..kernels.table import known_scan
from .config import EXPERIMENTS, ExperimentFile, load_experiment, override
from .pack import RUNS, name_of, read_pack, write_pack
from .results import Result, write_json
from .runner import Recorded
from .store import Archive, Run, RunFolder, shown_options
from .sweep import SweepRunner


def results_name(scan: str | None) -> str:
    """Name of the committed summary: one for the experiment's own scan, one for each other that it was run with."""
    return "results.json" if scan is None else f"results_{scan}.json"


def summary(file: ExperimentFile, results: dict[str, Result], out: Path, quick: bool = False) -> dict[str, Any]:
    """The summary of results by name, written to ``out`` as :meth:`.runner.Runs.summarise` does."""
    recorded = Recorded(out, Archive(results))
    return recorded.run(file, quick) if file.sweep is None else SweepRunner(recorded, file).run(quick)


def collect(
    name: str | Path, out: Path, quick: bool = False, scan: str | None = None, into: Path | None = None
) -> dict[str, Any]:
    """The summary of an experiment, from the runs below ``out``, written there, and packed where ``into`` says so.

    Raises
    ------
    InvalidInput, UnknownName
        No finished run of this form and scan, no such experiment, or ``into`` holds the other form (``quick`` or full size); and
        runs to be packed that are of another form. Nothing is written then.
    CheckpointError
        A result is corrupt, or of another version.
    """
    file = load_experiment(name, quick)
    file = file if scan is None else override(file, scan=scan)
    folder = RunFolder(out)
    results = folder.everything(file.id)
    packed = None if into is None else into / file.id / RUNS
    if into is not None:
        _require_same_form(into / file.id / results_name(file.scan), quick)
        for where, result in results.items():
            if other := _other_option(file, result):
                raise InvalidInput(f"{folder.folder(file.id) / where} {other}: pack it from an --out folder of its own")
    if packed is not None and packed.is_file():
        results = merged(file, read_pack(packed), results)
    if not any((r.status, r.scan) == ("finished", file.scan) and not _other_option(file, r) for r in results.values()):
        form = f" of the {'small' if quick else 'full'} form" + (f" with the scan {file.scan}" if file.scan else "")
        raise InvalidInput(f"{folder.folder(file.id)} holds no finished run{form}; run the experiment, or give its --out")
    found = summary(file, results, out, quick)
    if into is not None and packed is not None:
        write_pack(packed, list(results.values()), shown_options(file))
        write_json(into / file.id / results_name(file.scan), found)
    return found


def _other_option(file: ExperimentFile, result: Result) -> str:
    """What tells a run from those that the file describes: an option that the file fixes to another value; empty where none."""
    for name, value in file.config.items():
        if result.config.get(name) != value:
            return f"has {name} = {result.config.get(name)!r}, where {file.id} has {value!r}"
    return ""


def _require_same_form(path: Path, quick: bool) -> None:
    """Raise InvalidInput where the summary of the other form stands: a small run must not take the place of a full one."""
    if path.is_file() and read_object(path, CheckpointError, "give another folder as --into").get("quick") is not quick:
        raise InvalidInput(f"{path} is the summary of the {'full' if quick else 'small'} form; give another folder as --into")


def merged(file: ExperimentFile, old: dict[str, Result], new: dict[str, Result]) -> dict[str, Result]:
    """Packed runs and new ones by name; of one run the new result counts, unless it failed and the old one is finished.

    Runs get the names that the experiment's file gives them now, so that one run is recognised whatever its file was called.
    """
    found: dict[str, Result] = {}
    for result in (*old.values(), *new.values()):
        key = Run.of(result, shown_options(file)).stem
        known = found.get(key)
        if known is None or result.status == "finished" or known.status == "failed":
            found[key] = result
    return {name_of(result, shown_options(file)): result for result in found.values()}


def unpack(name: str, out: Path, source: Path = EXPERIMENTS) -> int:
    """Write the packed runs of an experiment below ``out``, one file each, and return how many there are.

    Raises
    ------
    CheckpointError
        There is no such file of runs, or it is corrupt.
    InvalidInput
        A file below ``out`` holds another result of one of the runs.
    """
    file = load_experiment(name)
    folder = RunFolder(out)
    results = read_pack(source / file.id / RUNS)
    for result in results.values():
        run = Run.of(result, shown_options(file))
        known = folder.find(run)
        if known is not None and known.status == "finished" and known != result:
            raise InvalidInput(f"{folder.path(run)} holds another result of that run; unpack into a new --out folder")
        folder.write(run, result)
    return len(results)


def main_collect(argv: Sequence[str]) -> int:
    """``python -m empirics collect``."""
    args = options.collect().parse_args(argv)
    known_scan(args.scan)
    if args.into is not None:
        require_writable(args.into, InvalidInput, "--into")
    for name in args.experiments:
        found = collect(name, args.out, args.quick, args.scan, args.into)
        print(f"{found['experiment']}: {found['verdict']} ({found['measured']}); {found['device']}")
        if not found["complete"]:
            print("  not complete")
    return 0


def main_unpack(argv: Sequence[str]) -> int:
    """``python -m empirics unpack``."""
    args = options.unpack().parse_args(argv)
    require_writable(args.out, InvalidInput)
    for name in args.experiments:
        print(f"{name}: {unpack(name, args.out, args.source)} runs below {args.out / 'runs' / name}")
    return 0

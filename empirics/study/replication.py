"""A share of an experiment's test runs, drawn by a seed, run again elsewhere and compared: python -m empirics replicate.

Nothing is decided by it. It shows what another machine, or another day, makes of the same options and seeds. A run is drawn by a
hash of its name, so that the draw does not depend on the order of the runs, and hardly changes when runs are added.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from theory.core.files import require_writable

from .. import options
from ..errors import InvalidInput
from . import config
from .collect import summary
from .config import EXPERIMENTS, ExperimentFile, load_experiment, override
from .launch import launch, world_of
from .pack import RUNS, read_pack, write_pack
from .results import Result, write_json
from .runner import TUNING, Missing, OutOfTime, Recorded, Runner, Runs
from .statistics import interval
from .store import Archive, Run, RunFolder, shown_options
from .workers import Workers

REPORT, AGAIN = "replication.json", "replication.jsonl"
"""What is filed beside an experiment's results: the comparison, and the runs of the second time."""


def counted(file: ExperimentFile, results: dict[str, Result], quick: bool = False) -> list[Result]:
    """The finished test runs that an experiment's summary is made of: its seeds, each cell at the options that were chosen."""
    with tempfile.TemporaryDirectory() as unused:
        found = summary(file, results, Path(unused), quick)
    cells: list[dict[str, Any]] = [{**file.config, **cell} for cell in found.get("tuned", [{}])]
    archive = Archive(results)  # of one run on a GPU and on the CPU, one counts
    return [
        result
        for result in results.values()
        if archive.find(Run.of(result)) is result
        and result.status == "finished"
        and result.scan == file.scan
        and not result.metrics.get(TUNING)
        and result.seed in file.seeds
        and any(all(result.config.get(key) == value for key, value in cell.items()) for cell in cells)
    ]


def drawn(results: Sequence[Result], share: float, seed: int, shown: tuple[str, ...] = ()) -> list[Result]:
    """The results whose names' hashes are least: a ``share`` of them, at least one, in that order.

    Raises
    ------
    InvalidInput
        A share outside (0, 1], a negative seed, or no result.
    """
    if not 0 < share <= 1 or seed < 0:
        raise InvalidInput(f"--share {share} must lie in (0, 1] and --seed {seed} be at least 0")
    if not results:
        raise InvalidInput("no test run is finished: there is nothing to run again")

    def place(result: Result) -> str:
        return hashlib.sha256(f"{seed}:{Run.of(result, shown).stem}".encode()).hexdigest()

    return sorted(results, key=place)[: math.ceil(share * len(results))]


def drawing(
    name: str | Path, out: Path, share: float, seed: int, source: Path | None = None, quick: bool = False
) -> tuple[ExperimentFile, list[Result], list[Result]]:
    """The experiment, its test runs, and those of them that are drawn; parameters and errors as :func:`replicate`."""
    file = load_experiment(name, quick)
    compared_by(file)  # before anything runs
    if source is not None and source.resolve() == out.resolve():
        raise InvalidInput(f"--out {out} holds the first runs; give another folder")
    results = read_pack(EXPERIMENTS / file.id / RUNS) if source is None else RunFolder(source).everything(file.id)
    firsts = counted(file, results, quick)
    return file, firsts, drawn(firsts, share, seed, shown_options(file))


def plan(file: ExperimentFile, firsts: Sequence[Result], chosen: Sequence[Result], runner: Runner) -> str:
    """How many drawn runs are missing below the runner's folder, and the minutes that they took the first time."""

    def there(first: Result) -> bool:
        try:
            return again(file, first, runner.recorded).status == "finished"
        except Missing:
            return False

    missing = [first for first in chosen if not there(first)]
    minutes = sum(first.seconds for first in missing) / 60
    return (
        f"{file.id}: {len(missing)} of {len(chosen)} drawn runs are missing (of {len(firsts)} test runs); the first time they "
        f"took {minutes:.0f} min one after the other, on {', '.join(made_by(chosen)['devices'])}"
    )


def again(file: ExperimentFile, first: Result, runner: Runs) -> Result:
    """The same options, scan and seed, run or looked up by ``runner``."""
    return runner.one(override(file, **first.config, scan=first.scan), first.seed)


def compared_by(file: ExperimentFile) -> tuple[Callable[[Result], float], Callable[[Result, Result], float] | None]:
    """The experiment's points of a run, and where it has it the share of test rows that two runs answer alike.

    Raises
    ------
    InvalidInput
        The experiment does not say what the points of a run are.
    """
    module = config.experiment_module(file)
    points = getattr(module, "points", None)
    if points is None:
        raise InvalidInput(f"{file.id} does not say what the points of a run are, so that it cannot be compared with another")
    return points, getattr(module, "alike", None)


def agreement(file: ExperimentFile, pairs: Sequence[tuple[Result, Result]], bound: float, confidence: float) -> dict[str, Any]:
    """How far the scores of the second time are from those of the first.

    Parameters
    ----------
    bound:
        Points within which two runs agree.

    Raises
    ------
    InvalidInput
        The experiment does not say what the points of a run are.
    """
    points, alike = compared_by(file)
    rows: list[dict[str, Any]] = []
    shown = shown_options(file)
    for first, second in pairs:
        row: dict[str, Any] = {key: first.config[key] for key in shown if key in first.config} | {"seed": first.seed}
        if second.status == "failed":
            rows.append({**row, "first": points(first), "again": None, "reason": second.reason})
            continue
        one, other = points(first), points(second)
        row |= {"first": one, "again": other, "difference": other - one}
        rows.append(row | ({} if alike is None else {"rows_alike": alike(first, second)}))
    differences = [row["difference"] for row in rows if row["again"] is not None]
    found = interval(differences, confidence) if differences else None
    return {
        "bound": bound, "confidence": confidence, "runs": rows,
        "mean": found and found.mean, "low": found and found.low, "high": found and found.high,
        "largest": max(map(abs, differences), default=None),
        "within": sum(abs(d) <= bound for d in differences) / len(rows) if rows else None,
        "first": made_by([first for first, _ in pairs]), "again": made_by([second for _, second in pairs]),
    }  # fmt: skip


def made_by(results: Sequence[Result]) -> dict[str, list[str]]:
    """Devices and commits of some results."""
    return {"devices": sorted({r.device for r in results}), "git": sorted({str(r.git) for r in results})}


def repeat(file: ExperimentFile, chosen: Sequence[Result], runner: Runner) -> None:
    """Run what was drawn; what is there already is kept. Ends early, and says so, when the runner's time is up."""
    for first in chosen:
        try:
            again(file, first, runner)
        except OutOfTime:
            runner.say(f"{file.id}: time is up; call again to go on")
            return


def compared(file: ExperimentFile, chosen: Sequence[Result], runner: Runs) -> list[tuple[Result, Result]]:
    """(first, second) of every drawn run that ``runner`` has the second time's result of."""
    pairs = []
    for first in chosen:
        with contextlib.suppress(Missing):
            pairs.append((first, again(file, first, runner)))
    return pairs


def replicate(
    name: str | Path, out: Path, share: float, seed: int, *, source: Path | None = None, device: str = "cpu",
    budget: float = math.inf, quick: bool = False, into: Path | None = None, run: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Draw, run again below ``out``, compare, and write ``out/<id>_replication.json``.

    Parameters
    ----------
    source:
        Folder of the first runs; left out, the committed ones.
    budget:
        Seconds after which no further run starts; a later call goes on.
    into:
        Also file report and runs in ``into/<id>``.
    run:
        Whether runs that are missing are made; else those below ``out`` are compared.

    Raises
    ------
    InvalidInput
        ``out`` is where the first runs are, or there are none.
    """
    file, firsts, chosen = drawing(name, out, share, seed, source, quick)
    if run:
        runner = Runner(out, device, time.monotonic() + budget)
        runner.say(f"{file.id}: {len(chosen)} of {len(firsts)} test runs again")
        repeat(file, chosen, runner)
    pairs = compared(file, chosen, Recorded(out, Archive(RunFolder(out).everything(file.id))))  # of whatever kind of device
    found = {
        "experiment": file.id, "share": share, "seed": seed, "of": len(firsts), "drawn": len(chosen), "repeated": len(pairs),
        **agreement(file, pairs, file.threshold.get("margin", 1.0), file.threshold.get("confidence", 0.95)),
    }  # fmt: skip
    write_json(out / f"{file.id}_replication.json", found)
    if into is not None and pairs:
        write_pack(into / file.id / AGAIN, [second for _, second in pairs], shown_options(file))
        write_json(into / file.id / REPORT, found)
    return found


def repeat_share(
    workers: Workers, name: str | Path, out: Path, share: float, seed: int, source: Path | None, device: str, budget: float,
    quick: bool,
) -> None:  # fmt: skip
    """What one of several processes runs again: every ``world``-th drawn run, on its GPU.

    The command that started them compares, once they have ended.
    """
    file, _, chosen = drawing(name, out, share, seed, source, quick)
    runner = Runner(out, workers.device(device), time.monotonic() + budget)
    repeat(file, chosen[workers.rank :: workers.world], runner)


def in_words(found: dict[str, Any]) -> str:
    """The agreement in a line."""
    done = f"{found['repeated']} of {found['drawn']} drawn runs repeated (of {found['of']} test runs)"
    if found["mean"] is None:
        return done
    bounds = "" if found["low"] is None else f" [{found['low']:+.2f}, {found['high']:+.2f}]"
    return (
        f"{done}: {100 * found['within']:.0f} % within {found['bound']:g} points, mean difference {found['mean']:+.2f}{bounds}, "
        f"largest {found['largest']:.2f}"
    )


def main_replicate(argv: Sequence[str]) -> int:
    """``python -m empirics replicate``."""
    args = options.replicate().parse_args(argv)
    if not args.budget > 0:
        raise InvalidInput(f"--budget {args.budget} must be a positive number of seconds")
    if args.plan:
        runner = Runner(args.out, args.device)
        print(plan(*drawing(args.experiment, args.out, args.share, args.seed, args.of, args.quick), runner))
        return 0
    if args.into is not None:
        require_writable(args.into, InvalidInput, "--into")
    if (workers := Workers.from_environment()) is not None:
        repeat_share(
            workers, args.experiment, args.out, args.share, args.seed, args.of, args.device, args.budget, args.quick
        )  # fmt: skip
        return 0
    code = 0
    if args.workers is not None and not args.collect:
        drawing(args.experiment, args.out, args.share, args.seed, args.of, args.quick)  # before any process starts
        world = world_of(args.workers, args.device)
        code = launch([sys.executable, "-m", "empirics", "replicate", *argv], world) if world > 1 else 0
    found = replicate(
        args.experiment, args.out, args.share, args.seed, source=args.of, device=args.device, budget=args.budget,
        quick=args.quick, into=args.into, run=not args.collect and (args.workers is None or world == 1),
    )  # fmt: skip
    print(f"{found['experiment']}: {in_words(found)}")
    return code

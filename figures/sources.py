"""What figures read: the verdicts, the summaries and runs of experiments, benchmark results and published points.

Results at full size lie beside their experiment, in ``empirics/experiments/<id>``: ``results.json``, the summary, and
``runs.jsonl``, a header and a line for each run. Small ones, made on a CPU, lie in ``figures/quick/<id>``. Nothing here imports
torch or ``empirics``: a figure is drawn from files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core import files
from theory.core.errors import InvalidInput

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = Path("empirics/experiments")
QUICK = Path("figures/quick")
RUNS = "runs.jsonl"


def summary_path(name: str, scan: str | None = None, quick: bool = False) -> Path:
    """Where an experiment's summary is committed: with its own scan, or with another one."""
    return (QUICK if quick else EXPERIMENTS) / name / ("results.json" if scan is None else f"results_{scan}.json")


class MissingData(Exception):
    """The data of a figure do not exist yet.

    Attributes
    ----------
    command:
        The command that makes them.
    """

    def __init__(self, command: str):
        self.command = command
        super().__init__(f"no data: run {command}")


def read_json(path: Path) -> Any:
    """The contents of a JSON file; InvalidInput for one that cannot be read."""
    return files.read_json(path, InvalidInput, "make it again")


def committed(path: str, command: str, root: Path = ROOT) -> Any:
    """A committed JSON file, by its path in the repository.

    Raises
    ------
    MissingData
        There is none; ``command`` makes it.
    InvalidInput
        It is no JSON.
    """
    if not (root / path).is_file():
        raise MissingData(command)
    return read_json(root / path)


def check_data(claim: str, check: str, root: Path = ROOT) -> dict[str, Any]:
    """The numbers behind one check of one claim in ``theory/verdicts.json``.

    Raises
    ------
    MissingData
        The verdicts are not there.
    InvalidInput
        They hold no such check, or no data of it.
    """
    verdicts = committed("theory/verdicts.json", "make verify", root)
    try:
        (found,) = (c for c in verdicts["claims"] if c["id"] == claim)
        (data,) = (c["data"] for c in found["checks"] if c["name"] == check)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"theory/verdicts.json has no data of {claim}, check {check!r}; run make verify") from error
    return dict(data)


@dataclass(frozen=True)
class Experiment:
    """The committed results of one experiment.

    Attributes
    ----------
    summary:
        Verdict, table, options: what the runner writes as ``<id>.json``.
    runs:
        The results of single runs that belong to the summary (same options, its seeds), by file name.
    quick:
        Small sizes: the numbers show that the experiment works, not what the full sizes say.
    """

    summary: dict[str, Any]
    runs: tuple[dict[str, Any], ...]
    quick: bool

    @property
    def size(self) -> str:
        """``quick size`` or nothing: to be shown in the figure."""
        return "quick size" if self.quick else ""


def command(name: str, verb: str = "run", quick: bool = False, root: Path = ROOT) -> str:
    """The commands that make an experiment's results and put them where figures look for them.

    They run on a GPU, unless the committed results were made on a CPU.
    """
    size, into = ("--quick", QUICK) if quick else (f"--device {_device(root / summary_path(name))}", EXPERIMENTS)
    collected = f"python -m empirics collect {name}{' --quick' if quick else ''} --out runs --into {into}"
    return f"python -m empirics {verb} {name} {size} --out runs && {collected}"


def _device(path: Path) -> str:
    summary = read_json(path) if path.is_file() else {}
    return "cpu" if isinstance(summary, dict) and summary.get("device") == "cpu" else "cuda"


def experiment(name: str, verb: str = "run", *, accept_quick: bool = True, root: Path = ROOT) -> Experiment:
    """The results of an experiment: the full size where there is one, else the quick size.

    Parameters
    ----------
    verb:
        ``run`` or ``sweep``: how the experiment is started.
    accept_quick:
        Whether small sizes are worth drawing.

    Raises
    ------
    MissingData
        No results.
    InvalidInput
        A file is no summary.
    """
    for quick in (False, True) if accept_quick else (False,):
        place = summary_path(name, quick=quick)
        if not (root / place).is_file():
            continue
        summary = read_json(root / place)
        if not isinstance(summary, dict) or not isinstance(summary.get("table"), list):
            raise InvalidInput(f"{place} is no summary of an experiment (it has no table); make it again")
        if not summary["table"] and not summary.get("comparisons"):
            continue  # no run has finished
        return Experiment(summary, _runs(root / place.with_name(RUNS), summary), quick)
    raise MissingData(command(name, verb, root=root))


def _runs(path: Path, summary: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Finished runs of the summary's seeds and scan whose options are the summary's."""
    if not path.is_file():
        return ()
    header, *lines = (
        files.as_object(files.parse_json(text, f"{path}, line {number}"), f"{path}, line {number}")
        for number, text in enumerate(files.read_text(path).splitlines(), 1)
    )
    found = []
    for line in lines:
        try:
            run = {**line, "config": {**header["config"], **line["config"]}}
            options, seeds = summary.get("config", {}), summary.get("seeds", [])
            same = all(run["config"].get(key) == value for key, value in options.items())
            if same and run["scan"] == summary.get("scan") and run["seed"] in seeds and run["status"] == "finished":
                found.append(run)
        except (KeyError, TypeError) as error:
            raise InvalidInput(f"{path} is no file of runs ({error!r}); make it again") from error
    return tuple(found)

"""What figures read: the verdicts, the summaries and runs of experiments, benchmark results and published points.

Results at full size are looked for in ``empirics/results``; small ones, made on a CPU, also in ``figures/quick``. Nothing here
imports torch or ``empirics``: a figure is drawn from files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core import files
from theory.core.errors import InvalidInput

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("empirics/results")
QUICK = Path("figures/quick")


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


def command(name: str, verb: str = "run", quick: bool = False) -> str:
    """The command that makes an experiment's results where figures look for them."""
    if quick:
        return f"python -m empirics {verb} {name} --quick --out {QUICK}"
    return f"python -m empirics {verb} {name} --device cuda --out {RESULTS}"


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
    places = [(RESULTS / f"{name}.json", False)]
    if accept_quick:
        places += [(RESULTS / f"{name}_quick.json", True), (QUICK / f"{name}_quick.json", True)]
    for place, quick in places:
        if not (root / place).is_file():
            continue
        summary = read_json(root / place)
        if not isinstance(summary, dict) or not isinstance(summary.get("table"), list):
            raise InvalidInput(f"{place} is no summary of an experiment (it has no table); make it again")
        if not summary["table"]:
            continue  # no run has finished
        return Experiment(summary, _runs(root / place.parent / "runs" / name, summary), quick)
    raise MissingData(command(name, verb))


def _runs(folder: Path, summary: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Finished runs of the summary's seeds whose options are the summary's."""
    found = []
    for path in sorted(folder.glob("*.json")):
        run = read_json(path)
        options, seeds = summary.get("config", {}), summary.get("seeds", [])
        same = all(run.get("config", {}).get(key) == value for key, value in options.items())
        if same and run.get("seed") in seeds and run.get("status") == "finished":
            found.append(run)
    return tuple(found)

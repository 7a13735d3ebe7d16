"""What the report says: claims with their checks, assumptions, experiments and figures, gathered from committed files.

Nothing is computed anew: verdicts come from ``theory/verdicts.json``, questions and predictions from the experiments' TOML,
measurements from the summaries that runs have left, pictures from ``figures/out``. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput
from theory.formal import manifest as formal
from theory.formal import recheck

from ..build import MANIFEST
from ..registry import pictures
from ..sources import ROOT, MissingData, command, committed, experiment, read_json
from .benchmarks import Benchmark, benchmarks
from .comparisons import TOLD, Line, comparisons
from .scoreboard import Sentence, scoreboard
from .trust import replication

VERDICTS = "theory/verdicts.json"
FORMAL = "theory/formal"
EXPERIMENTS = "empirics/experiments"
OUT = "figures/out"
SCOREBOARD = "scoreboard"
"""The figure that says what the scoreboard's table says, for pages without it."""
WIDELY = 3
"""A figure of more claims than this stands in a section of its own."""


@dataclass(frozen=True)
class Check:
    """One check of a claim; ``part`` is what it helps to decide, ``None`` where it stands beside the parts.

    ``planted`` errors were run on it, and it refuted ``caught`` of them.
    """

    name: str
    part: str | None
    verdict: str
    how: str
    sizes: str
    instances: int
    witness: str
    planted: int
    caught: int


@dataclass(frozen=True)
class Theorem:
    """One theorem that Rocq has checked: the sentence it covers, and its statement as it stands in the source."""

    name: str
    covers: str
    statement: str

    @property
    def command(self) -> str:
        """The command that checks it again."""
        return recheck.command(self.name)


@dataclass(frozen=True)
class Part:
    """One part of a claim's statement.

    ``argument`` is the page and anchor of its argument for all sizes, or empty; ``theorems`` are those about it, which leave
    the sentence ``not_covered``, empty where they cover the whole part.
    """

    name: str
    verdict: str
    argument: str
    theorems: tuple[Theorem, ...]
    not_covered: str


@dataclass(frozen=True)
class Assumption:
    """One assumption of a claim; ``how`` is the counterexample without it where ``needed``, else what was tried."""

    name: str
    statement: str
    needed: bool
    how: str


@dataclass(frozen=True)
class Claim:
    """One claim and how it was decided."""

    id: str
    title: str
    statement: str
    level: str
    horizon: str
    verdict: str
    checks: tuple[Check, ...]
    assumptions: tuple[Assumption, ...]
    parts: tuple[Part, ...]
    source: str
    readme: str
    not_claimed: str

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def command(self) -> str:
        """The command that decides it again."""
        return f"python -m theory --claim {self.id} --details"

    def open_questions(self) -> Iterator[str]:
        """Names of what is undecided: the claim, an assumption that may not be needed, a question beside the statement."""
        if self.verdict == "OPEN":
            yield "the claim itself"
        yield from (f"whether “{a.name}” is needed" for a in self.assumptions if not a.needed)
        yield from (f"{c.name} (beside the statement)" for c in self.checks if c.part is None and c.verdict == "OPEN")


@dataclass(frozen=True)
class Experiment:
    """One experiment: what was asked and predicted before the run, and what was measured if there are results.

    Attributes
    ----------
    verdict, measured:
        ``None`` where nothing has been measured yet.
    size:
        ``quick size`` for numbers of a small run, else empty.
    device, seeds, complete:
        What they were measured on, over how many seeds, and whether every run is there.
    lines:
        The comparisons that the experiment makes, each with its verdict.
    finding:
        What the results say beyond the numbers, in words.
    table:
        Rows of the summary, by column.
    commands:
        What repeats it, at full size and, if there is one, at quick size.
    replication:
        What its repeated runs say, empty where there are none.
    """

    id: str
    claim: str
    question: str
    prediction: str
    verdict: str | None
    measured: str | None
    size: str
    table: tuple[dict[str, Any], ...]
    commands: tuple[str, ...]
    device: str = ""
    seeds: int = 0
    complete: bool = True
    lines: tuple[Line, ...] = ()
    finding: str = ""
    replication: str = ""

    @property
    def told_by_lines(self) -> bool:
        """Whether the lines have all that the sentence says, and verdicts too; a place beside chance is no verdict."""
        return bool(self.lines) and all(line.verdict in TOLD for line in self.lines)

    @property
    def where(self) -> str:
        """Size, device and seeds in words."""
        seeds = f"{self.seeds} seed{'' if self.seeds == 1 else 's'}"
        tasks = list(dict.fromkeys(row["task"] for row in self.table if "task" in row))
        told = [f"on {' and '.join(tasks)}"] if tasks else []
        return ", ".join([self.size or "full size", *told, self.device, seeds, *([] if self.complete else ["not complete"])])


@dataclass(frozen=True)
class Figure:
    """One figure; ``png`` and its message ``says`` are empty where it has not been built, ``needs`` makes its measurements."""

    name: str
    title: str
    claims: tuple[str, ...]
    sources: tuple[str, ...]
    png: bytes
    needs: str
    says: str = ""

    @property
    def command(self) -> str:
        """The command that draws it."""
        return f"python -m figures {self.name}"

    @property
    def home(self) -> str | None:
        """Id of the claim it is shown at; ``None`` for a figure of many claims, or of none."""
        return self.claims[0] if 0 < len(self.claims) <= WIDELY else None


@dataclass(frozen=True)
class Report:
    """Everything the report shows."""

    claims: tuple[Claim, ...]
    experiments: tuple[Experiment, ...]
    figures: tuple[Figure, ...]
    benchmarks: tuple[Benchmark, ...]
    sentences: tuple[Sentence, ...]
    profile: dict[str, Any]
    versions: dict[str, str]
    open_pairs: dict[str, list[tuple[str, str]]]

    def families(self) -> dict[str, list[Claim]]:
        """Claims by family, in the order of the verdicts."""
        found: dict[str, list[Claim]] = {}
        for claim in self.claims:
            found.setdefault(claim.family, []).append(claim)
        return found

    def wide_figures(self) -> list[Figure]:
        """Figures of many claims or of none that belong to no benchmark."""
        shown = {name for found in self.benchmarks for name in found.figures}
        return [f for f in self.figures if f.home is None and f.name not in shown and f.name != SCOREBOARD]

    def experiments_of(self, claim: Claim) -> list[Experiment]:
        """Experiments that test a claim."""
        return [e for e in self.experiments if e.claim == claim.id]

    def figures_of(self, claim: Claim) -> list[Figure]:
        """Figures that illustrate a claim."""
        return [f for f in self.figures if claim.id in f.claims]


def gather(root: Path = ROOT) -> Report:
    """The report's contents, from a checkout of the repository.

    Raises
    ------
    MissingData
        There are no verdicts yet.
    InvalidInput
        A file is unreadable, or names a claim that the verdicts do not hold.
    """
    verdicts = committed(VERDICTS, "make verify", root)
    proofs = theorems(root)
    try:
        claims = tuple(_claim(entry, proofs) for entry in verdicts["claims"])
        profile, versions = dict(verdicts["profile"]), dict(verdicts["versions"])
        open_pairs = {system: [(str(a), str(b)) for a, b in pairs] for system, pairs in verdicts["open_pairs"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{VERDICTS} is no report of theory ({error!r}); make it again: make verify") from error
    known = {claim.id for claim in claims}
    all_experiments = experiments(root)
    for found in all_experiments:
        if found.claim not in known:
            raise InvalidInput(
                f"{EXPERIMENTS}/{found.id}/experiment.toml tests {found.claim!r}, not among {VERDICTS}; run make verify"
            )
    drawn, measured = tuple(figures(root)), tuple(benchmarks(root))
    return Report(claims, all_experiments, drawn, measured, scoreboard(root), profile, versions, open_pairs)


def experiments(root: Path = ROOT) -> tuple[Experiment, ...]:
    """Every experiment of a checkout, with its results where there are any; InvalidInput for an unusable file."""
    return tuple(_experiment(path, root) for path in sorted((root / EXPERIMENTS).glob("*/experiment.toml")))


def theorems(root: Path = ROOT) -> dict[tuple[str, str], tuple[tuple[Theorem, ...], str]]:
    """By claim and part: the fresh theorems without assumptions, and what they leave uncovered. InvalidInput for no manifest."""
    entries = formal.fresh(root / FORMAL)
    return {
        (part.claim, part.part): (
            tuple(Theorem(e.theorem, e.covers, e.statement) for e in entries if (e.claim, e.part) == (part.claim, part.part)),
            part.not_covered,
        )
        for part in formal.cover(root / FORMAL)
    }


def _claim(entry: dict[str, Any], proofs: dict[tuple[str, str], tuple[tuple[Theorem, ...], str]]) -> Claim:
    checks = tuple(
        Check(
            c["name"], c["part"], _verdict(c), c["how"], c.get("sizes", ""), int(c["instances"]), c.get("witness", ""),
            len(c["planted"]["errors"]), int(c["planted"]["caught"]),
        )
        for c in entry["checks"]
    )  # fmt: skip
    parts = tuple(
        Part(p["name"], p["verdict"], p["argument"], *proofs.get((entry["id"], p["name"]), ((), ""))) for p in entry["parts"]
    )
    assumptions = tuple(Assumption(a["name"], a["statement"], a["verdict"] == "REFUTED", a["how"]) for a in entry["assumptions"])
    return Claim(
        entry["id"], entry["title"], entry["statement"], entry["level"], entry["horizon"], entry["verdict"], checks, assumptions,
        parts, entry["source"], entry["readme"], entry["not_claimed"],
    )  # fmt: skip


def _verdict(check: dict[str, Any]) -> str:
    """``NUMERIC`` with its tolerance and condition number, every other verdict as its name."""
    if check["verdict"] != "NUMERIC":
        return str(check["verdict"])
    numbers = [f"{check['tolerance']:.1g}"] if "tolerance" in check else []
    numbers += [f"cond {check['condition']:.1e}"] if "condition" in check else []
    return f"NUMERIC({', '.join(numbers)})" if numbers else "NUMERIC"


def _experiment(path: Path, root: Path) -> Experiment:
    name = path.parent.name
    try:
        file = tomllib.loads(path.read_text(encoding="utf-8"))
        claim, question, prediction = (" ".join(str(file[key]).split()) for key in ("claim", "question", "prediction"))
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"{EXPERIMENTS}/{path.parent.name}/{path.name} is no experiment file ({error!r}); see python -m empirics list"
        ) from error
    verb = "sweep" if "sweep" in file else "run"
    commands = (command(name, verb, root=root), *((command(name, verb, quick=True),) if "quick" in file else ()))
    try:
        result = experiment(name, verb, root=root)
    except MissingData:
        return Experiment(name, claim, question, prediction, None, None, "", (), commands)
    summary = result.summary
    if not {"verdict", "measured", "device", "seeds", "complete"} <= summary.keys() or not all(
        isinstance(row, dict) for row in summary["table"]
    ):
        raise InvalidInput(f"the summary of {name} lacks a verdict or its table is no list of rows; run {commands[0]}")
    lines = tuple(comparisons(summary))
    finding = "" if result.quick else str(file.get("finding", "")).strip()
    return Experiment(
        name, claim, question, prediction, summary["verdict"], summary["measured"], result.size, tuple(summary["table"]),
        commands, summary["device"], len(summary["seeds"]), summary["complete"], lines, finding,
        "" if result.quick else replication(name, root),
    )  # fmt: skip


def figures(root: Path) -> Iterator[Figure]:
    """Every figure, with its picture where the committed one is the file that was built."""
    path = root / OUT / MANIFEST
    built = read_json(path).get("figures", {}) if path.is_file() else {}
    for name, picture in pictures().items():
        file = root / OUT / f"{name}.png"
        digest = built.get(name, {}).get("files", {}).get(file.name)
        png = file.read_bytes() if digest is not None and file.is_file() else b""
        if hashlib.sha256(png).hexdigest() != digest:
            png = b""  # not the file that was built: better no picture than a wrong one
        says = built[name].get("says", "") if png else ""
        yield Figure(name, picture.title, picture.claims, picture.sources, png, picture.needs, says)

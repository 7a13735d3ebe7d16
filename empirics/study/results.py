"""Results as JSON files: what was asked, what came out, and what one needs to repeat it. Written atomically."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from theory.core import files, provenance

from ..errors import CheckpointError, Diverged
from .config import Strict

Verdict = Literal["reproduced", "not reproduced", "level", "undecided"]
Decision = Literal["stands", "refuted", "level", "undecided"]
"""What a declared protocol decides of a statement; what has not all of its runs is a :class:`Pending` and none of these."""


class Metrics(Strict):
    """What one run of an experiment measured.

    Attributes
    ----------
    metrics:
        Numbers, lists and tables of numbers, measured on what was trained on, or of no training at all.
    held_out:
        The same on data that no choice was made on.
    trainable:
        Trained numbers, ``None`` where nothing is trained.
    data_hash:
        SHA-256 of the data, ``None`` for data that the seed makes.
    """

    metrics: dict[str, Any] = Field(default_factory=dict)
    held_out: dict[str, Any] = Field(default_factory=dict)
    trainable: int | None = None
    data_hash: str | None = None


class Part(Strict):
    """The same comparison on some of the tasks; ``low`` and ``high`` are ``None`` without a spread."""

    tasks: list[str]
    estimate: float
    low: float | None
    high: float | None
    pairs: int


class Statement(Strict):
    """What one comparison says of these tasks alone, or of tasks at large.

    Attributes
    ----------
    over:
        ``these tasks``: seeds and test rows are drawn, tasks are fixed; ``tasks``: the tasks are drawn too.
    low, high, freedom:
        Interval of the comparison's estimate, and its degrees of freedom; ``None`` without a spread.
    p, adjusted:
        Two-sided p of no difference, and the same adjusted for the number of comparisons (``None`` outside that family).
    level_p:
        p of the two one-sided tests that the difference is larger than the margin.
    verdict:
        See :data:`Decision`.
    needed, shows:
        How many seeds a task, or how many tasks, would decide an undecided statement, and as what: ``difference`` or ``level``.
    """

    over: Literal["these tasks", "tasks"]
    low: float | None
    high: float | None
    freedom: float | None
    p: float | None
    adjusted: float | None
    level_p: float | None
    verdict: Decision
    needed: int | None = None
    shows: Literal["difference", "level", ""] = ""


class Pending(Strict):
    """A comparison that is not judged because runs of it are missing: how many each side has of those it needs."""

    name: str
    better: str
    worse: str
    control: bool
    runs: dict[str, int]
    needs: int


class Comparison(Strict):
    """One comparison with its numbers.

    Attributes
    ----------
    kind:
        ``difference`` (in ``unit``), ``ratio``, or ``gain`` (over chance).
    name, better, worse:
        How it is called, and the two sides, ``better`` being the one that is said to be so.
    estimate, low, high, pairs:
        The mean over so many pairs with its interval; ``low`` and ``high`` are ``None`` without a spread.
    null:
        The value of no difference: 0 or 1.
    predicted:
        On which side of ``null`` the prediction lies; ``None`` where nothing is predicted.
    unit:
        ``points`` (hundredths of a share), ``mse``, ``precision``.
    verdict:
        Of this comparison alone.
    claim, statement, claim_verdict:
        The claim that it belongs to, where an experiment decides several, and the verdict on all of it.
    control:
        Shown beside a claim; it decides nothing.
    note:
        What keeps a verdict back: budgets that differ, a side at the end of its grid.
    parts:
        On single tasks; ``learned`` on those that full fine-tuning learns.
    statements:
        What a declared protocol decides; empty for the experiments that have none, and then not written.
    """

    kind: Literal["difference", "ratio", "gain"]
    name: str
    better: str
    worse: str
    estimate: float
    low: float | None
    high: float | None
    pairs: int
    null: float
    predicted: Literal["above", "below"] | None
    unit: str
    verdict: Verdict
    claim: str = ""
    statement: str = ""
    claim_verdict: Verdict | Literal[""] = ""
    control: bool = False
    note: str = ""
    parts: list[Part] = Field(default_factory=list)
    learned: Part | None = None
    statements: list[Statement] = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _without_empty_statements(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if not self.statements:
            del written["statements"]
        return written


def side(low: float | None, high: float | None, null: float, predicted: str = "above") -> Verdict:
    """The verdict of an interval: whole on the predicted side of ``null``, whole on the other one, or neither."""
    if low is None or high is None:
        return "undecided"
    if low > null:
        return "reproduced" if predicted == "above" else "not reproduced"
    if high < null:
        return "reproduced" if predicted == "below" else "not reproduced"
    return "undecided"


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """All have to be reproduced; one that is not decides, then one that is undecided, then one that is level."""
    if "not reproduced" in verdicts:
        return "not reproduced"
    if not verdicts or "undecided" in verdicts:
        return "undecided"
    return "level" if "level" in verdicts else "reproduced"


class Judgement(Strict):
    """A verdict on the prediction, and why.

    Attributes
    ----------
    verdict:
        ``reproduced``, ``not reproduced``, ``level`` or ``undecided``.
    measured:
        One line: the numbers that decided it.
    table:
        Rows for a figure or a table.
    comparisons:
        What decided it, typed; none for an experiment that compares with numbers of theory.
    pending:
        Comparisons that are not judged because runs of them are missing.
    """

    verdict: Verdict
    measured: str
    table: list[dict[str, Any]] = Field(default_factory=list)
    comparisons: list[Comparison] = Field(default_factory=list)
    pending: list[Pending] = Field(default_factory=list)


class Result(Strict):
    """One run: an experiment, its options and one seed.

    Attributes
    ----------
    status:
        ``finished`` or ``failed``; ``reason`` says why a run failed.
    metrics, held_out, trainable, data_hash:
        See :class:`Metrics`.
    seconds:
        Wall-clock time of the run.
    git, versions, device:
        Commit (with ``-dirty`` where tracked files were changed), package versions, and the device by name.
    device_kind, scan:
        ``cpu`` or ``cuda``; and the scan that was asked for, ``None`` for the experiment's own.
    format:
        Of this record. The first had neither kind of device nor scan.
    """

    format: Literal[2] = 2
    experiment: str
    claim: str
    config: dict[str, Any]
    seed: int
    status: Literal["finished", "failed"]
    reason: str | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    held_out: dict[str, Any] = Field(default_factory=dict)
    trainable: int | None = None
    data_hash: str | None = None
    seconds: float
    git: str | None
    versions: dict[str, str]
    device: str
    device_kind: Literal["cpu", "cuda"]
    scan: str | None

    @property
    def diverged(self) -> bool:
        """Whether it failed because training diverged: that says something about its options."""
        return self.status == "failed" and (self.reason or "").startswith(Diverged.__name__)

    @property
    def out_of_memory(self) -> bool:
        """Whether it failed for want of memory, which says something about the machine and nothing about the options."""
        return self.status == "failed" and (self.reason or "").startswith(OUT_OF_MEMORY)


OUT_OF_MEMORY = "out of memory"
"""How the reason of such a failure begins."""


def plain(value: Any) -> Any:
    """JSON values only: tuples become lists, and numbers that are not finite become ``null``."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step (:func:`theory.core.files.write_json`), numbers that are not finite as ``null``."""
    files.write_json(path, plain(value))


def read_json(path: Path) -> Any:
    """Read a JSON file; CheckpointError, which names it, for one that cannot be read or is no JSON."""
    return files.read_json(path, CheckpointError, REMEDY)


REMEDY = "delete it to repeat that run"
"""What mends a file of results that cannot be read."""


def result_of(record: Any, where: object, remedy: str = REMEDY) -> Result:
    """A result from JSON values; CheckpointError, with the remedy, for what is none."""
    try:
        return Result.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        spot = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        raise CheckpointError(f"{where} is no result ({spot}{first['msg']}); {remedy}") from error


def write_result(path: Path, result: Result) -> None:
    """Write one result atomically."""
    write_json(path, result.model_dump())


def config_hash(config: Mapping[str, Any]) -> str:
    """First ten hexadecimal digits of the SHA-256 of the options."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()[:10]


def file_hash(*paths: Path) -> str:
    """SHA-256 of the contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while part := stream.read(1 << 20):  # files of weights are larger than they need to be in memory
                digest.update(part)
    return digest.hexdigest()


def git_commit() -> str | None:
    """The checkout's commit (:func:`theory.core.provenance.git_commit`)."""
    return provenance.git_commit(Path(__file__).parent)


PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "triton", "mamba-ssm")
"""Packages that numbers depend on."""


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    return tuple(provenance.versions(PACKAGES).items())


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that numbers depend on."""
    return dict(_versions())


def device_name(device: str) -> str:
    """The GPU's name, or ``cpu``."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device

"""Where results of runs are: one atomic file a run while a study goes on, and archives that are only looked into.

A run is known by its experiment, its options, its seed, the kind of its device and its scan; the seed and a hash of the rest
stand in the name of its file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import CheckpointError, InvalidInput
from .config import ExperimentFile
from .results import REMEDY, Result, config_hash, read_json, result_of, write_result

LONGEST = 200
"""Characters of a file name that may show options and seed; file systems take 255 bytes in all."""

FAILED = ".failed"
"""Ending of the name, before .json, of a run that failed."""


@dataclass(frozen=True)
class Run:
    """What makes a run this one and no other.

    Attributes
    ----------
    options:
        All options, validated.
    device_kind:
        ``cpu`` or ``cuda``.
    scan:
        The scan that is asked for; ``None`` for the experiment's own.
    shown:
        Options that the file's name shows.
    """

    experiment: str
    options: Mapping[str, Any]
    seed: int
    device_kind: str
    scan: str | None
    shown: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits of options, kind of device, and scan."""
        return config_hash({**self.options, "device": self.device_kind, "scan": self.scan})

    @property
    def stem(self) -> str:
        """Name of its file, without an ending: the shown options, the seed, the hash."""
        parts = [f"{key}={self.options[key]}".replace(os.sep, "-").replace(" ", "") for key in self.shown if key in self.options]
        shown = "_".join([*parts, f"seed={self.seed}"])
        return f"{shown if len(shown.encode()) <= LONGEST else f'seed={self.seed}'}_{self.hash}"

    @classmethod
    def of(cls, result: Result, shown: Iterable[str] = ()) -> Run:
        """The run that a result is of."""
        return cls(result.experiment, result.config, result.seed, result.device_kind, result.scan, tuple(shown))


def shown_options(file: ExperimentFile) -> tuple[str, ...]:
    """Options that the names of an experiment's files show: those that its sweep varies."""
    return () if file.sweep is None else (*file.sweep.grid, *file.sweep.tune)


class Store(Protocol):
    """Results by run."""

    def find(self, run: Run) -> Result | None:
        """The finished result, else the failed one, ``None`` where there is neither.

        Raises
        ------
        CheckpointError
            A file is corrupt.
        """


@dataclass(frozen=True)
class RunFolder:
    """``OUT/runs/<experiment>/*.json``, one file a run, each written in one step."""

    out: Path

    def folder(self, experiment: str) -> Path:
        """Folder of an experiment's files."""
        return self.out / "runs" / experiment

    def path(self, run: Run) -> Path:
        """File of a finished run."""
        return self.folder(run.experiment) / f"{run.stem}.json"

    def failed_path(self, run: Run) -> Path:
        """File that says why a run failed."""
        return self.folder(run.experiment) / f"{run.stem}{FAILED}.json"

    def find(self, run: Run) -> Result | None:
        """See :class:`Store`."""
        path = self.path(run)
        if path.exists():
            found = read_result(path)
            if found.status != "finished":
                raise CheckpointError(f"{path} holds a {found.status} run; delete it to repeat that run")
            return found
        failed = self.failed_path(run)
        return read_result(failed) if failed.exists() else None

    def write(self, run: Run, result: Result) -> None:
        """Write a result; a finished one takes the place of a failed one."""
        if result.status == "failed":
            write_result(self.failed_path(run), result)
            return
        write_result(self.path(run), result)
        self.failed_path(run).unlink(missing_ok=True)

    def everything(self, experiment: str) -> dict[str, Result]:
        """Every result of an experiment by the name of its file, in the order of names."""
        return {path.name: read_result(path) for path in sorted(self.folder(experiment).glob("*.json"))}


class Archive:
    """Results from anywhere. Of several of one run, on a GPU and on the CPU, say, that of a GPU counts.

    Parameters
    ----------
    results:
        By the name of where each comes from.

    Raises
    ------
    InvalidInput
        Two finished results of one run on one kind of device differ.
    """

    def __init__(self, results: Mapping[str, Result]):
        self._known: dict[tuple[str, str, int], Result] = {}
        places: dict[tuple[str, str, int], str] = {}
        for where, result in results.items():
            key = _anywhere(Run.of(result))
            other = self._known.get(key)
            alike = other is not None and (other.status, other.device) == (result.status, result.device)
            if alike and other is not None and result.held_out != other.held_out:
                raise InvalidInput(f"{where} and {places[key]} hold different results of one run; keep one of them")
            if other is None or _worth(result) < _worth(other):
                self._known[key], places[key] = result, where

    def find(self, run: Run) -> Result | None:
        """See :class:`Store`; whatever the kind of device."""
        return self._known.get(_anywhere(run))


def _anywhere(run: Run) -> tuple[str, str, int]:
    """A run's identity but for the kind of device."""
    return run.experiment, replace(run, device_kind="").hash, run.seed


def _worth(result: Result) -> tuple[bool, bool]:
    """Order in which results of one run count, the least first: finished before failed, a GPU's before the CPU's."""
    return result.status == "failed", result.device_kind == "cpu"


def read_result(path: Path) -> Result:
    """Read one result; a record of the first format is completed from the name of its file.

    Raises
    ------
    CheckpointError
        The file is no result, or a first-format record whose scan and kind of device its name does not say.
    """
    record = read_json(path)
    if isinstance(record, dict) and "format" not in record:
        record = completed(record, path)
    return result_of(record, path)


SCANS = (None, "fused", "mamba_ssm", "chunked", "naive", "oracle")
"""Scans that a run of the first format may have been asked to use."""


def completed(record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A record of the first format with ``format``, ``device_kind`` and ``scan``, which only the hash in its file's name knows.

    Raises
    ------
    CheckpointError
        No scan and kind of device give that hash.
    """
    told = path.name.removesuffix(".json").removesuffix(FAILED).rpartition("_")[2]
    options = record.get("config")
    for kind in ("cuda", "cpu"):
        for scan in SCANS:
            if config_hash({**(options if isinstance(options, dict) else {}), "device": kind, "scan": scan}) == told:
                return {"format": 2, **record, "device_kind": kind, "scan": scan}
    raise CheckpointError(f"{path} is no result: its name does not say which scan and device made it; {REMEDY}")

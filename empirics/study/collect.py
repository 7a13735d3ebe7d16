"""Summaries from finished runs alone, on any machine: nothing is run, and runs of several devices may stand side by side.

A sweep that was spread over machines, or finished on another one, becomes one summary; what was measured on a GPU can be judged
again on a laptop.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from . import runner as _runner
from .config import ExperimentFile, load_experiment, validate
from .results import Result, config_hash, plain, read_result
from .runner import Missing, Runner
from .sweep import SweepRunner


@dataclass
class Archive(Runner):
    """A runner that runs nothing: it hands out the results below its folder, or raises :class:`.runner.Missing`.

    Of several results of one run, on a GPU and on the CPU, say, that of a GPU counts.
    """

    _known: dict[str, dict[tuple[str, int], Result]] = field(default_factory=dict, repr=False)

    def one(self, file: ExperimentFile, seed: int, tuning: bool = False) -> Result:
        """The result of one run: finished, or failed where it is not.

        Raises
        ------
        Missing
            There is none.
        CheckpointError
            A result's file is corrupt.
        """
        options = validate(_runner.experiment_module(file).Config, file.config, f"{file.id} [config]")
        key = (config_hash(plain(options.model_dump())), seed)
        if file.id not in self._known:
            self._known[file.id] = self._read(file.id)
        if key not in self._known[file.id]:
            raise Missing
        return self._known[file.id][key]

    def _read(self, name: str) -> dict[tuple[str, int], Result]:
        found: dict[tuple[str, int], Result] = {}
        for path in sorted((self.out / "runs" / name).glob("*.json")):
            result = read_result(path)
            key = (config_hash(result.config), result.seed)
            other = found.get(key)
            if other is not None and other.status == result.status and other.device == result.device:
                self._require_same(path, result, other)
            if other is None or _worth(result) < _worth(other):
                found[key] = result
        if not found:
            raise InvalidInput(f"{self.out / 'runs' / name} holds no finished run; run the experiment, or give its --out")
        return found

    @staticmethod
    def _require_same(path: Path, result: Result, other: Result) -> None:
        """Two results of one run on one device differ where another scan made them, and a file does not say which."""
        if result.held_out != other.held_out:
            raise InvalidInput(f"{path} and another file hold different results of one run, by different scans; keep one of them")

    def _place(self, results: Sequence[Result]) -> dict[str, Any]:
        """All devices, with how many runs of each where there are several, and the versions of the device that ran most."""
        devices = Counter(r.device for r in results)
        if not devices:
            return {"versions": {}, "device": "none"}
        most, _ = devices.most_common(1)[0]
        versions: Mapping[str, str] = next(r.versions for r in results if r.device == most)
        one = len(devices) == 1
        return {
            "versions": dict(versions),
            "device": most if one else ", ".join(f"{name} ({count} runs)" for name, count in devices.most_common()),
        }


def _worth(result: Result) -> tuple[bool, bool]:
    """Order in which results of one run count, the least first: finished before failed, a GPU's before the CPU's."""
    return result.status == "failed", result.device == "cpu"


def collect(name: str | Path, out: Path, quick: bool = False) -> dict[str, Any]:
    """The summary of an experiment, from the runs below ``out``, written there.

    Raises
    ------
    InvalidInput, UnknownName
        No finished run, or no such experiment.
    CheckpointError
        A result is corrupt, or of another version.
    """
    file = load_experiment(name, quick)
    archive = Archive(out)
    return archive.run(file, quick) if file.sweep is None else SweepRunner(archive, file).run(quick)


def main_collect(argv: Sequence[str]) -> int:
    """``python -m empirics collect``."""
    parser = argparse.ArgumentParser(prog="python -m empirics collect", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="TOML files, or names of committed experiments")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="the small form")
    args = parser.parse_args(argv)
    for name in args.experiments:
        summary = collect(name, args.out, args.quick)
        print(f"{summary['experiment']}: {summary['verdict']} ({summary['measured']}); {summary['device']}")
        if not summary["complete"]:
            print("  not complete")
    return 0

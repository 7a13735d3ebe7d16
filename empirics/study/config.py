"""Experiment files: TOML, read once, every key known, every mistake named with the nearest valid key.

id, claim, question, prediction         what is asked, of which claim of theory/, and what is expected, before the run
[threshold]                             numbers that the verdict is decided by
seeds                                   the runs
[config]                                options of the experiment (its module's ``Config``)
scan                                    the scan of all runs, where there is a choice
[sweep]                                 grid, learning rates, the seeds they are tuned on, and how far their grid may grow
[quick]                                 seeds, config, sweep and threshold of a small run on a CPU
finding                                 what the results at full size say beyond the verdict, in words, written after the run
"""

from __future__ import annotations

import importlib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import EmpiricsError, InvalidInput, UnknownName

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
"""Folder of the committed experiments: one folder each, with ``experiment.toml`` and ``run.py``."""


class Strict(BaseModel):
    """Base of all options: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sweep(Strict):
    """Grid of a sweep.

    Attributes
    ----------
    grid:
        Option names and the values to combine, all with all.
    tune:
        Option names and the values of which one is chosen for every cell of the grid.
    tuning_seed:
        Seed that the choice is made on, or several; they are no seeds of the results.
    minimise:
        Held-out metric by which values are chosen, or one that the experiment's ``MINIMISED`` computes from those: the least
        geometric mean over the tuning seeds, of values that all of them finish with; of equal ones the first that was tried.
    widen:
        Options of ``tune`` whose grid grows by itself while the best value stands at its end, geometrically, within these bounds
        (least, greatest). Where one stands at an end all the same, no comparison with that cell is decided. An experiment opts in
        by giving it.
    same:
        Methods that take what was chosen for another method, in the cell that is otherwise the same, and tune nothing.
    only:
        Values of an option other than the method, and the methods that are run with each of them; all are with other values.
    order:
        ``tuning first``: every cell is tuned, then every seed is run in all cells. ``cells``: a cell is tuned and its seeds are
        run before the next one, so that a sweep that is cut off has its first cells complete.
    """

    grid: dict[str, list[Any]] = Field(default_factory=dict)
    tune: dict[str, list[Any]] = Field(default_factory=dict)
    tuning_seed: int | list[int] = 100
    minimise: str = "loss"
    widen: dict[str, list[float]] = Field(default_factory=dict)
    same: dict[str, str] = Field(default_factory=dict)
    only: dict[str, list[str]] = Field(default_factory=dict)
    order: Literal["tuning first", "cells"] = "tuning first"

    @model_validator(mode="after")
    def _widened_options_are_tuned(self) -> Sweep:
        for name, bounds in self.widen.items():
            if len(bounds) != 2:
                raise ValueError(f"widen.{name} is {bounds}, expected its bounds [least, greatest]")
            least, greatest = bounds
            values = self.tune.get(name, [])
            numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
            if len(set(numbers)) < 2 or len(numbers) < len(values) or min(numbers) <= 0:
                raise ValueError(f"widen names {name!r}, which [sweep.tune] gives no two positive numbers for")
            if not 0 < least <= min(numbers) <= max(numbers) <= greatest < math.inf:
                raise ValueError(f"widen.{name} = [{least}, {greatest}] does not hold its values {values}")
        return self

    @model_validator(mode="after")
    def _methods_are_known(self) -> Sweep:
        methods = self.grid.get("method", [])
        for method, other in self.same.items():
            for name in (method, other):
                if name not in methods:
                    raise ValueError(f"same names {name!r}, which is no method of [sweep.grid]")
            if other in self.same:
                raise ValueError(f"same.{method} is {other!r}, which tunes nothing itself")
        known = {str(value) for option, values in self.grid.items() if option != "method" for value in values}
        for value, chosen in self.only.items():
            if value not in known:
                raise ValueError(f"only names {value!r}, which no option of [sweep.grid] has")
            if unknown := [name for name in chosen if name not in methods]:
                raise ValueError(f"only.{value} names {unknown[0]!r}, which is no method of [sweep.grid]")
        return self

    @property
    def tuning_seeds(self) -> list[int]:
        """All of them; InvalidInput for none."""
        seeds = self.tuning_seed if isinstance(self.tuning_seed, list) else [self.tuning_seed]
        if not seeds:
            raise InvalidInput("tuning_seed is empty; give at least one")
        return seeds


class Quick(Strict):
    """What a small run changes; missing parts stay as they are, ``config`` and ``threshold`` key by key."""

    seeds: list[int] | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    sweep: Sweep | None = None
    threshold: dict[str, float] = Field(default_factory=dict)


class ExperimentFile(Strict):
    """An experiment file as written.

    Attributes
    ----------
    scan:
        The scan of all runs where the experiment has a choice; ``None`` for its own. ``--scan`` on the command line sets it.
    finding:
        What the committed full-size results say beyond the verdict, in words and without numbers: those are generated.
    """

    id: str
    claim: str
    question: str
    prediction: str
    threshold: dict[str, float]
    seeds: list[int] = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)
    scan: str | None = None
    sweep: Sweep | None = None
    quick: Quick = Quick()
    finding: str = ""


Model = TypeVar("Model", bound=BaseModel)


def experiment_names() -> tuple[str, ...]:
    """Names of the committed experiments."""
    return tuple(sorted(path.parent.name for path in EXPERIMENTS.glob("*/experiment.toml")))


def validate(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """``model(**values)`` with errors that name the key, the value and what would do.

    Raises
    ------
    UnknownName
        A key that does not exist; the nearest one is named.
    InvalidInput
        A value of the wrong type or out of range, or a missing key.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        # A misspelt key is both unknown and missing; its unknown half says more.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        path = [str(part) for part in first["loc"]]
        spot = ".".join(path) or "options"
        if first["type"] == "extra_forbidden":
            section = ".".join(path[:-1])
            raise UnknownName(
                f"key of {where}{f' [{section}]' if section else ''}", path[-1], _keys_at(model, path[:-1])
            ) from error
        if first["type"] == "missing":
            raise InvalidInput(f"{where} lacks the key {spot!r}") from error
        raise InvalidInput(f"{where}: {spot} is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}") from error


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = None if field is None else field.annotation
        options = [inner, *getattr(inner, "__args__", ())]
        nested = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)


def find_experiment(name: str | Path) -> Path:
    """The file of an experiment: a path to a TOML file, or the name of a committed one.

    Raises
    ------
    InvalidInput
        A path that does not exist.
    UnknownName
        No committed experiment of that name.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix == ".toml":
        raise InvalidInput(f"{name} does not exist; give a TOML file that does, or one of {', '.join(experiment_names())}")
    committed = EXPERIMENTS / path.name / "experiment.toml"
    if str(path) != path.name or not committed.is_file():
        raise UnknownName("experiment", str(name), experiment_names())
    return committed


def load_experiment(name: str | Path, quick: bool = False) -> ExperimentFile:
    """Read an experiment; with ``quick`` its small settings are put in place.

    Raises
    ------
    InvalidInput
        The file is missing, no TOML, or holds an unusable value.
    UnknownName
        It holds an unknown key.
    """
    path = find_experiment(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} is no TOML file: {error}") from error
    file = validate(ExperimentFile, values, path.name)
    if not quick:
        return file
    small = file.quick
    return file.model_copy(
        update={
            "config": file.config | small.config,
            "threshold": file.threshold | small.threshold,
            "seeds": file.seeds if small.seeds is None else small.seeds,
            "sweep": file.sweep if small.sweep is None else small.sweep,
        }
    )


def override(file: ExperimentFile, **options: Any) -> ExperimentFile:
    """The experiment with some options of its ``config``, or its ``scan``, replaced."""
    scan = options.pop("scan", file.scan)
    return file.model_copy(update={"config": file.config | options, "scan": scan})


def with_options(file: ExperimentFile, **options: Any) -> ExperimentFile:
    """The experiment with some options fixed, in its ``config`` and, where its sweep varies them, there too.

    Raises
    ------
    UnknownName
        The experiment has no such option.
    """
    fields = experiment_module(file).Config.model_fields
    for name in options:
        if name not in fields and name != "scan":
            raise UnknownName(f"option of {file.id}", name, fields)
    if file.sweep is not None:
        parts = {
            part: {name: [options[name]] if name in options else values for name, values in getattr(file.sweep, part).items()}
            for part in ("grid", "tune")
        }
        file = file.model_copy(update={"sweep": file.sweep.model_copy(update=parts)})
    return override(file, **options)


def experiment_module(file: ExperimentFile) -> Any:
    """The Python module that runs an experiment: ``empirics.experiments.<id>.run`` with ``Config``, ``run`` and ``judge``.

    It may have a ``check(config)``, which raises InvalidInput for options that cannot run on this machine; it is called before a
    run, and not where results are only judged.

    Raises
    ------
    UnknownName
        The file's id belongs to no experiment.
    """
    if file.id not in experiment_names():
        raise UnknownName("experiment id", file.id, experiment_names())
    module = importlib.import_module(f"empirics.experiments.{file.id}.run")
    for part in ("Config", "run", "judge"):
        if not hasattr(module, part):
            raise EmpiricsError(f"empirics.experiments.{file.id}.run defines no {part}")
    return module

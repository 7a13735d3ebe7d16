"""All runs of an experiment in one file of lines: what they share stands once, and every run comes back to the byte.

Line 1 is the header: ``experiment``, ``claim``, ``config`` (options that all runs have in common, with their values),
``options`` (the names of all options, in order), ``shown`` (those in file names), ``environments`` (commit, versions and
device, once each) and ``runs`` (how many lines follow). Every further line is a run: the options that vary, seed, scan, number
of its environment, and what was measured. Lines are sorted by options, scan, seed and environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from theory.core.checkout import NAME, ROOT, is_checkout
from theory.core.files import json_text, parse_json, read_text, write_text

from ..errors import CheckpointError
from .results import Result, plain, result_of
from .store import FAILED, Run

RUNS = "runs.jsonl"
ENVIRONMENT = ("git", "versions", "device", "device_kind")
"""Fields of a result that are told once."""
MEASURED = ("status", "reason", "metrics", "held_out", "trainable", "data_hash", "seconds")
"""Fields of a result that every line tells."""
REMEDY = "take the committed file, or make it again with python -m empirics collect"


def packed(results: Iterable[Result], shown: Sequence[str] = ()) -> str:
    """The text of a file of lines.

    Parameters
    ----------
    shown:
        Options that the names of the runs' files show (:func:`.store.shown_options`).

    Raises
    ------
    CheckpointError
        Nothing is given, or results of several experiments are.
    """
    records = [plain(result.model_dump()) for result in results]
    if len({(r["experiment"], r["claim"]) for r in records}) != 1:
        raise CheckpointError("runs of one experiment are packed into one file; give those of one, and at least one")
    first = records[0]
    configs = [record["config"] for record in records]
    options = _merged(configs)
    shared = {
        key: configs[0][key]
        for key in options
        if all(key in config and _same(config[key], configs[0][key]) for config in configs)
    }
    told = [json.dumps({key: record[key] for key in ENVIRONMENT}) for record in records]
    environments = sorted(set(told))
    lines = [
        {
            "config": {key: value for key, value in record["config"].items() if key not in shared},
            "seed": record["seed"],
            "scan": record["scan"],
            "environment": environments.index(environment),
            **{key: record[key] for key in MEASURED},
        }
        for record, environment in zip(records, told, strict=True)
    ]
    header = {
        "format": 2, "experiment": first["experiment"], "claim": first["claim"], "config": shared, "options": options,
        "shown": list(shown), "environments": [json.loads(environment) for environment in environments], "runs": len(lines),
    }  # fmt: skip
    return "".join(json_text(line, indent=None) for line in [header, *sorted(lines, key=_place)])


def unpacked(text: str, where: object) -> dict[str, Result]:
    """The results of a file of lines, by the name of the file that each had.

    Raises
    ------
    CheckpointError
        A line is no JSON, or not what :func:`packed` writes, or lines are missing.
    """
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not numbered:
        raise CheckpointError(f"{where} is empty; {REMEDY}")
    parsed = [parse_json(line, f"{where}, line {number}", CheckpointError, REMEDY) for number, line in numbered]
    header, found = parsed[0], {}
    if isinstance(header, dict) and header.get("runs", len(parsed) - 1) != len(parsed) - 1:  # older files do not say
        raise CheckpointError(f"{where} holds {len(parsed) - 1} of its {header['runs']} runs; {REMEDY}")
    for (number, _), line in zip(numbered[1:], parsed[1:], strict=True):
        place = f"{where}, line {number}"
        try:
            own = header["config"] | line["config"]
            record = {
                "format": header["format"],
                "experiment": header["experiment"],
                "claim": header["claim"],
                "config": {key: own[key] for key in header["options"] if key in own},
                **{key: line[key] for key in ("seed", *MEASURED)},
                **header["environments"][line["environment"]],
                "scan": line["scan"],
            }
            shown = tuple(header["shown"])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{place} is no packed run ({error!r}); {REMEDY}") from error
        result = result_of(record, place, REMEDY)
        found[name_of(result, shown)] = result
    if len(found) < len(parsed) - 1:
        raise CheckpointError(f"{where} holds one run twice; {REMEDY}")
    return found


def name_of(result: Result, shown: tuple[str, ...]) -> str:
    """Name of the file that a result has in a :class:`.store.RunFolder`."""
    return f"{Run.of(result, shown).stem}{FAILED if result.status == 'failed' else ''}.json"


def read_pack(path: Path) -> dict[str, Result]:
    """:func:`unpacked` of a file; CheckpointError for one that cannot be read, which an installed package leaves out."""
    if not is_checkout() and path.is_relative_to(ROOT) and not path.is_file():
        raise CheckpointError(f"runs of {path.parent.name} need a checkout of {NAME}; clone the repository, or name other runs")
    return unpacked(read_text(path, CheckpointError, REMEDY), path)


def write_pack(path: Path, results: Sequence[Result], shown: Sequence[str] = ()) -> None:
    """Write :func:`packed` in one step, once it is clear that it can be unpacked again to the same results."""
    text = packed(results, shown)
    if unpacked(text, path) != {name_of(result, tuple(shown)): result for result in results}:
        raise CheckpointError(f"{path} would not hold the runs as they are; this is a mistake of the program")
    write_text(path, text)


def _merged(configs: list[dict[str, Any]]) -> list[str]:
    """All options' names in an order that is that of every run."""
    options: list[str] = []
    for config in configs:
        if list(config) == options:
            continue
        for before, key in zip([None, *config], config, strict=False):
            if key not in options:
                options.insert(0 if before is None else options.index(before) + 1, key)
    for config in configs:
        if [key for key in options if key in config] != list(config):
            raise CheckpointError("runs list their options in different orders; they cannot be packed into one file")
    return options


def _same(one: Any, other: Any) -> bool:
    """Equal also in type: 1, 1.0 and true are three values."""
    return json.dumps(one) == json.dumps(other)


def _place(line: Mapping[str, Any]) -> tuple[Any, ...]:
    options = [_order(value) for value in line["config"].values()]
    return options, line["scan"] or "", line["seed"], line["environment"], line["status"]


def _order(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, json.dumps(value)

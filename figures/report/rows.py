"""The rows of an experiment's summary as tables: a table for each kind of row, a row for each record that a row holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .elements import table, text


def tables(experiment: str, rows: Sequence[dict[str, Any]]) -> str:
    """All rows of a summary."""
    return "".join(_results(f"Results of {experiment}, by {head}", kind) for head, kind in _kinds(rows).items())


def _kinds(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of one kind together: kinds, such as methods and comparisons, differ in the column that they begin with."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(next(iter(row), ""), []).extend(_spread(row))
    return found


def _spread(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row that holds lists of records, such as a claim's comparisons, as a row for each record; any other row as it is."""
    lists = {key: value for key, value in row.items() if isinstance(value, list) and all(isinstance(v, dict) for v in value)}
    if not any(lists.values()):
        yield {key: value for key, value in row.items() if key not in lists}
        return
    first = dict(list(row.items())[:1])
    for key, records in lists.items():
        for record in records:
            yield {**first, "among": key, **dict(_columns(record))}


def _columns(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Entries of a record; a mapping to further records, such as tasks to intervals, has a column for each of its keys."""
    for key, value in record.items():
        if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
            yield from value.items()
        else:
            yield key, value


def _results(caption: str, rows: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numbers = [i for i, key in enumerate(columns) if all(isinstance(row.get(key), int | float | None) for row in rows)]
    cells = ([_number(row.get(key)) for key in columns] for row in rows)
    return table(caption, [key.replace("_", " ") for key in columns], cells, numbers)


def _number(value: Any) -> str:
    if value is None:
        return '<span class="soft">none</span>'
    if isinstance(value, float):
        return text(f"{value:.3g}")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and {"points", "low", "high", "pairs"} <= value.keys():
        return _interval(value)
    if isinstance(value, dict):
        return ", ".join(f"{text(key)}: {_number(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(map(_number, value))
    return text(value)


def _interval(found: dict[str, Any]) -> str:
    """A difference, its interval, and from how many pairs; the tasks, where it names them."""
    interval = "" if found["low"] is None else f" [{_number(found['low'])}, {_number(found['high'])}]"
    where = f" ({text(', '.join(found['tasks']))})" if "tasks" in found else ""
    return f"{_number(found['points'])}{interval}, {_number(found['pairs'])} pairs{where}"

"""Progress bars on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Tick = Callable[[str, int, int], None]
"""tick(what, done, of how many)."""


@contextmanager
def bar(label: str, enabled: bool) -> Iterator[Tick | None]:
    """One bar for each thing that is being done, gone at the end; ``None`` where not enabled.

    Enabled on a stderr that is no terminal, it draws nothing.
    """
    if not enabled:
        yield None
        return
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def tick(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    progress.remove_task(task)
                tasks.clear()
                tasks[what] = progress.add_task(f"{label} {what}", total=total)
            progress.update(tasks[what], completed=done)

        yield tick

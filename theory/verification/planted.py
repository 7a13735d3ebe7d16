"""Planted errors: something wrong that a check must refute, so that no check passes because it cannot fail.

An error is planted in one of two ways. ``on(instance)`` gives the check's own test an instance for which the statement is
false. ``swap(name, wrong)`` runs the check with a function that it uses replaced by a wrong one: a formula without a factor,
a criterion that forgets a case. A check that lets one pass has decided nothing, and ``verify`` gives no verdict.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .refutation import Refuted
from .sampling import Profile, Sampled, run_instances, unshrunk
from .verdict import Outcome

Run = Callable[[Profile], Outcome]
FEW = Profile("planted", 25)
"""How many instances a planted error may survive: it is to be gross."""


@dataclass(frozen=True)
class Planted:
    """One planted error: what is wrong, in words, and how to run a check on it."""

    name: str
    how: Callable[[Run], None]

    def escapes(self, run: Run) -> str | None:
        """``None`` where the check refutes the error; else why it does not: it passes, or breaks on it."""
        try:
            self.how(run)
        except Refuted:
            return None
        except Exception as error:
            return f"{self.name}: not refuted, but {type(error).__name__}: {error}"
        return f"{self.name}: passes"


def on(build: Callable[[], Any]) -> Callable[[Run], None]:
    """Run a sampled check's own test on one instance for which the statement is false."""

    def how(run: Run) -> None:
        if not isinstance(run, Sampled):
            raise TypeError("this check tests no instances: plant a wrong implementation with swap")
        run.test(build())

    return how


def swap(where: str, wrong: Callable[[Any], Any], at: Callable[[], Any] | None = None) -> Callable[[Run], None]:
    """Run a check while one thing that it uses is replaced by ``wrong(the right one)``; ``at``: on that one instance only.

    ``where`` is a name in the module of the check's function, dotted into classes and modules (``criterion``,
    ``linalg.rank``, ``LTI.run``), or ``package.module:name`` for what only other modules use.
    """

    def how(run: Run) -> None:
        with _replaced(*_owner(run, where), wrong), unshrunk():
            if at is not None:
                on(at)(run)
            elif isinstance(run, Sampled):
                run_instances(run.test, run.strategy(), FEW.instances, FEW.seed)
            else:
                run(FEW)

    return how


def negated(right: Callable[..., Any]) -> Callable[..., bool]:
    """The contrary of a predicate."""
    return lambda *args, **kwargs: not right(*args, **kwargs)


def giving(value: Any) -> Callable[[Any], Callable[..., Any]]:
    """A function that gives one value whatever it is asked."""
    return lambda _: lambda *args, **kwargs: value


def changed(change: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function whose result is changed: ``changed(lambda y: y + 1)``."""
    return lambda right: lambda *args, **kwargs: change(right(*args, **kwargs))


def _owner(run: Run, where: str) -> tuple[Any, str]:
    """The module or class that holds the attribute, and its name."""
    module, colon, path = where.rpartition(":")
    *parents, name = path.split(".")
    if colon:
        owner: Any = importlib.import_module(module)
    else:
        function = run.test if isinstance(run, Sampled) else run
        owner = importlib.import_module(function.__module__)
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


@contextmanager
def _replaced(owner: Any, name: str, wrong: Callable[[Any], Any]) -> Iterator[None]:
    own = name in vars(owner)
    right = vars(owner)[name] if own else getattr(owner, name)
    setattr(owner, name, wrong(right))
    try:
        yield
    finally:
        if own:
            setattr(owner, name, right)
        else:
            delattr(owner, name)

"""Errors of the empirics package: each names the offending value and what would mend it."""

from __future__ import annotations

from collections.abc import Iterable


class EmpiricsError(Exception):
    """Base of every error that bad input can raise; the command line prints it and exits with code 2."""


class InvalidInput(EmpiricsError, ValueError):
    """An argument is unusable: wrong shape, dtype, device or value, not finite, or empty."""


class Diverged(InvalidInput):
    """Training ended, or went through, a loss that is not finite: the one failure that speaks about the options of a run."""


class UnknownName(InvalidInput, KeyError):
    """A scan, method, model, experiment or data set that does not exist; the message lists the nearest valid name.

    Parameters
    ----------
    kind:
        What was asked for, in words ("scan", "method").
    name:
        What was given.
    valid:
        Every valid name.
    hint:
        What to say in place of the nearest name.
    """

    def __init__(self, kind: str, name: object, valid: Iterable[str], hint: str = ""):
        self.kind, self.name, self.valid = kind, name, sorted(valid)
        from theory.core.names import nearest  # here, because importing theory takes longer than most commands' --help

        near = nearest(name, self.valid)
        hint = hint or (f"did you mean {near[0]!r}? " if near else "")
        super().__init__(f"unknown {kind} {name!r}: {hint}valid names are {', '.join(self.valid) or 'none'}")

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0])


class CheckpointError(EmpiricsError):
    """A checkpoint or results file is missing, truncated, corrupt, or does not fit the model."""


class UnsupportedScan(EmpiricsError):
    """A scan exists but cannot do what was asked of it (device, dtype, number of states, kind of block)."""


class UnrecordableLoss(InvalidInput):
    """A loss that no CUDA graph can repeat: it reads a value off the GPU, for instance."""


class MissingPackage(EmpiricsError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str, reason: str = ""):
        self.package, self.extra = package, extra
        because = f" ({reason})" if reason else ""
        super().__init__(f"{package} is not importable{because}: pip install 'ssmproof[{extra}]'")

"""One-line errors in the mathematics of theory/, each with the fast tests that must notice it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One wrong line.

    Attributes
    ----------
    name:
        What goes wrong, after the part of theory/ it goes wrong in.
    file:
        The module, relative to theory/.
    old, new:
        The text that occurs exactly once, and what replaces it.
    tests:
        The test that must fail, relative to theory/ (``core/test_lti.py::test_xyz``); several, separated by blanks,
        where any may.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str

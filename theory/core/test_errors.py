"""The errors: what catches them, what they carry, and that they survive the way back from a worker process."""

from __future__ import annotations

import copy
import inspect
import math
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from theory.core import errors
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch, TheoryError, Undecided, UnknownName, Unreachable
from theory.core.lti import LTI
from theory.core.scalars import convert
from theory.verification.registry import get_claim

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


def test_every_error_has_the_one_base_and_says_when_it_is_raised() -> None:
    """The command line catches TheoryError alone: a class outside it would end in a traceback."""
    assert {InvalidInput, InvalidSystem, KindMismatch, TheoryError, Undecided, UnknownName, Unreachable} == set(CLASSES)
    for error in CLASSES:
        assert issubclass(error, TheoryError) and error.__doc__


@pytest.mark.parametrize(
    ("error", "caught_by", "not_by"),
    [
        (InvalidSystem, (ValueError,), (InvalidInput, KeyError, Unreachable)),
        (InvalidInput, (ValueError,), (InvalidSystem, KeyError, Unreachable)),
        (KindMismatch, (InvalidInput, ValueError), (InvalidSystem, KeyError)),
        (Unreachable, (ValueError,), (InvalidInput, InvalidSystem)),
        (UnknownName, (InvalidInput, ValueError, KeyError), (InvalidSystem, KindMismatch)),
        (Undecided, (ArithmeticError,), (ValueError, InvalidInput, InvalidSystem)),
        (TheoryError, (Exception,), (ValueError, KeyError)),
    ],
)
def test_what_catches_them(
    error: type[TheoryError], caught_by: tuple[type[Exception], ...], not_by: tuple[type[Exception], ...]
) -> None:
    """Callers who know nothing of this package catch ValueError or KeyError; an assertion's refutation is neither."""
    for base in caught_by:
        with pytest.raises(base, match=r"^said$"):
            raise error("said")
    assert not any(issubclass(error, other) for other in (*not_by, AssertionError))


def test_an_unknown_name_reads_as_text() -> None:
    """KeyError prints the repr of its message, with quotes and escaped line ends."""
    message = "no claim named 'a'\n did you mean 'b'?"
    assert str(UnknownName(message)) == message != str(KeyError(message))
    with pytest.raises(UnknownName) as caught:
        get_claim("prefix_state.containd")
    assert str(caught.value).startswith("no claim named 'prefix_state.containd'; did you mean prefix_state.contained")


def test_an_unreachable_state_names_its_mode_and_length() -> None:
    bare = Unreachable("no prefix does it")
    assert (str(bare), bare.mode, bare.smallest_length) == ("no prefix does it", None, None)
    short = Unreachable("two tokens are too few", smallest_length=3)
    assert (short.mode, short.smallest_length) == (None, 3)
    never = Unreachable("no length does it", mode="λ = 1/2", smallest_length=math.inf)
    assert (never.mode, never.smallest_length) == ("λ = 1/2", math.inf)
    positional: Any = ("no prefix does it", "λ = 1/2")
    with pytest.raises(TypeError):
        Unreachable(*positional)


def raise_in_a_worker(index: int) -> None:
    """One error of each class, as the checks of a claim may raise them in another process."""
    raise (
        Unreachable("short", mode=(0, 1), smallest_length=4),
        UnknownName("no family 'x'"),
        KindMismatch("mixed"),
        InvalidSystem("unstable"),
    )[index]


def test_errors_come_back_whole_from_worker_processes() -> None:
    """verify runs claims in processes: an error that cannot be rebuilt from its arguments would break the whole pool."""
    with ProcessPoolExecutor(max_workers=1) as pool:
        caught = [pool.submit(raise_in_a_worker, i).exception() for i in range(4)]
    assert [type(e) for e in caught] == [Unreachable, UnknownName, KindMismatch, InvalidSystem]
    assert [str(e) for e in caught] == ["short", "no family 'x'", "mixed", "unstable"]
    first: Any = caught[0]
    assert (first.mode, first.smallest_length) == ((0, 1), 4)
    again = copy.copy(Unreachable("short", smallest_length=4))
    assert again.smallest_length == 4 and str(again) == "short"


def test_errors_are_told_apart_where_they_are_raised() -> None:
    """An unusable system, an unusable argument and a number of another kind are three things."""
    with pytest.raises(InvalidSystem) as unstable:
        LTI([2], [1], [1])
    with pytest.raises(InvalidInput) as shaped:
        LTI(["1/2"], [1], [1]).run([[1]])
    with pytest.raises(KindMismatch) as mixed:
        convert(0.5, "exact")
    assert [type(e.value) for e in (unstable, shaped, mixed)] == [InvalidSystem, InvalidInput, KindMismatch]

"""Options that the benchmarks on text share: where rows come from, which task, which precision; each checked in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Protocol

import torch
from pydantic import AfterValidator

from ...data.tasks import LOCAL, find_task, local_folder, require_source
from ...errors import UnknownName

MATMUL = ("highest", "high")
"""Precisions of float32 matrix products."""


def one_of(what: str, *names: str) -> AfterValidator:
    """A validator that takes these names and no others; what is no ``what`` is an UnknownName with the nearest one."""

    def known(name: str) -> str:
        if name not in names:
            raise UnknownName(what, name, names)
        return name

    return AfterValidator(known)


def _task(name: str) -> str:
    find_task(name)
    return name


def _source(data: str) -> str:
    require_source(data)
    return data


TaskName = Annotated[str, AfterValidator(_task)]
"""Name of a task."""
Source = Annotated[str, AfterValidator(_source)]
"""Where rows are (:func:`..data.tasks.read_rows`): a name or a folder."""
Precision = Annotated[str, one_of("precision of matrix products", *MATMUL)]
"""Of float32 matrix products on a GPU."""


class Sourced(Protocol):
    """Options that say where the rows are."""

    @property
    def data(self) -> str:
        """The source."""


def check(config: Sourced) -> None:
    """Raise InvalidInput where the rows are said to be local and this machine does not say where."""
    if config.data == LOCAL:
        local_folder()


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """PyTorch's precision of float32 matrix products is ``name`` inside, and what it was before afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)

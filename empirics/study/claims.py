"""Claiming a run among processes that share an output folder: an advisory lock on a file, which a dead process gives back."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..training.loop import OutOfTime

POLL = 0.2
"""Seconds between two looks at a file that another process holds."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Busy(Exception):
    """Another process is on that run, and it was not to be waited for."""


@contextmanager
def claim(path: Path, *, wait: bool, deadline: float = math.inf) -> Iterator[None]:
    """Hold the lock file ``path`` during the block; it is gone afterwards.

    On a file system without locks nothing is claimed: processes may then do the same run twice, which costs time only.

    Raises
    ------
    Busy
        Another process holds it and ``wait`` is false.
    OutOfTime
        It was still held when ``time.monotonic()`` passed the deadline.
    """
    handle = _take(path)
    while handle is None:
        if not wait:
            raise Busy
        if time.monotonic() > deadline:
            raise OutOfTime
        time.sleep(POLL)
        handle = _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _take(path: Path) -> int | None:
    """A descriptor of the locked file, ``None`` while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return handle
        os.close(handle)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    try:  # whoever held it may have removed the file between our open and our lock: then it is another file's lock
        current = os.stat(path).st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        current = False
    if current:
        return handle
    os.close(handle)
    return None

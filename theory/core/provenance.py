"""What a number depends on beside its inputs: the commit of the code, and the versions of packages."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from ..version import __version__
from .checkout import is_checkout

VARIABLE = "SSMPROOF_COMMIT"
"""Environment variable that names the commit of a copy that came without its history."""


@cache
def git_commit(folder: Path, parts: tuple[str, ...] = ()) -> str | None:
    """The commit of the checkout that holds ``folder``, with ``-dirty`` where files differ from it.

    Parameters
    ----------
    parts:
        Git's path patterns of the files that matter, relative to ``folder``, new ones too; all tracked files for none.

    Returns
    -------
    What :data:`VARIABLE` says where it is set; ``None`` outside a checkout of this project.
    """
    if told := os.environ.get(VARIABLE):
        return told
    changes = ["git", "status", "--porcelain", *(["--", *parts] if parts else ["--untracked-files=no"])]
    try:
        if not is_checkout(Path(_said(["git", "rev-parse", "--show-toplevel"], folder))):
            return None  # an installed package inside somebody else's repository
        head, changed = (_said(command, folder) for command in (["git", "rev-parse", "HEAD"], changes))
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("-dirty" if changed else "")


def _said(command: Sequence[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of this project's code, and of those packages that are installed.

    The project's own is the code's: the metadata of an editable installation keep the version of the day it was installed.
    """
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = __version__ if package == "ssmproof" else metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

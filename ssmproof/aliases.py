"""``ssmproof.theory.core`` and the like as second names of ``theory.core``: one module object, whichever name it is imported by.

A copy under the second name would have classes of its own, and ``isinstance`` would tell them apart.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGES = ("theory", "empirics", "figures")
_PREFIX = f"{__name__.partition('.')[0]}."


class _Alias(Loader):
    """Gives the module of the first name; its own spec stays as it is."""

    def __init__(self, name: str):
        self.name = name
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself, imported by its first name."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run a second time; the import system has put the second name's spec on the module, which is undone."""
        module.__spec__ = self.spec


class _Finder(MetaPathFinder):
    """Finds the second names."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for names below ``ssmproof`` that begin with one of :data:`PACKAGES`."""
        name = fullname.removeprefix(_PREFIX)
        if name == fullname or name.partition(".")[0] not in PACKAGES:
            return None
        return ModuleSpec(fullname, _Alias(name))


def install() -> None:
    """Put the finder in front, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

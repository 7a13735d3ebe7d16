"""Leaves tests out of the wheel; everything else is in pyproject.toml, which has no option for this."""

from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutTests(build_py):
    """``build_py`` that passes over modules that only pytest reads."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """(package, module, file) of every module that is no test."""
        found = super().find_package_modules(package, package_dir)
        return [entry for entry in found if not entry[1].startswith("test_") and entry[1] != "conftest"]


setup(cmdclass={"build_py": WithoutTests})

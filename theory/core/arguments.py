"""Command lines whose mistakes are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, where argparse prints the whole usage before it; exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and the command that lists the options."""
        self.exit(2, f"error: {' '.join(message.split())}; see {self.prog} --help\n")

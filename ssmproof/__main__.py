"""The command ``ssmproof``, also ``python -m ssmproof``: the command lines of theory, empirics and figures in one.

    ssmproof verify | lattice | growth                                       decide the claims; methods against each other
    ssmproof diagnose | targets | tune | convert | generate                  a model
    ssmproof demo | pretrain | pretrain-baselines                            a demonstration; models of one's own
    ssmproof list | run | sweep | gpu-suite | checks                         experiments
    ssmproof collect | unpack | replicate | rejudge | coverage               their runs, again and judged; their intervals
    ssmproof scans | bench                                                   what scans can do, and how fast they are
    ssmproof report | draw | readme                                          the report, the figures, generated pages
    ssmproof theory | empirics | figures ...                                 a package's own command line

Each has --help. --version prints the version. Bad input gives one line and exit code 2; what is refuted, or fails, exit code 1.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from theory.core.names import suggestion
from theory.version import __version__

COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "verify": ("theory", ("verify",)),
    "lattice": ("theory", ("lattice",)),
    "growth": ("theory", ("bench",)),
    "theory": ("theory", ()),
    **{
        name: ("empirics", (name,))
        for name in (
            "list", "run", "sweep", "gpu-suite", "checks", "collect", "unpack", "replicate", "rejudge", "coverage", "scans",
            "bench", "diagnose", "targets", "tune", "convert", "generate", "demo", "pretrain", "pretrain-baselines",
        )
    },
    "empirics": ("empirics", ()),
    "report": ("figures", ("report",)),
    "readme": ("figures", ("readme",)),
    "draw": ("figures", ()),
    "figures": ("figures", ()),
}  # fmt: skip
"""Command → the package whose command line it is, and the arguments put in front of the user's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments to a package's command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"ssmproof {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        print(f"error: no command {arguments[0]!r}; {suggestion(arguments[0], COMMANDS)}", file=sys.stderr)
        return 2
    package, front = COMMANDS[arguments[0]]
    code: int = importlib.import_module(f"{package}.__main__").main([*front, *arguments[1:]])
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Command line:  python -m figures [NAME ...] [--list | --check | --stale],  report [--out FILE],  readme [--check].

Only options are read here, so that --help and mistakes answer at once; :mod:`figures.commands` does the work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from theory.core.arguments import Parser
from theory.core.checkout import ROOT, require_checkout
from theory.core.errors import TheoryError

OUT = ROOT / "figures" / "out"
REPORT = OUT / "report.html"
ELSEWHERE = "clone the repository, or name a place by --out"


def main(argv: Sequence[str] | None = None) -> int:
    """Build, list or check figures. Exit codes: 1 for a stale figure or page under ``--check``, 2 for bad input."""
    given = list(sys.argv[1:] if argv is None else argv)
    command = {"readme": _readme, "report": _report}.get(given[0] if given else "")
    try:
        return _figures(given) if command is None else command(given[1:])
    except (TheoryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"error: {error.name} is not installed; pip install 'ssmproof[figures]'", file=sys.stderr)
        return 2


def _figures(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m figures",
        description="Build the figures from verdicts and results.",
        epilog="python -m figures report [--out FILE] writes everything as one HTML page; "
        "python -m figures readme [--check] writes the scoreboard into README.md and the results into docs/results.md.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to build (default all)")
    parser.add_argument("--list", action="store_true", help="list the figures and whether they are up to date")
    parser.add_argument("--check", action="store_true", help="build nothing; exit 1 and name the figures that are stale")
    parser.add_argument("--stale", action="store_true", help="build those that are stale, and only them")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="folder (default figures/out)")
    args = parser.parse_args(argv)
    if args.out == OUT:
        require_checkout("figures/out", ELSEWHERE)
    from . import commands

    if args.list or args.check:
        return commands.show(args.names, args.out, everything=args.list, fail=args.check)
    return commands.draw(args.names, args.out, only_stale=args.stale)


def _readme(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m figures readme", description="Write the scoreboard into README.md and the results into docs/results.md."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page says something else")
    args = parser.parse_args(argv)
    require_checkout("README.md", "clone the repository")
    from . import commands

    return commands.pages(check=args.check)


def _report(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m figures report", description="Write claims, experiments and figures as one self-contained HTML page."
    )
    parser.add_argument("--out", type=Path, default=REPORT, metavar="FILE", help="file (default figures/out/report.html)")
    args = parser.parse_args(argv)
    if args.out == REPORT:
        require_checkout("figures/out", ELSEWHERE)
    from . import commands

    return commands.report(args.out)


if __name__ == "__main__":
    sys.exit(main())

"""Command line:  python -m figures [NAME ...] [--list | --check | --stale],  report [--out FILE],  readme [--check]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from theory.core.errors import TheoryError

from .build import OUT, build, status
from .registry import chosen
from .report.page import DEFAULT, build_report
from .report.readme import readme_status, write_readme
from .sources import MissingData


def main(argv: Sequence[str] | None = None) -> int:
    """Build, list or check figures. Exit codes: 1 for a stale figure or README under ``--check``, 2 for bad input."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["readme"]:
        return _readme(given[1:])
    if given[:1] == ["report"]:
        return _report(given[1:])
    parser = argparse.ArgumentParser(
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
    args = parser.parse_args(given)
    try:
        wanted = chosen(args.names)
        if args.list or args.check:
            states = {name: status(name, picture, args.out) for name, picture in wanted.items()}
            titles = {name: picture.title for name, picture in wanted.items()}
            if not args.names:
                states["readme"], titles["readme"] = readme_status(), "the scoreboard in README.md, docs/results.md"
            for name, state in states.items():
                if args.list or state.startswith("stale"):
                    print(f"{name:16} {state}" + (f"\n{'':16} {titles[name]}" if args.list else ""))
            return 1 if args.check and any(s.startswith("stale") for s in states.values()) else 0
        if args.stale:
            wanted = {name: picture for name, picture in wanted.items() if status(name, picture, args.out).startswith("stale")}
            if not wanted:
                print("every figure is up to date")
        for name, picture in wanted.items():
            try:
                build(name, picture, args.out)
                print(f"{name:16} built")
            except MissingData as missing:
                print(f"{name:16} {missing}")
        return 0
    except (TheoryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _readme(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m figures readme", description="Write the scoreboard into README.md and the results into docs/results.md."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page says something else")
    args = parser.parse_args(argv)
    try:
        if args.check:
            print(f"README.md and docs/results.md: {(state := readme_status())}")
            return 0 if state == "current" else 1
        write_readme()
    except (TheoryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _report(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m figures report", description="Write claims, experiments and figures as one self-contained HTML page."
    )
    parser.add_argument("--out", type=Path, default=DEFAULT, metavar="FILE", help="file (default figures/out/report.html)")
    args = parser.parse_args(argv)
    try:
        size = build_report(args.out)
    except (MissingData, TheoryError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"The report is one page of {size / 1e6:.2f} MB. Open it in a browser, it needs no network:")
    print(args.out.resolve().as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Check every proof and write the manifest:  python -m theory.formal  (``make proofs``), or one theorem:  --theorem NAME."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from theory.core.checkout import require_checkout
from theory.core.errors import InvalidInput, TheoryError
from theory.core.files import write_text

from ..core.arguments import Parser
from .bridge import check_bridge
from .manifest import FOLDER, Entry, Manifest, cover, file_of, load, problems, sha256, sources, statement, to_json
from .page import stale_pages, write_pages
from .recheck import recheck
from .rocq import BUILD, Audit, ProofError, audit, build_all, require_rocq


def changed_statements(old: Manifest, new: Manifest) -> list[str]:
    """One line for each recorded theorem whose statement or type is another one now, or that is gone."""
    now = {e.theorem: e for e in new.entries}
    lines = {}
    for entry in old.entries:
        if entry.theorem not in now:
            lines[entry.theorem] = f"{entry.theorem}: gone from cover.toml"
        elif now[entry.theorem].type != entry.type:
            lines[entry.theorem] = f"{entry.theorem}:\n  was {entry.type}\n  now {now[entry.theorem].type}"
    return list(lines.values())


def check(folder: Path = FOLDER, build: Path = BUILD, jobs: int = 2) -> Manifest:
    """Compile all, audit every theorem of ``cover.toml``, run the bridge; the manifest that results.

    Raises MissingRocq, ProofError (a refused file, a theorem with assumptions, a bridge goal that fails) or InvalidInput.
    """
    version = require_rocq()
    rows = [(part, row) for part in cover(folder) for row in part.theorems]
    texts = {row.theorem: statement(row.theorem, folder) for _, row in rows}
    build_all(build, folder, jobs)
    audits: dict[str, Audit] = audit(texts, build)
    assumed = [f"{name} rests on {', '.join(a.assumptions)}" for name, a in audits.items() if a.assumptions]
    if assumed:
        raise ProofError("not closed under the global context:\n" + "\n".join(assumed))
    goals = check_bridge(build, jobs=jobs)
    entries = []
    for _, row in rows:
        file, found = file_of(row.theorem), audits[row.theorem]
        entries.append(Entry(row.claim, row.part, row.covers, row.theorem, file, sha256(build / file), texts[row.theorem],
                             found.type, found.assumptions))  # fmt: skip
    return Manifest(version, {name: sha256(build / name) for name in sources(folder)}, goals, tuple(entries))


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m theory.formal", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="record statements that changed or went (they are an error else)")
    parser.add_argument("--check", action="store_true", help="only say whether manifest.json is fresh; needs no Rocq")
    parser.add_argument("--page", action="store_true", help="only write the generated parts of the pages")
    parser.add_argument("--theorem", metavar="NAME", help="only check one theorem again and compare it with manifest.json")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="files compiled at once (default 2)")
    args = parser.parse_args(argv)
    try:
        if args.jobs < 1:
            raise InvalidInput(f"--jobs {args.jobs} must be at least 1")
        if args.page:
            write_pages()
            return 0
        if args.theorem is not None:
            require_checkout("--theorem", "clone the project to check its proofs")
            print(recheck(args.theorem))
            return 0
        if args.check:
            found = [*problems(), *(f"{path}: not up to date; run python -m theory.formal --page" for path in stale_pages())]
            print("\n".join(found) if found else "manifest.json is fresh")
            return 1 if found else 0
        require_checkout("make proofs", "clone the project to check its proofs")
        started = time.monotonic()
        manifest = check(jobs=args.jobs)
        path = FOLDER / "manifest.json"
        changed = changed_statements(load(), manifest) if path.is_file() else []
        if changed and not args.accept:
            print("statements differ from the recorded ones (record them with --accept if this is meant):", file=sys.stderr)
            print("\n".join(changed), file=sys.stderr)
            return 1
        write_text(path, to_json(manifest))
        write_pages()
        for entry in manifest.entries:
            print(f"{entry.claim:34} {entry.part:28} {entry.theorem}")
        print(
            f"{len({e.theorem for e in manifest.entries})} theorems in {len(manifest.files)} files, no assumptions, "
            f"{sum(manifest.bridge.values())} bridge goals, Rocq {manifest.rocq}, {time.monotonic() - started:.0f} s"
        )
        return 0
    except ProofError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except TheoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

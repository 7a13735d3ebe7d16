"""The scoreboard: which of the paper's assertions stand, from ``scoreboard.toml``, the verdicts and the committed results.

A fate is computed. A sentence rests on claims of theory/, or on comparisons of experiments:

    refuted                   a proved claim contradicts it, or a comparison's whole interval lies on the other side
    undecided                 else: evidence is missing, a claim is not proved, an interval holds 0 without lying within the
                              margin, or a side's learning rate stands at the end of its grid
    level                     else: a comparison's interval lies within ± ``MARGIN`` points and holds 0
    stands under conditions   else: a claim that supports it is narrower than the sentence
    stands                    else

A sentence may also name comparisons of a declared protocol (``protocol`` in the file). They have the word once all that the
sentence names are judged, each by its verdict on the tasks that were measured; the other experiments then stand beside and decide
nothing. Until then they are not yet run, and the other experiments decide as before.

Words about theory are about theorems; words about experiments are about the tasks and the model that were measured.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput

from ..sources import ROOT
from .evidence import Comparison, find_comparison

DATA = Path(__file__).with_name("scoreboard.toml")
PROVED = ("FORMAL", "PROVED")
"""Verdicts of a claim that decide a sentence; instances alone do not."""
MARGIN = 1.0
"""Points within which two methods are level."""
FATES = STANDS, CONDITIONS, REFUTED, LEVEL, UNDECIDED = (
    "stands", "stands under conditions", "refuted", "level", "undecided",
)  # fmt: skip


@dataclass(frozen=True)
class Theory:
    """A claim that bears on a sentence: ``supports`` or ``contradicts``, its verdict, and the conditions where it is narrower."""

    claim: str
    verdict: str
    bearing: str
    under: str

    @property
    def fate(self) -> str:
        """What this claim alone says of the sentence."""
        if self.verdict not in PROVED:
            return UNDECIDED
        if self.bearing == "contradicts":
            return REFUTED
        return CONDITIONS if self.under else STANDS


@dataclass(frozen=True)
class Experiment:
    """A comparison that a sentence predicts to lie above 0; ``found`` is ``None`` where no committed result has it."""

    id: str
    comparison: str
    found: Comparison | None

    @property
    def fate(self) -> str:
        """What this comparison alone says of the sentence."""
        if self.found is None or self.found.low is None or self.found.high is None:
            return UNDECIDED
        if self.found.statements:
            return self.found.statements[0].verdict
        if self.found.edges:
            return UNDECIDED
        if self.found.low > 0:
            return STANDS
        if self.found.high < 0:
            return REFUTED
        return LEVEL if -MARGIN <= self.found.low and self.found.high <= MARGIN else UNDECIDED


@dataclass(frozen=True)
class Sentence:
    """One assertion with its evidence.

    Attributes
    ----------
    id, short:
        A name, and the assertion in our words.
    quote, source:
        The authors' words (empty where only ours are given), and where they stand.
    protocol:
        Comparisons of a declared protocol, which decide instead of the other experiments once all of them are judged.
    """

    id: str
    short: str
    quote: str
    source: str
    theory: tuple[Theory, ...]
    experiments: tuple[Experiment, ...]
    protocol: tuple[Experiment, ...] = ()

    @property
    def by_protocol(self) -> bool:
        """Whether the declared protocol has judged all that it has on this sentence."""
        return bool(self.protocol) and all(part.found is not None for part in self.protocol)

    @property
    def parts(self) -> tuple[Theory | Experiment, ...]:
        """Everything that decides it."""
        return (*self.theory, *(self.protocol if self.by_protocol else self.experiments))

    @property
    def waiting(self) -> tuple[Experiment, ...]:
        """Comparisons of the declared protocol that are not yet run."""
        return tuple(part for part in self.protocol if part.found is None)

    @property
    def beside(self) -> tuple[Experiment, ...]:
        """Comparisons with results that decide nothing: the first edition's after the protocol's, or the protocol's before."""
        return self.experiments if self.by_protocol else tuple(part for part in self.protocol if part.found is not None)

    @property
    def fate(self) -> str:
        """One of :data:`FATES`, by the rule of this module."""
        said = [part.fate for part in self.parts]
        return next(fate for fate in (REFUTED, UNDECIDED, LEVEL, CONDITIONS, STANDS) if fate in said)


def scoreboard(root: Path = ROOT, data: Path = DATA) -> tuple[Sentence, ...]:
    """Every sentence, in the order of the file.

    Raises
    ------
    InvalidInput
        A sentence names a claim that does not exist, has no evidence, or the file lacks a key.
    """
    try:
        file = tomllib.loads(data.read_text(encoding="utf-8"))
        verdicts = json.loads((root / "theory/verdicts.json").read_text(encoding="utf-8"))
        known = {claim["id"]: claim["verdict"] for claim in verdicts["claims"]}
        return tuple(_sentence(entry, file["paper"], known, root) for entry in file["sentence"])
    except (OSError, tomllib.TOMLDecodeError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the scoreboard cannot be made from {data.name} and theory/verdicts.json: {error!r}") from error


def _sentence(entry: dict[str, Any], paper: dict[str, str], known: dict[str, str], root: Path) -> Sentence:
    theory = []
    for part in entry.get("theory", ()):
        if part["claim"] not in known:
            raise InvalidInput(f"scoreboard sentence {entry['id']!r} names the claim {part['claim']!r}, which has no verdict")
        if part["bearing"] not in ("supports", "contradicts"):
            raise InvalidInput(f"scoreboard sentence {entry['id']!r}: bearing {part['bearing']!r} is not supports or contradicts")
        theory.append(Theory(part["claim"], known[part["claim"]], part["bearing"], part.get("under", "")))
    experiments, protocol = (
        tuple(
            Experiment(part["id"], part["comparison"], find_comparison(part["id"], part["comparison"], root))
            for part in entry.get(key, ())
        )
        for key in ("experiment", "protocol")
    )
    if not theory and not experiments:
        raise InvalidInput(f"scoreboard sentence {entry['id']!r} has no evidence; give theory or experiment")
    quote = entry.get("quote", "")
    if quote and entry["source"] not in paper:
        raise InvalidInput(
            f"scoreboard sentence {entry['id']!r} quotes, but its source {entry['source']!r} is none of {list(paper)}"
        )
    source = paper[entry["source"]] if quote else "our words, after Galim et al. 2024"
    return Sentence(entry["id"], entry["short"], quote, source, tuple(theory), experiments, protocol)


def table(sentences: Sequence[Sentence]) -> str:
    """The scoreboard as Markdown, one row a sentence, every line below 200 characters."""
    lines = ["| the paper says | fate | evidence |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {s.short} | **{s.fate}** | {evidence(s)} |" for s in sentences)]) + "\n"


def evidence(sentence: Sentence) -> str:
    """What decides a sentence's fate, in one cell: the parts that say what the sentence's fate says."""
    deciding = [part for part in sentence.parts if part.fate == sentence.fate]
    first = deciding[0]
    more = f" and {len(deciding) - 1} more" if len(deciding) > 1 else ""
    if isinstance(first, Theory):
        return f"`{first.claim}` {first.verdict}{more}" + (f"; {first.under}" if first.under else "")
    return f"`{first.id}`: {told(first)}{more}"


def told(part: Experiment) -> str:
    """A comparison with its numbers, or why there are none."""
    if part.found is None:
        return f"{part.comparison} not compared"
    return f"{part.comparison} {part.found.text}"

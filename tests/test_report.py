"""The report: everything of the verdicts, the experiments and the figures is in it, anchors resolve, and it is accessible."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from comparing import compared

from figures.__main__ import main
from figures.build import MANIFEST, OUT
from figures.report.content import SCOREBOARD, Claim, Report, gather
from figures.report.look import CSS
from figures.report.mathematics import plain, set_mathematics
from figures.report.page import DEFAULT, PAPER, build_report, render
from figures.sources import MissingData, summary_path
from theory.core.errors import InvalidInput
from theory.formal import manifest as formal
from theory.relations.lattice import lattice

ROOT = Path(__file__).resolve().parent.parent
VOID = {"meta", "link", "br", "wbr", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, ids, text and nesting of a page."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.folded: set[str] = set()
        self.words_in_view = 0
        self.pictures_in_view = 0
        self.open: list[tuple[str, str | None]] = []
        self.unbalanced: list[str] = []
        self.feed(html)
        self.close()
        self.unbalanced += [tag for tag, _ in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        self.pictures_in_view += tag == "img" and self.in_view
        if found.get("id") and not self.in_view:
            self.folded.add(found["id"] or "")
        if tag not in VOID:
            self.open.append((tag, found.get("id")))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop()[0] != tag:
            self.unbalanced.append(tag)

    @property
    def in_view(self) -> bool:
        """Whether the place that is read shows before anything is opened: in no ``details``, or in the summaries of all."""
        tags = [tag for tag, _ in self.open]
        return all(tags[i + 1 : i + 2] == ["summary"] for i, tag in enumerate(tags) if tag == "details")

    def handle_data(self, data: str) -> None:
        if self.in_view and ("main", "main") in self.open:
            self.words_in_view += len(data.split())
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.elements if a.get("id")]

    def broken(self) -> set[str]:
        """What links, labels and ids point at in vain."""
        known = set(self.ids)
        targets = {a["href"] for a in self.all("a") if a["href"] != PAPER}
        inside = {t for t in targets if t.startswith("#")}
        missing = {t for t in inside if t[1:] not in known} | {t for t in targets - inside if not (OUT / t).is_file()}
        labels = {part for _, a in self.elements for part in (a.get("aria-labelledby") or "").split()}
        return missing | (labels - known) | {name for name in known if self.ids.count(name) > 1}


@cache
def contents() -> Report:
    return gather()


@cache
def html() -> str:
    return render(contents())


@cache
def page() -> Page:
    return Page(html())


WITHOUT = shutil.ignore_patterns("*.py", "results*.json", "runs.jsonl")
"""What an experiment's folder holds beside its question."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The part of the repository that the report is made of."""
    for name in ("theory/verdicts.json", f"figures/out/{MANIFEST}", "figures/out/state_floor.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "empirics/experiments", tmp_path / "empirics/experiments", ignore=WITHOUT)
    shutil.copytree(ROOT / "theory/formal", tmp_path / "theory/formal", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path


# -- contents ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", json.loads((ROOT / "theory/verdicts.json").read_text())["claims"], ids=lambda c: c["id"])
def test_every_claim_is_told_in_full(claim: dict[str, Any]):
    told = page().texts[claim["id"]]
    for words in (claim["title"], claim["statement"], claim["level"], claim["horizon"], claim["verdict"]):
        assert plain(words) in told
    for check in claim["checks"]:
        assert plain(check["name"]) in told and plain(check["how"]) in told and plain(check["part"] or "supports") in told
    for assumption in claim["assumptions"]:
        assert all(plain(assumption[key]) in told for key in ("name", "statement", "how"))
    assert told.count("needed") >= sum(a["verdict"] == "REFUTED" for a in claim["assumptions"])
    assert f"python -m theory --claim {claim['id']}" in told
    assert sum(a["href"] == f"#{claim['id']}" for a in page().all("a")) >= 2, "contents and overview link to it"
    family, name = claim["id"].split(".")
    assert any(a["href"] == f"../../theory/{family}/{name}/README.md" for a in page().all("a")), "its page is linked"


def folded_theorems(claim: str, html: str) -> str:
    """The text of a claim's folded theorems, and of nothing else."""
    article = re.search(rf'<article id="{claim}".*?</article>', html, flags=re.S)
    assert article
    return unescape("".join(re.findall(r'<details class="theorems">.*?</details>', article[0], flags=re.S)))


@pytest.mark.parametrize("claim", sorted({e.claim for e in formal.load().entries}))
def test_every_theorem_stands_folded_at_its_claim_with_the_command_that_checks_it(claim: str):
    told = folded_theorems(claim, html())
    recorded = [e for e in formal.load().entries if e.claim == claim]
    for entry in recorded:
        assert entry.statement in told and f"python -m theory.formal --theorem {entry.theorem}<" in told, entry.theorem
        assert plain(entry.covers) in page().texts[claim]
    assert told.count("Check it") == len(recorded)


def test_a_theorem_whose_source_changed_is_not_shown(copy: Path):
    whole = folded_theorems("prefix_state.equivalent", render(gather(copy)))
    source = copy / "theory/formal/prefix_state/equivalent.v"
    source.write_text(source.read_text(encoding="utf-8").replace("(n <= L)%N ->", ""), encoding="utf-8")
    left = folded_theorems("prefix_state.equivalent", render(gather(copy)))
    assert "prefix_state.equivalent.equivalent<" in whole and "prefix_state.equivalent.equivalent<" not in left
    assert "prefix_state.full_storage.full_equivalent<" not in left, "it requires the changed source"
    assert "prefix_state.conjugate_pairs.half_is_closed<" not in left and left.count("Check it") < whole.count("Check it")


@pytest.mark.parametrize("path", sorted((ROOT / "empirics/experiments").glob("*/experiment.toml")), ids=lambda p: p.parent.name)
def test_every_experiment_stands_at_its_claim(path: Path):
    file = tomllib.loads(path.read_text(encoding="utf-8"))
    told = page().texts[f"experiment-{path.parent.name}"]
    assert plain(file["question"]) in told and plain(" ".join(file["prediction"].split())) in told
    assert told in page().texts[file["claim"]]
    device = "cpu" if path.parent.name == "vision_retuned" else "cuda"  # decision 9
    assert f"python -m empirics {'sweep' if 'sweep' in file else 'run'} {path.parent.name} --device {device}" in told


def test_measured_and_unmeasured_experiments_are_told_apart():
    measured = [e for e in contents().experiments if e.verdict]
    assert measured, "the quick results in figures/quick"
    for found in contents().experiments:
        told = page().texts[f"experiment-{found.id}"]
        if found.verdict is None:
            assert "not measured yet" in told and "Measured (" not in told
            assert f"{found.id}: not measured yet" in page().texts["main"]
        else:
            assert found.verdict in told and f"Measured ({found.where})" in told and "not measured yet" not in told
            assert found.told_by_lines != (plain(found.measured) in told)
            assert all(f"{line.verdict} {plain(line.text)}" in told for line in found.lines)


def test_every_built_figure_is_in_it_once_and_is_the_file():
    shown = [base64.b64decode(a["src"].removeprefix("data:image/png;base64,"), validate=True) for a in page().all("img")]
    built = json.loads((OUT / MANIFEST).read_text())["figures"]
    assert sorted(shown) == sorted((OUT / f"{name}.png").read_bytes() for name in built if name != SCOREBOARD)
    for figure in contents().figures:
        if figure.name == SCOREBOARD:
            continue
        home = page().texts[f"figure-{figure.name}"]
        around = page().texts[figure.home or "main"]
        assert figure.command in home and plain(figure.says) in (around if f"figure-{figure.name}" in page().folded else home)
        if figure.home:
            assert home in page().texts[figure.home]
        for claim in set(figure.claims) - {figure.home}:
            assert f'href="#figure-{figure.name}"' in html() and figure.title in page().texts[claim]


def test_figures_are_numbered_in_their_order_on_the_page():
    numbers = [int(n) for n in re.findall(r"<strong>Figure (\d+)\.", html())]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) == len(contents().figures) - 1


def test_the_scoreboard_stands_first_with_its_evidence():
    headings = [a["id"] for tag, a in page().elements if tag == "h2"]
    assert headings[0] == "scoreboard" and headings[-1] == "benchmarks"
    table = html().partition('id="scoreboard"')[2].partition("</section>")[0]
    for sentence in contents().sentences:
        assert html_text(sentence.short) in table and f">{sentence.fate}</span>" in table
        assert all(f'href="#{part.claim}"' in table for part in sentence.theory)
        assert all(f'href="#experiment-{part.id}"' in table for part in sentence.experiments)


def html_text(text: str) -> str:
    return escape(text, quote=True)


def test_indices_and_exponents_are_set_and_names_of_code_are_not():
    cases = {
        "h_0": "<math><msub><mi>h</mi><mn>0</mn></msub></math>",
        "a_n^t": "<math><msubsup><mi>a</mi><mi>n</mi><mi>t</mi></msubsup></math>",
        "Σ_{t<K}": (
            '<math><msub><mi mathvariant="normal">Σ</mi>'
            '<mrow><mi>t</mi><mo stretchy="false">&lt;</mo><mi>K</mi></mrow></msub></math>'
        ),
        "W*_12": '<math><msub><mrow><mi>W</mi><mo stretchy="false" lspace="0" rspace="0">*</mo></mrow><mn>12</mn></msub></math>',
        "Σ_{a_n=λ}": (
            '<math><msub><mi mathvariant="normal">Σ</mi><mrow><msub><mi>a</mi><mi>n</mi></msub>'
            '<mo stretchy="false">=</mo><mi>λ</mi></mrow></msub></math>'
        ),
        "n_obs.": "<math><msub><mi>n</mi><mi>obs</mi></msub></math>.",
        "u_1²": "<math><msub><mi>u</mi><mn>1</mn></msub></math>²",
        "x_0b_0": "<math><msub><mi>x</mi><mn>0</mn></msub></math><math><msub><mi>b</mi><mn>0</mn></msub></math>",
        "B_(d,n)": (
            '<math><msub><mi>B</mi><mrow><mo stretchy="false">(</mo><mi>d</mi><mo stretchy="false">,</mo><mi>n</mi>'
            '<mo stretchy="false">)</mo></mrow></msub></math>'
        ),
        "dt_max": "<math><msub><mi>dt</mi><mi>max</mi></msub></math>",
    }
    for text, element in cases.items():
        assert set_mathematics(text) == element
    for text in (
        "in_proj",
        "x_proj",
        "dt_proj.weight",
        "sparse_dims.essential",
        "change_of_log_A",
        "lora_A",
        "sdt_lora_r8_random",
        "s4_2d_x",
        "theory.x_y",
        "f_(x)",
        "matrix_(d, n)",
        "a < b",
    ):
        assert set_mathematics(text) == escape(text) and plain(text) == text
    assert plain("x_1..x_M, κ_λ/r_λ and [k_{t+m}]_{t=1..L, m=0}") == "x1..xM, κλ/rλ and [kt+m]t=1..L,m=0"


def test_mathematics_is_on_the_page_and_balanced():
    names = {tag for tag, _ in page().elements}
    assert {"math", "msub", "msup", "mi", "mn"} <= names
    assert len(page().all("math")) > 200 and not page().unbalanced


def test_experiments_say_what_was_reproduced_and_what_was_not(copy: Path):
    rows = [
        {"method": "sdt", "held_out": 0.25, "per_seed": [0.125, 0.375]},
        {"comparison": "a / b", "mse_ratio": 0.5, "low": 0.4, "high": 0.6},
        {"comparison": "b / a", "mse_ratio": 2.0, "low": 1.5, "high": 2.5},
    ]
    records = [compared("ratio", "a / b", 0.5, 0.4, 0.6), compared("ratio", "b / a", 2.0, 1.5, 2.5)]
    summary = {"table": rows, "verdict": "not reproduced", "measured": "a sentence", "config": {}, "seeds": [0], "complete": True}
    summary["comparisons"] = records
    (copy / summary_path("s4_regression")).write_text(json.dumps({**summary, "device": "a GPU"}))
    written = copy / "empirics/experiments/s4_regression/experiment.toml"
    without = re.sub(r'^finding = """.*?"""\n', "", written.read_text(), flags=re.DOTALL | re.MULTILINE)
    written.write_text('finding = "because <of> this"\n' + without)
    found = Page(render(gather(copy)))
    told = found.texts["experiment-s4_regression"]
    assert "reproduced error of a / b: 0.50" in told and "not reproduced error of b / a: 2.00" in told
    assert "a sentence" not in told, "the lines say it"
    tables = [a["aria-label"] for a in found.all("div") if "s4_regression" in (a.get("aria-label") or "")]
    assert tables == ["Results of s4_regression, by method", "Results of s4_regression, by comparison"]
    assert "0.125; 0.375" in told and "none" not in told
    assert "Beyond the numbers" in told and "because <of> this" in told and not found.unbalanced and not found.broken()
    assert "What was reproduced" not in found.texts["experiment-state_floor"]


def test_comparisons_within_a_claim_have_a_row_each(copy: Path):
    """Tasks are columns, an interval is one cell, and what is true or false is not a number."""
    cut = {"points": 7.0, "low": -1.0, "high": 15.0, "pairs": 4}
    pair = {"better": "a", "worse": "b", **cut, "equal_budget": True, "by_task": {"rte": {**cut, "pairs": 2}}}
    pair["learned"] = {"tasks": ["polarity"], **cut, "low": None, "high": None}
    row = {"claim": "(i)", "statement": "a is above b", "verdict": "undecided", "comparisons": [pair], "controls": [pair]}
    bare = {"claim": "(ii)", "statement": "nothing ran", "verdict": "undecided", "comparisons": [], "controls": []}
    summary = {"table": [row, bare], "verdict": "undecided", "measured": "", "config": {}, "seeds": [0], "complete": True}
    (copy / summary_path("lm_benchmark")).write_text(json.dumps({**summary, "device": "a GPU"}))
    found = Page(render(gather(copy)))
    told = found.texts["experiment-lm_benchmark"]
    table = told.partition("Results of lm_benchmark, by claim")[2]
    assert table.count("7 [-1, 15], 2 pairs") == 2 and table.count("7, 4 pairs (polarity)") == 2 and table.count("yes") == 2
    assert "rte" in table and "nothing ran" in table and "{" not in table and "points: 7" not in table and "True" not in table
    assert not found.unbalanced


def test_every_benchmark_has_its_numbers_figure_and_command():
    told = page().texts["main"]
    for found in contents().benchmarks:
        assert found.name in told and found.command in told and f"benchmark-{found.figure}" in page().ids
        assert (f"{found.name}: not measured yet" in told) == (not found.sentences)
        assert all(sentence in told for sentence in found.sentences)
    assert any(found.sentences for found in contents().benchmarks)
    assert not {f.name for f in contents().wide_figures()} & {found.figure for found in contents().benchmarks}


def test_a_figure_without_measurements_says_what_makes_them(copy: Path):
    found = Page(render(gather(copy)))
    for figure in (f for f in gather(copy).figures if f.name != SCOREBOARD):
        told = found.texts[f"figure-{figure.name}"]
        assert ("Not built yet" in told) == (not figure.png)
        assert (f"made by {figure.needs}" in told) == (not figure.png and bool(figure.needs))


def test_open_questions_are_collected():
    report = contents()
    check = dataclasses.replace(report.claims[0].checks[0], part=None, verdict="OPEN", name="a riddle")
    assumption = dataclasses.replace(report.claims[0].assumptions[0], needed=False, name="a habit")
    claim = dataclasses.replace(report.claims[0], verdict="OPEN", checks=(check,), assumptions=(assumption,))
    told = " ".join(Page(render(dataclasses.replace(report, claims=(claim, *report.claims[1:])))).texts["main"].split())
    for question in ("the claim itself", "whether “a habit” is needed", "a riddle (beside the statement)"):
        assert f"{claim.id}: {question}" in told
        assert f"{claim.id}: {question}" not in page().texts["main"]


def test_open_pairs_of_the_lattice_are_open_questions():
    found = lattice()
    total = sum(len(found.open_pairs(system)) for system in found.systems)
    told = page().texts["main"].partition("What is open")[2].partition("Figures across claims")[0]
    assert f"{total} pairs of methods in the lattice" in told
    assert all(f"{len(found.open_pairs(system))} ({system})" in told for system in found.systems if found.open_pairs(system))
    closed = Page(render(dataclasses.replace(contents(), open_pairs={})))
    assert "pairs of methods in the lattice" not in closed.texts["main"]


def test_text_is_escaped():
    report = contents()
    nasty = '<script>alert("x")</script> & <b>a_n < 1</b>'
    claim = dataclasses.replace(report.claims[0], statement=nasty, title=nasty)
    found = Page(render(dataclasses.replace(report, claims=(claim, *report.claims[1:]))))
    assert plain(nasty) in found.texts[claim.id] and nasty.count("_") == 1
    assert not found.all("script", "b") and not found.unbalanced


# -- what is in view, and what folds ----------------------------------------------------------------------------------------


LIMITS = {"bytes": 2_500_000, "words": 10_000, "pictures": 20}
"""Of the page, and of what shows before anything is opened: some 36 screens of 1,280 × 800 pixels."""


def beyond(html: str) -> set[str]:
    """The limits that a page exceeds."""
    found = Page(html)
    sizes = {"bytes": len(html.encode()), "words": found.words_in_view, "pictures": found.pictures_in_view}
    return {name for name, limit in LIMITS.items() if sizes[name] > limit}


def unfolded(html: str) -> str:
    """The page with everything in view."""
    return re.sub(r"<(/?)(?:details|summary)\b", r"<\1div", html)


def test_the_page_is_short_because_details_fold():
    assert not beyond(html())
    assert beyond(unfolded(html())) == {"words", "pictures"}
    assert beyond(html() + " " * LIMITS["bytes"]) == {"bytes"}


@pytest.mark.parametrize("claim", contents().claims, ids=lambda claim: claim.id)
def test_statement_verdict_and_grounds_are_in_view(claim: Claim):
    article = html().partition(f'<article id="{claim.id}"')[2].partition("</article>")[0]
    shown = article.partition("</summary>")[0]
    counts = [f"planted errors caught {sum(c.caught for c in claim.checks)} of {sum(c.planted for c in claim.checks)}"]
    counts += [f"{len(claim.checks)} check", f"assumptions needed {sum(a.needed for a in claim.assumptions)} of"]
    theorems = sum(len(part.theorems) for part in claim.parts)
    counts += [f"{theorems} theorem"] if theorems else []
    for told in (
        set_mathematics(claim.title),
        set_mathematics(claim.statement),
        f">{claim.verdict}</span>",
        "README.md",
        *counts,
    ):
        assert told in shown
    for part in claim.parts:
        assert part.verdict in shown.partition("Why:")[2]
    assert set_mathematics(claim.not_claimed) not in shown, "it folds"
    assert f"Checks of {claim.id}" in article and f"Checks of {claim.id}" not in shown


def test_figures_that_are_not_built_stand_behind_those_that_are(copy: Path):
    shutil.copy(OUT / "crossover.png", copy / "figures/out/crossover.png")
    article = render(gather(copy)).partition('<article id="lora_limits.cheaper_sparse"')[2].partition("</article>")[0]
    places = re.findall(r'<figure id="figure-(\w+)"', article)
    assert len(places) > 1 and places[0] == "crossover"
    whole = html().partition('<article id="lora_limits.cheaper_sparse"')[2].partition("</article>")[0]
    first = re.findall(r'<figure id="figure-(\w+)"', whole)[0]
    assert first in {file.parent.name for file in (ROOT / "empirics/experiments").glob("*/experiment.toml")}, (
        "with everything built, an experiment's is first"
    )


def test_a_link_into_a_folded_part_opens_it():
    """A browser opens the parts around a link's target; a target that is itself a part would stay closed."""
    targets = {(a["href"] or "")[1:] for a in page().all("a") if (a["href"] or "").startswith("#")}
    assert not targets & {a.get("id") for a in page().all("details", "summary")}
    assert targets & page().folded, "figures behind the first ones of a claim"
    assert not {t for t in targets & page().folded if not t.startswith("figure-")}, "claims and experiments are in view"
    assert f"figure-{contents().wide_figures()[0].name}" not in page().folded


def test_printing_opens_every_part():
    printed = CSS.partition("@media print")[2]
    assert re.search(r"^  details::details-content \{ content-visibility: visible;", printed, flags=re.M)


# -- links, accessibility, offline ------------------------------------------------------------------------------------------


def test_anchors_and_links_resolve():
    assert len(page().all("a")) > 40
    assert not page().broken()


def test_a_broken_link_is_noticed():
    claim = contents().claims[0].id
    assert Page(html().replace(f'<article id="{claim}"', '<article id="elsewhere"')).broken() == {f"#{claim}"}
    assert Page(html().replace('href="#main"', 'href="report.css"')).broken() == {"report.css"}
    assert Page(html().replace('<h2 id="open">', '<h2 id="verdicts">')).broken() == {"#open", "open", "verdicts"}
    page_of = "../../theory/prefix_state/contained/README.md"
    assert Page(html().replace(page_of, "../../theory/contained.md")).broken() == {"../../theory/contained.md"}


def test_landmarks_headings_tables_and_images():
    found = page()
    assert not found.unbalanced
    for landmark in ("header", "nav", "main", "footer", "h1", "title"):
        assert len(found.all(landmark)) == 1, landmark
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "a heading level is skipped"
    assert found.all("html") == [{"lang": "en"}]
    first = next(a for tag, a in found.elements if tag in ("a", "button"))
    assert first == {"class": "skip", "href": "#main"}
    assert found.all("nav") == [{"aria-label": "Contents"}]
    tables = len(found.all("table"))
    assert tables > len(contents().claims) and len(found.all("caption")) == tables
    assert all(a.get("scope") in ("col", "row") for a in found.all("th"))
    for region in (a for a in found.all("div") if a.get("role") == "region"):
        assert region["tabindex"] == "0" and region["aria-label"]
    images = found.all("img")
    assert images and all(len(a["alt"] or "") > 30 for a in images) and len({a["alt"] for a in images}) == len(images)
    assert all(int(a["width"]) > 300 and int(a["height"]) > 300 for a in images)


def unstacked(found: Page) -> list[str]:
    """What a table needs and lacks whose cells may stand below each other: every role spelled out, a name for every cell."""
    roles = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
    lacks, inside = [], False
    for tag, attributes in found.elements:
        if tag == "table":
            inside = attributes.get("class") == "stacked"
        if not inside or tag not in (*roles, "th"):
            continue
        role = {"col": "columnheader", "row": "rowheader"}[attributes["scope"] or ""] if tag == "th" else roles.get(tag)
        lacks += [tag] if attributes.get("role") != role else []
        lacks += ["name"] if tag == "td" and not attributes.get("data-column") else []
    return lacks


def test_tables_of_sentences_stack_on_a_phone_and_stay_tables():
    assert sum(a.get("class") == "stacked" for a in page().all("table")) == len(contents().claims) + 3
    assert {a["data-column"] for a in page().all("td") if "data-column" in a} >= {"verdict", "how", "question", "outcome"}
    assert ".stacked td::before { content: attr(data-column)" in CSS
    assert not unstacked(page())
    for broken, lack in ((' role="rowheader"', "th"), (' data-column="how"', "name"), (' role="rowgroup"', "thead")):
        assert lack in unstacked(Page(html().replace(broken, "", 1))), broken


def test_nothing_is_loaded_from_elsewhere():
    assert not page().all("script", "link", "iframe", "object", "source")
    assert all(a["src"].startswith("data:") for a in page().all("img"))
    assert "url(" not in CSS and "@import" not in CSS and "http" not in CSS
    assert set(re.findall(r"https?://[^\"'<\s]+", html())) == {PAPER}


def test_colours_have_contrast_in_both_schemes():
    def luminance(colour: str) -> float:
        """WCAG 2.2, relative luminance."""
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, flags=re.S)]
    light, dark, paper = schemes
    for scheme in (light, dark, {**light, **paper}):
        for ink in ("ink", "soft", "link", "sure", "near", "open", "wrong"):
            assert contrast(scheme[ink], scheme["paper"]) >= 7, ink
        assert contrast(scheme["ink"], scheme["panel"]) >= 7
        assert contrast(scheme["focus"], scheme["paper"]) >= 3
    assert contrast(light["ink"], dark["paper"]) < 7, "one scheme's ink does not do on the other's paper"


def test_same_contents_same_page_and_no_machine_in_it():
    assert render(contents()) == html()
    assert str(ROOT) not in html()
    other = dataclasses.replace(contents(), profile={"name": "quick", "instances": 25})
    assert render(other) != html()


# -- bad input --------------------------------------------------------------------------------------------------------------


def test_a_copy_gives_its_own_report(copy: Path, tmp_path: Path):
    report = gather(copy)
    assert [f.name for f in report.figures if f.png] == ["state_floor"]
    assert "Not built yet" in render(report)
    (copy / "figures/out/state_floor.png").write_bytes((OUT / "hankel.png").read_bytes())
    assert not any(f.png for f in gather(copy).figures), "not the file that was built"
    out = tmp_path / "new" / "page.html"
    assert build_report(out, copy) == out.stat().st_size


def test_results_appear_once_there_are_some(copy: Path):
    assert all(e.verdict is None for e in gather(copy).experiments)
    table = [{"method": "a<b", "gap": 0.12345, "more": None, "nested": {"x": 1.0}}]
    summary = {"table": table, "verdict": "not reproduced", "measured": "7 & 8", "config": {}, "seeds": [0], "complete": True}
    summary["device"] = "a GPU"
    (copy / summary_path("state_floor")).write_text(json.dumps(summary))
    found = Page(render(gather(copy))).texts["experiment-state_floor"]
    for words in ("not reproduced", "7 & 8", "a<b", "0.123", "none", "x: 1"):
        assert words in found
    assert "quick size" not in found and "(full size, a GPU, 1 seed): 7 & 8" in found
    del summary["verdict"]
    (copy / summary_path("state_floor")).write_text(json.dumps(summary))
    with pytest.raises(InvalidInput, match="state_floor lacks a verdict"):
        gather(copy)


def test_unusable_files_are_named(copy: Path, tmp_path: Path):
    with pytest.raises(MissingData, match="make verify"):
        gather(tmp_path / "nowhere")
    experiment = copy / "empirics/experiments/state_floor/experiment.toml"
    written = experiment.read_text()
    experiment.write_text(written.replace('claim = "prefix_state.input_independent"', 'claim = "prefix_state.no_such"'))
    with pytest.raises(InvalidInput, match=r"state_floor/experiment\.toml tests 'prefix_state\.no_such'"):
        gather(copy)
    for bad in ("id = ", 'id = "state_floor"'):
        experiment.write_text(bad)
        with pytest.raises(InvalidInput, match=r"state_floor/experiment\.toml is no experiment file"):
            gather(copy)
    experiment.write_text(written)
    for verdicts in ("[]", '{"claims": [{"id": "x.y"}]}'):
        (copy / "theory/verdicts.json").write_text(verdicts)
        with pytest.raises(InvalidInput, match="is no report of theory"):
            gather(copy)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "report.html"
    assert main(["report", "--out", str(out)]) == 0
    above = os.path.relpath(ROOT, tmp_path)
    assert out.read_text(encoding="utf-8") == html().replace('href="../../theory/', f'href="{above}/theory/'), (
        "links lead from there"
    )
    said, place = capsys.readouterr().out.splitlines()
    assert "MB" in said and place == out.as_uri()
    for place, problem in ((tmp_path, "is a folder; name a file in it"), (Path("/proc/x/y.html"), "cannot be written to: ")):
        assert main(["report", "--out", str(place)]) == 2
        error = capsys.readouterr().err
        assert problem in error and "Errno" not in error and error.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        main(["report", "hankel"])
    assert stopped.value.code == 2
    assert DEFAULT.parent == OUT


def test_the_report_loads_no_torch():
    loaded = "{'torch', 'empirics'} & set(sys.modules)"
    code = f"import sys; from figures.report.page import render, gather; render(gather()); sys.exit(bool({loaded}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_finding_may_be_lists():
    from figures.report.elements import prose

    assert prose("One <b>.\n\nHistory:\n\n- first\n  line\n- second") == (
        "<p>One &lt;b&gt;.</p><p>History:</p><ul><li>first line</li><li>second</li></ul>"
    )
    assert prose("- only - one") == "<ul><li>only - one</li></ul>"

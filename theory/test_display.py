"""What notebooks show: exact numbers, no addresses, nothing unescaped, and the object itself unchanged."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest

import theory
from theory.core.lti import LTI
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.display import LONGEST, Table, formula, number, sequence
from theory.verification.claim import Profile

CHANNEL = LTI(["1/2", "1/3"], [1, 1], [1, -1])
SELECTIVE = SelectiveSSM([[1, 1]], dt=1, decay=[["1/2"], ["1/3"]])
HEAD = Mamba2Head([[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]], dt=1, decay="1/2")
SHOWN = {
    "channel": CHANNEL, "selective": SELECTIVE, "head": HEAD, "group": Mamba2Group([HEAD, HEAD]),
    "reach": theory.reachable(CHANNEL, [1, 2]), "claim": theory.get_claim("prefix_state.contained"),
    "lattice": theory.lattice("LTI"),
}  # fmt: skip


class Balance(HTMLParser):
    """Whether every element that is opened is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.bad = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        self.bad += not self.open or self.open.pop() != tag


@pytest.mark.parametrize("name", SHOWN)
def test_an_object_has_one_line_without_an_address_and_a_page(name):
    shown = SHOWN[name]
    assert "\n" not in repr(shown) and not re.search(r"0x[0-9a-f]{6}|<function", repr(shown)) and len(repr(shown)) < 300
    page = shown._repr_html_()
    found = Balance(page)
    assert not found.bad and not found.open and "0x" not in page and "<function" not in page
    assert "<script" not in page


def test_systems_are_formulas_too():
    assert CHANNEL._repr_latex_() == (
        r"$h_t = \mathrm{diag}(\tfrac{1}{2}, \tfrac{1}{3})\,h_{t-1} + (1, 1)^\top x_t,\quad y_t = (1, -1)\,h_t$"
    )
    for name in ("selective", "head", "group"):
        text = SHOWN[name]._repr_latex_()
        assert text.startswith("$") and text.endswith("$") and text.count("{") == text.count("}")
    assert not hasattr(SHOWN["claim"], "_repr_latex_")


def test_long_fractions_are_shortened_in_display_and_nowhere_else():
    long = Fraction(10**20 + 1, 3 * 10**20)
    system = LTI([long], [1], [1])
    assert number(long) == "≈ 0.333333" and formula(long).startswith(r"\approx") and str(long) in repr(system)
    assert "≈ 0.333333" in system._repr_html_() and system.a[0] == long
    short = Fraction(1, 3)
    assert number(short) == "1/3" and len(str(short)) <= LONGEST and "1/3" in LTI([short], [1], [1])._repr_html_()


def test_float_systems_print_plain_numbers():
    system = LTI([0.5], [1.0], [1.0])
    assert repr(system) == "LTI(a=[0.5], b=[1.0], c=[1.0])"
    assert number(np.float64(0.5)) == "0.5" and number(np.complex128(1j)) == "0+1j"


def test_what_is_shown_is_escaped():
    claim = dataclasses.replace(theory.get_claim("prefix_state.contained"), statement="<b>a</b> & 'c'")
    assert "&lt;b&gt;a&lt;/b&gt; &amp; &#x27;c&#x27;" in claim._repr_html_()
    assert "<td>&lt;i&gt;</td>" in Table(("x", "y"), [["1", "<i>"]])._repr_html_()


def test_a_report_counts_its_verdicts():
    report = theory.verify(claims=["prefix_state.softplus_clock"], profile=Profile("tiny", 5), jobs=1)
    assert re.fullmatch(r"Report\(1 claim: 1 \w+; tiny profile, \d+ s\)", repr(report))
    assert "prefix_state.softplus_clock" in report._repr_html_()


def test_tables_read_in_a_terminal_as_well():
    shown = Table(("n", "value"), [["1", Fraction(1, 2)], ["10", Fraction(3)]], "Values")
    assert repr(shown) == "Values\n n  value\n 1    1/2\n10      3"
    assert sequence([Fraction(1, 2)], "x")._repr_html_().count("<td>") == 1
    assert sequence([Fraction(1, 2), Fraction(2)], "x").rows != sequence([Fraction(1, 2)], "x").rows

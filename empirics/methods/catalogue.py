"""One table of the methods that experiments and benchmarks compare: names, labels, families, and how each study configures them.

The names are those of the committed results. Figures read the same table from ``catalogue.json``, which a test compares with this
one: ``python -m empirics.methods.catalogue`` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from theory.core.checkout import require_checkout
from theory.core.files import write_json

from .base import MethodConfig, method_config
from .lora import LoRA
from .selection import Selection

Study = Literal["lm_benchmark", "vision", "s4_regression", "bench_model", "base_benchmark"]
Family = Literal["frozen", "full", "state", "linear", "ssm", "both", "sparse"]
Size = Literal["", "rank", "ranks", "tokens", "states", "channels", "rank beside"]

DATA = Path(__file__).with_name("catalogue.json")

LINEAR, STATE_SPACE = ("in_proj", "out_proj"), ("A_log", "x_proj", "dt_proj")
PROJECTIONS = ("in_proj", "x_proj", "dt_proj", "out_proj")
MODES = ("C", "log_A_real", "A_imag")
"""The tensors of an S4 layer's modes."""


@dataclass(frozen=True)
class Recipe:
    """How one study configures a method.

    Attributes
    ----------
    method:
        The registered method; ``None`` where nothing is trained.
    options:
        Its fixed options.
    size:
        What the study chooses so that a budget is met, empty for nothing; ``ranks`` is the sum of two ranks, ``rank beside``
        that of the LoRA beside SDT.
    score:
        The rule that selects dimensions, empty for methods without a selection; ``shuffled`` is ``change`` after a warm-up on
        training rows whose answers have been permuted.
    beside:
        LoRA beside SDT, where its options are fixed.
    """

    method: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    size: Size = ""
    score: str = ""
    beside: Mapping[str, Any] = field(default_factory=dict)

    def config(self, *, selection: Selection | None = None, lora: MethodConfig | None = None, **chosen: Any) -> MethodConfig:
        """The method's configuration.

        Parameters
        ----------
        selection:
            Chosen dimensions, for methods with a :attr:`score`.
        lora:
            LoRA beside SDT, where :attr:`beside` does not fix it.
        chosen:
            Options that the study chooses.
        """
        assert self.method is not None, "the frozen model has no configuration"
        options = {**self.options, **chosen}
        if not self.score:
            return method_config(self.method, **options)
        sdt = method_config("sdt", selection=selection, **options)
        if self.method == "sdt":
            return sdt
        return method_config(self.method, sdt=sdt, lora=LoRA(**self.beside) if lora is None else lora)


@dataclass(frozen=True)
class Entry:
    """One method.

    Attributes
    ----------
    id, label, family:
        Its name in results and in figures, and what it is related to.
    recipes:
        How the studies that use it configure it.
    """

    id: str
    label: str
    family: Family
    recipes: Mapping[Study, Recipe]


def _lora(targets: tuple[str, ...], rank: int | None = None, method: str = "lora") -> Recipe:
    """LoRA or DoRA with alpha = rank, so that s = 1; the rank is chosen by the study where it is left out."""
    if rank is None:
        return Recipe(method, {"targets": targets}, "rank")
    return Recipe(method, {"targets": targets, "rank": rank, "alpha": float(rank)})


def _text(recipe: Recipe) -> dict[Study, Recipe]:
    """One recipe for both benchmarks on text."""
    return {"lm_benchmark": recipe, "base_benchmark": recipe}


_FROZEN, _FULL = Recipe(None), Recipe("full")
_STATE, _OFFSET = Recipe("initial_state"), Recipe("state_offset")
_WINDOW = Recipe("initial_state", {"conv": True})
_BESIDE_2 = {"targets": LINEAR, "rank": 2, "alpha": 2.0}
_BESIDE_8 = {"targets": ("out_proj",), "rank": 8, "alpha": 8.0}


def _sparse(method: str, score: str, projection: str, **beside: Any) -> Recipe:
    return Recipe(method, {"projection": projection}, score=score, beside=beside)


def _budgeted(method: str, score: str) -> Recipe:
    return Recipe(method, size="channels", score=score)


CATALOGUE: tuple[Entry, ...] = (
    Entry("frozen", "frozen", "frozen", {**_text(_FROZEN), "vision": _FROZEN, "s4_regression": _FROZEN}),
    Entry(
        "full", "all parameters", "full",
        {**_text(_FULL), "vision": _FULL, "s4_regression": _FULL, "bench_model": _FULL},
    ),
    Entry(
        "bitfit", "biases (BitFit)", "full",
        {**_text(Recipe("bitfit")), "vision": Recipe("bitfit"), "bench_model": Recipe("bitfit")},
    ),
    Entry(
        "prompt", "prompt", "state",
        {
            **_text(Recipe("prompt", size="tokens")),
            "vision": Recipe("prompt", {"tokens": 8}),
            "bench_model": Recipe("prompt", {"tokens": 16}),
        },
    ),
    Entry(
        "prefix", "prefix", "state",
        {
            **_text(Recipe("prefix", size="tokens")),
            "vision": Recipe("prefix", {"tokens": 8}),
            "s4_regression": Recipe("prefix", {"tokens": 16}),
            "bench_model": Recipe("prefix", {"tokens": 16}),
        },
    ),
    Entry(
        "initial_state", "initial state", "state",
        {**_text(_STATE), "vision": _STATE, "s4_regression": _STATE, "bench_model": _STATE},
    ),
    Entry("initial_state_conv", "initial state, window", "state", {"lm_benchmark": _WINDOW, "vision": _WINDOW}),
    Entry(
        "state_offset", "state offset", "state",
        {**_text(_OFFSET), "vision": _OFFSET, "s4_regression": _OFFSET, "bench_model": _OFFSET},
    ),
    Entry(
        "additional_scan", "additional scan", "state",
        {
            **_text(Recipe("additional_scan", size="states")),
            "vision": Recipe("additional_scan"),
            "bench_model": Recipe("additional_scan", {"states": 4}),
        },
    ),
    Entry("lora", "LoRA", "both", {"bench_model": _lora(PROJECTIONS, 8)}),
    Entry("dora", "DoRA", "both", {"bench_model": _lora(PROJECTIONS, 8, "dora")}),
    Entry("lora_in_proj", "LoRA in_proj", "linear", {"lm_benchmark": _lora(("in_proj",))}),
    Entry("lora_out_proj", "LoRA out_proj", "linear", {"lm_benchmark": _lora(("out_proj",))}),
    Entry("lora_linear", "LoRA linear", "linear", {**_text(_lora(LINEAR)), "vision": _lora(LINEAR, 2)}),
    Entry(
        "dora_linear", "DoRA linear", "linear",
        {"lm_benchmark": _lora(LINEAR, method="dora"), "vision": _lora(LINEAR, 2, "dora")},
    ),
    Entry("lora_x_proj", "LoRA x_proj", "ssm", {"lm_benchmark": _lora(("x_proj",))}),
    Entry("lora_dt_proj", "LoRA dt_proj", "ssm", {"lm_benchmark": _lora(("dt_proj",))}),
    Entry("lora_A", "LoRA A", "ssm", {"lm_benchmark": _lora(("A_log",))}),
    Entry("lora_ssm", "LoRA SSM", "ssm", {**_text(_lora(STATE_SPACE)), "vision": _lora(STATE_SPACE, 2)}),
    # One rank for all is too coarse for the language benchmark's budget: its two parts have ranks of their own.
    Entry(
        "lora_both", "LoRA both", "both",
        {**_text(Recipe("combined", size="ranks")), "vision": _lora((*LINEAR, *STATE_SPACE), 2)},
    ),
    Entry("lora_released", "LoRA out_proj + SSM", "both", {"base_benchmark": _lora(("out_proj", "x_proj", "dt_proj"))}),
    Entry(
        "sdt", "SDT", "sparse",
        {
            **_text(_budgeted("sdt", "change")),
            "s4_regression": _sparse("sdt", "change", "columns"),
            "bench_model": _sparse("sdt", "change", "columns"),
        },
    ),
    Entry(
        "sdt_random", "SDT, random", "sparse",
        {"lm_benchmark": _budgeted("sdt", "random"), "s4_regression": _sparse("sdt", "random", "columns")},
    ),
    Entry("sdt_magnitude", "SDT, magnitude", "sparse", {"s4_regression": _sparse("sdt", "magnitude", "columns")}),
    Entry(
        "sdt_lora", "SDT + LoRA", "sparse",
        {
            **_text(_budgeted("sdt_lora", "change")),
            "vision": _sparse("sdt_lora", "change", "columns", **_BESIDE_2),
            "bench_model": _sparse("sdt_lora", "change", "columns", **_BESIDE_8),
        },
    ),
    Entry(
        "sdt_lora_random", "SDT + LoRA, random", "sparse",
        {
            **_text(_budgeted("sdt_lora", "random")),
            "vision": _sparse("sdt_lora", "random", "columns", **_BESIDE_2),
        },
    ),
    Entry("sdt_lora_shuffled", "SDT + LoRA, shuffled", "sparse", {"base_benchmark": _budgeted("sdt_lora", "shuffled")}),
    Entry("sdt_lora_data_free", "SDT + LoRA, no data", "sparse", {"base_benchmark": _budgeted("sdt_lora", "data_free")}),
    Entry(
        "sdt_released", "SDT, released", "sparse",
        {"base_benchmark": Recipe("sdt_lora", {"projection": "columns"}, "rank beside", "released", {"targets": ("out_proj",)})},
    ),
    Entry("sdt_lora_r8", "SDT + LoRA r8", "sparse", {"s4_regression": _sparse("sdt_lora", "change", "none", **_BESIDE_8)}),
    Entry(
        "sdt_lora_r8_random", "SDT + LoRA r8, random", "sparse",
        {"s4_regression": _sparse("sdt_lora", "random", "none", **_BESIDE_8)},
    ),
    *(
        Entry(f"lora_proj_r{rank}", f"LoRA proj. r{rank}", "linear", {"s4_regression": _lora(("out_proj",), rank)})
        for rank in (4, 8, 16)
    ),
    *(
        Entry(f"lora_s4_proj_r{rank}", f"LoRA S4 + proj. r{rank}", "both", {"s4_regression": _lora((*MODES, "out_proj"), rank)})
        for rank in (4, 8)
    ),
    Entry("lora_s4_r4", "LoRA S4 r4", "ssm", {"s4_regression": _lora(MODES, 4)}),
)  # fmt: skip
"""The methods in the order of the figures."""

ORDER: dict[Study, tuple[str, ...]] = {
    "lm_benchmark": (
        "frozen", "prompt", "prefix", "additional_scan", "bitfit", "initial_state", "initial_state_conv", "state_offset",
        "lora_in_proj", "lora_out_proj", "lora_linear", "lora_x_proj", "lora_dt_proj", "lora_A", "lora_ssm", "dora_linear",
        "lora_both", "sdt", "sdt_random", "sdt_lora", "sdt_lora_random", "full",
    ),
    "vision": (
        "frozen", "bitfit", "prompt", "prefix", "initial_state", "initial_state_conv", "state_offset", "additional_scan",
        "lora_linear", "lora_ssm", "lora_both", "dora_linear", "sdt_lora", "sdt_lora_random", "full",
    ),
    "s4_regression": (
        "frozen", "prefix", "initial_state", "state_offset", "lora_proj_r4", "lora_proj_r8", "lora_proj_r16", "lora_s4_r4",
        "lora_s4_proj_r4", "lora_s4_proj_r8", "sdt", "sdt_random", "sdt_magnitude", "sdt_lora_r8", "sdt_lora_r8_random", "full",
    ),
    "bench_model": (
        "full", "bitfit", "lora", "dora", "sdt", "sdt_lora", "prompt", "prefix", "initial_state", "state_offset",
        "additional_scan",
    ),
    "base_benchmark": (
        "frozen", "prompt", "prefix", "additional_scan", "bitfit", "initial_state", "state_offset", "lora_linear", "lora_ssm",
        "lora_both", "lora_released", "sdt", "sdt_lora", "sdt_lora_random", "sdt_lora_shuffled", "sdt_lora_data_free",
        "sdt_released", "full",
    ),
}  # fmt: skip
"""The methods of each study in the order of its tables."""

_BY_ID = {entry.id: entry for entry in CATALOGUE}


def recipes(study: Study) -> dict[str, Recipe]:
    """The methods of a study by name, in its order."""
    return {name: _BY_ID[name].recipes[study] for name in ORDER[study]}


def as_data() -> dict[str, dict[str, Any]]:
    """What figures need: label, family and studies by name, in the table's order."""
    return {
        entry.id: {"label": entry.label, "family": entry.family, "studies": [s for s in ORDER if s in entry.recipes]}
        for entry in CATALOGUE
    }


if __name__ == "__main__":
    require_checkout("the catalogue's file", "clone the repository")
    write_json(DATA, as_data())

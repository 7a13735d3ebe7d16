"""The one table of methods: what studies, benchmarks and figures take from it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from empirics.errors import InvalidInput, UnknownName
from empirics.methods import Selection, method_config, method_names
from empirics.methods.catalogue import CATALOGUE, DATA, LINEAR, ORDER, Recipe, as_data, recipes

CHOSEN = {"rank": {"rank": 3, "alpha": 3.0}, "tokens": {"tokens": 5}, "states": {"states": 2}}
SELECTION = Selection.of({"backbone.layers.0.mixer": [[0, 0]]})


def test_figures_read_this_table():
    committed = json.loads(DATA.read_text(encoding="utf-8"))
    assert committed == as_data(), "run python -m empirics.methods.catalogue"
    assert list(committed) == [entry.id for entry in CATALOGUE] and len(set(committed)) == len(CATALOGUE)
    assert committed != {**as_data(), "lora": {}}


def test_every_study_lists_its_methods_once():
    for study, order in ORDER.items():
        assert len(order) == len(set(order))
        assert set(order) == {entry.id for entry in CATALOGUE if study in entry.recipes}
    assert set().union(*ORDER.values()) == {entry.id for entry in CATALOGUE}


@pytest.mark.parametrize(("study", "name"), [(study, name) for study, order in ORDER.items() for name in order])
def test_every_recipe_is_a_configuration(study, name):
    recipe = recipes(study)[name]
    if recipe.method is None:
        assert name == "frozen"
        return
    assert recipe.method in method_names()
    if recipe.size == "ranks":  # the study has two LoRAs to configure
        return
    lora = method_config("lora", targets=LINEAR) if recipe.method == "sdt_lora" and not recipe.beside else None
    config = recipe.config(selection=SELECTION if recipe.score else None, lora=lora, **CHOSEN.get(recipe.size, {}))
    assert config.name == recipe.method
    written = config.to_json()
    for option, value in {**recipe.options, **CHOSEN.get(recipe.size, {})}.items():
        where = written["sdt"] if recipe.method == "sdt_lora" else written
        assert where[option] == (list(value) if isinstance(value, tuple) else value)


def test_low_rank_methods_have_a_scale_of_one():
    for study in ("vision", "s4_regression", "bench_model"):
        configs = [recipe.config() for recipe in recipes(study).values() if recipe.method in ("lora", "dora")]
        assert configs and all(config.scale == 1 for config in configs)
    assert method_config("lora", rank=2).scale != 1


def test_a_sparse_recipe_needs_its_selection():
    recipe = recipes("vision")["sdt_lora"]
    with pytest.raises(InvalidInput, match="sdt needs a selection"):
        recipe.config()
    with pytest.raises(UnknownName, match="unknown method 'sdtt'"):
        Recipe("sdtt").config()

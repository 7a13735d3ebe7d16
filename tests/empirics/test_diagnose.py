"""python -m empirics diagnose: each number against another route, the advice against the verdicts, files, and every error."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from empirics.__main__ import main
from empirics.diagnosis.advice import RULES, advice, spread
from empirics.diagnosis.carry import carry, slowest_half_lives, until
from empirics.diagnosis.costs import MatrixCost, costs, matrices
from empirics.diagnosis.measure import measure
from empirics.diagnosis.reach import distinct_modes, group_counts, head_reach, independent, selective_reach, states_after
from empirics.diagnosis.recommendation import CLAIMS, RESULTS, TARGETS, recommend
from empirics.diagnosis.subject import BUNDLED, BUNDLED_FOLDER, fresh, subject
from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.methods import Selection, apply, count_trainable, method_config
from empirics.methods.geometry import geometry
from empirics.models import MambaConfig, save_model, sizes
from empirics.study.results import file_hash
from empirics.study.verdicts import SHIPPED, read_verdicts
from figures import diagnosis as picture
from figures.plots import hankel
from theory import LTI, Mamba2Head, SelectiveSSM
from theory.checkpoints.diagnose import diagnose
from theory.checkpoints.dynamics import Dynamics, read_checkpoint
from theory.core.errors import InvalidInput as TheoryInvalidInput
from theory.core.initialisations import inverse_softplus
from theory.core.tolerance import EPS_BF16
from theory.prefix_state.reach.cone import TokenCone
from theory.prefix_state.reach.mamba2 import independent_rows

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("Mamba1", "Mamba2")


@pytest.fixture(params=LAYERS)
def folder(request, tiny, tmp_path) -> Path:
    """A small saved model of either kind."""
    return save_model(tiny(request.param, dtype=torch.float32), tmp_path / request.param)


def found(path: Path | str, **options) -> dict:
    return measure(subject(str(path)), **options)


def layers_of(path: Path | str):
    return list(subject(str(path)).layers())


def channelwise(A: list[list[float]], dt: list[float]) -> Dynamics:
    return Dynamics("layer", "mamba", -np.array(A), inverse_softplus(np.array(dt)), np.zeros(len(dt)))


# --- numbers, each by another route ---


@pytest.mark.parametrize("radius", [1.0, 2.5])
def test_layers_are_those_of_theorys_table(radius):
    file = BUNDLED_FOLDER / "model.safetensors"
    expected = diagnose(read_checkpoint(file), "bundled", channels=5, radius=radius)
    ours = found(BUNDLED, channels=5, radius=radius)
    for row, wanted in zip(ours["layers"], expected["layers"], strict=True):
        assert {key: row[key] for key in wanted} == wanted
    assert ours["assumes"] == expected["assumes"] and ours["settings"] == expected["settings"]
    layers = json.loads((BUNDLED_FOLDER / "config.json").read_text())["n_layer"]
    assert ours["model"]["stored_dtype"] == "bfloat16" and ours["model"]["layers"] == layers
    other = diagnose(read_checkpoint(file), "bundled", channels=5, radius=radius + 1)
    assert ours["layers"][0]["dt_over_inputs"] != other["layers"][0]["dt_over_inputs"]


def test_steps_are_those_of_the_block(tiny, tmp_path):
    """dt at zero input and its extremes are what the modules compute, clamp and projection bias included."""
    one = tiny("Mamba1")
    (layer, _) = layers_of(save_model(one, tmp_path / "one"))
    mixer, radius = one.mixers[0], 1.5
    row = mixer.dt_proj.weight / mixer.dt_proj.weight.norm(dim=1, keepdim=True)
    for sign in (-1, 0, 1):
        steps = torch.nn.functional.softplus((sign * radius * row * mixer.dt_proj.weight).sum(1) + mixer.dt_proj.bias)
        assert np.allclose(layer.dynamics.dt(sign * radius), steps.detach(), rtol=1e-12, atol=0)
    assert not np.allclose(layer.dynamics.dt(radius), layer.dynamics.dt(), rtol=1e-3)

    two = tiny("Mamba2", bias=True, dt_limit=(0.3, 0.8))
    (layer, _) = layers_of(save_model(two, tmp_path / "two"))
    mixer = two.mixers[0]
    steps = mixer._steps(mixer.in_proj(torch.zeros(8, dtype=torch.float64))[-mixer.nheads :]).detach().numpy()
    assert np.allclose(layer.dynamics.dt(), steps, rtol=1e-12, atol=0)
    assert {0.3, 0.8} & set(steps.tolist())  # the clamp is at work
    bare = dataclasses.replace(layer.dynamics, limits=(0.0, float("inf")))
    assert not np.allclose(bare.dt(), steps, rtol=1e-3)
    assert np.array_equal(bare.bias, (mixer.dt_bias + mixer.in_proj.bias[-mixer.nheads :]).detach().numpy())
    assert any("clamped to [0.3, 0.8]" in text for text in found(tmp_path / "two")["assumes"])
    assert not any("clamped" in text for text in found(tmp_path / "one")["assumes"])


def test_rows_that_write_into_the_state(tiny, tmp_path):
    one, two = tiny("Mamba1"), tiny("Mamba2")
    (first, _) = layers_of(save_model(one, tmp_path / "one"))
    assert np.array_equal(first.writes, one.mixers[0].x_proj.weight[2:6].detach().numpy())
    (first, _) = layers_of(save_model(two, tmp_path / "two"))
    hidden = torch.randn(8, dtype=torch.float64)
    _, mixed, _ = two.mixers[0].in_proj(hidden).split([16, two.mixers[0].conv_dim, 4])
    x, B, _ = two.mixers[0]._split(mixed)
    assert np.allclose(first.writes @ hidden.numpy(), torch.cat([x.flatten(), B.flatten()]).detach(), rtol=1e-12, atol=1e-12)


def test_distinct_modes():
    assert distinct_modes(np.array([[-1.0, -2.0, -3.0], [-1.0, -2.0, -1.0], [-4.0, -4.0, -4.0]])).tolist() == [3, 2, 1]
    logs = torch.tensor([[2.5, 2.7, 2.704]])
    assert distinct_modes(logs.double().numpy()).tolist() == [3]
    assert distinct_modes(logs.bfloat16().double().numpy()).tolist() == [2]  # rounding makes modes equal


def test_selective_criterion_is_that_of_the_claim():
    """Against theory's exact decision, on small systems with separate and with shared decays, sparse and full W_B."""
    rng = np.random.default_rng(0)
    decided = {True: 0, False: 0, None: 0}
    for trial in range(60):
        d, n = rng.integers(2, 5), rng.integers(1, 3)
        A = rng.integers(1, 20, (d, n)).astype(float)
        W_B = (rng.integers(1, 4, (n, d)) * rng.integers(0 if trial % 2 else 1, 2, (n, d))).astype(float)
        layer = channelwise(A.tolist(), rng.choice([0.25, 0.3], d).tolist())
        system = SelectiveSSM(W_B, dt=layer.dt(), decay=np.exp(layer.dt()[:, None] * layer.A))
        ours = selective_reach(layer, W_B)["every_state"]
        decided[ours] += 1
        assert ours is None or ours == TokenCone(system).reaches_everything
    assert decided[True] > 10 and decided[False] > 10 and decided[None] < 15, decided


def test_selective_criterion_by_hand():
    W_B = np.array([[1.0, 2.0, 0.0], [0.5, 1.0, 3.0]])
    apart = channelwise([[1, 2], [3, 5], [7, 11]], [0.1, 0.1, 0.1])
    assert selective_reach(apart, W_B) == {
        "decay_values": 6, "shared_values": 0, "obstructed": 0, "undecided": 0, "every_state": True,
    }  # fmt: skip
    lonely = W_B.copy()
    lonely[0, 1] = 0  # row 0 reads channel 0 only: its own entry gets a square
    assert selective_reach(apart, lonely)["obstructed"] == 1 and selective_reach(apart, lonely)["every_state"] is False
    two_share = channelwise([[1, 2], [1, 5], [7, 11]], [0.1, 0.1, 0.1])
    assert selective_reach(two_share, np.array([[1.0, 2.0, 1.0], [0.5, 1.0, 3.0]]))["every_state"] is True
    column = channelwise([[1, 2], [1, 5], [1, 11]], [0.1, 0.1, 0.1])  # a column of one decay always obstructs
    counts = selective_reach(column, W_B)
    assert counts["shared_values"] == 1 and counts["undecided"] == 1 and counts["every_state"] is None


def test_independent_rows_are_certain():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 9))
    assert independent(rows @ rows.T, float((rows**2).sum()), 9)
    rows[3] = rows[0] - 2 * rows[1]
    assert not independent(rows @ rows.T, float((rows**2).sum()), 9)


def test_heads_have_independent_rows_where_theory_says_so(tiny, tmp_path):
    model = tiny("Mamba2", headdim=2, d_state=3)
    with torch.no_grad():  # an x-row of head 1 becomes a multiple of a B-row of its group
        weight = model.mixers[0].in_proj.weight
        weight[16 + 2] = 2 * weight[32]
    where = geometry(model.mixers[0])
    rows = layers_of(save_model(model, tmp_path / "m"))[0].writes
    assert head_reach(where, rows, 99) == {"sampled_heads": 8, "independent_heads": 7}
    assert head_reach(where, rows, 1) == {"sampled_heads": 1, "independent_heads": 1}
    exact = []
    for head in range(8):
        group = head // 4
        x, B = (
            [[Fraction(v) for v in row] for row in part.tolist()]
            for part in (rows[2 * head : 2 * head + 2], rows[16 + 3 * group : 19 + 3 * group])
        )
        exact.append(independent_rows(Mamba2Head(W_x=x, W_B=B, dt=1, decay="1/2")))
    assert exact == [head != 1 for head in range(8)]
    wide = dataclasses.replace(where, d_model=4)  # five rows in four columns
    assert head_reach(wide, rows[:, :4], 99)["independent_heads"] == 0


def test_tokens_that_mamba2_asks_for():
    published = subject_sizes("mamba2-130m")
    assert group_counts(published) == {"head_tokens": 64, "group_tokens": 128, "all_tokens": 256, "state": 196_608}
    by_rank, by_numbers = states_after(published, np.array([0, 1, 127, 128, 256]))
    assert by_rank.tolist() == [0, 1536 + 128 - 1, 127 * (1536 + 1), 196_608, 196_608]
    assert by_numbers.tolist() == [0, 768, 127 * 768, 128 * 768, 196_608]
    halves = dataclasses.replace(published, groups=2)
    assert group_counts(halves)["group_tokens"] == 128 and states_after(halves, np.array([1]))[0].tolist() == [2 * (768 + 127)]


def subject_sizes(name: str):
    return fresh(name, 0).sizes


def test_m_tokens_leave_rank_m(tiny):
    """The bound behind the picture, on the block itself: the heads of a group after M tokens."""
    model = tiny("Mamba2")
    state = model.mixers[0](torch.randn(1, 2, 8, dtype=torch.float64), return_state=True)[1].ssm[0]
    assert torch.linalg.matrix_rank(state[:2].flatten(0, 1)) == 2 < min(8, 5)  # a group: two heads of 4, five states
    assert torch.linalg.matrix_rank(state.flatten(0, 1)) > 2  # over both groups it is larger


def test_half_lives_halve():
    layer = channelwise([[3.0, 1.0], [2.0, 5.0]], [0.1, 0.05])
    for d, tokens in enumerate(slowest_half_lives(layer)):
        slow = float(np.exp(layer.dt()[d] * layer.A[d].max()))
        assert slow**tokens == pytest.approx(0.5, rel=1e-12)
        assert LTI([slow], [1.0], [1.0]).free_response([1.0], 200)[-1] == pytest.approx(2 ** (-200 / tokens), rel=1e-9)
        fast = float(np.exp(layer.dt()[d] * layer.A[d].min()))
        assert fast**tokens < 0.4
    assert until(10.0, EPS_BF16) == 70.0
    moving = dataclasses.replace(layer, row_norms=np.array([2.0, 0.0]))
    still, over = carry(layer, 1.0), carry(moving, 1.0)
    assert still["zero_input"] == over["zero_input"]
    assert still["over_inputs"] == {"min": still["zero_input"]["min"], "max": still["zero_input"]["max"]}
    assert over["over_inputs"]["min"] < still["zero_input"]["min"] and over["over_inputs"]["max"] > still["zero_input"]["max"]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rank", [1, 3])
def test_costs_are_what_the_methods_train(tiny, layer, rank):
    model = tiny(layer)
    where = geometry(model.mixers[0])
    counted = costs(where, 2, rank, 3, 2)
    for row in counted["matrices"]:
        target = "A_log" if row["name"] == "A" else row["name"]
        if layer == "Mamba2" and target == "A_log":
            continue  # a vector, which LoRA refuses
        if rank > row["rank"]:
            continue
        assert 2 * row["stored"] == count_trainable(model, method_config("lora", targets=(target,), rank=rank))
    chosen = Selection.of({f"backbone.layers.{i}.mixer": [(d, n) for d in range(3) for n in range(2)] for i in range(2)})
    for projection, key in (("none", "on_A"), ("columns", "released")):
        trained = count_trainable(model, method_config("sdt", selection=chosen, projection=projection))
        assert trained == 2 * counted["sdt"][key]
    assert counted["sdt"]["on_A"] < counted["sdt"]["released"]
    assert counted["sdt"]["lora_rank"] == (2 if layer == "Mamba1" else 1)
    assert counted["sdt"]["lora_stored"] > counted["sdt"]["on_A"]


def test_shapes_are_those_of_the_weights(tiny):
    for layer in LAYERS:
        mixer = tiny(layer).mixers[0]
        for name, shape in matrices(geometry(mixer)).items():
            stored = mixer.A_log if name == "A" else mixer.get_submodule(name).weight
            assert shape == (tuple(stored.shape) if stored.ndim == 2 else (*stored.shape, 1))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (24, 1), (6, 3), (256, 16), (7, 5)])
def test_largest_rank_at_which_lora_is_cheaper(m, n):
    cheaper = [rho for rho in range(1, min(m, n) + 1) if rho * (m + n) < m * n]
    row = MatrixCost("W", m, n, 1)
    assert row.largest_rank == max(cheaper, default=0)
    assert row.equal_share == (m + n) / (m * n) and row.degrees == m + n - 1


def test_adapters_on_projections_leave_the_rates(tiny, tmp_path):
    """What the advice calls frozen stays through LoRA on every projection, and moves with LoRA on A."""
    model = tiny("Mamba1", dtype=torch.float32)
    before = found(save_model(model, tmp_path / "before"))["layers"]

    def after(name: str, *targets: str) -> list:
        handle = apply(model, method_config("lora", targets=targets, rank=2))
        with torch.no_grad():
            for parameter in handle.trainable().values():
                parameter.add_(torch.randn_like(parameter))
        handle.merge()
        return found(save_model(model, tmp_path / name))["layers"]

    projections = after("projections", "in_proj", "x_proj", "dt_proj", "out_proj")
    assert [row["rates"] for row in projections] == [row["rates"] for row in before]
    assert projections[0]["dt_over_inputs"] != before[0]["dt_over_inputs"]
    assert after("decays", "A_log")[0]["rates"] != before[0]["rates"]


# --- advice ---


def test_advice_names_claims_and_the_verdicts_of_the_file(folder, tmp_path):
    diagnosis = found(folder)
    lines = advice(diagnosis, read_verdicts(SHIPPED, RULES))
    decided = {c["id"]: c["verdict"] for c in json.loads(SHIPPED.read_text(encoding="utf-8"))["claims"]}
    assert {line["claim"]: line["verdict"] for line in lines} == {line["claim"]: decided[line["claim"]] for line in lines}
    assert all(line["says"].endswith(".") and any(c.isdigit() for c in line["says"]) and line["assumes"] for line in lines)
    report = json.loads(SHIPPED.read_text(encoding="utf-8"))
    for claim in report["claims"]:
        claim["verdict"] = {"prefix_state.decay": "REFUTED", "lora_limits.rank_floor": "OPEN"}.get(claim["id"], "NUMERIC")
    (tmp_path / "verdicts.json").write_text(json.dumps(report), encoding="utf-8")
    changed = {line["claim"]: line for line in advice(diagnosis, read_verdicts(tmp_path / "verdicts.json", RULES))}
    assert changed["prefix_state.decay"]["says"] == "No advice: the claim is REFUTED."
    assert changed["lora_limits.rank_floor"]["says"] == "No advice: the claim is OPEN."
    assert changed["lora_limits.cheaper_sparse"]["verdict"] == "NUMERIC"
    assert changed["lora_limits.cheaper_sparse"]["says"] == {line["claim"]: line for line in lines}[
        "lora_limits.cheaper_sparse"
    ]["says"]  # fmt: skip


def test_claims_speak_of_the_models_they_are_about(tiny, tmp_path):
    verdicts = read_verdicts(SHIPPED, RULES)
    said = {
        layer: {line["claim"] for line in advice(found(save_model(tiny(layer), tmp_path / layer), rank=2), verdicts)}
        for layer in LAYERS
    }
    assert set(RULES) - said["Mamba1"] == {"prefix_state.mamba2"}
    assert set(RULES) - said["Mamba2"] == {
        "prefix_state.minimal_length",
        "prefix_state.selective",
        "lora_limits.unreachable",
        "sparse_dims.minimal_adjustment",
    }
    full = {line["claim"] for line in advice(found(tmp_path / "Mamba1", rank=4), verdicts)}  # N = 4: nothing is unreachable
    assert said["Mamba1"] - full == {"lora_limits.unreachable"}


def test_numbers_in_the_advice_are_this_models(folder):
    verdicts = read_verdicts(SHIPPED, RULES)
    diagnosis = found(folder, rank=2, sdt=(2, 1))
    says = {line["claim"]: line["says"] for line in advice(diagnosis, verdicts)}
    rows, sdt = diagnosis["layers"], diagnosis["costs"]["sdt"]
    assert spread(row["carry"]["zero_input"] for row in rows) in says["prefix_state.decay"]
    assert f"trains {sdt['on_A']} numbers" in says["lora_limits.cheaper_sparse"]
    assert f"stores {sdt['lora_stored']}," in says["lora_limits.cheaper_sparse"]
    for name in ("bfloat16", "float32"):
        assert f"{spread(r['usable_directions'][name] for r in rows)} in {name}" in says["prefix_state.finite_precision"]
    other = {line["claim"]: line["says"] for line in advice(found(folder, rank=3, sdt=(3, 1), radius=3.0), verdicts)}
    for claim in ("prefix_state.decay", "lora_limits.cheaper_sparse", "lora_limits.rank_floor"):
        assert says[claim] != other[claim]
    assert says["lora_limits.spectrum_frozen"] == other["lora_limits.spectrum_frozen"]


def test_undecided_and_obstructed_layers_are_counted(tiny, tmp_path):
    diagnosis = found(save_model(tiny("Mamba1"), tmp_path / "m"))
    verdicts = read_verdicts(SHIPPED, RULES)

    def said() -> str:
        return next(line["says"] for line in advice(diagnosis, verdicts) if line["claim"] == "prefix_state.selective")

    assert said().startswith("In 2 of 2 layers") and "not decided" not in said() and "no prefix does" not in said()
    diagnosis["layers"][0]["reach"] |= {"every_state": None, "undecided": 7}
    assert said().startswith("In 1 of 2") and "In 1 it is not decided (7 decay values" in said()
    diagnosis["layers"][1]["reach"] |= {"every_state": False, "obstructed": 3}
    assert said().startswith("In 0 of 2") and "In 1 no prefix does (3 states obstructed)" in said()


# --- recommendation ---


def compared(better: str, worse: str, estimate: float, half: float | None, note: str = "") -> dict:
    bounds = {"low": None, "high": None} if half is None else {"low": estimate - half, "high": estimate + half}
    return {
        "kind": "difference", "name": f"{better} - {worse}", "better": better, "worse": worse, "estimate": estimate, **bounds,
        "pairs": 20, "null": 0.0, "predicted": "above", "unit": "points", "verdict": "undecided", "note": note,
    }  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_the_recommendation_counts_what_the_method_trains(tiny, layer, tmp_path):
    model = tiny(layer)
    said = recommend(found(save_model(model, tmp_path / "m")), read_verdicts(SHIPPED, CLAIMS))
    assert said["method"] in TARGETS and tuple(said["targets"]) == TARGETS[said["method"]]
    if said["method"] == "lora_linear":
        assert said["numbers"] == count_trainable(model, method_config("lora", targets=said["targets"], rank=said["rank"]))


def test_the_recommendation_follows_the_results(folder, tmp_path):
    """LoRA on the projections, unless a whole interval lies above it; reasons and places come from the file."""
    diagnosis, verdicts = found(folder), read_verdicts(SHIPPED, CLAIMS)
    committed = json.loads(RESULTS.read_text(encoding="utf-8"))

    def after(*rows: dict) -> dict:
        (tmp_path / "results.json").write_text(json.dumps({**committed, "comparisons": list(rows)}), encoding="utf-8")
        return recommend(diagnosis, verdicts, tmp_path / "results.json")

    level = after(
        compared("sdt_lora", "lora_linear", 0.5, 0.6), compared("lora_linear", "prefix", 9.0, 4.0, "prefix at the edge")
    )
    assert level["method"] == "lora_linear"
    words = " ".join(level["because"])
    assert "is above, in points, prefix +9.0 [+5.0, +13.0]" in words and "not told apart from sdt_lora -0.5 [-1.1, +0.1]" in words
    assert "With reserve: prefix (prefix at the edge)." in words
    assert after(compared("sdt_lora", "lora_linear", 0.7, 0.6))["method"] == "sdt_lora"
    assert after(compared("lora_linear", "lora_both", -2.0, 0.6))["method"] == "lora_both"
    assert after(compared("sdt_lora", "lora_linear", 9.0, None))["method"] == "lora_linear", "no interval decides nothing"
    assert "not on this model" in level["measured_on"] and committed["device"] in level["measured_on"]


@pytest.mark.parametrize("layer", LAYERS)
def test_targets_are_those_that_the_model_has(tiny, layer, tmp_path):
    """LoRA on both kinds of tensors: Mamba-2 has no x_proj, and its A is no matrix."""
    model = tiny(layer)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) | {"comparisons": [compared("lora_both", "lora_linear", 2.0, 0.6)]}
    results["config"]["rank"] = 2
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    said = recommend(found(save_model(model, tmp_path / "m")), read_verdicts(SHIPPED, CLAIMS), tmp_path / "results.json")
    assert said["method"] == "lora_both"
    assert said["targets"] == list(TARGETS["lora_both"] if layer == "Mamba1" else TARGETS["lora_linear"])
    assert said["numbers"] == count_trainable(model, method_config("lora", targets=said["targets"], rank=2))


def test_claims_that_are_not_decided_give_no_reason(folder):
    verdicts = read_verdicts(SHIPPED, CLAIMS)
    all_of_it = " ".join(recommend(found(folder), verdicts)["because"])
    open_ = " ".join(recommend(found(folder), {**verdicts, "prefix_state.decay": "OPEN"})["because"])
    assert "prefix_state.decay" in all_of_it and "prefix_state.decay" not in open_
    assert "lora_limits.spectrum_frozen" in open_


def test_without_results_there_is_no_recommendation_and_bad_ones_are_named(folder, tmp_path):
    verdicts = read_verdicts(SHIPPED, CLAIMS)
    said = recommend(found(folder), verdicts, tmp_path / "none.json")
    assert said["method"] is None and "no results of lm_benchmark" in said["because"][0]
    (tmp_path / "bad.json").write_text('{"comparisons": [{}]}', encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"bad\.json is not what lm_benchmark writes"):
        recommend(found(folder), verdicts, tmp_path / "bad.json")


# --- the command ---


def test_table_advice_and_files(folder, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "deep" / "one.json"
    assert main(["diagnose", str(folder), "--out", str(out), "--json", str(file), "--rank", "2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert sorted(path.name for path in out.iterdir()) == ["diagnose.json", "diagnose.pdf", "diagnose.png"]
    assert [path.name for path in file.parent.iterdir()] == ["one.json"]
    payload = json.loads(file.read_text(encoding="utf-8"))
    assert payload == json.loads((out / "diagnose.json").read_text(encoding="utf-8"))
    assert "Memory and prefixes" in shown
    said = payload["recommendation"]
    assert f"Recommendation {said['method']} on {' and '.join(said['targets'])}, rank {said['rank']}" in shown
    assert all(line in shown for line in [*said["because"], said["measured_on"]])
    for line in payload["advice"]:
        assert f"{line['claim']} {line['verdict']}" in shown and line["says"] in shown and f"if: {line['assumes']}" in shown
    assert (out / "diagnose.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and (out / "diagnose.pdf").read_bytes()[:5] == b"%PDF-"


def test_no_files_unless_asked_for(tiny, tmp_path, capsys, monkeypatch):
    path = save_model(tiny("Mamba1"), tmp_path / "model")
    monkeypatch.chdir(path)
    before = sorted(p.name for p in path.iterdir())
    assert main(["diagnose", "."]) == 0
    assert sorted(p.name for p in path.iterdir()) == before
    assert main(["diagnose", str(path), "--out", str(tmp_path / "o"), "--no-picture"]) == 0
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["diagnose.json"]


def test_picture_is_a_function_of_the_diagnosis(folder):
    diagnosis = json.loads(json.dumps(found(folder)))
    first = picture.render(diagnosis)
    assert first == picture.render(diagnosis) and set(first) == {"diagnose.png", "diagnose.pdf"}
    diagnosis["layers"][0]["carry"]["zero_input"]["max"] *= 3
    assert picture.render(diagnosis)["diagnose.png"] != first["diagnose.png"]
    del diagnosis["half_lives_to_eps"]
    with pytest.raises(TheoryInvalidInput, match="the diagnosis lacks 'half_lives_to_eps'; make it again"):
        picture.render(diagnosis)


def test_text_of_the_picture_is_readable_and_inside(folder):
    """No text below 7 pt, none outside the page, no two titles or legends that overlap."""
    from matplotlib import rc_context

    from figures import style

    with rc_context(style.RC):
        figure = style.page(picture.HEIGHT)
        picture.draw(figure, found(folder))
        figure.canvas.draw()
        page = figure.bbox
        legends = []
        for axes in figure.axes:
            texts = [
                axes.title,
                axes.xaxis.label,
                axes.yaxis.label,
                *axes.texts,
                *axes.get_yticklabels(),
                *axes.get_legend().texts,
            ]
            for text in texts:
                if text.get_text():
                    box = text.get_window_extent()
                    assert text.get_fontsize() >= style.SMALL
                    assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, (
                        text
                    )
            legends.append(axes.get_legend().get_window_extent())
        assert not any(a.overlaps(b) for i, a in enumerate(legends) for b in legends[i + 1 :])


def test_picture_without_matplotlib_names_the_extra(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from empirics.__main__ import main\n"
        f"sys.exit(main(['diagnose', '--channels', '1', '--out', {str(tmp_path / 'o')!r}, *sys.argv[1:]]))"
    )
    bare = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert bare.returncode == 2 and "ssmproof[figures]" in bare.stderr and bare.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()
    without = subprocess.run([sys.executable, "-c", code, "--no-picture"], cwd=ROOT, capture_output=True, text=True)
    assert without.returncode == 0 and (tmp_path / "o" / "diagnose.json").is_file()


def test_untrained_models_of_a_size(monkeypatch, capsys, tmp_path):
    for layer in LAYERS:
        monkeypatch.setitem(
            sizes.SIZES,
            f"small-{layer}",
            MambaConfig(16, 2, 8, {"layer": layer, **({"headdim": 8} if layer == "Mamba2" else {})}),
        )
        state = torch.get_rng_state()
        one, again, other = (measure(fresh(f"small-{layer}", seed)) for seed in (0, 0, 5))
        assert torch.equal(state, torch.get_rng_state())
        assert one == again and one["layers"] != other["layers"] and one["layers"][0]["dt"] != one["layers"][1]["dt"]
    assert main(["diagnose", "--init", "small-Mamba2", "--json", str(tmp_path / "x.json")]) == 0
    assert "untrained small-Mamba2, seed 0" in capsys.readouterr().out


def test_a_file_a_folder_and_the_bundled_name_agree():
    by_name = found(BUNDLED, channels=2)
    for place in (BUNDLED_FOLDER, BUNDLED_FOLDER / "model.safetensors"):
        assert found(place, channels=2) == by_name | {"source": str(place)}


def outdated(stored: dict) -> str:
    """What a stored diagnosis of the bundled model says otherwise than one made today; empty where nothing."""
    today = json.loads(json.dumps(found(BUNDLED)))
    today["advice"] = advice(today, read_verdicts(SHIPPED, RULES))
    if stored["model"]["sha256"] != file_hash(BUNDLED_FOLDER / "model.safetensors"):
        return "the bundled model changed"
    if any(stored[key] != today[key] for key in ("source", "settings", "assumes", "model", "half_lives_to_eps", "costs")):
        return "settings or sizes changed"
    for old, new in zip(stored["layers"], today["layers"], strict=True):
        if old["usable_directions"] != new["usable_directions"] or old["reach"] != new["reach"]:
            return f"counts of {old['layer']} changed"
        # Four digits are stored, and they hold on any processor; a value between two of them may be rounded to either.
        spectra = (old["hankel_relative_median"], new["hankel_relative_median"])
        if old["hankel_digits"] != new["hankel_digits"] or not np.allclose(*spectra, rtol=1.001e-3, atol=0):
            return f"the spectrum of {old['layer']} changed"
    told, tells = ([(line["claim"], line["verdict"]) for line in d["advice"]] for d in (stored, today))
    if told != tells:
        return "the advice changed"
    method = recommend(today, read_verdicts(SHIPPED, CLAIMS))["method"]
    return "" if stored["recommendation"]["method"] == method else "the recommendation changed"


def test_the_committed_diagnosis_is_todays():
    path, command = hankel.DIAGNOSIS, hankel.COMMAND
    stored = json.loads((ROOT / path).read_text(encoding="utf-8"))
    assert not outdated(stored), f"{path} is stale; run {command}, then python -m figures hankel"
    assert (ROOT / path).stat().st_size < 30_000
    name, option, written = command.removeprefix("python -m empirics diagnose ").split()
    assert (name, option, written) == (BUNDLED, "--json", path)
    assert json.loads((BUNDLED_FOLDER / "record.json").read_text())["model_sha256"] == stored["model"]["sha256"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d["model"].update(sha256="0" * 64), "the bundled model changed"),
        (lambda d: d["settings"].update(channels=63), "settings or sizes"),
        (lambda d: d["layers"][2]["usable_directions"]["float32"].update(median=1.0), "counts of backbone.layers.2"),
        (lambda d: d["layers"][1]["hankel_relative_median"].__setitem__(5, 1e-3), "the spectrum of backbone.layers.1"),
        (lambda d: d["layers"][7]["hankel_relative_median"].__setitem__(15, 6.2e-23), "the spectrum of backbone.layers.7"),
        (lambda d: d["layers"][0]["hankel_relative_median"].__setitem__(15, 1e-29), "the spectrum of backbone.layers.0"),
        (lambda d: d["advice"][0].update(verdict="NUMERIC"), "the advice changed"),
    ],
)
def test_an_outdated_diagnosis_is_noticed(change, why):
    stored = json.loads((ROOT / hankel.DIAGNOSIS).read_text(encoding="utf-8"))
    change(stored)
    assert outdated(stored).startswith(why)


def test_the_hash_is_of_the_weights(tiny, tmp_path):
    folder = save_model(tiny("Mamba1", dtype=torch.float32), tmp_path / "model")
    before = subject(str(folder)).sha256
    assert before == file_hash(folder / "model.safetensors") == subject(str(folder / "model.safetensors")).sha256
    rewritten(folder, _set("A_log", lambda v: v + 0.1))
    assert subject(str(folder)).sha256 not in (before, None)
    assert fresh("mamba-130m", 0).sha256 is None


def rewritten(folder: Path, change) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def _set(key: str, value):
    def change(tensors):
        name = next(n for n in tensors if n.endswith(key))
        tensors[name] = value(tensors[name])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("A_log", lambda v: v.fill_(float("nan"))), "A_log holds NaN or infinity"),
        (_set("out_proj.weight", lambda v: v.fill_(float("inf"))), "out_proj.weight holds NaN or infinity"),
        (_set("A_log", lambda v: v.to(torch.int8)), "dtype torch.int8; quantised"),
        (_set("A_log", lambda v: v.fill_(1e4)), "over- or underflows"),
        (_set("A_log", lambda v: v[:1].clone()), "does not fit its configuration"),
    ],
)
def test_unusable_weights_are_named(folder, change, message, capsys):
    assert main(["diagnose", str(rewritten(folder, change))]) == 2
    err = capsys.readouterr().err
    assert message in " ".join(err.split()) and err.startswith("error: ") and err.count("\n") == 1


def test_steps_that_underflow_are_named(tiny, tmp_path, capsys):
    path = save_model(tiny("Mamba1", dtype=torch.float32), tmp_path / "m")
    rewritten(path, _set("dt_proj.bias", lambda v: v.fill_(-1e4)))
    assert main(["diagnose", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "dt" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bundeld"], "model 'bundeld' does not exist; give 'bundled'"),
        (["no.safetensors"], "'no.safetensors' does not exist"),
        (["a/b/none.safetensors"], "a/b/none.safetensors does not exist"),
        (["broken.safetensors"], "cannot read broken.safetensors"),
        (["words.txt"], "words.txt is no safetensors file"),
        (["empty"], "empty"),
        (["bundled", "--init", "130m"], "not both"),
        (["--init", "mamba-131m"], "did you mean 'mamba-130m'"),
        (["--c", "zero"], "valid names are ones, random"),
        (["--channels", "0"], "channels = 0"),
        (["--radius", "nan"], "radius = nan"),
        (["--radius", "-1"], "radius = -1"),
        (["--seed", "-1"], "--seed -1"),
        (["--rank", "0"], "rank = 0"),
        (["--sdt", "0", "0.5"], "channels is 0"),
        (["--sdt", "999", "1"], "there are only 768"),
        (["--sdt", "4", "1.5"], "states is 1.5"),
        (["--sdt", "few", "1"], "--sdt CHANNELS is 'few'"),
        (["--verdicts", "none.json"], "cannot read none.json: No such file or directory; make one: python -m theory"),
        (["--verdicts", "old.json"], "does not hold lora_limits.cheaper_sparse"),
        (["--out", "words.txt"], "--out words.txt cannot be written to: it is a file; name a folder"),
        (["--json", "empty"], "--json empty is a folder; name a file in it"),
        (["--channels", "1", "--json", "words.txt/x.json"], "--json words.txt cannot be written to"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.safetensors").write_bytes(b"\x08\x00\x00")
    Path("words.txt").write_text("words")
    Path("old.json").write_text(json.dumps({"claims": [{"id": "prefix_state.decay", "verdict": "EXACT"}]}))
    Path("empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert main(["diagnose", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_hub_name_offline_gives_one_line(tmp_path):
    code = "import sys; from empirics.__main__ import main; sys.exit(main(['diagnose', 'nobody/no-such-model']))"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert run.returncode == 2 and run.stderr.startswith("error: cannot get nobody/no-such-model from the hub")
    assert "give a local folder" in run.stderr and run.stderr.count("\n") == 1


def test_an_interrupted_write_leaves_the_old_file(tiny, tmp_path, monkeypatch):
    path = save_model(tiny("Mamba1"), tmp_path / "m")
    out = tmp_path / "o"
    out.mkdir()
    (out / "diagnose.png").write_bytes(b"old")
    monkeypatch.setattr("theory.core.files.os.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert main(["diagnose", str(path), "--out", str(out)]) == 2
    assert (out / "diagnose.png").read_bytes() == b"old" and not list(out.glob("*.partial"))


def test_errors_are_those_of_the_package():
    with pytest.raises(CheckpointError, match="does not exist"):
        subject("nothing")
    with pytest.raises(UnknownName, match="model size"):
        fresh("nothing", 0)
    with pytest.raises(InvalidInput, match="rank = 0"):
        costs(subject(BUNDLED).sizes, 6, 0, 1, 1)

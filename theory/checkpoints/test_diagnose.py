"""python -m theory diagnose: the numbers, the table beside the JSON, and every error."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from theory.__main__ import main
from theory.checkpoints import diagnose as dg
from theory.checkpoints.dynamics import Dynamics, initial_dynamics, read_checkpoint
from theory.checkpoints.test_dynamics import D, H, N, mamba, mamba2
from theory.core.errors import InvalidInput, InvalidSystem, UnknownName
from theory.core.gramians import hankel_singular_values
from theory.core.hankel_batch import HankelSpectra, hankel_spectra
from theory.core.initialisations import initialisation, inverse_softplus, softplus
from theory.core.lti import LTI
from theory.core.tolerance import EPS32, EPS_BF16
from theory.prefix_state.finite_precision.geometry import effective_prefix_dimension


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file(mamba("backbone."), path)
    return path


def one_layer(A: list[float], dt: list[float], **changes: Any) -> Dynamics:
    values: dict[str, Any] = {"row_norms": np.zeros(len(dt))} | changes
    return Dynamics("layers.0", "mamba", np.tile(A, (len(dt), 1)), inverse_softplus(np.array(dt)), **values)


def test_half_lives_by_hand() -> None:
    """A = (−1, −2), dt = 0.1 and 0.2: ln 2/(|A| dt) = 6.93, 3.47, 3.47, 1.73 tokens."""
    row = dg.diagnose_layer(one_layer([-1.0, -2.0], [0.1, 0.2]))
    assert row["half_life_tokens"]["max"] == pytest.approx(math.log(2) / 0.1, rel=1e-12)
    assert row["half_life_tokens"]["median"] == pytest.approx(math.log(2) / 0.2, rel=1e-12)
    assert row["half_life_tokens"]["min"] == pytest.approx(math.log(2) / 0.4, rel=1e-12)
    assert row["dt"] == pytest.approx({"min": 0.1, "median": 0.15, "max": 0.2}, rel=1e-12)
    # after one half-life the state is half of what it was
    system = LTI([math.exp(-0.1)], [1.0], [1.0])
    tokens = round(row["half_life_tokens"]["max"])
    assert system.free_response([1.0], 8)[tokens - 1] == pytest.approx(2 ** (-tokens / (math.log(2) / 0.1)), rel=1e-12)


def test_spectrum_and_counts_are_those_of_the_claim() -> None:
    """Against the certified route of prefix_state.finite_precision, channel by channel."""
    (layer,) = initial_dynamics("mamba", d_model=4, n_layers=1, seed=3)
    row = dg.diagnose_layer(layer, seed=5)
    c: Any = np.random.default_rng(5).standard_normal(layer.A.shape)
    systems = [LTI(np.exp(t * A), np.full(16, t), x) for t, A, x in zip(layer.dt(), layer.A, c, strict=True)]
    for name, eps in (("bfloat16", EPS_BF16), ("float32", EPS32)):
        counts = [effective_prefix_dimension(s, eps) for s in systems]
        expected = {"min": min(counts), "median": float(np.median(counts)), "max": max(counts)}
        assert row["usable_directions"][name] == expected
    assert row["hankel_relative_median"][0] == 1.0 and row["states"] == 16 and row["sampled_channels"] == 8


@pytest.mark.parametrize("name", ["s4d_lin", "s4d_inv", "s4d_legs"])
def test_complex_models(name: str) -> None:
    (layer,) = initial_dynamics(name, d_model=3, n_layers=1, d_state=8, seed=1)
    for readout in dg.READOUTS:
        row = dg.diagnose_layer(layer, readout=readout, seed=4)
        rng = np.random.default_rng(4)
        c: Any = np.ones((3, 4)) if readout == "ones" else (rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4)))
        systems = [initialisation(name, 8, float(t), c=x) for t, x in zip(layer.dt().tolist(), c.tolist(), strict=True)]
        values = np.array([hankel_singular_values(system) for system in systems])
        expected = np.median(values / values[:, :1], axis=0)
        assert row["hankel_relative_median"] == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-9)
        for fmt, eps in dg.FORMATS.items():
            counts = [effective_prefix_dimension(system, eps) for system in systems]
            assert row["usable_directions"][fmt] == {"min": min(counts), "median": np.median(counts), "max": max(counts)}
        assert row["states"] == 8 and row["dt_over_inputs"] == {"min": row["dt"]["min"], "max": row["dt"]["max"]}


def test_range_of_steps_over_inputs() -> None:
    """softplus(bias ± radius · ‖row‖), least and largest over channels."""
    layer = one_layer([-1.0], [0.1, 0.2], row_norms=np.array([0.5, 2.0]))
    row = dg.diagnose_layer(layer, radius=3.0)
    assert row["dt_over_inputs"]["min"] == pytest.approx(float(softplus(layer.bias[1] - 6.0)), rel=1e-12)
    assert row["dt_over_inputs"]["max"] == pytest.approx(float(softplus(layer.bias[1] + 6.0)), rel=1e-12)


def test_a_norm_in_front_of_the_projection_bounds_the_steps() -> None:
    (free,) = initial_dynamics("mamba", d_model=4, n_layers=1)
    bounded = dataclasses.replace(free, bound=1.5)
    wide, narrow = (dg.diagnose([layer], "", channels=1, radius=9.0) for layer in (free, bounded))
    assert narrow["layers"][0]["dt_over_inputs"] == dg.diagnose([free], "", channels=1, radius=1.5)["layers"][0]["dt_over_inputs"]
    assert narrow["layers"][0]["dt_over_inputs"] != wide["layers"][0]["dt_over_inputs"]
    within = [dg.diagnose([layer], "", channels=1, radius=1.0)["layers"] for layer in (free, bounded)]
    assert within[0] == within[1]
    said = {radius: " ".join(dg.diagnose([bounded], "", channels=1, radius=radius)["assumes"]) for radius in (1.0, 9.0)}
    assert "norm at most 1; an RMS norm in front of the projection keeps all inputs below 1.5" in said[1.0]
    assert "norm at most 1.5; an RMS norm in front of the projection keeps all inputs below that" in said[9.0]
    assert "(0, ∞)" in " ".join(wide["assumes"]) and "(0, ∞)" not in said[9.0]


def test_mamba2_head_has_one_direction(tmp_path: Path) -> None:
    save_file(mamba2(), tmp_path / "m2.safetensors")
    payload = dg.diagnose(read_checkpoint(tmp_path / "m2.safetensors"), "m2")
    (row,) = payload["layers"]
    assert row["model"] == "mamba2" and row["channels"] == H and row["states"] == 1
    assert row["usable_directions"]["float32"] == {"min": 1.0, "median": 1.0, "max": 1.0}
    assert any("one decay" in line for line in payload["assumes"])


def test_sampling_is_even_deterministic_and_does_not_change_the_channels() -> None:
    assert dg.sample_channels(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert dg.sample_channels(100, 3).tolist() == [0, 50, 99]
    assert dg.sample_channels(1536, 64).size == 64
    (layer,) = initial_dynamics("mamba", d_model=40, n_layers=1)
    some, every = dg.sample_channels(80, 7), np.arange(80)
    for part, whole in zip(
        dg.frozen_channels(layer, some, "random", 2), dg.frozen_channels(layer, every, "random", 2), strict=True
    ):
        assert np.array_equal(part, whole[some])
    low = dg.diagnose_layer(layer, channels=7)
    assert low["sampled_channels"] == 7 and low["dt"] == dg.diagnose_layer(layer, channels=80)["dt"]


@pytest.mark.parametrize("doubt", ["digits", "count"])
def test_what_float64_leaves_in_doubt_is_decided_by_enclosures(doubt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (layer,) = initial_dynamics("mamba", d_model=2, n_layers=1, d_state=6)
    plain = dg.diagnose_layer(layer)
    assert plain["decided_by_enclosures"] == 0

    def vague(*channels: Any) -> HankelSpectra:
        sigma = hankel_spectra(*channels).sigma
        if doubt == "digits":
            return HankelSpectra(sigma * (1 + np.arange(6)) ** 2, np.full(4, 1e-3))
        sigma[1, 3] = EPS_BF16 * sigma[1, 0] * (1 + 1e-9)
        return HankelSpectra(sigma, np.full(4, 1e-8))

    monkeypatch.setattr(dg, "hankel_spectra", vague)
    enclosed = dg.diagnose_layer(layer)
    assert enclosed["decided_by_enclosures"] == (4 if doubt == "digits" else 1)
    for key in ("usable_directions", "hankel_relative_median", "hankel_digits"):
        assert enclosed[key] == plain[key]


def test_digits_that_hold_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the JSON of a layer and below the table; fewer where no more hold."""
    layer = one_layer([-1.0, -2.0], [0.1])
    monkeypatch.setattr(dg, "DIGITS", 2)
    payload = dg.diagnose([layer], "x")
    assert payload["layers"][0]["hankel_digits"] == 2
    buffer = io.StringIO()
    dg.print_diagnosis(payload, Console(file=buffer, width=160))
    assert "2 digits of each σ over σ₁ hold" in buffer.getvalue()


def test_equal_modes_leave_exact_zeros() -> None:
    row = dg.diagnose_layer(one_layer([-1.0, -2.0, -2.0], [0.1, 0.3]))
    assert row["hankel_relative_median"][2] == 0.0 < row["hankel_relative_median"][1]


def test_channels_without_output_have_no_direction() -> None:
    """dt |A| so large that every mode is forgotten within one token."""
    row = dg.diagnose_layer(one_layer([-1e5, -2e5], [1.0, 1.0]))
    assert row["usable_directions"]["float32"]["max"] == 0.0 and row["hankel_relative_median"] == []


def test_steps_that_underflow_are_named() -> None:
    layer = Dynamics("layers.7", "mamba", -np.ones((2, 1)), np.array([-1e4, 0.0]), None)
    with pytest.raises(InvalidInput, match=r"layers\.7: softplus"):
        dg.diagnose_layer(layer)
    slow = Dynamics("layers.7", "mamba", np.full((1, 1), -1e-200), np.array([-500.0]), None)
    with pytest.raises((InvalidInput, InvalidSystem), match=r"layers\.7"):
        dg.diagnose_layer(slow)


def test_table_says_what_the_json_says(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dg.main_diagnose([str(checkpoint), "--json", "--channels", "3"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert dg.main_diagnose([str(checkpoint), "--channels", "3"]) == 0
    shown = capsys.readouterr().out
    assert [row["layer"] for row in payload["layers"]] == [f"backbone.layers.{i}.mixer" for i in range(2)]
    for row in payload["layers"]:
        assert row["channels"] == D and row["states"] == N and row["sampled_channels"] == 3
        (line,) = [text for text in shown.splitlines() if row["layer"] in text]
        for key in ("dt", "half_life_tokens"):
            assert dg._interval(row[key]) in line
        for name in dg.FORMATS:
            assert dg._interval(row["usable_directions"][name]) in line
        moved = row["dt_over_inputs"]
        assert f"[{dg._number(moved['min'])}, {dg._number(moved['max'])}]" in line
    squeezed = " ".join(shown.split())
    assert all(" ".join(text.split()) in squeezed for text in payload["assumes"])
    assert str(checkpoint) in payload["source"]


def test_the_last_row_is_about_all_layers() -> None:
    """Median of the layers' medians, the least and the largest of all; one layer needs no such row."""
    layers = [one_layer([-1.0, -2.0], [0.1]), one_layer([-1.0, -2.0], [0.4]), one_layer([-1.0, -2.0], [0.2])]
    payload = dg.diagnose(layers, "x")
    buffer = io.StringIO()
    dg.print_diagnosis(payload, Console(file=buffer, width=160))
    (line,) = (line for line in buffer.getvalue().splitlines() if "all 3 layers" in line)
    assert "0.2 [0.1, 0.4]" in line and "1 × 2" in line
    half_lives = [row["half_life_tokens"] for row in payload["layers"]]
    assert f"{dg._number(min(h['min'] for h in half_lives))}, {dg._number(max(h['max'] for h in half_lives))}]" in line
    alone = io.StringIO()
    dg.print_diagnosis(dg.diagnose(layers[:1], "x"), Console(file=alone, width=160))
    assert "all 1" not in alone.getvalue()


def test_table_without_a_dt_weight() -> None:
    payload = dg.diagnose([one_layer([-1.0], [0.1], row_norms=None)], "x")
    assert payload["layers"][0]["dt_over_inputs"] is None
    buffer = io.StringIO()
    dg.print_diagnosis(payload, Console(file=buffer, width=160))
    assert "unknown" in buffer.getvalue() and "median [min, max]" in buffer.getvalue()


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--init", "mamba", "--d-model", "4", "--n-layers", "2", "--json"]) == 0
    out = capsys.readouterr().out
    assert len(json.loads(out)["layers"]) == 2  # nothing but JSON on stdout


def test_same_seed_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for seed in ("3", "3", "4"):
        assert dg.main_diagnose(["--init", "mamba", "--d-model", "8", "--n-layers", "1", "--seed", seed, "--json"]) == 0
        outputs.append(json.loads(capsys.readouterr().out)["layers"])
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ([], InvalidInput, "give one of"),
        (["x.safetensors", "--init", "mamba"], InvalidInput, "not both"),
        (["no-such-file.safetensors"], InvalidInput, r"no-such-file\.safetensors does not exist"),
        (["--init", "mambo"], UnknownName, "did you mean mamba"),
        (["--init", "mamba", "--d-model", "0"], InvalidInput, "d_model = 0"),
        (["--init", "mamba", "--n-layers", "0"], InvalidInput, "n_layers = 0"),
        (["--init", "s4d_lin", "--d-state", "5"], InvalidInput, "even"),
        (["--init", "mamba", "--channels", "0"], InvalidInput, "channels = 0"),
        (["--init", "mamba", "--seed", "-1"], InvalidInput, "seed = -1"),
        (["--init", "mamba", "--c", "zero"], InvalidInput, "choose random or ones"),
        (["--init", "mamba", "--radius", "nan"], InvalidInput, "radius = nan"),
        (["--init", "mamba", "--radius", "-1"], InvalidInput, "radius"),
    ],
)
def test_bad_arguments(args: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        dg.main_diagnose(args)


def test_errors_exit_2_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x08\x00\x00")
    plain = tmp_path / "plain.safetensors"
    save_file({"wte.weight": np.zeros((2, 2))}, plain)
    for path, says in ((broken, "not a readable safetensors"), (plain, "its keys: wte.weight")):
        assert main(["diagnose", str(path)]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert says in message and message.startswith("error:")

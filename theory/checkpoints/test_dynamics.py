"""Reading Mamba checkpoints: both layouts, Mamba-2, number formats, and everything that can be wrong with a file."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from theory.checkpoints.dynamics import dynamics_of, initial_dynamics, read_checkpoint
from theory.core.errors import InvalidInput, UnknownName
from theory.core.initialisations import DT_MAX, DT_MIN, inverse_softplus, softplus
from theory.core.scalars import Array

Tensors = dict[str, Array]
D, N, R, H = 6, 4, 3, 5


def mamba(prefix: str, layers: int = 2, seed: int = 0) -> Tensors:
    """Tensors of a small Mamba: A = −1..−N, dt log-uniform."""
    rng = np.random.default_rng(seed)
    out: Tensors = {"backbone.embedding.weight": np.zeros((3, 2), np.float32)}
    for i in range(layers):
        base = f"{prefix}layers.{i}.mixer."
        out[base + "A_log"] = np.log(np.tile(np.arange(1.0, N + 1), (D, 1))).astype(np.float32)
        out[base + "dt_proj.bias"] = inverse_softplus(np.exp(rng.uniform(np.log(1e-3), np.log(0.1), D))).astype(np.float32)
        out[base + "dt_proj.weight"] = rng.standard_normal((D, R)).astype(np.float32)
    return out


def mamba2(layers: int = 1) -> Tensors:
    """Tensors of a small Mamba-2: one decay per head."""
    out: Tensors = {}
    for i in range(layers):
        base = f"backbone.layers.{i}.mixer."
        out[base + "A_log"] = np.log(np.arange(1.0, H + 1)).astype(np.float32)
        out[base + "dt_bias"] = inverse_softplus(np.full(H, 0.01)).astype(np.float32)
        out[base + "in_proj.weight"] = np.arange((20 + H) * 2, dtype=np.float32).reshape(20 + H, 2)
    return out


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(tensors: Tensors, name: str = "model.safetensors") -> Path:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("prefix", ["backbone.", "", "base_model.model.backbone."])
def test_layouts(save: Any, prefix: str) -> None:
    tensors = mamba(prefix)
    layers = read_checkpoint(save(tensors))
    assert [x.name for x in layers] == [f"{prefix}layers.{i}.mixer" for i in range(2)]
    for i, layer in enumerate(layers):
        assert layer.model == "mamba" and not layer.half
        assert np.allclose(layer.A, -np.tile(np.arange(1.0, N + 1), (D, 1)), rtol=1e-6, atol=0)
        bias = tensors[f"{prefix}layers.{i}.mixer.dt_proj.bias"].astype(np.float64)
        assert np.allclose(layer.dt(), softplus(bias), rtol=1e-15, atol=0)
        row = np.linalg.norm(tensors[f"{prefix}layers.{i}.mixer.dt_proj.weight"].astype(np.float64), axis=1)
        assert np.allclose(layer.dt(2.0), softplus(bias + 2 * row), rtol=1e-15, atol=0)
        assert np.all(layer.dt(-1.0) < layer.dt()) and np.all(layer.dt() < layer.dt(1.0))


def test_layers_come_in_natural_order(save: Any) -> None:
    assert [x.name for x in read_checkpoint(save(mamba("", 12)))] == [f"layers.{i}.mixer" for i in range(12)]


def test_range_is_attained_by_inputs(save: Any) -> None:
    """dt's extremes over ‖u‖ ≤ 1 are those of u = ±row/‖row‖, and no random u goes beyond."""
    tensors = mamba("", 1)
    (layer,) = read_checkpoint(save(tensors))
    weight = tensors["layers.0.mixer.dt_proj.weight"].astype(np.float64)
    bias = tensors["layers.0.mixer.dt_proj.bias"].astype(np.float64)
    best = np.array([softplus(bias[d] + weight[d] @ weight[d] / np.linalg.norm(weight[d])) for d in range(D)])
    assert np.allclose(layer.dt(1.0), best, rtol=1e-14, atol=0)
    u = np.random.default_rng(0).standard_normal((200, R))
    moved = softplus(bias + (u / np.linalg.norm(u, axis=1, keepdims=True)) @ weight.T)
    assert np.all(moved <= layer.dt(1.0) * (1 + 1e-12)) and np.all(moved >= layer.dt(-1.0) * (1 - 1e-12))


def test_mamba2(save: Any) -> None:
    tensors = mamba2()
    (layer,) = read_checkpoint(save(tensors))
    assert layer.model == "mamba2" and layer.A.shape == (H, 1)
    assert np.allclose(layer.A[:, 0], -np.arange(1.0, H + 1), rtol=1e-6, atol=0)
    rows = tensors["backbone.layers.0.mixer.in_proj.weight"][-H:].astype(np.float64)  # dt comes last in in_proj
    assert layer.row_norms is not None and np.array_equal(layer.row_norms, np.linalg.norm(rows, axis=1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_number_formats(save: Any, dtype: type) -> None:
    tensors: Tensors = {k: v.astype(dtype) for k, v in mamba("", 1).items()}
    (layer,) = read_checkpoint(save(tensors))
    assert layer.A.dtype == np.float64
    assert np.array_equal(layer.bias, tensors["layers.0.mixer.dt_proj.bias"].astype(np.float64))


def _raw(path: Path, dtype: str, tensors: Tensors) -> Path:
    """A safetensors file with tensors of a type that numpy has not, from their raw bits (uint16 or uint8 arrays)."""
    header, blobs, offset = {}, [], 0
    for key, bits in tensors.items():
        blob = bits.tobytes()
        header[key] = {"dtype": dtype, "shape": list(bits.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return path


def test_bfloat16(tmp_path: Path) -> None:
    source = {k: v for k, v in mamba("", 1).items() if "mixer" in k}
    bits = {k: (v.view(np.uint32) >> 16).astype(np.uint16) for k, v in source.items()}
    (layer,) = read_checkpoint(_raw(tmp_path / "b.safetensors", "BF16", bits))
    cut = (source["layers.0.mixer.dt_proj.bias"].view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert np.array_equal(layer.bias, cut.astype(np.float64))
    assert layer.A.shape == (D, N) and np.allclose(layer.A, -np.arange(1.0, N + 1), rtol=2**-6, atol=0)


def test_quantised_dtype_is_named(tmp_path: Path) -> None:
    path = _raw(tmp_path / "q.safetensors", "U8", {"layers.0.mixer.A_log": np.zeros((D, N), np.uint8)})
    with pytest.raises(InvalidInput, match="A_log has dtype U8, expected"):
        read_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.safetensors does not exist"):
        read_checkpoint(tmp_path / "absent.safetensors")
    with pytest.raises(InvalidInput, match="is a folder"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "text"])
def test_damaged_files(save: Any, damage: str) -> None:
    path = save(mamba("", 1))
    data = path.read_bytes()
    new = {"cut": data[:-7], "header": b"\xff" * 8 + data[8:], "empty": b"", "text": b"PK\x03\x04 a pickle, not a tensor file"}
    path.write_bytes(new[damage])
    with pytest.raises(InvalidInput, match="not a readable safetensors file"):
        read_checkpoint(path)


def test_no_a_log_says_what_was_found(save: Any) -> None:
    with pytest.raises(InvalidInput, match=r"no key that ends in A_log.*keys: h\.0\.attn\.bias, wte\.weight"):
        read_checkpoint(save({"wte.weight": np.zeros((2, 2)), "h.0.attn.bias": np.zeros(2)}))
    with pytest.raises(InvalidInput, match=r"\(40 in all\)"):
        read_checkpoint(save({f"w{i}": np.zeros(1) for i in range(40)}))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["layers.1.mixer.A_log", "layers.1.mixer.dt_proj.bias", "layers.1.mixer.dt_proj.weight"])
def test_values_that_are_not_finite(save: Any, key: str, bad: float) -> None:
    tensors = mamba("")
    tensors[key].ravel()[-2] = bad
    with pytest.raises(InvalidInput, match=rf"{key}\[.*is not finite \(1 such"):
        read_checkpoint(save(tensors))


def test_decays_out_of_range(save: Any) -> None:
    tensors = mamba("", 1)
    for value in (800.0, -800.0):
        tensors["layers.0.mixer.A_log"] = np.full((D, N), value)
        with pytest.raises(InvalidInput, match="over- or underflows"):
            read_checkpoint(save(tensors))


def test_missing_and_ill_shaped_partners(save: Any) -> None:
    without = mamba("", 1)
    del without["layers.0.mixer.dt_proj.bias"]
    with pytest.raises(InvalidInput, match=r"no layers\.0\.mixer\.dt_proj\.bias beside it; found .*dt_proj\.weight"):
        read_checkpoint(save(without))
    short = mamba("", 1) | {"layers.0.mixer.dt_proj.bias": np.zeros(D - 1)}
    with pytest.raises(InvalidInput, match=r"has shape \(5,\).*one bias per channel"):
        read_checkpoint(save(short))
    wide = mamba("", 1) | {"layers.0.mixer.dt_proj.weight": np.zeros((D + 1, R))}
    with pytest.raises(InvalidInput, match="no 6 rows for dt"):
        read_checkpoint(save(wide))
    with pytest.raises(InvalidInput, match=r"expected \(D, N\)"):
        read_checkpoint(save({"layers.0.mixer.A_log": np.zeros((2, 2, 2))}))
    unknown = mamba("", 1)
    del unknown["layers.0.mixer.dt_proj.weight"]
    (layer,) = read_checkpoint(save(unknown))
    with pytest.raises(InvalidInput, match="range is unknown"):
        layer.dt(1.0)


@pytest.mark.parametrize(("name", "shape"), [("mamba", (16, 16)), ("s4d_lin", (8, 32)), ("S4D-Inv", (8, 32))])
def test_initial_models(name: str, shape: tuple[int, int]) -> None:
    layers = initial_dynamics(name, d_model=8, n_layers=3, seed=1)
    assert [x.A.shape for x in layers] == [shape] * 3
    assert all(np.all((x.dt() >= DT_MIN * (1 - 1e-9)) & (x.dt() <= DT_MAX * (1 + 1e-9))) for x in layers)
    assert not np.array_equal(layers[0].bias, layers[1].bias)
    again = initial_dynamics(name, d_model=8, n_layers=3, seed=1)
    assert all(np.array_equal(x.bias, y.bias) for x, y in zip(layers, again, strict=True))
    for x in layers:
        fixed = np.array_equal(x.dt(1.0), x.dt())
        assert fixed == (name != "mamba")  # S4D's clock sees no input


def test_initial_models_refuse_bad_sizes() -> None:
    with pytest.raises(UnknownName, match="did you mean mamba"):
        initial_dynamics("mambo", d_model=8, n_layers=1)
    for change in ({"d_model": 0}, {"n_layers": 0}, {"d_state": 0}, {"expand": 0}):
        with pytest.raises(InvalidInput, match=next(iter(change))):
            initial_dynamics("mamba", **({"d_model": 8, "n_layers": 1} | change))
    with pytest.raises(InvalidInput, match="even"):
        initial_dynamics("s4d_lin", d_model=8, n_layers=1, d_state=7)


@pytest.mark.parametrize("make", [lambda: mamba("backbone."), mamba2])
def test_arrays_in_memory_are_read_as_a_file_is(save: Any, make: Any) -> None:
    tensors = make()
    for ours, theirs in zip(dynamics_of(tensors, "memory"), read_checkpoint(save(tensors)), strict=True):
        assert (ours.name, ours.model) == (theirs.name, theirs.model)
        assert np.array_equal(ours.A, theirs.A) and np.array_equal(ours.dt(0.5), theirs.dt(0.5))
        assert not np.array_equal(ours.dt(0.5), theirs.dt(0.6))
    first = next(key for key in tensors if key.endswith("A_log"))
    with pytest.raises(InvalidInput, match=r"memory: .*A_log.* is not finite"):
        dynamics_of(tensors | {first: np.full_like(tensors[first], np.nan)}, "memory")
    with pytest.raises(InvalidInput, match="memory has no key that ends in A_log"):
        dynamics_of({"wte.weight": np.zeros((2, 2))}, "memory")


def test_steps_are_clamped_to_the_limits() -> None:
    (free,) = dynamics_of(mamba2(), "memory")
    low, high = float(np.quantile(free.dt(-1.0), 0.3)), float(np.quantile(free.dt(1.0), 0.7))
    clamped = dataclasses.replace(free, limits=(low, high))
    for shift in (-1.0, 0.0, 1.0):
        assert np.array_equal(clamped.dt(shift), np.minimum(np.maximum(free.dt(shift), low), high))
    assert not np.array_equal(clamped.dt(1.0), free.dt(1.0))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"d_model": 99_999_999_999}, "exceed 134,217,728 values a layer"),
        ({"d_state": 100_000_000}, "exceed 134,217,728 values a layer"),
        ({"n_layers": 100_000_000}, "n_layers = 100000000 exceeds 10000"),
    ],
)
def test_sizes_that_no_machine_holds(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        initial_dynamics("mamba", **{"d_model": 8, "n_layers": 1, **sizes})


@pytest.mark.parametrize("lost", [0, 1])
def test_a_layer_that_lost_its_modes_is_named(tmp_path: Path, lost: int) -> None:
    def layer(i: int) -> dict[str, np.ndarray]:
        base = f"layers.{i}.mixer."
        return {base + "A_log": np.zeros((D, N), np.float32), base + "dt_proj.bias": np.zeros(D, np.float32)}

    tensors = layer(0) | layer(1)
    path = tmp_path / "whole.safetensors"
    save_file(tensors, path)
    assert len(read_checkpoint(path)) == 2
    del tensors[f"layers.{lost}.mixer.A_log"]
    save_file(tensors, path)
    with pytest.raises(InvalidInput, match=rf"dt_proj\.bias has no layers\.{lost}\.mixer\.A_log beside it"):
        read_checkpoint(path)

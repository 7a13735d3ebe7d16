"""The dynamics of Mamba checkpoints: decays and step sizes per layer, from safetensors files, without torch.

======== ============================ ========================== =====================================
model    A_log                        dt bias                    row that moves dt
======== ============================ ========================== =====================================
Mamba    ``….A_log`` (D, N)           ``….dt_proj.bias`` (D,)    ``….dt_proj.weight`` (D, R)
Mamba-2  ``….A_log`` (H,)             ``….dt_bias`` (H,)         last H rows of ``….in_proj.weight``
======== ============================ ========================== =====================================

A = −exp(A_log) and dt = softplus(bias + row·u). The part before ``A_log`` is free: ``backbone.layers.{i}.mixer.`` in
state-spaces/mamba and transformers, ``layers.{i}.mixer.`` in bare backbones. Sources: state-spaces/mamba
(mamba_simple.py, mamba2.py), transformers (modeling_mamba.py, modeling_mamba2.py).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ..core.errors import InvalidInput
from ..core.initialisations import DT_PROJ_SPREAD, continuous_modes, inverse_softplus, mamba_dt, softplus, stored_by_halves
from ..core.lti import require_length
from ..core.scalars import Array


@dataclass(frozen=True)
class Dynamics:
    """One layer's decays and step sizes at zero input of the dt projection.

    Attributes
    ----------
    name:
        Key prefix of the layer in its file, or ``layers.{i}``.
    model:
        ``mamba``, ``mamba2`` or the name of an S4D initialisation.
    A:
        Continuous modes, shape (D, N); complex where one mode of each conjugate pair is stored. Mamba-2: (H, 1), as a
        head's states all share one decay.
    bias:
        softplus⁻¹ of the step size at zero input, shape (D,).
    row_norms:
        ‖row‖₂ of the dt projection per channel, shape (D,); ``None`` where the file lacks it; zeros where dt is fixed.
    half:
        Whether A holds one mode of each conjugate pair.
    limits:
        Range to which step sizes are clamped (Mamba-2's dt_limit).
    bound:
        Largest norm of an input of the dt projection: finite where an RMS norm is in front of it (FalconMamba, Jamba).
    """

    name: str
    model: str
    A: Array
    bias: Array
    row_norms: Array | None
    half: bool = False
    limits: tuple[float, float] = (0.0, math.inf)
    bound: float = math.inf

    def dt(self, shift: float = 0.0) -> Array:
        """Step sizes softplus(bias + shift · ‖row‖), clamped, shape (D,): the extremes over projection inputs of norm |shift|,
        or of norm ``bound`` where that is less."""
        if shift == 0.0:
            return np.clip(softplus(self.bias), *self.limits)
        if self.row_norms is None:
            raise InvalidInput(f"{self.name}: the weight of the dt projection is missing, so dt's range is unknown")
        reached = min(max(shift, -self.bound), self.bound)
        return np.clip(softplus(self.bias + reached * self.row_norms), *self.limits)


MOST_LAYERS, MOST_VALUES = 10_000, 2**27
"""Of a fresh model: layers, and modes of one layer (a gibibyte)."""


def initial_dynamics(
    name: str, *, d_model: int, n_layers: int, d_state: int | None = None, expand: int | None = None, seed: int = 0
) -> list[Dynamics]:
    """The layers of a freshly initialised model: D = expand · d_model channels, dt log-uniform on [1e-3, 1e-1].

    Defaults as published: d_state 16 and expand 2 for mamba, 64 and 1 for the S4D variants (whose dt sees no input).

    Raises UnknownName for an unknown initialisation and InvalidInput for sizes below 1 or an odd d_state with pairs.
    """
    half = stored_by_halves(name)
    key = name.lower().replace("-", "_").replace(" ", "_")
    n = require_length((64 if half else 16) if d_state is None else d_state, "d_state")
    channels = require_length(d_model, "d_model") * require_length((1 if half else 2) if expand is None else expand, "expand")
    if require_length(n_layers, "n_layers") > MOST_LAYERS:
        raise InvalidInput(f"n_layers = {n_layers} exceeds {MOST_LAYERS}; layers of a fresh model are alike, so give fewer")
    if channels * n > MOST_VALUES:
        raise InvalidInput(
            f"{channels} channels of {n} states exceed {MOST_VALUES:,} values a layer; give a smaller d_model or d_state"
        )
    modes = continuous_modes(name, n)
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n_layers):
        dt = mamba_dt(channels, rng)
        spread = np.full(channels, 0.0 if half else DT_PROJ_SPREAD)
        out.append(Dynamics(f"layers.{i}", key, np.tile(modes, (channels, 1)), inverse_softplus(dt), spread, half))
    return out


def _decode_bfloat16(path: Path, key: str) -> Array:
    """numpy has no bfloat16: its bits are the upper half of a float32's."""
    with path.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        entry = json.loads(stream.read(size))[key]
        begin, end = entry["data_offsets"]
        stream.seek(8 + size + begin)
        raw = np.frombuffer(stream.read(end - begin), dtype="<u2")
    return (raw.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


class _File:
    """A safetensors file as float64 arrays, with errors that name the file and the key."""

    def __init__(self, path: Path, handle: Any):
        self.path, self._handle = path, handle
        self.keys = sorted(handle.keys())

    def get(self, key: str) -> Array:
        kind = self._handle.get_slice(key).get_dtype()
        if kind not in ("F64", "F32", "F16", "BF16"):
            raise InvalidInput(f"{self.path}: {key} has dtype {kind}, expected F64, F32, F16 or BF16 (quantised checkpoint?)")
        values = _decode_bfloat16(self.path, key) if kind == "BF16" else self._handle.get_tensor(key)
        return _finite(self.path, key, values)


class _Arrays:
    """Arrays that are in memory already, as a :class:`_File`."""

    def __init__(self, where: str | Path, arrays: Mapping[str, Array]):
        self.path, self._arrays = where, arrays
        self.keys = sorted(arrays)

    def get(self, key: str) -> Array:
        return _finite(self.path, key, self._arrays[key])


def _finite(where: str | Path, key: str, values: Any) -> Array:
    out = np.asarray(values, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(out))
    if bad.size:
        spot = ", ".join(map(str, bad[0]))
        raise InvalidInput(
            f"{where}: {key}[{spot}] = {out[tuple(bad[0])]} is not finite ({len(bad)} such entries): "
            "the checkpoint diverged or is damaged"
        )
    return out


def _layer_order(key: str) -> tuple[Any, ...]:
    """Natural order: layers.2 before layers.10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", key))


def _some(keys: Iterable[str], limit: int = 6) -> str:
    keys = list(keys)
    return ", ".join(keys[:limit]) + (f", … ({len(keys)} in all)" if len(keys) > limit else "")


def _layer(file: _File | _Arrays, key: str) -> Dynamics:
    prefix = key[: -len("A_log")]
    name = prefix.rstrip(".") or "A_log"
    a_log = file.get(key)
    if a_log.ndim not in (1, 2) or a_log.size == 0:
        raise InvalidInput(f"{file.path}: {key} has shape {a_log.shape}, expected (D, N) for Mamba or (H,) for Mamba-2")
    mamba2 = a_log.ndim == 1
    bias_key = prefix + ("dt_bias" if mamba2 else "dt_proj.bias")
    if bias_key not in file.keys:
        siblings = [k for k in file.keys if k.startswith(prefix)]
        raise InvalidInput(f"{file.path}: {key} has no {bias_key} beside it; found {_some(siblings)}. The step size is unknown")
    bias = file.get(bias_key)
    if bias.shape != a_log.shape[:1]:
        raise InvalidInput(f"{file.path}: {bias_key} has shape {bias.shape}, {key} has {a_log.shape}: one bias per channel")
    with np.errstate(over="ignore"):
        A = -np.exp(a_log if not mamba2 else a_log[:, None])
    if not np.all(np.isfinite(A)) or not np.all(A < 0):
        raise InvalidInput(f"{file.path}: exp({key}) over- or underflows (largest {a_log.max():g}, least {a_log.min():g})")
    weight_key = prefix + ("in_proj.weight" if mamba2 else "dt_proj.weight")
    norms = None
    if weight_key in file.keys:
        weight = file.get(weight_key)
        if weight.ndim != 2 or weight.shape[0] < bias.size or (not mamba2 and weight.shape[0] != bias.size):
            raise InvalidInput(f"{file.path}: {weight_key} has shape {weight.shape}, which has no {bias.size} rows for dt")
        norms = np.linalg.norm(weight[-bias.size :], axis=1)
    return Dynamics(name, "mamba2" if mamba2 else "mamba", A, bias, norms)


def dynamics_of(arrays: Mapping[str, Array], where: str | Path) -> list[Dynamics]:
    """The layers of a checkpoint whose tensors, by their keys, are in memory; ``where`` names it in errors.

    Raises InvalidInput as :func:`read_checkpoint` does for tensors that are missing, ill-shaped or not finite.
    """
    file = _Arrays(where, arrays)
    return [_layer(file, key) for key in _found(file)]


def _found(file: _File | _Arrays) -> list[str]:
    found = sorted((k for k in file.keys if k == "A_log" or k.endswith(".A_log")), key=_layer_order)
    if not found:
        raise InvalidInput(
            f"{file.path} has no key that ends in A_log, so it is no Mamba checkpoint; its keys: {_some(file.keys) or 'none'}"
        )
    for key in file.keys:
        prefix = next((key.removesuffix(end) for end in (".dt_proj.bias", ".dt_bias") if key.endswith(end)), None)
        if prefix is not None and f"{prefix}.A_log" not in found:
            raise InvalidInput(f"{file.path}: {key} has no {prefix}.A_log beside it; that layer is incomplete, save it again")
    return found


def read_checkpoint(path: str | Path) -> list[Dynamics]:
    """Every Mamba or Mamba-2 layer of a safetensors file, in the order of its layers.

    Raises
    ------
    InvalidInput
        No such file, not a readable safetensors file, no ``A_log`` in it, a missing or ill-shaped bias, values that are
        not finite, dtypes that are no floats.
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; name the .safetensors file in it")
    if not path.exists():
        raise InvalidInput(f"{path} does not exist; give a .safetensors checkpoint, or --init mamba for a fresh model")
    try:
        with safe_open(str(path), framework="np") as handle:
            file = _File(path, handle)
            return [_layer(file, key) for key in _found(file)]
    except SafetensorError as error:
        raise InvalidInput(
            f"{path} is not a readable safetensors file ({error}): it is truncated, corrupt or of another format; "
            "fetch it again, or convert a .bin file with safetensors.torch.save_file"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error

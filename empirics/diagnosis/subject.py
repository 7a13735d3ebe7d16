"""The model under diagnosis: per layer its decays and step sizes, its sizes, and the projection that writes into the state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from theory.checkpoints.dynamics import Dynamics, dynamics_of
from theory.core.scalars import Array

from ..errors import CheckpointError
from ..hosts.loading import needs_transformers
from ..hosts.tiny import CONFIGS
from ..methods.geometry import Geometry, geometry
from ..models.config import Mamba1Config, MambaConfig
from ..models.lm import make_mixer
from ..models.loading import WEIGHTS, read_model
from ..models.sizes import size_config
from ..pretraining.bundle import BUNDLED as BUNDLED_FOLDER
from ..study.results import file_hash

BUNDLED = "bundled"


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes
    ----------
    dynamics:
        A, the dt bias and ‖rows‖ of the dt projection; see :class:`theory.checkpoints.dynamics.Dynamics`.
    writes:
        Rows that write into the state, float64. Mamba-1: W_B (N, D), which reads the module's input. Mamba-2: [W_x; W_B]
        (D + G N, d_model), which reads the block's input.
    """

    dynamics: Dynamics
    writes: Array


@dataclass(frozen=True)
class Host:
    """A class of models that only transformers builds.

    Attributes
    ----------
    model:
        Its name.
    attention, targets:
        Number of attention layers, and the names of their projections.
    bound:
        Where dt, B and C pass RMS norms: the norm below which the dt projection's inputs stay, √dt_rank. ``None`` without.
    notes:
        Of what the numbers are, in words.
    """

    model: str
    attention: int
    targets: tuple[str, ...]
    bound: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """A model.

    Attributes
    ----------
    source:
        Where it comes from, in words.
    dtype:
        Of the stored A, for instance ``bfloat16``.
    sha256:
        Of the file with the weights, by which a stored diagnosis knows its model; None for weights in several files, from the
        hub or drawn anew.
    sizes:
        Those of every mixer.
    n_layers:
        Number of layers.
    layers:
        Reads them one after the other; only the rows that are looked at become float64.
    host:
        What is particular to another library's model; ``None`` for Mamba and Mamba-2 as published.
    """

    source: str
    dtype: str
    sha256: str | None
    sizes: Geometry
    n_layers: int
    layers: Callable[[], Iterator[Layer]]
    host: Host | None = None

    @property
    def radius(self) -> float:
        """Norm of the dt projection's inputs that a range of steps is over where nobody asks for another: what a norm lets
        through, else 1."""
        return 1.0 if self.host is None or self.host.bound is None else self.host.bound


def subject(name: str) -> Subject:
    """``bundled``, a folder in the hub's format, a safetensors file, a hub name, or a class of transformers (a tiny random one).

    Raises
    ------
    CheckpointError, MissingPackage
        As :func:`empirics.load_model`: nothing there, corrupt files, values that are not finite or no floats.
    InvalidInput
        transformers' class has no mixers that are known here.
    """
    if name in CONFIGS or needs_transformers(name):
        from .host import host_subject

        return host_subject(name)
    if name == BUNDLED:
        place: str | Path = BUNDLED_FOLDER
    elif "/" in name or Path(name).exists():
        place = name
    else:
        raise CheckpointError(
            f"model {name!r} does not exist; give {BUNDLED!r}, a folder in the hub's format, a safetensors file, "
            "a hub name such as 'state-spaces/mamba-130m', or a class such as 'BambaForCausalLM'"
        )
    config, tensors = read_model(place)

    def layers() -> Iterator[Layer]:
        for i in range(config.n_layer):
            prefix = f"backbone.layers.{i}.mixer."
            yield _layer(config, prefix, {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}, name)

    stored = str(tensors["backbone.layers.0.mixer.A_log"].dtype).removeprefix("torch.")
    return Subject(name, stored, weights_hash(Path(place)), _sizes(config), config.n_layer, layers)


def fresh(size: str, seed: int) -> Subject:
    """An untrained model of a published size, its mixers drawn one after the other; weights of no mixer are kept.

    Raises UnknownName for a size that does not exist.
    """
    config = size_config(size)

    def layers() -> Iterator[Layer]:
        for i in range(config.n_layer):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + i)
                mixer = make_mixer(config)
            yield _layer(config, f"backbone.layers.{i}.mixer.", mixer.state_dict(), size)

    source = f"untrained {size.removeprefix('state-spaces/')}, seed {seed}"
    return Subject(source, "float32", None, _sizes(config), config.n_layer, layers)


def weights_hash(place: Path) -> str | None:
    """SHA-256 of the one file that a model's weights are in; ``None`` where there is no such file."""
    file = place / WEIGHTS if place.is_dir() else place
    return file_hash(file) if file.is_file() else None


def _sizes(config: MambaConfig) -> Geometry:
    with torch.device("meta"):
        return geometry(make_mixer(config))


def numbers(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().to("cpu", torch.float64).numpy())


def _layer(config: MambaConfig, prefix: str, mixer: Mapping[str, Tensor], where: str) -> Layer:
    options = config.mixer
    if isinstance(options, Mamba1Config):
        rank, n = options.rank(config.d_model), options.d_state
        moved = ("A_log", "dt_proj.bias", "dt_proj.weight")
        (dynamics,) = dynamics_of({prefix + key: numbers(mixer[key]) for key in moved}, where)
        return Layer(dynamics, numbers(mixer["x_proj.weight"][rank : rank + n]))
    d, heads = options.d_inner(config.d_model), options.heads(config.d_model)
    bias = numbers(mixer["dt_bias"])
    if options.bias:  # the projection's own bias moves dt at zero input
        bias = bias + numbers(mixer["in_proj.bias"][-heads:])
    weight = mixer["in_proj.weight"]
    writes = numbers(weight[d : 2 * d + options.ngroups * options.d_state])
    return mamba2_layer(prefix, where, numbers(mixer["A_log"]), bias, numbers(weight[-heads:]), writes, options.dt_limit)


def mamba2_layer(
    prefix: str, where: str, A_log: Array, dt_bias: Array, rows: Array, writes: Array, limits: tuple[float, float]
) -> Layer:
    """A Mamba-2 layer from A_log and the step size's bias (H,), in_proj's last rows (H, d_model) and those that write."""
    tensors = {f"{prefix}A_log": A_log, f"{prefix}dt_bias": dt_bias, f"{prefix}in_proj.weight": rows}
    (dynamics,) = dynamics_of(tensors, where)
    return Layer(dataclasses.replace(dynamics, limits=limits), writes)

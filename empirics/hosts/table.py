"""The mixers of other libraries that are known here, by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..errors import InvalidInput
from ..models.mixer import Mixer
from .borrowed import BorrowedMamba1, BorrowedMamba2

Library = Literal["transformers", "mamba_ssm"]


@dataclass(frozen=True, slots=True)
class HostClass:
    """One class of mixers.

    Attributes
    ----------
    path:
        Its qualified name, which is all that is needed to recognise it: the library is not imported.
    kind:
        ``mamba1`` or ``mamba2``.
    library:
        How it passes states on.
    models:
        The models that are made of it.
    """

    path: str
    kind: Literal["mamba1", "mamba2"]
    library: Library
    models: str


def _transformers(folder: str, name: str, kind: Literal["mamba1", "mamba2"], models: str) -> HostClass:
    return HostClass(f"transformers.models.{folder}.modeling_{folder}.{name}", kind, "transformers", models)


HOSTS: tuple[HostClass, ...] = (
    _transformers("mamba", "MambaMixer", "mamba1", "MambaForCausalLM"),
    _transformers("falcon_mamba", "FalconMambaMixer", "mamba1", "FalconMambaForCausalLM"),
    _transformers("mamba2", "Mamba2Mixer", "mamba2", "Mamba2ForCausalLM"),
    _transformers("jamba", "JambaMambaMixer", "mamba1", "JambaForCausalLM"),
    _transformers("bamba", "BambaMixer", "mamba2", "BambaForCausalLM"),
    _transformers("zamba2", "Zamba2MambaMixer", "mamba2", "Zamba2ForCausalLM"),
    _transformers("nemotron_h", "NemotronHMamba2Mixer", "mamba2", "NemotronHForCausalLM"),
    _transformers("granitemoehybrid", "GraniteMoeHybridMambaLayer", "mamba2", "GraniteMoeHybridForCausalLM"),
    _transformers("falcon_h1", "FalconH1Mixer", "mamba2", "FalconH1ForCausalLM"),
    HostClass("mamba_ssm.modules.mamba_simple.Mamba", "mamba1", "mamba_ssm", "MambaLMHeadModel"),
    HostClass("mamba_ssm.modules.mamba2.Mamba2", "mamba2", "mamba_ssm", "MambaLMHeadModel"),
)
"""The classes, in the order of the documentation."""

_BY_PATH = {host.path: host for host in HOSTS}


def known_models() -> str:
    """The models whose mixers are known, in words."""
    return ", ".join(dict.fromkeys(host.models for host in HOSTS))


def recognise(module: nn.Module) -> HostClass | None:
    """The class of a mixer, also of one under parametrisations; ``None`` for any other module."""
    paths = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(module).__mro__)
    return next((_BY_PATH[path] for path in paths if path in _BY_PATH), None)


def borrow(module: nn.Module, host: HostClass) -> Mixer:
    """This project's mixer on the module's tensors.

    Raises
    ------
    InvalidInput
        The module uses an option that the mixer does not have.
    """
    name = type(module).__name__
    activation = getattr(module, "activation", "silu")
    if activation not in ("silu", "swish"):
        raise InvalidInput(f"{name} has the activation {activation!r}; methods on states need 'silu': use lora, dora or sdt")
    if host.kind == "mamba1":
        return BorrowedMamba1(module)
    if getattr(module, "D_has_hdim", False):
        raise InvalidInput(f"{name} has D_has_hdim = True; methods on states need one D for a head: use lora, dora or sdt")
    own: Any = module
    ours = host.library == "mamba_ssm"
    low, high = own.dt_limit if ours else own.time_step_limit
    return BorrowedMamba2(
        module,
        int(own.d_state if ours else own.ssm_state_size),
        int(own.ngroups if ours else own.n_groups),
        (float(low), float(high)),
        bool(own.rmsnorm if ours else getattr(own, "mamba_rms_norm", True)),
    )

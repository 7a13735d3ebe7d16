"""Shapes and options of a Mamba language model, with the field names of mamba-ssm's config.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ..errors import InvalidInput, UnknownName

_SILENT = frozenset({"use_fast_path", "use_mem_eff_path", "chunk_size", "device", "dtype", "layer_idx"})
"""Options of mamba-ssm that choose among implementations of the same function; the scan's name does that here."""


MOST_WIDTH, MOST_LAYERS, MOST_WORDS = 2**24, 10_000, 2**28
"""Sizes up to which a configuration is believed; the largest published models have some 2^14, 2^8 and 2^18."""


def _whole(name: str, value: object, most: int = MOST_WIDTH) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name} is {value!r}, expected an integer of at least 1")
    if value > most:
        raise InvalidInput(f"{name} is {value:.0e}, expected at most {most:,}; is the configuration damaged?")


def _positive(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise InvalidInput(f"{name} is {value!r}, expected a positive number")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} is {value!r}, expected true or false")


WIDEST = 2**31
"""Channels of a scan that kernels can count."""


@dataclass(frozen=True, slots=True)
class MixerConfig:
    """What the Mamba-1 and Mamba-2 blocks have in common.

    Attributes
    ----------
    d_state, d_conv:
        States N of a channel; length K of the causal convolution.
    expand:
        d_inner / d_model.
    bias, conv_bias:
        Whether in_proj and out_proj, and the convolution, have a bias.
    dt_min, dt_max, dt_init_floor:
        Range of the step sizes of a fresh model.
    """

    layer: ClassVar[str]

    d_state: int = 16
    d_conv: int = 4
    expand: float = 2
    bias: bool = False
    conv_bias: bool = True
    dt_min: float = 1e-3
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4

    def __post_init__(self) -> None:
        _whole("d_state", self.d_state)
        _whole("d_conv", self.d_conv)
        for name in ("expand", "dt_min", "dt_max", "dt_init_floor"):
            _positive(name, getattr(self, name))
        if self.dt_min > self.dt_max:
            raise InvalidInput(f"dt_min = {self.dt_min} exceeds dt_max = {self.dt_max}; swap them")
        _flag("bias", self.bias)
        _flag("conv_bias", self.conv_bias)

    def d_inner(self, d_model: int) -> int:
        """Width of the scan, expand · d_model.

        Raises
        ------
        InvalidInput
            No tensor is that wide.
        """
        width = self.expand * d_model
        if not width < WIDEST:
            raise InvalidInput(f"expand = {self.expand} makes a scan of width {width:g}; use an expand of about 2")
        return int(width)


@dataclass(frozen=True, slots=True)
class Mamba1Config(MixerConfig):
    """Options of a Mamba-1 block, those of mamba-ssm's ``Mamba``.

    Attributes
    ----------
    dt_rank:
        Rank of the step sizes' projection; ``"auto"`` is ceil(d_model / 16).
    dt_init, dt_scale:
        How dt_proj.weight starts: ``random`` (uniform) or ``constant``, of size dt_scale / sqrt(dt_rank).
    """

    layer: ClassVar[str] = "Mamba1"

    dt_rank: int | Literal["auto"] = "auto"
    dt_init: str = "random"
    dt_scale: float = 1.0

    def __post_init__(self) -> None:
        super(Mamba1Config, self).__post_init__()  # zero-argument super() does not see a slotted dataclass
        if self.dt_rank != "auto":
            _whole("dt_rank", self.dt_rank)
        if self.dt_init not in ("random", "constant"):
            raise UnknownName("dt_init", self.dt_init, ("random", "constant"))
        _positive("dt_scale", self.dt_scale)

    def rank(self, d_model: int) -> int:
        """dt_rank as a number."""
        return math.ceil(d_model / 16) if self.dt_rank == "auto" else int(self.dt_rank)


@dataclass(frozen=True, slots=True)
class Mamba2Config(MixerConfig):
    """Options of a Mamba-2 block, those of mamba-ssm's ``Mamba2``.

    Attributes
    ----------
    headdim, ngroups:
        Width P of a head; number of groups G of heads that share B and C.
    A_init_range:
        -A of a fresh model is uniform in this range.
    rmsnorm, norm_before_gate:
        Whether the gated norm exists, and whether it normalises before the gate.
    dt_limit:
        Step sizes are clamped to this range.
    """

    layer: ClassVar[str] = "Mamba2"

    d_state: int = 128
    headdim: int = 64
    ngroups: int = 1
    A_init_range: tuple[float, float] = (1, 16)
    rmsnorm: bool = True
    norm_before_gate: bool = False
    dt_limit: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        super(Mamba2Config, self).__post_init__()
        _whole("headdim", self.headdim)
        _whole("ngroups", self.ngroups)
        _flag("rmsnorm", self.rmsnorm)
        _flag("norm_before_gate", self.norm_before_gate)
        for name in ("A_init_range", "dt_limit"):
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)) or len(value) != 2 or not 0 <= value[0] <= value[1]:
                raise InvalidInput(f"{name} is {value!r}, expected two numbers with 0 <= low <= high")
            object.__setattr__(self, name, tuple(value))
        if self.A_init_range[0] == 0:
            raise InvalidInput(f"A_init_range is {self.A_init_range!r}; its logarithm is stored, so it starts above 0")

    def heads(self, d_model: int) -> int:
        """H = d_inner / headdim.

        Raises
        ------
        InvalidInput
            headdim does not divide d_inner, or ngroups does not divide H.
        """
        inner = self.d_inner(d_model)
        if inner % self.headdim:
            raise InvalidInput(f"headdim = {self.headdim} does not divide d_inner = {inner}; choose a divisor")
        heads = inner // self.headdim
        if heads % self.ngroups:
            raise InvalidInput(f"ngroups = {self.ngroups} does not divide the {heads} heads; choose a divisor")
        return heads


_MIXERS: dict[str, type[Mamba1Config] | type[Mamba2Config]] = {"Mamba1": Mamba1Config, "Mamba2": Mamba2Config}
_FIXED: dict[str, Any] = {"d_ssm": None, "D_has_hdim": False, "conv_init": None, "process_group": None}


def mixer_config(ssm_cfg: Mapping[str, Any]) -> Mamba1Config | Mamba2Config:
    """The block's options from a checkpoint's ``ssm_cfg``; ``layer`` is Mamba1 where left out.

    Raises
    ------
    UnknownName
        No such layer or option.
    InvalidInput
        An option has an unusable or unsupported value.
    """
    options = dict(ssm_cfg)
    layer = options.pop("layer", "Mamba1")
    if layer not in _MIXERS:
        raise UnknownName("ssm_cfg layer", layer, _MIXERS)
    kind = _MIXERS[layer]
    known = {f.name for f in dataclasses.fields(kind)}
    for name, value in list(options.items()):
        if name in known:
            continue
        if (name in _FIXED and value == _FIXED[name]) or name in _SILENT:
            del options[name]
        elif name in _FIXED:
            raise InvalidInput(f"ssm_cfg has {name} = {value!r}; only {_FIXED[name]!r} is supported")
        else:
            raise UnknownName(f"option of {layer}", name, known)
    return kind(**options)


@dataclass(frozen=True)
class MambaConfig:
    """A Mamba language model; fields and defaults as in mamba-ssm's ``MambaConfig``.

    Attributes
    ----------
    d_model, n_layer:
        Width and number of blocks.
    vocab_size, pad_vocab_size_multiple:
        The embedding has :attr:`padded_vocab_size` rows, the next multiple.
    ssm_cfg:
        ``{"layer": "Mamba1" | "Mamba2", option: value, ...}``; options of :class:`Mamba1Config` or :class:`Mamba2Config`.
    rms_norm, norm_epsilon:
        RMS norm, or layer norm, before each block and at the end.
    residual_in_fp32:
        Whether the residual stream of a half-precision model is float32.
    tie_embeddings:
        Whether lm_head.weight is the embedding.

    Raises
    ------
    InvalidInput, UnknownName
        An option has an unusable value or does not exist.

    Source: Gu and Dao 2023, arXiv 2312.00752; Dao and Gu 2024, arXiv 2405.21060.
    """

    d_model: int
    n_layer: int
    vocab_size: int
    ssm_cfg: Mapping[str, Any] = field(default_factory=dict, hash=False)
    rms_norm: bool = True
    residual_in_fp32: bool = True
    tie_embeddings: bool = True
    pad_vocab_size_multiple: int = 8
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name, most in (
            ("d_model", MOST_WIDTH),
            ("n_layer", MOST_LAYERS),
            ("vocab_size", MOST_WORDS),
            ("pad_vocab_size_multiple", MOST_WORDS),
        ):
            _whole(name, getattr(self, name), most)
        for name in ("rms_norm", "residual_in_fp32", "tie_embeddings"):
            _flag(name, getattr(self, name))
        _positive("norm_epsilon", self.norm_epsilon)
        if not isinstance(self.ssm_cfg, Mapping):
            raise InvalidInput(f"ssm_cfg is {self.ssm_cfg!r}, expected a mapping such as {{'layer': 'Mamba1', 'd_state': 16}}")
        # A private copy; JSON has no tuples.
        private = {name: tuple(v) if isinstance(v, list) else v for name, v in self.ssm_cfg.items()}
        object.__setattr__(self, "ssm_cfg", private)
        mixer = self.mixer
        if mixer.expand * self.d_model > MOST_WIDTH:
            raise InvalidInput(f"expand = {mixer.expand} times d_model = {self.d_model} exceeds {MOST_WIDTH:,} channels")
        if mixer.d_inner(self.d_model) < 1:
            raise InvalidInput(f"expand = {mixer.expand} times d_model = {self.d_model} is less than one channel")
        if isinstance(mixer, Mamba2Config):
            mixer.heads(self.d_model)

    @property
    def mixer(self) -> Mamba1Config | Mamba2Config:
        """The block's options."""
        return mixer_config(self.ssm_cfg)

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding, and logits of the model."""
        return -(-self.vocab_size // self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

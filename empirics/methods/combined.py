"""Several methods at once, and SDT with LoRA, the combination that the paper proposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..errors import InvalidInput
from .attachment import Attachment
from .base import MethodConfig, method_config, register
from .lora import LoRA
from .sdt import SDT

_ON_OUT_PROJ = LoRA(targets=("out_proj",))


@register
@dataclass(frozen=True)
class Combined(MethodConfig):
    """Every part is attached, in order.

    Raises
    ------
    InvalidInput
        Fewer than two parts; on apply: two parts train one tensor in conflicting ways or set the same state.
    """

    name: ClassVar[str] = "combined"
    parts: tuple[MethodConfig, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.parts) < 2 or not all(isinstance(p, MethodConfig) for p in self.parts):
            raise InvalidInput(f"combined takes at least two method configurations, got {self.parts!r}")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "parts": [part.to_json() for part in self.parts]}

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> Self:
        return super().from_json({**options, "parts": [_method(part) for part in options.get("parts", ())]})

    def attach(self, to: Attachment) -> None:
        for part in self.parts:
            part.attach(to)


@register
@dataclass(frozen=True)
class SDTLoRA(MethodConfig):
    """SDT on the state-space part and LoRA on the linear projections.

    Source: Galim et al. 2024, arXiv 2410.09016, section 5.
    """

    name: ClassVar[str] = "sdt_lora"
    sdt: SDT
    lora: LoRA = _ON_OUT_PROJ

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "sdt": self.sdt.to_json(), "lora": self.lora.to_json()}

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> Self:
        return super().from_json({key: _method(value) for key, value in options.items()})

    def attach(self, to: Attachment) -> None:
        self.sdt.attach(to)
        self.lora.attach(to)


def _method(description: Any) -> Any:
    if isinstance(description, Mapping):
        options = dict(description)
        return method_config(str(options.pop("name", "")), **options)
    return description

"""Several hooks on one mixer, each answering another question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor, nn

from ..errors import InvalidInput
from ..models.hooks import ExtraStates, MixerHook
from ..models.state import MixerState

Answer = TypeVar("Answer")
_QUESTIONS = ("prefix_tokens", "initial_state", "readout_offset", "extra_states")


def answered(hook: MixerHook) -> set[str]:
    """The questions that a hook's class answers."""
    return {q for q in _QUESTIONS if getattr(type(hook), q) is not getattr(MixerHook, q)}


class JointHook(MixerHook):
    """The answers of its parts."""

    def __init__(self, parts: Sequence[MixerHook]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def may_draw(self) -> bool:
        return False

    def _first(self, ask: Callable[[MixerHook], Answer | None]) -> Answer | None:
        answers = (ask(part) for part in self.parts if isinstance(part, MixerHook))
        return next((a for a in answers if a is not None), None)

    def prefix_tokens(self) -> Tensor | None:
        return self._first(lambda part: part.prefix_tokens())

    def initial_state(self, batch: int) -> MixerState | None:
        return self._first(lambda part: part.initial_state(batch))

    def readout_offset(self) -> Tensor | None:
        return self._first(lambda part: part.readout_offset())

    def extra_states(self) -> ExtraStates | None:
        return self._first(lambda part: part.extra_states())


def join_hooks(hooks: Sequence[MixerHook]) -> MixerHook:
    """One hook that answers for all.

    Raises
    ------
    InvalidInput
        Two of them answer the same question.
    """
    seen: set[str] = set()
    for hook in hooks:
        twice = seen & answered(hook)
        if twice:
            raise InvalidInput(f"two parts of one method both set {sorted(twice)[0]}; leave one of them out")
        seen |= answered(hook)
    return hooks[0] if len(hooks) == 1 else JointHook(hooks)

"""What a method puts on a model, and how it comes off again: parametrisations, trained tensors, hooks and prompts."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InvalidInput
from ..hosts.prompting import prompt_model, takes_prompt, unprompt_model
from ..hosts.takeover import forget_graphs, give_back, take_over, taken_over
from ..models.hooks import MixerHook, PromptHook
from .joint_hook import join_hooks
from .targets import NamedTensor, named_tensors, require_untied, select_tensors


def _copy_parametrized(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy with a class of its own: PyTorch's copies share the class that reads the adapted tensors, so that removing the
    method from one of them would take the tensors from the others."""
    shared = type(module)
    attributes = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    own = type(shared.__name__, shared.__bases__, attributes)
    replica: nn.Module = object.__new__(own)
    memo[id(module)] = replica
    replica.__dict__ = copy.deepcopy(vars(module), memo)
    return replica


class Attachment:
    """What a method has put on a model, and how to take it off again.

    Attributes
    ----------
    model:
        The model.
    generator:
        Source of the random starting values (CPU, so that they do not depend on the device).
    """

    def __init__(self, model: nn.Module, generator: Generator):
        self.model, self.generator = model, generator
        self._homes: dict[str, tuple[nn.Module, str]] = {}
        self.parametrized: list[NamedTensor] = []
        self.snapshots: dict[str, Tensor] = {}
        self.hooked: list[MixerHook] = []
        self.has_prompt = False
        self._hooks: dict[str, list[MixerHook]] = {}
        self._required = {p: p.requires_grad for p in model.parameters()}

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The trained tensors by name, as the model holds them now: sharding a model replaces its parameters."""
        return {name: cast(nn.Parameter, getattr(module, attribute)) for name, (module, attribute) in self._homes.items()}

    def tensors(self, targets: Iterable[str] | None = None) -> list[NamedTensor]:
        """The model's own tensors, or those of them that the targets select (errors as :func:`.targets.find_tensors`)."""
        added = {id(p) for name, p in self.trainable.items() if name not in self.snapshots}
        own = [t for t in named_tensors(self.model) if id(t.parameter) not in added]
        return own if targets is None else select_tensors(own, targets)

    def parametrize(self, tensor: NamedTensor, parametrization: nn.Module) -> None:
        """Read ``tensor`` through ``parametrization``, whose parameters are trained."""
        require_untied(tensor)
        if tensor.name in self._homes:
            raise InvalidInput(f"{tensor.name} is already trained in full; give it to one method only")
        mine = any(t.name == tensor.name for t in self.parametrized)
        if not mine and parametrize.is_parametrized(tensor.module, tensor.attribute):
            raise InvalidInput(f"{tensor.name} is parametrised already, not by this method; remove that parametrisation first")
        device = tensor.parameter.device
        parametrize.register_parametrization(tensor.module, tensor.attribute, parametrization.to(device))
        type(tensor.module).__deepcopy__ = _copy_parametrized  # type: ignore[attr-defined]
        if not mine:
            self.parametrized.append(tensor)
        self._add(tensor.name, parametrization)

    def train(self, tensor: NamedTensor) -> None:
        """Train a tensor of the model in place."""
        if any(t.name == tensor.name for t in self.parametrized):
            raise InvalidInput(f"{tensor.name} already carries an adapter; give it to one method only")
        if tensor.name not in self.snapshots:
            self.snapshots[tensor.name] = tensor.parameter.detach().to("cpu", copy=True)
        self._register(tensor.name, tensor.module, tensor.attribute)

    def hook(self, mixer_name: str, hook: MixerHook) -> None:
        """Attach a hook to a mixer, joined with hooks that other parts of the same method put there."""
        mixer = self.model.get_submodule(mixer_name)
        there = getattr(mixer, "hook", None)
        if mixer_name not in self._hooks and there is not None:
            raise InvalidInput(f"{mixer_name} already has a hook ({type(there).__name__}); set mixer.hook = None first")
        hook.to(next(mixer.parameters()).device)
        hooks = [*self._hooks.get(mixer_name, []), hook]
        joined = join_hooks(hooks)
        self._add(f"{mixer_name}.hook", hook)
        self._hooks[mixer_name] = hooks
        take_over(mixer)
        mixer.hook = joined

    def require_prompt(self) -> None:
        """Refuse a model that takes no prompt tokens, or has some."""
        if not hasattr(self.model, "prompt_tokens") and not takes_prompt(self.model):
            raise InvalidInput(
                f"{type(self.model).__name__} takes no prompt tokens; use a language model (MambaLM, ...ForCausalLM)"
            )
        if getattr(self.model, "prompt_tokens", None) is not None:
            raise InvalidInput("the model already has prompt tokens; set model.prompt_tokens = None first")

    def prompt(self, hook: PromptHook) -> None:
        """Put soft prompt tokens before the embedded sequence."""
        self.require_prompt()
        prompt_model(self.model)
        self.model.prompt_tokens = hook.to(next(self.model.parameters()).device)
        self.has_prompt = True
        self._add("prompt_tokens", hook)

    def freeze_rest(self) -> None:
        """Freeze every parameter that the method does not train."""
        forget_graphs(self.model)
        trained = {id(p) for p in self.trainable.values()}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in trained)

    def base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values of the model without the method."""
        for tensor in self.tensors():
            yield tensor.name, self.snapshots.get(tensor.name, tensor.parameter)

    def take_off(self, keep_values: bool) -> None:
        """Undo everything; with ``keep_values`` write the adapted values into the model's tensors first."""
        forget_graphs(self.model)
        adapted = [getattr(t.module, t.attribute).detach() for t in self.parametrized] if keep_values else []
        for tensor in self.parametrized:
            parametrize.remove_parametrizations(tensor.module, tensor.attribute, leave_parametrized=False)
        with torch.no_grad():
            if keep_values:
                for tensor, value in zip(self.parametrized, adapted, strict=True):
                    tensor.parameter.copy_(value)
            else:
                trained = self.trainable if self.snapshots else {}
                for name, value in self.snapshots.items():
                    trained[name].copy_(value)
        for name in self._hooks:
            mixer = self.model.get_submodule(name)
            if taken_over(mixer):
                give_back(mixer)
            else:
                setattr(mixer, "hook", None)  # noqa: B010 (a Module attribute, typed as Tensor or Module)
        if self.has_prompt and not unprompt_model(self.model):
            setattr(self.model, "prompt_tokens", None)  # noqa: B010
        for parameter, required in self._required.items():
            parameter.requires_grad_(required)
            parameter.grad = None

    @property
    def acts_on_state(self) -> bool:
        """Whether a part of the method is no change of weights."""
        return self.has_prompt or bool(self._hooks)

    def _add(self, prefix: str, module: nn.Module) -> None:
        for name, _ in module.named_parameters():
            path, _, attribute = name.rpartition(".")
            self._register(f"{prefix}.{name}", module.get_submodule(path), attribute)

    def _register(self, name: str, module: nn.Module, attribute: str) -> None:
        if name in self._homes:
            raise InvalidInput(f"{name} is given to two parts of one method; give it to one only")
        self._homes[name] = (module, attribute)

"""The optimisers of pretraining: AdamW for everything, or Muon for the projections' matrices and AdamW for the rest.

Muon makes the momentum of a matrix's gradient nearly orthogonal (Newton-Schulz) before the step, so that all of its directions
move alike; steps are scaled to AdamW's usual size, so that both take one learning rate and one weight decay.

Sources: Loshchilov and Hutter 2019, arXiv 1711.05101 (AdamW); Jordan 2024, Muon; Liu et al. 2025, arXiv 2502.16982 (scaling).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .recipe import Recipe


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Does weight decay act on it? On the projections' matrices; not on embedding, convolution, norms, biases, A_log and D."""
    return parameter.ndim == 2 and name.endswith("_proj.weight")


class Optimisers:
    """What takes the steps of a recipe on named parameters.

    Parameters
    ----------
    named:
        The parameters by name.
    cuda:
        Whether they are on a GPU, where AdamW is one kernel.
    """

    def __init__(self, recipe: Recipe, named: Mapping[str, nn.Parameter], cuda: bool):
        self.named = named
        matrices = [p for name, p in named.items() if decays(name, p)]
        rest = [p for name, p in named.items() if not decays(name, p)]
        groups = [{"params": rest, "weight_decay": 0.0}]
        self.parts: list[torch.optim.Optimizer] = []
        if recipe.matrices == "muon":
            self.parts.append(
                torch.optim.Muon(
                    matrices, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, momentum=recipe.momentum,
                    adjust_lr_fn="match_rms_adamw",
                )
            )  # fmt: skip
        else:
            groups.insert(0, {"params": matrices, "weight_decay": recipe.weight_decay})
        self.fused = cuda
        self.parts.append(torch.optim.AdamW(groups, betas=(recipe.beta1, recipe.beta2), fused=cuda or None))

    def step(self, rate: float) -> None:
        """One step of all parameters at this learning rate."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on beside the gradients, by ``KEY.NAME``; ``value.NAME`` is the parameter."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.named.items():
            found[f"value.{name}"] = parameter
            for key, value in self._of(parameter).state[parameter].items():
                found[f"{key}.{name}"] = torch.as_tensor(value)
        return found

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave.

        Raises
        ------
        CheckpointError
            A tensor is missing or has another shape; the message names its parameter.
        """
        for name, parameter in self.named.items():
            part = self._of(parameter)
            keys = ("step", "exp_avg", "exp_avg_sq") if isinstance(part, torch.optim.AdamW) else ("momentum_buffer",)
            try:
                parameter.copy_(tensors[f"value.{name}"])
                state = {key: tensors[f"{key}.{name}"] for key in keys}
            except (KeyError, RuntimeError) as error:
                raise CheckpointError(f"the checkpoint does not fit tensor {name} ({error})") from error
            part.state[parameter] = {
                # AdamW keeps the step on the CPU, unless it is the fused one.
                key: value if key == "step" and not self.fused else value.to(parameter.device)
                for key, value in state.items()
            }

    def _of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        return next(part for part in self.parts if any(parameter is p for g in part.param_groups for p in g["params"]))

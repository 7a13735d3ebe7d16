"""Which kernels serve a fused scan: CUDA C++ or Triton. The one place where this is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ...inputs import SelectiveInputs
from . import cuda, triton_route


class Passes(Protocol):
    """The two passes of a scan."""

    def forward(self, inputs: SelectiveInputs, keep: bool, segment: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """out (batch, D, L), the last state (batch, D, N) and, with ``keep``, the states before every 64th step, else nothing.

        ``segment``: steps that run in one piece; chosen for the device where it is ``None``.
        """

    def backward(
        self,
        d_out: Tensor | None,
        d_last: Tensor | None,
        inputs: SelectiveInputs,
        kept: Tensor,
        need: Sequence[bool],
        segment: int | None,
    ) -> list[Tensor]:
        """Gradients of those of the nine tensors that ``need`` names, in this order and in their dtypes."""


class Route(Passes, Protocol):
    """Kernels, with what they return as shapes for compilers."""

    def like_forward(self, inputs: SelectiveInputs, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Empty tensors like the results of the forward pass."""

    def like_backward(self, inputs: SelectiveInputs, need: Sequence[bool]) -> list[Tensor]:
        """Empty tensors like the gradients."""


def route(inputs: SelectiveInputs) -> Route:
    """CUDA C++ where it serves these inputs on this device, else Triton."""
    served = cuda.usable(inputs.A.shape[1], inputs.u, inputs.dt, inputs.B, inputs.C, inputs.z)
    return cuda if served else triton_route

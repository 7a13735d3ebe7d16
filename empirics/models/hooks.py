"""What a state method may do to a mixer, and where it acts.

A mixer (Mamba-1, Mamba-2 or S4 block) computes, for inputs x_1..x_L at its own input (after the block's norm),

    u = act(conv(in_proj x)),   h_t = Ā_t h_{t-1} + B̄_t u_t,   y_t = C_t·h_t + D_skip u_t,   out = out_proj(gate(y)).

A hook may change the start of this recurrence and its readout, never the weights (those are parametrisations):

    prefix_tokens    x becomes (p_1..p_M, x_1..x_L) and the first M outputs are dropped
    initial_state    h_0 and, optionally, the K-1 inputs that the convolution sees before x_1
    readout_offset   y_t = C_t·(h_t + h') + D_skip u_t, that is y_t += C_t·h', before the gate
    extra_states     y_t += C^x_t·h^x_t, where h^x has its own decays and its own selectors and shares dt_t and u_t

Initial state first, then prefix: with both, the prefix is run from the initial state.
A hook acts when a sequence starts. A caller who passes an explicit state continues a sequence: prefix and initial state
are then not applied again; the offset and the extra states, which act at every step, are.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .state import MixerState


@dataclass(frozen=True, slots=True)
class ExtraStates:
    """Nx additional states of a scan.

    Mamba-1: h^x_t = exp(dt_t A^x) h^x_{t-1} + dt_t u_t B^x_t with A^x = -exp(A_log), B^x_t = W_B u_t, and
    y_t += (W_C u_t)·h^x_t. W_C = 0 therefore changes nothing.

    Attributes
    ----------
    A_log:
        (D, Nx) for Mamba-1; (H,) for Mamba-2, where one decay serves a head.
    W_B, W_C:
        (Nx, D) selectors, applied to the scan's input u (after the convolution and its activation). D = d_inner.
    """

    A_log: Tensor
    W_B: Tensor
    W_C: Tensor


class MixerHook(nn.Module):
    """Base class: every answer is ``None``, which changes nothing, bit for bit. ``mixer.hook = MyHook()`` attaches one.

    Answers are computed at each forward, so that they carry gradients to the hook's parameters. They need not have the
    model's dtype; the mixer casts tokens to the hidden dtype and states to the scan's state dtype.
    """

    def may_draw(self) -> bool:
        """Whether answers may draw random numbers, which recomputing then has to repeat; yes, unless a hook says no."""
        return True

    def prefix_tokens(self) -> Tensor | None:
        """Tokens (M, d_model) put before the sequence at the mixer's input; M ≥ 1."""
        return None

    def initial_state(self, batch: int) -> MixerState | None:
        """State before the first token; tensors have batch size ``batch`` (or 1, which is repeated)."""
        return None

    def readout_offset(self) -> Tensor | None:
        """h': (D, N) for Mamba-1, (H, P, N) for Mamba-2. y_t += C_t·h' before the gate."""
        return None

    def extra_states(self) -> ExtraStates | None:
        """Additional states of the scan."""
        return None


class PromptHook(nn.Module):
    """Base class of ``model.prompt_tokens``: soft prompt tokens before the embedded sequence, their logits dropped."""

    def tokens(self) -> Tensor:
        """Tokens (M, d_model) at the level of the embedding output; M ≥ 1."""
        raise NotImplementedError(f"{type(self).__name__} must define tokens()")

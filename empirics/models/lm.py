"""Language models made of Mamba blocks, with the module names of mamba-ssm's ``MambaLMHeadModel``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName
from ..kernels.packing import Packing
from .again import computing_again
from .config import Mamba1Config, MambaConfig
from .hooks import PromptHook
from .mamba1 import Mamba1
from .mamba2 import Mamba2
from .mixer import Mixer, Recompute, linear
from .norm import LayerNorm, RMSNorm, normed
from .state import MixerState

States = list[MixerState]
"""One state per block."""


def _norm(config: MambaConfig) -> nn.Module:
    return (RMSNorm if config.rms_norm else LayerNorm)(config.d_model, config.norm_epsilon)


def make_mixer(config: MambaConfig, scan: str = "chunked") -> Mixer:
    """One fresh mixer of the model's kind."""
    options = config.mixer
    if isinstance(options, Mamba1Config):
        return Mamba1(config.d_model, options, scan)
    return Mamba2(config.d_model, options, scan, config.norm_epsilon)


class Block(nn.Module):
    """x + mixer(norm(x)); the residual stream is float32 with ``residual_in_fp32``."""

    def __init__(self, config: MambaConfig, scan: str):
        super().__init__()
        self.norm = _norm(config)
        self.mixer = make_mixer(config, scan)


class Backbone(nn.Module):
    """Embedding, blocks and the final norm.

    Attributes
    ----------
    embedding, layers, norm_f:
        As in mamba-ssm.
    """

    def __init__(self, config: MambaConfig, scan: str = "chunked"):
        super().__init__()
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.layers = nn.ModuleList(Block(config, scan) for _ in range(config.n_layer))
        self.norm_f = _norm(config)
        self.residual_in_fp32 = config.residual_in_fp32

    @property
    def mixers(self) -> list[Mixer]:
        """The mixers in order."""
        return [block.mixer for block in self.layers if isinstance(block, Block)]

    def _residual(self, x: Tensor) -> Tensor:
        return x.float() if self.residual_in_fp32 and x.dtype in (torch.bfloat16, torch.float16) else x

    def forward(
        self,
        hidden: Tensor,
        states: Sequence[MixerState] | None = None,
        return_states: bool = False,
        packing: Packing | None = None,
    ) -> tuple[Tensor, States | None]:
        """Normed features (B, L, d_model) of embedded inputs (B, L, d_model), and the states after them where asked for."""
        residual = self._residual(hidden)
        last: States = []
        for i, block in enumerate(self.layers):
            assert isinstance(block, Block)
            state = None if states is None else states[i]
            # A wrapper around the mixer, such as peft's around one whose parameter it adapts, has no such setting.
            with computing_again(getattr(block.mixer, "recompute", False) == "light"):
                hidden = normed(block.norm, residual)
                if return_states:
                    added, after = block.mixer(hidden, state, return_state=True, packing=packing)
                    last.append(after)
                else:
                    added = block.mixer(hidden, state, packing=packing)
            residual = residual + added
        return self.norm_f(residual), last if return_states else None

    def step(self, hidden: Tensor, states: Sequence[MixerState]) -> tuple[Tensor, States]:
        """One embedded token (B, d_model): normed features and the states after it."""
        residual = self._residual(hidden)
        last: States = []
        for i, block in enumerate(self.layers):
            assert isinstance(block, Block)
            added, after = block.mixer.step(block.norm(residual), states[i])
            residual = residual + added
            last.append(after)
        return self.norm_f(residual), last


class MambaLM(nn.Module):
    """A Mamba language model whose parameter names are those of mamba-ssm checkpoints.

    Parameters
    ----------
    config:
        Shapes and options.
    scan:
        Name of the scan (``python -m empirics scans`` lists them); change it later with :meth:`set_scan`.
    device, dtype:
        Where and in what dtype the parameters live; PyTorch's defaults where left out. Fresh values are drawn from PyTorch's
        global generator as mamba-ssm draws them.

    Attributes
    ----------
    prompt_tokens:
        A :class:`~.hooks.PromptHook` whose tokens go before the embedded sequence, or ``None``.

    Raises
    ------
    UnknownName, UnsupportedScan
        No such scan, or none for this kind of block.
    """

    prompt_tokens: PromptHook | None

    def __init__(
        self,
        config: MambaConfig,
        scan: str = "chunked",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if dtype is not None and not dtype.is_floating_point:
            raise InvalidInput(f"dtype is {dtype}, expected a real floating-point dtype such as torch.float32")
        self.config = config
        self.backbone = Backbone(config, scan)
        self.lm_head = nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        self.prompt_tokens = None
        self._reset_parameters()
        if config.tie_embeddings:
            self.lm_head.weight = self.backbone.embedding.weight
        self.to(device=device, dtype=dtype)

    @torch.no_grad()
    def _reset_parameters(self) -> None:
        nn.init.normal_(self.backbone.embedding.weight, std=0.02)
        for mixer in self.mixers:
            for name in ("in_proj", "out_proj"):
                projection = mixer.get_submodule(name)
                if isinstance(projection.bias, Tensor):
                    projection.bias.zero_()
            # The residual stream sums n_layer outputs: GPT-2's scaling keeps its size.
            out = mixer.get_submodule("out_proj").weight
            assert isinstance(out, Tensor)
            out.div_(math.sqrt(self.config.n_layer))

    @property
    def mixers(self) -> list[Mixer]:
        """The mixers in order."""
        return self.backbone.mixers

    def set_scan(self, scan: str) -> None:
        """Choose the scan of every mixer by name.

        Raises
        ------
        UnknownName, UnsupportedScan
            No such scan, or none for this kind of block; the model keeps the scan that it had.
        """
        before = [mixer.scan for mixer in self.mixers]
        try:
            for mixer in self.mixers:
                mixer.set_scan(scan)
        except Exception:
            for mixer, name in zip(self.mixers, before, strict=True):
                mixer.set_scan(name)
            raise

    def set_recompute(self, recompute: Recompute) -> None:
        """How much every mixer computes again for the backward pass instead of keeping it: ``False``, ``"light"`` (the default),
        ``True`` or ``"all"`` (:class:`.mixer.Mixer`); the same gradients, bit for bit.

        Raises
        ------
        UnknownName
            Another value.
        """
        if recompute not in (False, "light", True, "all"):
            raise UnknownName("amount to recompute", recompute, ("False", "light", "True", "all"))
        for mixer in self.mixers:
            mixer.recompute = recompute

    def forward(
        self,
        input_ids: Tensor,
        *,
        states: Sequence[MixerState] | None = None,
        return_states: bool = False,
        seq_idx: Tensor | Packing | None = None,
        cu_seqlens: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, States]:
        """Next-token logits.

        Parameters
        ----------
        input_ids:
            (B, L), integers in 0..V-1.
        states:
            States to continue from, one per block, as returned here or by :meth:`new_states`. ``None`` starts a sequence:
            prompt, prefixes and initial states are then applied.
        seq_idx, cu_seqlens:
            Several sequences one after the other, as :func:`empirics.selective_scan` takes them. Neither scan nor convolution
            reaches over a border, and states, given and returned, are those of the S sequences.
        attention_mask:
            (B, L), 0 where a token is padding, in front of a row's sequence or behind it. The others get the logits, and leave
            the states, that they would without it; logits at padding mean nothing.

        Returns
        -------
        Logits (B, L, V), V the padded vocabulary, and with ``return_states`` the states after the last token.

        Raises
        ------
        InvalidInput
            The tokens are no non-empty integer matrix or out of range, or the states or the mask do not fit.
        """
        if attention_mask is not None:
            if seq_idx is not None or cu_seqlens is not None:
                raise InvalidInput("attention_mask is for one sequence a row; mark padding in seq_idx by negative numbers")
            shape = tuple(input_ids.shape) if isinstance(input_ids, Tensor) else ()
            if len(shape) == 2 and 0 not in shape:
                seq_idx = Packing.of_mask(attention_mask, shape, ends=return_states)
        features, last = self._features(input_ids, states, return_states, seq_idx, cu_seqlens)
        logits = linear(features, self.lm_head)
        return (logits, last) if last is not None else logits

    def logits_at(self, input_ids: Tensor, at: Tensor) -> Tensor:
        """Next-token logits (B, V) at one position of each sequence: those of :meth:`forward`, without the work for all others.

        The product with the head is computed in the weights' own dtype, outside of any autocast: two classes whose logits agree
        to eight bits stay apart.

        Parameters
        ----------
        input_ids:
            (B, L); every row starts a sequence.
        at:
            (B,), integers in 0..L-1.
        """
        features, _ = self._features(input_ids)
        chosen = features.gather(1, at[:, None, None].expand(-1, 1, features.shape[2])).squeeze(1)
        with torch.autocast(features.device.type, enabled=False):
            return linear(chosen.to(self.lm_head.weight.dtype), self.lm_head)

    def _features(
        self,
        input_ids: Tensor,
        states: Sequence[MixerState] | None = None,
        return_states: bool = False,
        seq_idx: Tensor | Packing | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, States | None]:
        """Normed features of the tokens alone, those of a prompt left out, and the states as :meth:`forward` gives them."""
        if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or 0 in input_ids.shape:
            what = tuple(input_ids.shape) if isinstance(input_ids, Tensor) else type(input_ids).__name__
            raise InvalidInput(f"input_ids is {what}, expected an integer tensor (B, L) with B and L at least 1")
        hidden = self._embed(input_ids)
        packing = Packing.of(seq_idx, cu_seqlens, (input_ids.shape[0], input_ids.shape[1]))
        drop = 0
        if states is None:
            prompt = self._prompt()
            if prompt is not None and packing is not None:
                raise InvalidInput("a prompt has no place inside packed sequences; compile_prefix(handle) makes it a state")
            if prompt is not None:
                drop = prompt.shape[0]
                hidden = torch.cat([prompt.to(hidden.dtype).expand(hidden.shape[0], -1, -1), hidden], dim=1)
        features, last = self.backbone(hidden, self._checked(states), return_states, packing)
        return features[:, drop:], last

    def step(self, token: Tensor, states: Sequence[MixerState]) -> tuple[Tensor, States]:
        """One token (B,) and the states before it: logits (B, V) and the states after it. Raises as :meth:`forward`."""
        if not isinstance(token, Tensor) or token.ndim != 1 or token.shape[0] == 0:
            what = tuple(token.shape) if isinstance(token, Tensor) else type(token).__name__
            raise InvalidInput(f"token is {what}, expected an integer tensor (B,) with B at least 1")
        checked = self._checked(states)
        if checked is None:
            raise InvalidInput("step needs states; start with new_states(batch)")
        features, last = self.backbone.step(self._embed(token), checked)
        return linear(features, self.lm_head), last

    def new_states(self, batch: int) -> States:
        """The states of ``batch`` sequences before their first token, after prompt, prefixes and initial states.

        :meth:`step` from here on gives the logits of :meth:`forward`.

        Raises
        ------
        InvalidInput
            ``batch`` is no positive integer.
        """
        prompt = self._prompt()
        if prompt is None:
            return [mixer.new_state(batch) for mixer in self.mixers]
        if not isinstance(batch, int) or batch < 1:
            raise InvalidInput(f"batch is {batch!r}, expected an integer of at least 1")
        hidden = prompt.to(self.backbone.embedding.weight.dtype).expand(batch, -1, -1)
        last = self.backbone(hidden, None, True)[1]
        assert last is not None
        return list(last)

    def _embed(self, tokens: Tensor) -> Tensor:
        if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
            raise InvalidInput(f"tokens have dtype {tokens.dtype}, expected integers: tokens.long()")
        rows = self.config.padded_vocab_size
        # On a GPU the check would synchronise at every call; an out-of-range token trips the kernel's own assertion there.
        if tokens.device.type == "cpu" and (int(tokens.min()) < 0 or int(tokens.max()) >= rows):
            raise InvalidInput(f"tokens lie in {int(tokens.min())}..{int(tokens.max())}, expected 0..{rows - 1}")
        embedding = self.backbone.embedding
        if type(embedding).forward is not nn.Embedding.forward:  # a wrapper, whose part would be lost
            return embedding(tokens.long())
        return nn.functional.embedding(tokens.long(), embedding.weight)

    def _prompt(self) -> Tensor | None:
        prompt = None if self.prompt_tokens is None else self.prompt_tokens.tokens()
        if prompt is not None and (prompt.ndim != 2 or prompt.shape[0] == 0 or prompt.shape[1] != self.config.d_model):
            raise InvalidInput(f"the prompt has shape {tuple(prompt.shape)}, expected (M >= 1, d_model = {self.config.d_model})")
        return prompt

    def _checked(self, states: Sequence[MixerState] | None) -> Sequence[MixerState] | None:
        if states is None:
            return None
        if len(states) != self.config.n_layer:
            raise InvalidInput(f"{len(states)} states given, expected one for each of the {self.config.n_layer} blocks")
        for state in states:
            if not isinstance(state, MixerState):
                raise InvalidInput(f"a state is {type(state).__name__}, expected MixerState; take them from new_states(batch)")
        return states

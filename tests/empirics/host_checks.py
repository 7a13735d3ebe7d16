"""One method on one model class of transformers: everything that "it works" means, in one function.

``python -m tests.empirics.host_checks`` (from the repository's root) runs it for all and writes the table in docs/models.md, of
which ``test_hosts.py`` checks every cell against a run of its own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from empirics.errors import InvalidInput
from empirics.hosts.fused import fused_kernels
from empirics.hosts.reading import Read, read_on, token_by_token
from empirics.hosts.takeover import mixer_of
from empirics.methods import (
    SDT,
    AdditionalScan,
    BitFit,
    DoRA,
    Full,
    InitialState,
    LoRA,
    MethodConfig,
    Prefix,
    Prompt,
    SDTLoRA,
    StateOffset,
    apply,
    compile_prefix,
    export_cache,
    select,
)  # fmt: skip
from empirics.methods.scores import score

sys.path.insert(0, str(Path(__file__).parent))
from empirics.hosts.tiny import CONFIGS, PURE, VOCABULARY, host_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- table: python -m tests.empirics.host_checks -->", "<!-- end of table -->"
IDS = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(1))
CLOSE = 1e-5
"""Relative error of float32 logits of two implementations of one function.

It is rounding: 2e-7 to 1e-6 mostly, 4e-6 with LoRA's random adapters on an AMD EPYC, for one token. Embeddings moved by a
relative 2^-24 move those logits by 8e-7 to 9e-6. A wrong function is 1e-3 off and more, which the negative twins ask for.
"""


def first_mixer(model: nn.Module) -> nn.Module:
    return next(module for module in model.modules() if mixer_of(module) is not None)


def _sdt(model: nn.Module) -> SDT:
    return SDT(select(score("random", model), 0.5, 0.5))


def _ssm(model: nn.Module) -> MethodConfig | None:
    return LoRA(("x_proj", "dt_proj", "A_log"), rank=2) if hasattr(first_mixer(model), "x_proj") else None


def _attention(model: nn.Module) -> MethodConfig | None:
    has = any(name.endswith("q_proj.weight") for name, _ in model.named_parameters())
    return LoRA(("q_proj", "v_proj", "o_proj"), rank=2) if has else None


METHODS: dict[str, Callable[[nn.Module], MethodConfig | None]] = {
    "LoRA": lambda _: LoRA(("in_proj", "out_proj"), rank=2),
    "LoRA, SSM": _ssm,
    "LoRA, attention": _attention,
    "DoRA": lambda _: DoRA(("in_proj", "out_proj"), rank=2),
    "BitFit": lambda _: BitFit(),
    "full": lambda _: Full(("A_log", "D", "conv1d")),
    "SDT": _sdt,
    "SDT + LoRA": lambda model: SDTLoRA(_sdt(model), LoRA(("out_proj",), rank=2)),
    "initial state": lambda _: InitialState(),
    "initial state, window": lambda _: InitialState(conv=True),
    "prefix": lambda _: Prefix(tokens=3),
    "prompt": lambda _: Prompt(tokens=3),
    "state offset": lambda _: StateOffset(),
    "additional scan": lambda _: AdditionalScan(states=2),
}
"""Column of the table → the method; ``None`` where the model has no such layer."""
FROM_THE_BASE = frozenset(METHODS) - {"prefix", "prompt"}


def logits(model: nn.Module, ids: Tensor = IDS, **options: Any) -> Tensor:
    with torch.no_grad():
        return model(ids, **options).logits


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def randomise(handle: Any, size: float = 0.3) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in handle.trainable().values():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def cached_logits(model: nn.Module, ids: Tensor = IDS, first: int = 5) -> Tensor:
    """The logits of a sequence that is read in one piece and then token by token, through the cache."""
    return token_by_token(model, ids, first)


def check(name: str, method: str) -> str:
    """``yes``, or ``-`` where the model has no such layer; AssertionError else.

    Checked: the start is the base model's function; every trained tensor gets a gradient of the loss and changes the logits; the
    logits are those of training mode, of the fused kernels' arguments, and of the same tokens through the cache; removed, the
    model is bit for bit what it was.
    """
    model = host_model(name)
    base = logits(model)
    config = METHODS[method](model)
    if config is None:
        return "-"
    handle = apply(model, config)
    if method in FROM_THE_BASE:
        assert relative(logits(model), base) < CLOSE
    randomise(handle)
    adapted = logits(model)
    assert adapted.shape == base.shape and relative(adapted, base) > 1e-3
    model.train()
    out = model(IDS, labels=IDS)
    assert relative(out.logits.detach(), adapted) < CLOSE
    expected = nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1).float(), IDS[:, 1:].flatten())
    assert torch.allclose(out.loss, expected, atol=1e-6)
    out.loss.backward()
    for tensor, parameter in handle.trainable().items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, tensor
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    model.zero_grad()
    calls: list[str] = []
    with fused_kernels(model, calls):
        out = model(IDS, labels=IDS, use_cache=False)
    out.loss.backward()
    if not (name == "FalconMambaForCausalLM" and calls):  # whose kernel computes another function than its PyTorch path
        assert relative(out.logits.detach(), adapted) < CLOSE
    for tensor, parameter in handle.trainable().items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, tensor
    model.eval()
    assert relative(cached_logits(model), adapted) < CLOSE
    handle.remove()
    assert torch.equal(logits(model), base)
    return "yes"


def adapted(name: str, config: MethodConfig) -> tuple[Any, Any]:
    """A model with a method whose values are far from the start, and its handle."""
    model = host_model(name)
    handle = apply(model, config)
    randomise(handle, 0.7)
    return model, handle


def check_generate(name: str, config: MethodConfig) -> str:
    """The library's ``generate``, greedy and with beams, behind padding: the tokens that the parallel pass prefers."""
    model, handle = adapted(name, config)
    ids = torch.cat([torch.zeros(2, 3, dtype=torch.long), IDS], 1)
    ids[1] = torch.cat([IDS[1], IDS[0, :3]])
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    found = model.generate(ids, attention_mask=mask, **options)
    for row, front in ((0, 3), (1, 0)):
        whole = ids[row : row + 1, front:]
        for _ in range(4):
            whole = torch.cat([whole, logits(model, whole)[:, -1:].argmax(-1)], 1)
        assert found[row, front:].tolist() == whole[0].tolist()
    options |= {"attention_mask": torch.ones_like(IDS), "num_beams": 3}
    beams = [model.generate(IDS, use_cache=cached, **options) for cached in (True, False)]
    assert beams[0].tolist() == beams[1].tolist()
    there = logits(model)
    handle.remove()
    assert relative(logits(model), there) > 1e-3  # so that the tokens are the adapted model's
    return "yes"


def check_export(name: str, piece: int) -> str:
    """The plain model goes on from the cache of a tuned start, reading pieces of so many tokens; or why it does not."""
    for config in (InitialState(), InitialState(conv=True), Prefix(tokens=3)):
        model, handle = adapted(name, config)
        expected, cache = logits(model), export_cache(handle, 2)
        handle.remove()
        kind = "cache_params" if name in PURE else "past_key_values"
        memory, found = Read(kind, cache, 0), []
        for ids in IDS.split(piece, dim=1):
            with torch.no_grad():
                part, memory = read_on(model, ids, memory)
            found.append(part)
        apart = relative(torch.cat(found, 1), expected)
        if apart > CLOSE:
            assert apart > 1e-3 and piece > 1 and relative(logits(model), torch.cat(found, 1)) < CLOSE
            return f"no: {type(first_mixer(model)).__name__}'s parallel scan starts from zeros"
        assert relative(logits(model), expected) > 1e-3
    return "yes"


def check_handed_on(name: str) -> str:
    """The plain model's ``generate`` from the cache of a tuned start gives the adapted model's logits; or why it does not."""
    model, handle = adapted(name, InitialState())
    options = {"attention_mask": torch.ones_like(IDS), "max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    options |= {"pad_token_id": 0, "return_dict_in_generate": True, "output_logits": True}

    def generated(**more: Any) -> Tensor:
        return torch.stack(model.generate(IDS, **options, **more).logits)

    expected, cache = generated(), export_cache(handle, 2)
    handle.remove()
    found, plain = generated(**{"cache_params" if name in PURE else "past_key_values": cache}), generated()
    assert relative(plain, expected) > 1e-4
    if relative(found, expected) > CLOSE:
        assert relative(found, plain) < CLOSE
        return f"no: {type(first_mixer(model)).__name__}'s parallel scan starts from zeros"
    return "yes"


def check_compiled(name: str, config: MethodConfig) -> str:
    """The tokens become a state, and nothing changes; or why they do not."""
    model, handle = adapted(name, config)
    expected = logits(model)
    try:
        compiled = compile_prefix(handle)
    except InvalidInput as refused:
        found = re.search(r"attention layers (remember the tokens themselves)", str(refused))
        assert torch.equal(logits(model), expected)
        return f"no: attention {found[1].replace('remember', 'remembers')}" if found else f"no: {refused}"
    assert isinstance(compiled.config, InitialState)
    assert relative(logits(model), expected) < CLOSE and relative(cached_logits(model), expected) < CLOSE
    return "yes"


GENERATION: dict[str, Callable[[str], str]] = {
    "`generate`: initial state": lambda name: check_generate(name, InitialState(conv=True)),
    "prefix": lambda name: check_generate(name, Prefix(tokens=2)),
    "offset": lambda name: check_generate(name, StateOffset()),
    "additional scan": lambda name: check_generate(name, AdditionalScan(states=2)),
    "prompt": lambda name: check_generate(name, Prompt(tokens=2)),
    "`export_cache`: token by token": lambda name: check_export(name, 1),
    "in parallel": lambda name: check_export(name, IDS.shape[1]),
    "by plain `generate`": check_handed_on,
    "`compile_prefix`: prefix": lambda name: check_compiled(name, Prefix(tokens=3)),
    "prompt, compiled": lambda name: check_compiled(name, Prompt(tokens=5)),
}
"""Column of the page's second table → the check; it returns ``yes``, or ``no`` with the reason."""

TABLES = (
    (BEGIN, METHODS, check),
    ("<!-- second table: python -m tests.empirics.host_checks -->", GENERATION, lambda name, column: GENERATION[column](name)),
)  # fmt: skip
"""(marker, columns, cell) of the page's tables."""


def table(columns: Iterable[str], cells: dict[tuple[str, str], str]) -> str:
    """A table as Markdown."""
    lines = ["| model | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(list(columns))]
    lines += [f"| `{name}` | " + " | ".join(cells[name, column] for column in columns) + " |" for name in CONFIGS]
    return "\n".join(lines)


def read_table(text: str, begin: str = BEGIN) -> dict[tuple[str, str], str]:
    """The cells of one of the page's tables."""
    lines = [line for line in text.partition(begin)[2].partition(END)[0].splitlines() if line.startswith("|")]
    head, rows = [c.strip() for c in lines[0].strip("| ").split("|")][1:], lines[2:]
    cells = [[c.strip() for c in row.strip("| ").split("|")] for row in rows]
    return {(row[0].strip("`"), method): value for row in cells for method, value in zip(head, row[1:], strict=True)}


def main() -> None:
    """Run every cell and write the page's tables."""
    for begin, columns, cell in TABLES:
        cells = {(name, column): cell(name, column) for name in CONFIGS for column in columns}
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
        PAGE.write_text(f"{before}{begin}\n{table(columns, cells)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()

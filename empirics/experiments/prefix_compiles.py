"""A prefix of M tokens against the state it compiles into: same logits, on Mamba-1 and Mamba-2, on every scan that runs here."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field

from ..config import Strict
from ..errors import UnknownName
from ..kernels.capability import TABLE
from ..methods import apply, compile_prefix, method_config
from ..models import MambaConfig, MambaLM
from ..results import Judgement, Metrics, Result
from ..runner import Context, limit

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


class Config(Strict):
    """Options.

    Attributes
    ----------
    layers:
        Kinds of block.
    d_model, n_layer, d_state, headdim:
        Sizes (headdim is Mamba-2's).
    methods:
        ``prefix`` (tokens at every mixer) and ``prompt`` (tokens at the embedding).
    tokens:
        Lengths M; those below the convolution's window of 3 are the delicate ones.
    lengths:
        Lengths of the sequences that follow.
    dtypes, batch, repeats:
        Numbers, sequences, and repetitions of the timing.
    """

    layers: list[str] = Field(default=["Mamba1", "Mamba2"], min_length=1)
    d_model: int = Field(default=64, ge=1)
    n_layer: int = Field(default=2, ge=1)
    d_state: int = Field(default=16, ge=1)
    headdim: int = Field(default=32, ge=1)
    methods: list[str] = Field(default=["prefix", "prompt"], min_length=1)
    tokens: list[int] = Field(default=[1, 2, 3, 16], min_length=1)
    lengths: list[int] = Field(default=[1, 2, 33], min_length=1)
    dtypes: list[str] = Field(default=["float64", "float32"], min_length=1)
    batch: int = Field(default=2, ge=1)
    repeats: int = Field(default=3, ge=1)


def scans_here(layer: str, dtype: torch.dtype, device: str, wanted: str | None) -> list[str]:
    """Scans of a kind of block that can run on this device in this dtype."""
    op = "selective_scan" if layer == "Mamba1" else "ssd"
    kind = torch.device(device).type
    rows = [r for r in TABLE if r.op == op and r.implementation and dtype in r.dtypes and {"any", kind} & set(r.devices)]
    return [r.scan for r in rows if wanted in (None, r.scan) and _importable(r.package)]


def _importable(package: str | None) -> bool:
    return package is None or importlib.util.find_spec(package) is not None


def fresh_model(config: Config, layer: str, seed: int) -> MambaLM:
    """A random float64 model, weights scattered so that every part of it matters."""
    options: dict[str, Any] = {"layer": layer, "d_state": config.d_state}
    if layer == "Mamba2":
        options["headdim"] = config.headdim
    torch.manual_seed(seed)
    model = MambaLM(MambaConfig(config.d_model, config.n_layer, 61, options, pad_vocab_size_multiple=1), dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def run(config: Config, ctx: Context) -> Metrics:
    """Compile a random prefix in every setting, and compare logits and prefill times."""
    rows: list[dict[str, Any]] = []
    for name in config.dtypes:
        if name not in DTYPES:
            raise UnknownName("dtype", name, DTYPES)
    for layer in config.layers:
        for dtype_name in config.dtypes:
            dtype = DTYPES[dtype_name]
            for scan in scans_here(layer, dtype, ctx.device, ctx.scan):
                for method in config.methods:
                    model = fresh_model(config, layer, ctx.seed).to(ctx.device, dtype)
                    model.set_scan(scan)
                    for tokens in config.tokens:
                        found = compare(model, method, tokens, config, ctx.seed)
                        rows.append(
                            {"layer": layer, "dtype": dtype_name, "scan": scan, "method": method, "tokens": tokens, **found}
                        )
    return Metrics(held_out={"settings": rows})


@torch.no_grad()
def compare(model: MambaLM, method: str, tokens: int, config: Config, seed: int) -> dict[str, Any]:
    """Largest difference of the logits over all lengths, relative to their size, and what a wrong state would give.

    ``error``: with the prefix against compiled, and stepping from the compiled state. ``state_alone``: with the state but
    an empty convolution window. ``no_prefix``: without any of it. Seconds are medians of one forward pass.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    prompts = [torch.randint(0, 61, (config.batch, n), generator=generator).to(device) for n in config.lengths]
    bare = [model(p).double() for p in prompts]
    handle = apply(model, method_config(method, tokens=tokens), seed=seed)
    handle.set_values({name: torch.randn(v.shape, generator=generator).to(v) for name, v in handle.values().items()})
    with_tokens = [model(p).double() for p in prompts]
    longest = max(prompts, key=lambda p: p.shape[1])
    seconds = _seconds(model, longest, config.repeats)
    compiled = compile_prefix(handle)
    from_state = [model(p).double() for p in prompts]
    compiled_seconds = _seconds(model, longest, config.repeats)
    states, stepped = model.new_states(config.batch), []
    for token in longest.unbind(1):
        logits, states = model.step(token, states)
        stepped.append(logits.double())
    values = compiled.values()
    compiled.set_values({n: torch.zeros_like(v) if n.endswith(".conv") else v for n, v in values.items()})
    without_window = [model(p).double() for p in prompts]
    compiled.remove()
    scale = max(float(y.abs().max()) for y in with_tokens)

    def far(those: Sequence[torch.Tensor]) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(those, with_tokens, strict=True)) / scale

    whole = with_tokens[max(range(len(prompts)), key=lambda i: prompts[i].shape[1])]
    return {
        "error": far(from_state), "step_error": float((torch.stack(stepped, dim=1) - whole).abs().max()) / scale,
        "state_alone": far(without_window), "no_prefix": far(bare), "tokens_saved": tokens,
        "seconds": seconds, "compiled_seconds": compiled_seconds,
    }  # fmt: skip


def _seconds(model: MambaLM, tokens: torch.Tensor, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        if tokens.is_cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        model(tokens)
        if tokens.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """The largest error of each dtype is below its threshold, and the negative twins (no window, no prefix) are visible."""
    rows = [row for r in results for row in r.held_out["settings"]]
    table = []
    good = bool(rows)
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        of_dtype = [row for row in rows if row["dtype"] == dtype]
        error = max(max(row["error"], row["step_error"]) for row in of_dtype)
        twin = min(min(row["state_alone"], row["no_prefix"]) for row in of_dtype)
        bound = limit(threshold, dtype)
        good &= error <= bound and twin > limit(threshold, "twin_factor") * max(error, bound)
        table.append(
            {
                "dtype": dtype, "settings": len(of_dtype), "error": error, "bound": bound, "least_wrong": twin,
                "scans": sorted({f"{row['layer']} {row['scan']}" for row in of_dtype}),
            }
        )  # fmt: skip
    line = "; ".join(f"{row['dtype']} {row['error']:.1e} in {row['settings']} settings" for row in table)
    return Judgement(verdict="reproduced" if good else "not reproduced", measured=line or "no scan runs here", table=table)

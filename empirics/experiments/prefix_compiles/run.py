"""A prefix of M tokens against the state it compiles into: same logits, on Mamba-1 and Mamba-2, on every scan that runs here.

The tokens are run through every mixer (prefix) or the whole model (prompt) before the sequence; compiled, only the state h_0 and
the convolution's window stay. The difference is judged by the arithmetic: float64, float32, TF32 products, or bfloat16.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field

from ...errors import InvalidInput, UnknownName, UnsupportedScan
from ...kernels.table import TABLE, Op, capability
from ...methods import apply, compile_prefix, method_config
from ...models import Mamba1, Mamba2, MambaConfig, MambaLM
from ...study.config import Strict
from ...study.results import Judgement, Metrics, Result
from ...study.runner import Context, OutOfTime, limit

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}

TWINS = ("state_alone", "window_alone", "no_prefix")
"""What a wrong state gives: all of these have to be seen."""

OPS: dict[str, Op] = {"Mamba1": "selective_scan", "Mamba2": "ssd"}
"""The scan of each kind of block."""


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
    stepped:
        Tokens, of the longest sequence, that are also taken one at a time.
    dtypes, batch, repeats:
        Numbers, sequences, and repetitions of the timing.
    """

    layers: list[str] = Field(default=["Mamba1", "Mamba2"], min_length=1)
    d_model: int = Field(default=64, ge=1)
    n_layer: int = Field(default=2, ge=1)
    d_state: int = Field(default=16, ge=1)
    headdim: int = Field(default=32, ge=1)
    methods: list[str] = Field(default=["prefix", "prompt"], min_length=1)
    tokens: list[int] = Field(default=[1, 2, 3, 7, 16], min_length=1)
    lengths: list[int] = Field(default=[1, 2, 33], min_length=1)
    stepped: int = Field(default=33, ge=1)
    dtypes: list[str] = Field(default=list(DTYPES), min_length=1)
    batch: int = Field(default=2, ge=1)
    repeats: int = Field(default=3, ge=1)


def scans_here(layer: str, dtype: torch.dtype, device: str, wanted: str | None) -> list[str]:
    """Scans of a kind of block that can run on this device in this dtype."""
    op = OPS[layer]
    kind = torch.device(device).type
    rows = [r for r in TABLE if r.op == op and dtype in r.dtypes and {"any", kind} & set(r.devices)]
    return [r.scan for r in rows if wanted in (None, r.scan) and _importable(r.package)]


def _importable(package: str | None) -> bool:
    return package is None or importlib.util.find_spec(package) is not None


def fresh_model(config: Config, layer: str, seed: int) -> MambaLM:
    """A random float64 model, weights scattered so that every part of it matters.

    At the usual initialisation (dt ≤ 0.1, small B and C) what the state adds to the logits drowns in bfloat16's rounding, and
    nothing could be learned from their agreement: dt is enlarged about e-fold, and the rows that make B and C threefold.
    """
    options: dict[str, Any] = {"layer": layer, "d_state": config.d_state}
    if layer == "Mamba2":
        options["headdim"] = config.headdim
    torch.manual_seed(seed)
    model = MambaLM(MambaConfig(config.d_model, config.n_layer, 61, options, pad_vocab_size_multiple=1), dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for block in model.backbone.layers:
            assert isinstance(block.mixer, torch.nn.Module)
            _enlarge_state(block.mixer)
    return model.eval()


def _enlarge_state(mixer: torch.nn.Module) -> None:
    if isinstance(mixer, Mamba1):
        mixer.dt_proj.bias.add_(1.0)
        mixer.x_proj.weight[mixer.dt_rank :].mul_(3.0)
    else:
        assert isinstance(mixer, Mamba2)
        mixer.dt_bias.add_(1.0)
        selectors = slice(2 * mixer.d_inner, 2 * mixer.d_inner + 2 * mixer.ngroups * mixer.d_state)
        mixer.in_proj.weight[selectors].mul_(3.0)


def run(config: Config, ctx: Context) -> Metrics:
    """Compile a random prefix in every setting, and compare logits and prefill times. Resumes after the last whole setting."""
    kept = ctx.resume("settings")
    rows: list[dict[str, Any]] = [] if kept is None else kept[1]
    done = {(row["layer"], row["dtype"], row["scan"]) for row in rows}
    for name in config.dtypes:
        if name not in DTYPES:
            raise UnknownName("dtype", name, DTYPES)
    for layer in config.layers:
        if layer not in OPS:
            raise UnknownName("kind of block", layer, OPS)
        for dtype_name in config.dtypes:
            for scan in scans_here(layer, DTYPES[dtype_name], ctx.device, ctx.scan):
                if (layer, dtype_name, scan) in done:
                    continue
                if time.monotonic() > ctx.deadline:
                    raise OutOfTime
                model = fresh_model(config, layer, ctx.seed).to(ctx.device, DTYPES[dtype_name])
                model.set_scan(scan)
                narrowed = dtype_name == "float32" and capability(OPS[layer], scan).tf32
                arithmetic = "tf32" if narrowed else dtype_name
                setting = {"layer": layer, "dtype": dtype_name, "arithmetic": arithmetic, "scan": scan}
                for method in config.methods:
                    for tokens in config.tokens:
                        found = compare(model, method, tokens, config, ctx.seed)
                        rows.append({**setting, "method": method, "tokens": tokens, **found})
                ctx.checkpoint("settings", values=rows)
    if not rows:
        raise UnsupportedScan(f"no scan {ctx.scan or ''} runs on {ctx.device} in {', '.join(config.dtypes)}; leave out --scan")
    return Metrics(held_out={"settings": rows})


@torch.no_grad()
def compare(model: MambaLM, method: str, tokens: int, config: Config, seed: int) -> dict[str, Any]:
    """Largest difference of the logits over all lengths, relative to their size, and what a wrong state would give.

    ``error``: with the prefix against compiled. ``step_error``: the compiled state taken on token by token, against the
    prefix in parallel. ``step_noise``: the same two ways without any prefix. ``state_alone``: with the state but an empty
    convolution window. ``window_alone``: with the window but state zero. ``no_prefix``: without any of it.
    Seconds are medians of one forward pass over the longest sequence.

    Raises
    ------
    InvalidInput
        Logits that are not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    prompts = [torch.randint(0, 61, (config.batch, n), generator=generator).to(device) for n in config.lengths]
    longest = max(range(len(prompts)), key=lambda i: prompts[i].shape[1])
    bare = _logits(model, prompts)
    beginning = prompts[longest][:, : config.stepped]
    bare_stepped = _stepped(model, beginning)
    handle = apply(model, method_config(method, tokens=tokens), seed=seed)
    handle.set_values({name: torch.randn(v.shape, generator=generator).to(v) for name, v in handle.values().items()})
    with_tokens = _logits(model, prompts)
    seconds = _seconds(model, prompts[longest], config.repeats)
    compiled = compile_prefix(handle)
    from_state = _logits(model, prompts)
    compiled_seconds = _seconds(model, prompts[longest], config.repeats)
    stepped = _stepped(model, beginning)
    values = compiled.values()
    compiled.set_values({n: torch.zeros_like(v) if n.endswith(".conv") else v for n, v in values.items()})
    without_window = _logits(model, prompts)
    compiled.set_values({n: torch.zeros_like(v) if n.endswith(".ssm") else v for n, v in values.items()})
    without_state = _logits(model, prompts)
    compiled.remove()
    scale = max(float(y.abs().max()) for y in with_tokens)

    def far(those: Sequence[torch.Tensor], these: Sequence[torch.Tensor] = with_tokens) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(those, these, strict=True)) / scale

    errors = {
        "error": far(from_state), "step_error": far([stepped], [with_tokens[longest][:, : config.stepped]]),
        "step_noise": far([bare_stepped], [bare[longest][:, : config.stepped]]),
        "state_alone": far(without_window), "window_alone": far(without_state), "no_prefix": far(bare),
    }  # fmt: skip
    for name, value in errors.items():  # a NaN compares false with every bound: it must not get that far
        if not math.isfinite(value):
            raise InvalidInput(f"{name} of a {method} of {tokens} tokens is {value}: the logits are not finite")
    return {**errors, "tokens_saved": tokens, "seconds": seconds, "compiled_seconds": compiled_seconds}


def _logits(model: MambaLM, prompts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    found = []
    for prompt in prompts:
        logits = model(prompt)
        assert isinstance(logits, torch.Tensor)
        found.append(logits.double())
    return found


def _stepped(model: MambaLM, tokens: torch.Tensor) -> torch.Tensor:
    states, stepped = model.new_states(tokens.shape[0]), []
    for token in tokens.unbind(1):
        logits, states = model.step(token, states)
        stepped.append(logits.double())
    return torch.stack(stepped, 1)


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


THRESHOLDS = ("float64", "float32", "tf32", "bfloat16", "twin_factor", "twin_factor_coarse")


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Per arithmetic: the largest error is within its threshold, and the negative twins (no window, state or prefix) stand out.

    The twins lie above the bound by ``twin_factor``, in the coarse formats (bfloat16, TF32) by ``twin_factor_coarse``. Two things
    are said of those formats only. Stepping may add what it differs from the parallel scan by without any prefix
    (``step_noise``, rounding in another order), as long as that is less than a wrong state has to show. And a missing state has
    to show only behind the longest prefix, since one token leaves little more in it than rounding does.
    """
    rows = [row for r in results for row in r.held_out["settings"]]
    table = []
    good = bool(rows)
    most = max(row["tokens"] for row in rows)
    for arithmetic in dict.fromkeys(row["arithmetic"] for row in rows):
        group = [row for row in rows if row["arithmetic"] == arithmetic]
        error, step_error = (max(row[name] for row in group) for name in ("error", "step_error"))
        step_noise = max(row["step_noise"] for row in group)
        fine = arithmetic in ("float64", "float32")
        bound = limit(threshold, arithmetic)
        factor = limit(threshold, "twin_factor" if fine else "twin_factor_coarse")
        twin_bound = factor * bound
        twin = min(row[name] for row in group for name in TWINS if fine or name != "window_alone" or row["tokens"] == most)
        stepping = max(row["step_error"] - (0.0 if fine else row["step_noise"]) for row in group)
        good &= max(error, stepping) <= bound and step_noise < twin_bound and twin > twin_bound
        saved = [row["seconds"] / row["compiled_seconds"] for row in group if row["tokens"] == most]
        table.append(
            {
                "arithmetic": arithmetic, "settings": len(group), "error": error, "step_error": step_error,
                "step_noise": step_noise, "bound": bound,
                "least_wrong": twin, "tokens_saved": most, "prefill_ratio": statistics.median(saved),
                "scans": sorted({f"{row['layer']} {row['scan']}" for row in group}),
            }
        )  # fmt: skip
    parts = [f"{t['arithmetic']} {t['error']:.1e} (stepping {t['step_error']:.1e}) in {t['settings']} settings" for t in table]
    return Judgement(verdict="reproduced" if good else "not reproduced", measured="; ".join(parts), table=table)

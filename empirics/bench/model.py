"""A training step of a whole model, per method and scan, against stock mamba-ssm and peft:  python -m empirics bench model.

One process measures everything: for every contender a fresh model of the published shape with random weights, warm-up steps,
then timed steps of forward, loss, backward and AdamW. ``stock`` is measured first and stays in memory: each timed step of another
contender is followed by one of its steps, and ratios to it are medians over these rounds, so that a CPU that slows down for some
minutes falls on both. Two steps in memory need some more of it; ``--alone`` lets each contender run by itself. Reported are the
median step, the peak of memory without what ``stock`` holds, and what the forward pass leaves allocated for the backward pass.
Peers:

stock            mamba-ssm's own model, every weight trained, its fused path
stock_slow_lora  the same through the path that peft's LoRA can reach (``use_fast_path=False``, in Mamba-2
                 ``use_mem_eff_path=False``), on in_proj, x_proj, dt_proj and out_proj where they exist (in Mamba-1 peft's
                 wrapping reaches x_proj and out_proj only)
transformers     transformers' model of the same shape, every weight trained, with whatever kernels it finds

Ours are named METHOD/SCAN, or METHOD/SCAN/AMOUNT where they keep more (``keep_all``) or less (``recompute``, ``recompute_all``)
for the backward pass than they do by default, for instance ``lora/fused/recompute``. Any of them, peers included, with ``/graph``
behind is the same step with its two passes replayed as a CUDA graph (:class:`empirics.training.graphed.GraphedLoss`).

With ``--out``, sizes that an interrupted run has finished are kept beside the file, and the same command goes on after them.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from theory.core.files import require_replaceable

from .. import options as parsers
from ..errors import EmpiricsError, InvalidInput, MissingPackage, UnknownName, UnrecordableLoss
from ..kernels.table import Op, capability
from ..methods import MethodConfig, apply, select
from ..methods.catalogue import LINEAR, PROJECTIONS, recipes
from ..methods.scores import score, warm_up
from ..models import Mamba2Config, MambaConfig, MambaLM, size_config
from ..models.hub import transformers_config
from ..models.mixer import Recompute
from ..study.runner import check_device
from ..training.graphed import GraphedLoss
from .machine import machine
from .parts import complete, finished, saver
from .targets import TARGETS
from .timing import clock

RANK, SHARE = 8, 0.1
"""Of the peers' LoRA, and of the channels and of their states that SDT trains: 1 % of A."""

METHODS = recipes("bench_model")
RECOMPUTE: dict[str, Recompute] = {"keep_all": False, "recompute": True, "recompute_all": "all"}
"""How much is computed again for the backward pass, by the last part of a contender's name."""

TARGETED = ("initial_state", "state_offset", "lora", "sdt")
"""Methods of target 5."""

PEERS = ("stock", "stock_slow_lora", "transformers")
REFERENCE = "stock"
"""The contender whose steps take turns with the others'."""

GRAPH = "/graph"
"""Behind a contender's name: its passes are replayed."""
DEFAULT: dict[Op, tuple[str, ...]] = {
    "selective_scan": (
        "stock", "stock_slow_lora", "full/mamba_ssm", *(f"{m}/fused" for m in METHODS), "lora/mamba_ssm",
        "initial_state/mamba_ssm", "lora/fused/recompute", "lora/fused/recompute_all", "full/fused/recompute",
    ),
    "ssd": (
        *PEERS, *(f"{m}/mamba_ssm" for m in METHODS),
        *(f"{name}/graph" for name in ("stock", *(f"{m}/mamba_ssm" for m in ("full", "lora", "sdt_lora", "initial_state")))),
    ),
}  # fmt: skip
"""By the scan of the first size's blocks."""


@dataclass(frozen=True)
class Setting:
    """What every contender gets.

    Attributes
    ----------
    model:
        Shape.
    batch, length:
        Sequences and tokens of a step.
    device, dtype:
        Where, and the dtype of all weights.
    repeats:
        Timed steps, after 3 that are not.
    shown_kernels:
        How many of the longest kernels each row lists.
    """

    model: MambaConfig
    batch: int
    length: int
    device: str
    dtype: torch.dtype
    repeats: int
    shown_kernels: int = 0

    def tokens(self) -> Tensor:
        """(batch, length) random tokens."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, self.model.vocab_size, (self.batch, self.length), generator=generator).to(self.device)


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Next-token cross-entropy of either kind of model."""
    out = model(tokens)
    logits = out if isinstance(out, Tensor) else out.logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())


def projections(config: MambaConfig) -> tuple[str, ...]:
    """The linear layers of the model's blocks."""
    return LINEAR if isinstance(config.mixer, Mamba2Config) else PROJECTIONS


def method_of(name: str, model: MambaLM, tokens: Tensor) -> tuple[MethodConfig, float | None]:
    """The method's configuration, and the seconds that its selection took.

    Raises
    ------
    UnknownName
        No such method.
    """
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    recipe = METHODS[name]
    if not recipe.score:
        if recipe.options.get("targets") == PROJECTIONS:
            return recipe.config(targets=projections(model.config)), None
        return recipe.config(), None
    began = clock(tokens.device.type)
    moved = warm_up(model, loss_of, [tokens] * 10)
    selection = select(score(recipe.score, model, moved=moved), channels=SHARE, states=SHARE)
    return recipe.config(selection=selection), clock(tokens.device.type) - began


@dataclass(frozen=True)
class Contender:
    """A contender's name in its parts.

    Attributes
    ----------
    peer:
        mamba-ssm's model and not one of ours.
    method, scan, recompute:
        Of ours, which are called METHOD/SCAN or METHOD/SCAN/AMOUNT.
    graph:
        Whether the two passes are replayed.
    """

    peer: str | None
    method: str
    scan: str
    recompute: Recompute
    graph: bool

    @classmethod
    def named(cls, name: str, op: Op = "selective_scan") -> Contender:
        """The contender of that name.

        Raises
        ------
        InvalidInput
            The name has another form.
        UnknownName, UnsupportedScan
            No such method, or no such scan for this kind of block.
        """
        short = name.removesuffix(GRAPH)
        if short in PEERS:
            return cls(short, "", "", "light", name != short)
        method, *rest = short.split("/")
        if len(rest) not in (1, 2) or (rest[1:] and rest[1] not in RECOMPUTE):
            ways = ", ".join(f"METHOD/SCAN{way and '/' + way}" for way in ("", *RECOMPUTE))
            raise InvalidInput(f"contender {name!r}: expected {ways}, or one of {', '.join(PEERS)}, each with or without {GRAPH}")
        if method not in METHODS:
            raise UnknownName("method", method, METHODS)
        capability(op, rest[0])
        return cls(None, method, rest[0], RECOMPUTE[rest[1]] if rest[1:] else "light", name != short)


def ours(contender: Contender, setting: Setting, tokens: Tensor) -> tuple[nn.Module, list[nn.Parameter], float | None]:
    """(model, trained tensors, seconds of selection) of one of our contenders."""
    torch.manual_seed(0)
    with torch.device(setting.device):  # drawn there: a billion numbers from a CPU take longer than the measurement
        model = MambaLM(setting.model, dtype=setting.dtype).train()
    model.set_scan(contender.scan)
    model.set_recompute(contender.recompute)
    config, seconds = method_of(contender.method, model, tokens)
    handle = apply(model, config)
    return model, list(handle.trainable().values()), seconds


def stock(name: str, setting: Setting) -> tuple[nn.Module, list[nn.Parameter]]:
    """A peer's model: mamba-ssm's, all of it or peft's LoRA through the path that does not bypass all of it, or transformers'.

    Raises
    ------
    MissingPackage
        mamba-ssm, peft or transformers is not installed.
    """
    if name == "transformers":
        model = transformers_model(setting)
        return model, list(model.parameters())
    try:
        models = importlib.import_module("mamba_ssm.models.mixer_seq_simple")
        configs = importlib.import_module("mamba_ssm.models.config_mamba")
        peft = importlib.import_module("peft") if name == "stock_slow_lora" else None
    except ImportError as error:
        raise MissingPackage(error.name or "mamba_ssm", "cuda", "a peer of the benchmark needs it") from error
    slow = "use_mem_eff_path" if isinstance(setting.model.mixer, Mamba2Config) else "use_fast_path"
    ssm = {**setting.model.ssm_cfg, **({} if peft is None else {slow: False})}
    config = configs.MambaConfig(
        d_model=setting.model.d_model, n_layer=setting.model.n_layer, vocab_size=setting.model.vocab_size, ssm_cfg=ssm,
        pad_vocab_size_multiple=setting.model.pad_vocab_size_multiple,
    )  # fmt: skip
    model = models.MambaLMHeadModel(config, device=setting.device, dtype=setting.dtype).train()
    if peft is not None:
        model = peft.get_peft_model(
            model, peft.LoraConfig(r=RANK, target_modules=list(projections(setting.model)))
        ).base_model.model
    return model, [p for p in model.parameters() if p.requires_grad]


def transformers_model(setting: Setting) -> nn.Module:
    """transformers' model of this shape, with random weights.

    Raises
    ------
    MissingPackage
        transformers is not installed.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingPackage(error.name or "transformers", "models", "a peer of the benchmark needs it") from error
    options = transformers_config(setting.model, setting.dtype)
    kind, mixer = options.pop("model_type"), setting.model.mixer
    if isinstance(mixer, Mamba2Config):
        options["time_step_limit"] = mixer.dt_limit
    with torch.device(setting.device):
        model: nn.Module = transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(kind, **options), dtype=setting.dtype
        )
    return model.train()


def full_name(size: str) -> str:
    """``mamba-130m`` for ``130m``."""
    return size if "mamba" in size else f"mamba-{size}"


def op_of(config: MambaConfig) -> Op:
    """The scan of a model's blocks."""
    return "ssd" if isinstance(config.mixer, Mamba2Config) else "selective_scan"


def kernel_times(step: Callable[[], object]) -> list[dict[str, Any]]:
    """Name, calls and seconds of the GPU's kernels in one step, gaps between them left out, the longest first.

    Where their sum is far below the step's time, the step waits for the CPU that launches the kernels.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    found = [
        {"name": event.key, "calls": event.count, "seconds": event.device_time_total * 1e-6} for event in profile.key_averages()
    ]
    return sorted((row for row in found if row["seconds"]), key=lambda row: -row["seconds"])


@dataclass(frozen=True)
class Training:
    """A contender that is ready to be timed.

    Attributes
    ----------
    name:
        The contender's.
    step:
        One training step; where Python launches it on a GPU, the bytes that its forward pass left for the backward pass.
    row:
        What the contender takes.
    """

    name: str
    step: Callable[[], int | None]
    row: dict[str, Any]


def prepare(name: str, setting: Setting) -> Training:
    """A fresh model of a contender after its first steps, and what it takes: peak bytes, bytes left between the passes, trained
    numbers, and the selection's seconds.

    Bytes are ``None`` on a CPU. Peaks include weights, gradients and optimiser state, and nothing that was there before. A replay
    allocates nothing and shares its memory with nothing: its peak is the peak of recording it plus the optimiser's state, which
    comes later.
    """
    tokens, cuda = setting.tokens(), setting.device == "cuda"
    there = torch.cuda.memory_allocated() if cuda else 0
    seconds: float | None = None
    contender = Contender.named(name, op_of(setting.model))
    if contender.peer is not None:
        model, trained = stock(contender.peer, setting)
    else:
        model, trained, seconds = ours(contender, setting, tokens)
    optimiser = torch.optim.AdamW(trained, lr=1e-5)
    passes = GraphedLoss(lambda batch: loss_of(model, batch), trained)

    def replayed() -> int | None:
        passes(tokens)
        optimiser.step()
        return None

    def launched() -> int | None:
        optimiser.zero_grad(set_to_none=True)
        before = torch.cuda.memory_allocated() if cuda else 0
        loss = loss_of(model, tokens)
        left = torch.cuda.memory_allocated() - before if cuda else None
        loss.backward()
        optimiser.step()
        return left

    step = replayed if contender.graph else launched
    recording: int | None = None
    if cuda and contender.graph:
        torch.cuda.reset_peak_memory_stats()
        passes(tokens)
        recording = torch.cuda.max_memory_allocated() - there
    for _ in range(3):
        step()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    left = step()
    peak = torch.cuda.max_memory_allocated() - there if cuda else None
    state = sum(v.nbytes for kept in optimiser.state.values() for v in kept.values() if isinstance(v, Tensor))
    if recording is not None:
        peak = recording + state
    row = {
        "kept_bytes": left, "peak_bytes": peak, "state_bytes": state, "trained": sum(p.numel() for p in trained),
        "selection_s": seconds,
    }  # fmt: skip
    return Training(name, step, row)


def timed(own: Training, setting: Setting, reference: Training | None = None) -> dict[str, Any]:
    """The row of a contender: the seconds of its steps, median, least and most, the kernels' own, ``None`` on a CPU, the longest
    kernels where the setting asks for them, and what it takes.

    With a reference each step is followed by one of the reference's, after a round that is not timed. ``beside`` then has the
    reference's name, its median seconds in these rounds, and how many times as fast as it the contender is: the median over the
    rounds, the least and the most.
    """
    turns = [own] if reference is None else [own, reference]
    times: list[list[float]] = [[] for _ in turns]
    for round_ in range(-1 if reference else 0, setting.repeats):
        for training, taken in zip(turns, times, strict=True):
            began = clock(setting.device)
            training.step()
            ended = clock(setting.device)
            if round_ >= 0:
                taken.append(ended - began)
    kernels = kernel_times(own.step) if setting.device == "cuda" else None  # last: profiling may slow down later launches
    row = {
        "step_s": statistics.median(times[0]), "least_s": min(times[0]), "most_s": max(times[0]),
        "kernels_s": None if kernels is None else sum(k["seconds"] for k in kernels), **own.row,
    }  # fmt: skip
    if kernels and setting.shown_kernels:
        row["kernels"] = kernels[: setting.shown_kernels]
    if reference is not None:
        ratios = [theirs / mine for mine, theirs in zip(*times, strict=True)]
        row["beside"] = {
            "name": reference.name, "step_s": statistics.median(times[1]), "times_as_fast": statistics.median(ratios),
            "least": min(ratios), "most": max(ratios),
        }  # fmt: skip
    return row


def measure_model(
    names: Sequence[str], setting: Setting, say: Callable[[str], None] = print, beside: str | None = REFERENCE
) -> dict[str, dict[str, Any]]:
    """One row for each contender; one that cannot run (missing package, out of memory) gets its reason instead.

    The contender ``beside``, where it is among them and can run, is measured first and takes turns with the others.
    """
    rows: dict[str, dict[str, Any]] = {}
    reference: Training | None = None
    for name in sorted(names, key=lambda name: name != beside):
        training: Training | None = None  # nothing of the one before is held while the next one is made
        try:
            training = prepare(name, setting)
            rows[name] = timed(training, setting, reference)
            if name == beside:
                reference = training
        except (MissingPackage, UnrecordableLoss) as error:
            rows[name] = {"missing": str(error)}
        except torch.OutOfMemoryError:
            rows[name] = {"missing": "out of memory" + (f" beside {reference.name}; try --alone" if reference else "")}
        training = None
        gc.collect()
        if setting.device == "cuda":
            # cuBLAS keeps a workspace for every stream that it has seen, which would count among the next one's bytes.
            getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
            torch.cuda.empty_cache()
        say(line(name, rows[name], rows))
    return {name: rows[name] for name in names}


def faster(row: Mapping[str, Any], peer: str, rows: Mapping[str, Mapping[str, Any]]) -> float | None:
    """How many times as fast as a peer: in turns where they took turns, else by both medians; ``None`` without them."""
    if "step_s" not in row or "step_s" not in rows.get(peer, {}):
        return None
    beside = row.get("beside")
    if beside is not None and beside["name"] == peer:
        return float(beside["times_as_fast"])
    return float(rows[peer]["step_s"] / row["step_s"])


def line(name: str, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One line of the report, with ratios to stock where stock was measured."""
    if "missing" in row:
        return f"{name:28} {row['missing']}"
    parts = [f"{name:28} step {row['step_s'] * 1e3:9.1f} ms"]
    if row.get("kernels_s") is not None:
        parts[0] += f" (kernels {row['kernels_s'] * 1e3:.1f})"
    if row["peak_bytes"] is not None:
        kept = "" if row["kept_bytes"] is None else f", kept {row['kept_bytes'] / 2**30:6.2f} GiB"
        parts.append(f"peak {row['peak_bytes'] / 2**30:6.2f} GiB{kept}")
    if row["selection_s"] is not None:
        parts.append(f"selection {row['selection_s']:.2f} s")
    beside = row.get("beside", {})
    for peer in PEERS:
        if peer != name and (ratio := faster(row, peer, rows)) is not None:
            turns = f" ({beside['step_s'] * 1e3:.1f} ms in turns)" if beside.get("name") == peer else ""
            parts.append(f"{ratio:.2f} x as fast as {peer}{turns}")
    return ", ".join(parts)


def slowest(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[float | None]:
    """The numbers of target 5: the least of its methods' times as fast as ``stock``, at 130m and at 1.4b, as Python launches
    them; ``None`` where one of them was not measured."""

    def least(rows: Mapping[str, Mapping[str, Any]]) -> float | None:
        known = [faster(rows.get(f"{method}/fused", {}), REFERENCE, rows) for method in TARGETED]
        return min(value for value in known if value is not None) if None not in known else None

    return [least(tables.get(size, {})) for size in ("130m", "1.4b")]


def _settings(options: argparse.Namespace) -> Iterable[tuple[str, Setting]]:
    for name, least in (("length", 2), ("repeats", 1), ("layers", 1), ("kernels", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InvalidInput(f"--{name} {value} is too small")
    if len(options.batch) not in (1, len(options.sizes)):
        raise InvalidInput(f"--batch has {len(options.batch)} numbers, expected 1, or 1 for each of {len(options.sizes)} sizes")
    if min(options.batch) < 1:
        raise InvalidInput(f"--batch {min(options.batch)} is too small")
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    batches = options.batch * len(options.sizes) if len(options.batch) == 1 else options.batch
    for size, batch in zip(options.sizes, batches, strict=True):
        config = size_config(size)
        if options.layers is not None:
            config = MambaConfig(
                config.d_model, options.layers, config.vocab_size, config.ssm_cfg,
                pad_vocab_size_multiple=config.pad_vocab_size_multiple,
            )  # fmt: skip
        yield size, Setting(config, batch, options.length, options.device, dtype, options.repeats, options.kernels)


def main_bench_model(argv: Sequence[str]) -> int:
    """Run the benchmark from command-line arguments; 0, or 2 after a message about what is wrong with them."""
    options = parsers.bench_model().parse_args(argv)
    if options.out is not None:
        require_replaceable(options.out, InvalidInput)
    try:
        check_device(options.device)
        settings = dict(_settings(options))
        options.contenders = options.contenders or list(DEFAULT[op_of(next(iter(settings.values())).model)])
        for setting in settings.values():  # all of them before the first is measured
            for name in options.contenders:
                Contender.named(name, op_of(setting.model))
        if options.out is not None:
            require_replaceable(options.out, InvalidInput)
        about: dict[str, Any] = {
            "benchmark": "model", "device": options.device, "length": options.length, "layers": options.layers,
            "repeats": options.repeats, "kernels": options.kernels, "contenders": list(options.contenders),
            "batch": {k: v.batch for k, v in settings.items()}, "alone": options.alone, "machine": machine(options.device),
        }  # fmt: skip
        beside = None if options.alone else REFERENCE
        # By size, since ratios need one machine: contenders of one size are never measured in two calls.
        parts, save = finished(options.out, about), saver(options.out, about)
        for size, setting in settings.items():
            heading = (
                f"{full_name(size)}, {setting.model.n_layer} blocks, {setting.batch} x {options.length} tokens, {setting.dtype}"
            )
            print(heading + (": measured before" if size in parts else ""))
            if size not in parts:
                own = machine(options.device)
                parts[size] = {"machine": own, "rows": measure_model(options.contenders, setting, beside=beside)}
                save(parts)
        tables = {size: parts[size]["rows"] for size in settings}
        machines = {size: parts[size]["machine"] for size in settings}
        if None not in (numbers := slowest(tables)):
            words = ", ".join(f"{value:.2f}" for value in numbers)
            print(f"target 5 {'met' if TARGETS[5].met(numbers) else 'missed'}: {words} times as fast at 130m, 1.4b")
        complete(options.out, about, {"machines": machines, "sizes": tables})
    except EmpiricsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main_bench_model(sys.argv[1:]))

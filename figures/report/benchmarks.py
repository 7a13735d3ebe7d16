"""What the benchmarks and the pretraining say, in sentences and tables made from their committed files."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput

from ..plots import bench_model, bench_scan_cpu, bench_scan_gpu, bench_selection, pretraining
from ..sources import EXPERIMENTS, ROOT, MissingData, committed, summary_path


@dataclass(frozen=True)
class Benchmark:
    """One committed measurement.

    Attributes
    ----------
    name:
        What was measured.
    figure:
        The figure that shows it, where there is one of that name; also what it is linked by.
    sentences:
        What came out; empty where it has not been run.
    columns, rows:
        Of a table, where there is more to say.
    command:
        What repeats it.
    """

    name: str
    figure: str
    sentences: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    command: str

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that show it: :attr:`figure`, and those of its parts."""
        return (self.figure, *PARTS.get(self.figure, ()))


PARTS = {"bench_model": ("bench_model_graph", "bench_model_memory")}
"""Figures that show parts of a benchmark, by the figure that it is named after."""


def benchmarks(root: Path = ROOT) -> list[Benchmark]:
    """All of them, those that have not been run with nothing to say.

    Raises
    ------
    InvalidInput
        A committed file is not what its benchmark writes.
    """
    return [
        _read(root, "Bundled model", "pretraining", pretraining.PATH, pretraining.COMMAND, _bundled, _pretrain),
        _read(root, "Selective scan on a CPU", "bench_scan_cpu", bench_scan_cpu.PATH, bench_scan_cpu.COMMAND, _scan_cpu),
        _read(root, "Selective scan on a GPU", "bench_scan_gpu", bench_scan_gpu.PATH, bench_scan_gpu.COMMAND, _scan_gpu),
        _read(root, "Selective scan beside jax-linear-attention", "scan_peers", SCAN_PEERS, SCAN_PEERS_COMMAND, _scan_peers),
        _read(root, "One block under LoRA on a GPU", "block", BLOCK, f"python -m empirics bench block --out {BLOCK}", _block),
        _read(root, "One Mamba-2 block under LoRA on a GPU", "block_mamba2", BLOCK_MAMBA2, BLOCK_MAMBA2_COMMAND, _block),
        _read(
            root,
            "Training step of a whole model",
            "bench_model",
            bench_model.PATH,
            bench_model.COMMAND,
            lambda f: _model(f, root),
            lambda f: _model_again(f, bench_model.PATH),
        ),
        _one_size(root, "Training step of mamba-130m, recomputing", "model_130m", MODEL_130M, "--repeats 9 "),
        _one_size(
            root,
            "Short training step of mamba-130m",
            "host_130m",
            HOST_130M,
            "--batch 1 --length 64 --repeats 15 ",
        ),
        _read(root, "Choosing SDT's dimensions", "bench_selection", bench_selection.PATH, bench_selection.COMMAND, _selection),
        _fused(root),
    ]


BLOCK = "empirics/bench/results/block_gpu.json"
BLOCK_MAMBA2 = "empirics/bench/results/block_mamba2_gpu.json"
BLOCK_MAMBA2_COMMAND = f"python -m empirics bench block --sizes mamba2-130m --out {BLOCK_MAMBA2}"
MODEL_130M = "empirics/bench/results/model_130m_gpu.json"
HOST_130M = "empirics/bench/results/host_130m_gpu.json"
SCAN_PEERS = "empirics/bench/results/scan_peers.json"
SCAN_PEERS_COMMAND = f"python -m empirics bench scan --device cuda --peers --out {SCAN_PEERS}"

Said = tuple[list[str], tuple[str, ...], list[tuple[str, ...]]]


def _read(
    root: Path, name: str, figure: str, path: str, command: str, say: Callable[[dict[str, Any]], Said],
    again: Callable[[dict[str, Any]], str] | None = None,
) -> Benchmark:  # fmt: skip
    """One benchmark from its file; ``again``: the command that made this very file, where it may differ from ``command``."""
    try:
        found = committed(path, command, root)
    except MissingData:
        return Benchmark(name, figure, (), (), (), command)
    try:
        sentences, columns, rows = say(found)
        command = command if again is None else again(found)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInput(f"{path} is not what its benchmark writes ({error!r}); run {command}") from error
    return Benchmark(name, figure, (*sentences, *_source(path, found)), columns, tuple(rows), command)


def _source(path: str, found: dict[str, Any]) -> list[str]:
    """The file, and the commit and versions that it was measured with, where it holds them."""
    machine = found.get("machine")
    if not isinstance(machine, dict) or not machine.get("git"):
        return []
    commit, dirty, _ = machine["git"].partition("-dirty")
    changed = ", with changes" if dirty else ""
    versions = [f"{name} {machine['versions'][name]}" for name in VERSIONS if machine.get("versions", {}).get(name)]
    return [f"File {path}: {', '.join([f'commit {commit[:7]}{changed}', *versions])}."]


VERSIONS = ("torch", "triton", "mamba-ssm")
"""Packages whose versions are said beside a GPU's numbers."""


def _one_size(root: Path, name: str, figure: str, path: str, options: str) -> Benchmark:
    """A training step of one model size, from a file of its own."""
    command = f"python -m empirics bench model --sizes 130m {options}--out {path}"
    return _read(root, name, figure, path, command, _step, lambda found: _model_again(found, path))


AGAIN: dict[str, tuple[tuple[str, ...], str]] = {
    "vision": (("method",), "test_accuracy"), "selection": (("kind", "score"), "gain"),
    "prefix_compiles": ((), ""),
}  # fmt: skip
"""The experiments that were run again with the fused scan: what names a row, and its value, where rows are scores with noise."""

NO_MAMBA = ("s4_regression", "state_floor", "state_to_prefix")
"""The experiments without a Mamba, of which a scan's name changes no bit (a test holds that)."""

FUSED = "fused"
"""The scan that they were run again with."""


def _fused(root: Path) -> Benchmark:
    """The same experiments with the fused scan, beside what they found with the scan of their own."""
    name, again_with = "Experiments again with the fused scan", f"--scan {FUSED}"
    command = f"python -m empirics gpu-suite {again_with} --only {' '.join(AGAIN)} --out runs --budget 3600"
    command += f" && python -m empirics collect {' '.join(AGAIN)} {again_with} --out runs --into {EXPERIMENTS}"
    said = []
    for experiment, (keys, value) in AGAIN.items():
        path = str(summary_path(experiment, FUSED))
        try:
            again, first = committed(path, command, root), committed(str(summary_path(experiment)), command, root)
        except MissingData:
            continue
        try:
            compared = _compared(first, again, keys, value) if keys else f"{_verdicts(first, again)}; {again['measured']}."
            said.append(f"{experiment}: {compared}")
        except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
            raise InvalidInput(f"{path} is not what its experiment writes ({error!r}); run {command}") from error
    if said:
        said.append(f"{', '.join(NO_MAMBA)}: no Mamba is scanned there, and naming a scan changes no bit.")
    return Benchmark(name, "fused", tuple(said), (), (), command)


def _compared(first: dict[str, Any], again: dict[str, Any], keys: tuple[str, ...], value: str) -> str:
    """Verdicts, and the rows' largest difference as a share of the two 95 % half-widths' root sum of squares.

    Rows of S4, which has another scan, of one seed, and those that one of the two lacks are left out.
    """

    def rows(found: dict[str, Any]) -> dict[tuple[Any, ...], tuple[float, float]]:
        table = [row for row in found["table"] if row.get(value) is not None and row.get("kind") != "s4"]
        return {
            tuple(row[key] for key in keys): (float(row[value]), float(row["half_width"]))
            for row in table
            if row["half_width"] is not None
        }

    one, other = rows(first), rows(again)
    shared = [key for key in one if key in other]
    noise = {key: math.hypot(one[key][1], other[key][1]) for key in shared}
    shares = {key: abs(one[key][0] - other[key][0]) / noise[key] for key in shared if noise[key]}
    fixed = [key for key in shared if not noise[key] and one[key][0] != other[key][0]]
    verdict = _verdicts(first, again)
    if not shares:
        return f"{verdict}; no rows to compare."
    worst = max(shares, key=lambda key: shares[key])
    outside = sum(share > 1 for share in shares.values()) + len(fixed)
    return (
        f"{verdict}; of {len(shared)} rows {outside} differ by more than the two 95 % half-widths together, most of all "
        f"{' '.join(map(str, worst))} ({100 * (other[worst][0] - one[worst][0]):+.1f} points, {shares[worst]:.2f} of them)."
    )


def _verdicts(first: dict[str, Any], again: dict[str, Any]) -> str:
    """The later verdict, and whether it is that of before."""
    same = first["verdict"] == again["verdict"]
    partly = "" if again["complete"] else " (not complete)"
    return f"{again['verdict']}, {'as before' if same else 'was ' + first['verdict']}{partly}"


def _bundled(record: dict[str, Any]) -> Said:
    recipe, others = record["recipe"], [f"{row['name']} {row['bits_per_byte']:.2f}" for row in record["baselines"]]
    kind = ", a placeholder that was trained briefly" if recipe["placeholder"] else ""
    return (
        [
            f"{record['held_out']['bits_per_byte']:.3f} bits per byte on {record['held_out']['bytes']:,} held-out bytes, beside "
            f"{' and '.join(others)}.",
            f"{record['parameters']:,} parameters, recipe {recipe['name']}{kind}; {record['trained_bytes']:,} bytes read in "
            f"{record['seconds']:,.0f} s on {record['device']}.",
        ],
        (),
        [],
    )  # fmt: skip


def _pretrain(record: dict[str, Any]) -> str:
    device = "" if record["device"] == "cpu" else " --device cuda"
    recipe = f"{record['recipe']['name']} --steps {record['steps']}{device}"
    return f"python -m empirics pretrain {recipe} --corpus FILES --held-out FILES --out runs/pretrain"


def times(ratio: float) -> str:
    """A ratio with as many digits as say something."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def _scan_cpu(found: dict[str, Any]) -> Said:
    machine, (batch, channels, length, states) = found["machine"], found["shape"]
    slower = [
        f"{name} {found['times'][name]['version']} takes {times(ratio)} times as long" for name, ratio in found["ratios"].items()
    ]
    memory = [f"{name} {size:.0f} MiB" for name, size in found.get("peak_memory_mib", {}).items()]
    said = [
        f"Forward and backward with all gradients: {' and '.join(slower)} as {bench_scan_cpu.OURS}.",
        f"{found['dtype']}, batch {batch}, {channels} channels, {length} tokens, {states} states, on {machine['cpu']} with "
        f"{machine['threads']} threads.",
    ]  # fmt: skip
    return [*said, *([f"Peak memory: {', '.join(memory)}."] if memory else [])], (), []


def digits(value: float, asked: str) -> str:
    """A number with three digits, or as many more as show on which side of the bound it lies."""
    sign, _, bound = asked.partition(" ")
    if sign not in (">=", "<="):
        return f"{value:.3g}"
    limit = float(bound)
    for places in range(3, 17):
        text = f"{value:.{places}g}"
        if (float(text) >= limit, float(text) <= limit) == (value >= limit, value <= limit):
            break
    return text


def _scan_gpu(found: dict[str, Any]) -> Said:
    rows: list[tuple[str, ...]] = []
    for row in found["table"]:
        values = zip(row["measured"], row["asked"], strict=True)
        measured = "; ".join(f"{'not measured' if v is None else digits(v, asked)} ({asked})" for v, asked in values)
        rows.append((str(row["target"]), row["what"], measured, "met" if row["met"] else "missed"))
    met = sum(row["met"] for row in found["table"])
    said = f"{met} of {len(rows)} targets met against mamba-ssm, {found['dtype']}, on {_machine(found)}."
    return [said], ("target", "what", "measured (asked)", "outcome"), rows


def _scan_peers(found: dict[str, Any]) -> Said:
    rows: list[tuple[str, ...]] = []
    for row in found["rows"]:
        milliseconds = ["absent" if value is None else f"{1e3 * value:.3f}" for value in row["seconds"].values()]
        faster = ["" if value is None else times(value) for value in row["times_as_fast_as"].values()]
        rows.append((" × ".join(map(str, row["shape"])), *milliseconds, *faster))
    target = found["target"]
    measured = ", ".join("not measured" if value is None else times(value) for value in target["measured"])
    versions = " and ".join(f"{name} {number}" for name, number in found["versions"].items() if number)
    said = [
        f"Target {target['target']} (nowhere slower than jax-linear-attention, 1.15 times as fast in the median) "
        f"{'met' if target['met'] else 'missed'}: least and median {measured}, {found['dtype']}, on {_machine(found)}.",
        f"Forward and backward with all gradients, beside {versions}; shape: sequences × channels × steps × states. The faster "
        "of our two layouts is compared. mamba-ssm's scan and ours are replayed as CUDA graphs; jax-linear-attention is timed "
        "from queued calls.",
        *(f"{name} was not there: {why}." for name, why in found["absent"].items()),
    ]
    seconds = list(found["rows"][0]["seconds"])
    beside = [f"times as fast as {name}" for name in found["rows"][0]["times_as_fast_as"]]
    return said, ("shape", *(f"{name}, ms" for name in seconds), *beside), rows


KEPT_EVERYTHING = "At the commit of this run ours kept everything by default; today's default keeps what mamba-ssm's block keeps."
"""Of a run that has no contender named ``keep_all``, which is what the default was before."""


def _block(found: dict[str, Any]) -> Said:
    second = all(size.startswith("mamba2") for size in found["sizes"])
    launched = any("launched_s" in row for table in found["sizes"].values() for row in table.values())
    rows: list[tuple[str, ...]] = []
    for size, table in found["sizes"].items():
        for name, row in table.items():
            if "seconds" not in row:
                rows.append((size, name, row["missing"], *[""] * (4 if launched else 3)))
                continue
            beside = (times(row["times_as_fast"]), f"{row['share_of_kept']:.2f}") if "times_as_fast" in row else ("", "")
            as_launched = (f"{1e3 * row['launched_s']:.2f}" if "launched_s" in row else "",) if launched else ()
            rows.append((size, name, f"{1e3 * row['seconds']:.2f}", *as_launched, f"{row['kept_bytes'] / 2**20:.0f}", *beside))
    said = [
        f"{found['batch']} × {found['length']} tokens, forward and backward, on {_machine(found)}. Kernels are replayed as CUDA "
        "graphs.",
        "Ours has LoRA on in_proj and out_proj; slow_lora is mamba-ssm's slow path with peft's LoRA on both."
        if second
        else "Ours has LoRA on all four projections; slow_lora is mamba-ssm's slow path with peft's LoRA, which reaches two of "
        "them.",
        "The row named stock is mamba-ssm's block without adapters: it trains every weight, and Python launches it, because it "
        "could not be recorded.",
    ]
    if not second:
        said.append("Asked for beside slow_lora: at least 1.7 times as fast, at most 0.35 of the bytes kept.")
    if not any("ours/keep_all" in table for table in found["sizes"].values()):
        said.append(KEPT_EVERYTHING)
    columns = ("size", "block", "ms", *(("ms as launched",) if launched else ()), "MiB kept", "times as fast as the slow path")
    return said, (*columns, "bytes kept / slow path"), rows


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, with two digits that say something."""
    unit, size = next(((u, s) for u, s in (("h", 3600.0), ("min", 60.0)) if seconds >= 2 * s), ("s", 1.0))
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"


def rounded(value: float) -> str:
    """Two digits that say something, and zeros."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _span(values: Sequence[float], text: Callable[[float], str]) -> str:
    """Least to largest, or the one text that they share."""
    least, most = text(min(values)), text(max(values))
    return least if least == most else f"{least} to {most}"


def _selection(found: dict[str, Any]) -> Said:
    rows: list[tuple[str, ...]] = []
    said = []
    for size, lengths in found["sizes"].items():
        measured = [row for row in lengths if "missing" not in row]
        for row in lengths:
            if "missing" in row:
                rows.append((size, str(row["length"]), row["missing"], "", "", ""))
                continue
            step = row["step_s"]
            cells = []
            for score in bench_selection.SCORES:
                seconds = bench_selection.cost(row, score)
                cells.append(f"{duration(seconds)} = {rounded(seconds / step)} steps")
            rows.append((size, str(row["length"]), *cells, f"{1e3 * step:.1f}"))
        if not measured:
            continue
        parts = []
        for score in bench_selection.SCORES:
            costs = [bench_selection.cost(row, score) for row in measured]
            steps = [cost / row["step_s"] for cost, row in zip(costs, measured, strict=True)]
            kind = " (a median evaluation times their number)" if score == "ablation" else ""
            parts.append(f"{score}{kind} {_span(costs, duration)}, {_span(steps, rounded)} steps")
        span = _span([row["length"] for row in measured], lambda n: f"{n:,.0f}")
        said.append(f"mamba-{size}, least to most over lengths of {span} tokens: {'; '.join(parts)}.")
    batches = [row["batch"] for lengths in found["sizes"].values() for row in lengths if "missing" not in row]
    batch = f" batch {_span(batches, '{:.0f}'.format)}," if batches else ""
    first = f"Time of each score, also counted in training steps of SDT with LoRA at the same shape,{batch} on {_machine(found)}."
    return [first, *said], ("size", "tokens", "change", "gradient", "ablation (estimate)", "step in ms"), rows


def _machine(found: dict[str, Any]) -> str:
    """The GPU, and how busy the CPUs were before each size's or the whole measurement, which tell in what Python launches."""
    machines = list(found.get("machines", {}).values()) or [found["machine"]]
    busy = ""
    if all("load_average" in machine for machine in machines):
        load = _span([machine["load_average"] for machine in machines], "{:.1f}".format)
        busy = f" (load average {load} on {_span([machine['cores'] for machine in machines], '{:.0f}'.format)} cores)"
    return f"{machines[0]['gpu'] or 'cpu'}{busy}"


PUBLISHED_STEPS = 2700
"""Of a run of docs/cli.md's command for the paper's own setting."""


def _published(found: dict[str, Any], root: Path) -> list[str]:
    """What docs/cli.md's command for mamba-130m should take: on short sequences a step waits for the CPU, as one here does."""
    row = found["sizes"].get("130m", {}).get("lora/fused", {})
    if "step_s" not in row or found["machine"]["gpu"] is None:
        return []
    file = tomllib.loads((root / "empirics/experiments/lm_benchmark/experiment.toml").read_text(encoding="utf-8"))
    runs = len(file["sweep"]["grid"]["method"]) * (len(file["sweep"]["tune"]["learning_rate"]) + len(file["seeds"]))
    each = PUBLISHED_STEPS * row["step_s"]
    return [
        f"Expected of the paper's own setting (docs/cli.md, Published checkpoints), not measured: about {each / 60:.0f} minutes "
        f"for a run of {PUBLISHED_STEPS:,} steps on mamba-130m, {runs * each / 3600:.0f} hours for all {runs} of the sweep one "
        "after the other."
    ]


def _model(found: dict[str, Any], root: Path) -> Said:
    said, columns, rows = _step(found)
    return [*said, *_published(found, root)], columns, rows


def _step(found: dict[str, Any]) -> Said:
    sizes = bench_model.smallest_first(found["sizes"])
    contenders = {name for table in sizes.values() for name in table}
    peers = [peer for peer in bench_model.PEERS if peer in contenders or peer == bench_model.REFERENCE]
    rows = [row for size, table in sizes.items() for row in _contenders(size, table, peers)]
    said = [f"{bench_model.tokens(found)}, on {_machine(found)}."]
    if any(row.get("kernels_s") for table in found["sizes"].values() for row in table.values()):
        said.append(
            "Kernels: the time of the GPU's kernels alone; where it is far below the step's, Python's launches are the limit."
        )
    if not any(name.endswith("/keep_all") for name in contenders):
        said.append(KEPT_EVERYTHING)
    said += [line for size, table in sizes.items() for line in _in_short(size, table, peers)]
    if any("beside" in row for table in sizes.values() for row in table.values()):
        said.append(f"Each contender took turns with {NAMED[bench_model.REFERENCE]}'s step; ratios are medians over the rounds.")
    else:
        said.append(
            "Contenders were measured one after the other: where Python's launches are the limit, a ratio also says how fast the "
            "CPU was at the time."
        )
    columns = ("size", "contender", "step in ms: median [least, most]", "kernels in ms")
    return said, (*columns, *(FASTER_THAN[peer] for peer in peers), *(MEMORY_BESIDE[peer] for peer in peers)), rows


def _model_again(found: dict[str, Any], path: str) -> str:
    batches = " ".join(str(found["batch"][size]) for size in found["sizes"])
    sizes = f"--sizes {' '.join(found['sizes'])} --batch {batches} --length {found['length']}"
    contenders = " ".join(dict.fromkeys(name for table in found["sizes"].values() for name in table))
    shown = max((len(row.get("kernels") or ()) for table in found["sizes"].values() for row in table.values()), default=0)
    kernels = f"--kernels {shown} " if shown else ""
    repeats = f"--repeats {found['repeats']} " if "repeats" in found else ""
    return f"python -m empirics bench model {sizes} {kernels}{repeats}--contenders {contenders} --out {path}"


def _times_as_fast(own: dict[str, Any], table: dict[str, Any], peer: str) -> str:
    """In turns where the two took turns, else by both medians."""
    turns = bench_model.in_turns(own, peer)
    return times(table[peer]["step_s"] / own["step_s"] if turns is None else turns[0])


def _faster(own: dict[str, Any], table: dict[str, Any], peer: str) -> str:
    """Times as fast, and by kernels alone where both were measured."""
    step, other = _times_as_fast(own, table, peer), table[peer]
    mine, theirs = own.get("kernels_s"), other.get("kernels_s")
    return f"{step} ({times(theirs / mine)})" if mine and theirs else step


FASTER_THAN = {"stock": "times as fast as stock (kernels)", "stock_slow_lora": "as the slow path (kernels)"}
MEMORY_BESIDE = {"stock": "peak memory / stock", "stock_slow_lora": "/ slow path"}
"""Headings of a peer's columns."""

NAMED = {"stock": "mamba-ssm", "stock_slow_lora": "mamba-ssm's slow path under peft"}
"""What the peers of a table's rows are called in a sentence."""


def _in_short(size: str, table: dict[str, Any], peers: Sequence[str]) -> Iterator[str]:
    """How many times as fast as each peer the methods on the fused scan are: a sentence for each peer, then those of replays."""
    fused = {name.removesuffix("/fused"): row for name, row in table.items() if name.endswith("/fused")}
    ours = {name: row for name, row in fused.items() if "step_s" in row}
    kernels = " (kernels alone)" if any(row.get("kernels_s") for row in ours.values()) else ""
    for peer in peers:
        if "step_s" not in table.get(peer, {}):
            yield f"mamba-{size}: {NAMED[peer]} did not run."
            continue
        chosen = ours if peer == "stock" else {name: row for name, row in ours.items() if name == "lora"}
        each = ", ".join(f"{name} {_faster(own, table, peer)}" for name, own in chosen.items())
        yield f"mamba-{size}, fused scan, times as fast{kernels} as {NAMED[peer]}: {each}."
    again = [(name, row) for name, row in table.items() if name.endswith("/fused/graph") and "step_s" in row]
    for peer, words in (("stock", "launched from Python"), ("stock/graph", "replayed too")):
        if again and "step_s" in table.get(peer, {}):
            each = ", ".join(f"{name.partition('/')[0]} {_times_as_fast(row, table, peer)}" for name, row in again)
            yield f"mamba-{size}, replayed as CUDA graphs, times as fast as mamba-ssm {words}: {each}."


def _contenders(size: str, table: dict[str, Any], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for name, row in table.items():
        if "step_s" not in row:
            yield size, name, row["missing"], "", *([""] * 2 * len(names))
            continue
        peers = [table.get(peer, {}) for peer in names]
        faster = [_faster(row, table, peer) if "step_s" in table.get(peer, {}) else "" for peer in names]
        memory = [
            times(own / peer["peak_bytes"]) if (own := bench_model.peak(name, row)) and peer.get("peak_bytes") else ""
            for peer in peers
        ]
        spread = f" [{1e3 * row['least_s']:.1f}, {1e3 * row['most_s']:.1f}]" if "least_s" in row else ""
        kernels = f"{1e3 * row['kernels_s']:.1f}" if row.get("kernels_s") else ""
        yield (size, name, f"{1e3 * row['step_s']:.1f}{spread}", kernels, *faster, *memory)

"""Command line of the empirics package: python -m empirics COMMAND.

    list                 experiments, methods and their questions
    run, sweep           one experiment; a grid of method, learning rate and seed
    gpu-suite, checks    the short experiments at full size on one GPU; the small ones of make verify
    collect, unpack      finished runs as a summary and one packed file; packed runs as files again
    replicate            a tenth of the test runs once more, and how far they agree
    rejudge              first editions under the rules that were declared later
    coverage             how often the intervals that are used hold the true value, simulated
    scans, bench         what each scan can do; how fast scans, blocks, models and selections are
    diagnose, targets    what prefixes, states and adapters can do in a model; which adapters take effect
    tune, generate       fine-tune a model on rows of one's own; text from a model
    convert              a checkpoint from mamba-ssm's layout to transformers', or back
    pretrain             a Mamba of one's own; pretrain-baselines: what a 5-gram and xz make of its books
    demo                 the demonstration of make verify

Each command has --help.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from theory.core.arguments import Parser

from .errors import EmpiricsError, InvalidInput, MissingPackage, UnknownName
from .options import PARSERS

MOST_THREADS = 4096
BENCHMARKS = ("scan", "model", "block", "selection")


def _experiment_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a TOML file, or the name of a committed experiment")
    parser.add_argument("--quick", action="store_true", help="small sizes for a CPU")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--scan", metavar="NAME", help="use this scan where the experiment has a choice")
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="folder of the results (default runs)")
    parser.add_argument("--budget", type=float, default=float("inf"), metavar="SECONDS", help="start no further run after that")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores, 1 with --quick)")
    parser.add_argument("--model", metavar="PATH", help="adapt this model: a folder in the hub's format, or a hub name")
    parser.add_argument("--data", metavar="PATH", help="data: a folder, a hub name such as glue/cola, local, shipped")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="fix an option, e.g. method=lora_linear")


def _prepare(args: argparse.Namespace) -> tuple[Any, Any]:
    import time

    import torch

    from .study.config import load_experiment, with_options
    from .study.runner import Runner

    if not args.budget > 0:
        raise InvalidInput(f"--budget {args.budget} must be a positive number of seconds")
    if args.threads is not None:
        if not 1 <= args.threads <= MOST_THREADS:
            raise InvalidInput(f"--threads {args.threads} must lie in 1..{MOST_THREADS}")
        torch.set_num_threads(args.threads)
    elif args.quick:
        torch.set_num_threads(1)  # at these sizes a second thread only waits
    file = load_experiment(args.experiment, args.quick)
    options = _fixed_options(args)
    from .kernels.table import known_scan

    if (scan := known_scan(args.scan)) is not None:
        options["scan"] = scan
    if options:
        file = with_options(file, **options)
    return file, Runner(args.out, args.device, time.monotonic() + args.budget)


def _fixed_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the experiment that the command line fixes; values are JSON where they can be, else text."""
    from .data.tasks import task_of_source

    options: dict[str, Any] = {}
    for part in args.set:
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--set {part!r}: expected NAME=VALUE, for instance method=lora_linear")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    if args.model is not None:
        options["model"] = args.model
    if args.data is not None:
        task = task_of_source(args.data)
        options |= {"data": args.data} if task is None else {"data": args.data, "task": task}
    return options


def _run(argv: Sequence[str]) -> int:
    parser = Parser(prog="python -m empirics run", description="Run one experiment on all of its seeds.")
    _experiment_options(parser)
    args = parser.parse_args(argv)
    file, runner = _prepare(args)
    return _report(runner.run(file, args.quick))


def _sweep(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m empirics sweep",
        description="Run an experiment's grid: tune each cell on a seed of its own, then all seeds. Processes on one --out "
        "folder, started by hand or by torchrun (torchrun --nproc-per-node 4 -m empirics sweep ...), share the runs.",
    )
    _experiment_options(parser)
    parser.add_argument("--only", action="append", default=[], metavar="NAME=VALUE,...", help="cut a grid option down to values")
    parser.add_argument("--launcher", default="local", metavar="NAME", help="local (default) or slurm")
    parser.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE", help="submitit parameter, e.g. timeout_min=60"
    )
    parser.add_argument("--plan", action="store_true", help="print what is missing and for how long it would run; run nothing")
    parser.add_argument("--workers", type=int, metavar="N", help="start N processes for each GPU, or N on the CPU")
    parser.add_argument("--mps", action="store_true", help="start CUDA's MPS daemon for them, and stop it afterwards")
    args = parser.parse_args(argv)
    from .study.launch import launch, world_of
    from .study.plan import lines, plan_of
    from .study.sweep import LAUNCHERS, SweepRunner, restrict, slurm_parameters, submit
    from .study.workers import Workers, run_share

    if args.launcher not in LAUNCHERS:
        raise UnknownName("launcher", args.launcher, LAUNCHERS)
    file, runner = _prepare(args)
    if file.sweep is not None:
        file = file.model_copy(update={"sweep": restrict(file.sweep, args.only)})
    if args.launcher == "slurm":
        jobs = submit(runner, file, args.out / "slurm", slurm_parameters(args.slurm))
        print(f"{len(jobs)} jobs: {', '.join(jobs)}; call again with --launcher local when they are done, to collect")
        return 0
    world = 1 if args.workers is None else world_of(args.workers, args.device)
    if args.mps and args.workers is None:
        raise InvalidInput("--mps serves several processes: give --workers N too")
    if args.plan:
        print("\n".join(lines(plan_of(runner, file), world)))
        return 0
    if args.workers is not None and "WORLD_SIZE" not in os.environ:
        return launch([sys.executable, "-m", "empirics", "sweep", *argv], world, args.mps)
    workers = Workers.from_environment()
    if workers is None:
        return _report(SweepRunner(runner, file).run(args.quick))
    summary = run_share(workers, runner, file, args.quick)
    return 0 if summary is None else _report(summary)


def _list(argv: Sequence[str]) -> int:
    Parser(prog="python -m empirics list", description="List the experiments and methods.").parse_args(argv)
    from .methods import method_names
    from .study.config import experiment_names, load_experiment

    for name in experiment_names():
        file = load_experiment(name)
        print(f"{name:18} {file.claim:34} {file.question}")
    print(f"methods: {', '.join(method_names())}")
    return 0


def _checks(argv: Sequence[str]) -> int:
    parser = Parser(prog="python -m empirics checks", description="The small experiments, one row each.")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--verdicts", type=Path, metavar="FILE", help="put theory's verdicts from FILE beside the rows")
    args = parser.parse_args(argv)
    from theory.core.files import require_replaceable

    from .study.checks import QUICK, beside_theory, print_rows, quick_checks
    from .study.config import load_experiment
    from .study.results import write_json

    if args.json is not None:
        require_replaceable(args.json, InvalidInput, "--json")
    if args.verdicts is not None:  # a bad file is better known before the work than after it
        beside_theory([{"claim": load_experiment(name).claim} for name in QUICK], args.verdicts)
    rows = quick_checks(args.device)
    if args.verdicts is not None:
        rows = beside_theory(rows, args.verdicts)
    print_rows(rows, "Empirical checks (small sizes)")
    if args.json is not None:
        write_json(args.json, rows)
    return 1 if any(row["verdict"] != "reproduced" for row in rows) else 0


def _gpu_suite(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m empirics gpu-suite",
        description="The short experiments at full size, resumable, within a time budget.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these experiments, in this order")
    parser.add_argument("--scan", metavar="NAME", help="use this scan where an experiment has a choice")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the command itself")
    args = parser.parse_args(argv)
    from .kernels.table import known_scan
    from .study.checks import gpu_suite, print_rows

    summaries = gpu_suite(args.out, args.budget, args.device, args.only, args.quick, known_scan(args.scan))
    print_rows(summaries)
    incomplete = [s["id"] for s in summaries if not s["complete"]]
    print(f"not complete: {', '.join(incomplete)}; call again to go on" if incomplete else "complete")
    if hopeless := [f"{s['id']} ({s['all_failed']})" for s in summaries if s["all_failed"] is not None]:
        raise EmpiricsError(f"every run failed of {'; '.join(hopeless)}")
    return 0


def _bench(argv: Sequence[str]) -> int:
    if argv and argv[0] in ("-h", "--help"):
        print("usage: python -m empirics bench BENCHMARK ...\n\nSpeed and memory against others. Each has --help:\n")
        print("\n".join(f"  {name:10} {PARSERS[f'bench {name}']().description}" for name in BENCHMARKS))
        return 0
    if not argv or argv[0] not in BENCHMARKS:
        raise UnknownName("benchmark", argv[0] if argv else "", BENCHMARKS)
    PARSERS[f"bench {argv[0]}"]().parse_args(argv[1:])
    from .bench.block import main_bench_block
    from .bench.model import main_bench_model
    from .bench.scan import main_bench_scan
    from .bench.selection import main_bench_selection

    commands = {"scan": main_bench_scan, "model": main_bench_model, "block": main_bench_block, "selection": main_bench_selection}
    return commands[argv[0]](argv[1:])


def _pretrain(argv: Sequence[str]) -> int:
    from .pretraining.command import main_pretrain

    return main_pretrain(argv)


def _pretrain_baselines(argv: Sequence[str]) -> int:
    from .pretraining.command import main_baselines

    return main_baselines(argv)


def _generate(argv: Sequence[str]) -> int:
    from .pretraining.command import main_generate

    return main_generate(argv)


def _demo(argv: Sequence[str]) -> int:
    PARSERS["demo"]().parse_args(argv)
    from .experiments.lm_benchmark.demo import main_demo

    return main_demo(argv)


def _diagnose(argv: Sequence[str]) -> int:
    PARSERS["diagnose"]().parse_args(argv)
    from .diagnosis.command import main_diagnose

    return main_diagnose(argv)


def _targets(argv: Sequence[str]) -> int:
    PARSERS["targets"]().parse_args(argv)
    from .methods.command import main_targets

    return main_targets(argv)


def _tune(argv: Sequence[str]) -> int:
    PARSERS["tune"]().parse_args(argv)
    from .tuning.command import main_tune

    return main_tune(argv)


def _convert(argv: Sequence[str]) -> int:
    PARSERS["convert"]().parse_args(argv)
    from .hosts.command import main_convert

    return main_convert(argv)


def _collect(argv: Sequence[str]) -> int:
    PARSERS["collect"]().parse_args(argv)
    from .study.collect import main_collect

    return main_collect(argv)


def _scans(argv: Sequence[str]) -> int:
    PARSERS["scans"]().parse_args(argv)
    from .kernels.command import main_scans

    return main_scans(argv)


def _unpack(argv: Sequence[str]) -> int:
    PARSERS["unpack"]().parse_args(argv)
    from .study.collect import main_unpack

    return main_unpack(argv)


def _coverage(argv: Sequence[str]) -> int:
    PARSERS["coverage"]().parse_args(argv)
    from .study.coverage import main_coverage

    return main_coverage(argv)


def _replicate(argv: Sequence[str]) -> int:
    PARSERS["replicate"]().parse_args(argv)
    from .study.replication import main_replicate

    return main_replicate(argv)


def _rejudge(argv: Sequence[str]) -> int:
    PARSERS["rejudge"]().parse_args(argv)
    from .experiments.first_editions import main_rejudge

    return main_rejudge(argv)


def _report(summary: dict[str, Any]) -> int:
    """Print a summary; returns 0, and raises EmpiricsError where every run of it failed."""
    from .study.judging import all_failed

    print(f"{summary['experiment']}: {summary['verdict']} ({summary['measured']})")
    tuning = summary.get("failed_tuning", [])
    for what, failures in (("", summary["failed"]), (" while tuning", tuning)):
        for failure in failures:
            print(f"  failed{what}, seed {failure['seed']}: {failure['reason']}")
    if not summary["complete"]:
        print("  not complete: call again to go on")
    if (reason := all_failed(summary)) is not None:
        raise EmpiricsError(f"every run of {summary['experiment']} failed: {reason}")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "sweep": _sweep,
    "collect": _collect,
    "unpack": _unpack,
    "replicate": _replicate,
    "rejudge": _rejudge,
    "coverage": _coverage,
    "list": _list,
    "scans": _scans,
    "checks": _checks,
    "gpu-suite": _gpu_suite,
    "bench": _bench,
    "diagnose": _diagnose,
    "targets": _targets,
    "tune": _tune,
    "convert": _convert,
    "demo": _demo,
    "pretrain": _pretrain,
    "pretrain-baselines": _pretrain_baselines,
    "generate": _generate,
}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; bad input prints one line and gives exit code 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print((__doc__ or "").strip())
            return 0 if arguments else 2
        if arguments[0] not in COMMANDS:
            raise UnknownName("command", arguments[0], COMMANDS)
        return COMMANDS[arguments[0]](arguments[1:])
    except EmpiricsError as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {_one_line(error)}; what is finished is kept: call again when that is mended", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"error: {MissingPackage(error.name or 'a package', 'empirics')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

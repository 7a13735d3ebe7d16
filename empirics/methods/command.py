"""The command ``targets``: which adapters take effect in a model, as a table and as a page."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from theory.core.files import require_replaceable, write_text

from .. import options
from ..errors import EmpiricsError, InvalidInput
from ..hosts.loading import BUNDLED, library, load_host
from ..hosts.tiny import CONFIGS, MAMBA_SSM, host_model, mamba_ssm_model
from ..kernels.ssd.mamba_ssm import ONE_CONFIGURATION
from ..study.runner import check_device
from .effect import Row, effects
from .targets import matches, named_tensors, select_tensors
from .targets_page import FAILS, decided, has_fused, head, page, section, table


def main_targets(argv: Sequence[str]) -> int:
    """Run the command; returns 0. Bad input raises an EmpiricsError."""
    args = options.targets().parse_args(list(argv))
    if args.all and args.model is not None:
        raise InvalidInput(f"give one of MODEL and --all, not both ({args.model})")
    check_device(args.device)
    if args.out is not None:
        require_replaceable(args.out, InvalidInput)
    library().logging.set_verbosity_error()  # that kernels are missing is on the page
    if has_fused(args.device):
        os.environ.setdefault(ONE_CONFIGURATION, "1")
    names = [BUNDLED if args.model is None else args.model]
    if args.all:
        names = [*CONFIGS, *(MAMBA_SSM if has_fused(args.device) else ())]
        _require_somewhere(args.targets or ())
    console = Console()
    above = head(args.device, args.targets)
    sections = {} if args.out is None or not args.all else decided(_present(args.out), above)
    if sections:
        print(f"kept from {args.out}: {', '.join(sections)}")
    for name in [name for name in names if name not in sections]:
        began = time.perf_counter()
        rows = _found(name, args.device, args.targets) if args.all else effects(load_host(name, device=args.device), args.targets)
        if isinstance(rows, str):
            print(f"{name}: {rows}")
        else:
            console.print(table(name, rows))
        print(f"{time.perf_counter() - began:.1f} s", flush=True)
        sections[name] = section(rows)
        if args.out is not None:  # after every class, so that a run that is cut off keeps what it has
            known = {name: sections[name] for name in names if name in sections}
            write_text(args.out, page(above, known, [name for name in names if name not in sections]))
    if args.out is not None:
        print(f"written to {args.out}")
    return 0


def _present(path: Path) -> str:
    """What is in the file that is to be written; nothing where it is no text, because it is replaced in any case."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _require_somewhere(targets: Sequence[str]) -> None:
    """Refuse a target that no class has; one that a few have is left out where it is not."""
    if targets:
        every = [tensor for name in CONFIGS for tensor in named_tensors(host_model(name))]
        select_tensors(every, targets)


def _found(name: str, device: str, targets: Sequence[str] | None) -> list[Row] | str:
    """The rows of one of many classes, or why there are none: one that fails must not cost the others."""
    try:
        model = mamba_ssm_model(name, device) if name in MAMBA_SSM else load_host(name, device=device)
        if targets is None:
            return effects(model)
        own = list(named_tensors(model))
        present = [target for target in targets if any(matches(target, tensor) for tensor in own)]
        return effects(model, present) if present else f"It has no {' and no '.join(targets)}."
    except EmpiricsError:
        raise
    except Exception as error:
        return f"{FAILS}{type(error).__name__}: {' '.join(str(error).split())}"

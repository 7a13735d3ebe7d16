"""What memory a Mamba checkpoint has, and how much of it a prefix can use:  python -m theory diagnose FILE.safetensors.

Per layer: the step size dt at zero input and its range, the half-lives ln 2/(|Re A| dt) of its states in tokens, and the
Hankel spectrum of its channels frozen at that dt (prefix_state.finite_precision). A direction counts as usable in a
number format if its singular value exceeds the format's spacing times the largest.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..core.arguments import Parser
from ..core.errors import InvalidInput, InvalidSystem
from ..core.hankel_batch import HankelSpectra, count_above, enclosed_spectrum, hankel_spectra
from ..core.initialisations import INITIALISATIONS
from ..core.lti import require_length
from ..core.scalars import Array
from ..core.tolerance import EPS32, EPS64, EPS_BF16, SMALLEST_RATIO
from .dynamics import Dynamics, initial_dynamics, read_checkpoint

FORMATS = {"bfloat16": EPS_BF16, "float32": EPS32}
"""Number formats and their spacing at 1."""

READOUTS = ("random", "ones")

DIGITS = 4
"""Significant digits that a diagnosis holds of each σ/σ_1."""


def _spread(values: Array) -> dict[str, float]:
    return {"min": float(np.min(values)), "median": float(np.median(values)), "max": float(np.max(values))}


def sample_channels(total: int, wanted: int) -> Array:
    """``wanted`` channel indices spread evenly from the first to the last; all of them if there are no more."""
    if wanted >= total:
        return np.arange(total)
    return np.unique(np.round(np.linspace(0, total - 1, wanted)).astype(int))


def frozen_channels(layer: Dynamics, indices: Array, readout: str, seed: int) -> tuple[Array, Array, Array]:
    """Modes, steps and residues (A, dt, c b) of the closed LTI channels that the layer is at zero dt input.

    b = dt (Mamba's rule with B = 1) or (exp(dt A) − 1)/A for the S4D names; c is standard normal, drawn for all channels of
    the layer from ``seed`` so that it does not depend on which are sampled, or 1. Shapes (K, N closed), (K,), (K, N closed).
    """
    rng = np.random.default_rng(seed)
    c: Any = np.ones(layer.A.shape)
    if readout == "random":
        c = rng.standard_normal(layer.A.shape)
        if layer.half:
            c = (c + 1j * rng.standard_normal(layer.A.shape)) / math.sqrt(2.0)
    A, dt = layer.A[indices], layer.dt()[indices]
    b = np.expm1(dt[:, None] * A) / A if layer.half else np.broadcast_to(dt[:, None], A.shape)
    r = c[indices] * b
    if layer.half:
        A, r = np.concatenate([A, A.conj()], axis=1), np.concatenate([r, r.conj()], axis=1)
    return A, dt, r


def _decided(A: Array, steps: Array, residues: Array) -> tuple[HankelSpectra, int]:
    """Spectra of which :data:`DIGITS` digits hold and every count of :data:`FORMATS` is certain, and how many took balls."""
    spectra = hankel_spectra(A, steps, residues)
    certain = [count_above(spectra, eps)[1] for eps in FORMATS.values()]
    doubtful = (spectra.sigma[:, 0] > 0) & ~((spectra.digits() >= DIGITS) & np.all(certain, axis=0))
    for k in np.flatnonzero(doubtful):
        spectra.sigma[k], spectra.error[k] = enclosed_spectrum(A[k], steps[k], residues[k]), EPS64
    return spectra, int(doubtful.sum())


def diagnose_layer(
    layer: Dynamics, *, channels: int = 64, readout: str = "random", seed: int = 0, radius: float = 1.0
) -> dict[str, Any]:
    """One layer's row, as JSON types: step sizes, half-lives, relative Hankel spectrum, usable directions.

    Parameters
    ----------
    channels:
        How many channels to take Hankel spectra of, evenly spread; step sizes and half-lives are over all of them.
    readout:
        ``random`` or ``ones``: the frozen c (a checkpoint's C_t depends on the input).
    radius:
        dt's range is over inputs of the dt projection with ‖u‖₂ ≤ radius. Over all inputs it is (0, ∞), unless a norm bounds
        them (:attr:`.dynamics.Dynamics.bound`).

    Raises InvalidInput or InvalidSystem naming the layer, for steps or decays that under- or overflow.
    """
    dt = layer.dt()
    if not np.all(np.isfinite(dt)) or not np.all(dt > 0):
        raise InvalidInput(f"{layer.name}: softplus of the dt bias is 0 or infinite (bias from {layer.bias.min():g})")
    with np.errstate(divide="ignore", over="ignore"):
        half_lives = math.log(2.0) / (-layer.A.real * dt[:, None])
    if not np.all(np.isfinite(half_lives)):
        raise InvalidInput(f"{layer.name}: |A| dt underflows, so a half-life is infinite; check A_log and the dt bias")
    indices = sample_channels(layer.A.shape[0], require_length(channels, "channels"))
    A, steps, residues = frozen_channels(layer, indices, readout, seed)
    try:
        spectra, enclosed = _decided(A, steps, residues)
    except InvalidSystem as error:
        raise InvalidSystem(f"{layer.name}: {error}") from error
    live = spectra.sigma[:, 0] > 0
    relative = spectra.sigma[live] / spectra.sigma[live, :1]
    moved = None
    if layer.row_norms is not None:
        moved = {"min": float(layer.dt(-radius).min()), "max": float(layer.dt(radius).max())}
    return {
        "layer": layer.name,
        "model": layer.model,
        "channels": int(layer.A.shape[0]),
        "states": int(A.shape[1]),
        "sampled_channels": int(indices.size),
        "dt": _spread(dt),
        "dt_over_inputs": moved,
        "half_life_tokens": _spread(half_lives),
        "hankel_relative_median": [float(f"{v:.{DIGITS - 1}e}") for v in np.median(relative, axis=0)] if live.any() else [],
        "hankel_digits": int(min(DIGITS, spectra.digits()[live].min(initial=DIGITS))),
        "usable_directions": {name: _spread(count_above(spectra, eps)[0]) for name, eps in FORMATS.items()},
        "decided_by_enclosures": enclosed,
    }


def diagnose(
    layers: Sequence[Dynamics],
    source: str,
    *,
    channels: int = 64,
    readout: str = "random",
    seed: int = 0,
    radius: float = 1.0,
    progress: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """The diagnosis of a model as JSON types: settings, what is assumed, one row per layer; see :func:`diagnose_layer`."""
    if readout not in READOUTS:
        raise InvalidInput(f"c = {readout!r}: choose {' or '.join(READOUTS)}")
    if not (math.isfinite(radius) and radius >= 0):
        raise InvalidInput(f"radius = {radius!r} must be a finite number of at least 0")
    require_length(channels, "channels")
    require_length(seed, "seed", least=0)
    rows = []
    for i, layer in enumerate(layers):
        rows.append(diagnose_layer(layer, channels=channels, readout=readout, seed=seed + i, radius=radius))
        if progress is not None:
            progress()
    return {
        "schema": 1,
        "source": source,
        "settings": {"channels": channels, "c": readout, "seed": seed, "radius": radius, "eps": FORMATS},
        "assumes": _assumptions(layers, readout, radius),
        "layers": rows,
    }


def _assumptions(layers: Sequence[Dynamics], readout: str, radius: float) -> list[str]:
    models = {layer.model for layer in layers}
    c = "drawn standard normal per channel (seeded)" if readout == "random" else "1"
    rule = "b = dt" if models <= {"mamba", "mamba2"} else "b = (exp(dt A) − 1)/A"
    out = [f"Hankel spectra are of the LTI channel frozen at the dt shown, with {rule} and c {c}; tokens before it are free."]
    if models & {"mamba", "mamba2"}:
        out.append(
            "dt is softplus(bias), the step at zero input of the dt projection; half-lives are at that step. B_t and C_t move "
            "with the input, so the spectrum is a model of the layer, not a property of it."
        )
        bounds = {layer.bound for layer in layers}
        if bounds == {math.inf}:
            everywhere = "over all inputs it is (0, ∞) wherever the row is not 0."
        elif max(bounds) <= radius:
            everywhere = "an RMS norm in front of the projection keeps all inputs below that."
        else:
            everywhere = f"an RMS norm in front of the projection keeps all inputs below {max(bounds):.3g}."
        out.append(f"dt's range is over projection inputs of norm at most {min(radius, max(bounds)):g}; {everywhere}")
    for low, high in sorted({layer.limits for layer in layers} - {(0.0, math.inf)}):
        out.append(f"All steps are clamped to [{low:g}, {high:g}], as the checkpoint's configuration says.")
    if models - {"mamba", "mamba2"}:
        out.append("The S4D step sizes do not depend on the input.")
    if "mamba2" in models:
        out.append("A Mamba-2 head has one decay for all its states: per input and output coordinate one direction, whatever N.")
    out.append("A direction is usable in a format if its singular value exceeds the format's spacing times the largest.")
    return out


# -- printing -------------------------------------------------------------------------------------------------------------


def _number(x: float) -> str:
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def _interval(values: dict[str, float]) -> str:
    return f"{_number(values['median'])} [{_number(values['min'])}, {_number(values['max'])}]"


def diagnosis_table(payload: dict[str, Any]) -> Table:
    """The rows of a diagnosis for people, from the same numbers that the JSON holds."""
    table = Table(title=f"Memory and prefixes: {payload['source']}", title_justify="left")
    table.add_column("layer", overflow="fold")  # the only column that may wrap
    spectrum = "σ₂, σ₄, σ₈ over σ₁"
    for name in ("D × N", "dt", f"dt, ‖u‖ ≤ {payload['settings']['radius']:g}", "half-life, tokens", spectrum):
        table.add_column(name, justify="right", no_wrap=True)
    for name in payload["settings"]["eps"]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in payload["layers"]:
        moved, sigma = row["dt_over_inputs"], row["hankel_relative_median"]
        table.add_row(
            row["layer"],
            f"{row['channels']} × {row['states']}",
            _interval(row["dt"]),
            "unknown" if moved is None else f"[{_number(moved['min'])}, {_number(moved['max'])}]",
            _interval(row["half_life_tokens"]),
            ", ".join(f"{sigma[i - 1]:.0e}" for i in (2, 4, 8) if i <= len(sigma)) or "none",
            *(_interval(row["usable_directions"][name]) for name in payload["settings"]["eps"]),
        )
    if len(payload["layers"]) > 1:
        _add_summary(table, payload)
    return table


def _add_summary(table: Table, payload: dict[str, Any]) -> None:
    """A last row over all layers: the median of the layers' medians, the least and the largest."""
    layers = payload["layers"]

    def over(cells: list[dict[str, float]]) -> str:
        least, most = min(cell["min"] for cell in cells), max(cell["max"] for cell in cells)
        return _interval({"median": float(np.median([cell["median"] for cell in cells])), "min": least, "max": most})

    moved = [row["dt_over_inputs"] for row in layers if row["dt_over_inputs"] is not None]
    sizes = {f"{row['channels']} × {row['states']}" for row in layers}
    sigma = [row["hankel_relative_median"] for row in layers]
    places = [i for i in (2, 4, 8) if all(i <= len(values) for values in sigma)]
    table.add_section()
    table.add_row(
        f"all {len(layers)} layers",
        sizes.pop() if len(sizes) == 1 else "",
        over([row["dt"] for row in layers]),
        f"[{_number(min(m['min'] for m in moved))}, {_number(max(m['max'] for m in moved))}]" if moved else "unknown",
        over([row["half_life_tokens"] for row in layers]),
        ", ".join(f"{np.median([values[i - 1] for values in sigma]):.0e}" for i in places) or "none",
        *(over([row["usable_directions"][name] for row in layers]) for name in payload["settings"]["eps"]),
    )


def print_diagnosis(payload: dict[str, Any], console: Console) -> None:
    """The table, then what its numbers assume."""
    console.print(diagnosis_table(payload))
    sampled = max(row["sampled_channels"] for row in payload["layers"])
    digits = min(row["hankel_digits"] for row in payload["layers"])
    formats = " and ".join(payload["settings"]["eps"])
    lines = [
        "Cells: median [min, max] over channels and states.",
        f"Columns {formats}: directions that a prefix can use in that format; these and σ are of {sampled} channels a layer.",
        f"{digits} digits of each σ over σ₁ hold on any processor, however small; 0 is exact or below {SMALLEST_RATIO:.0e}.",
    ]
    for line in lines + payload["assumes"]:
        console.print(f"- {line}", markup=False, highlight=False)


# -- command line ---------------------------------------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="python -m theory diagnose",
        description="Memory of a Mamba or Mamba-2 checkpoint (or of a fresh model), and how many directions a prefix can use.",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a .safetensors checkpoint")
    parser.add_argument("--init", metavar="NAME", help=f"a fresh model instead: {', '.join(INITIALISATIONS)}")
    parser.add_argument("--d-model", type=int, default=768, metavar="D", help="width of the fresh model (default 768)")
    parser.add_argument("--n-layers", type=int, default=24, metavar="L", help="layers of the fresh model (default 24)")
    parser.add_argument("--d-state", type=int, metavar="N", help="real states per channel (default 16; S4D 64)")
    parser.add_argument("--expand", type=int, metavar="E", help="channels per width (default 2; S4D 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of c and of a fresh model's dt (default 0)")
    parser.add_argument("--channels", type=int, default=64, metavar="K", help="channels per layer for spectra (default 64)")
    parser.add_argument("--c", default="random", metavar="KIND", help=f"the frozen c: {' or '.join(READOUTS)}")
    parser.add_argument("--radius", type=float, default=1.0, metavar="R", help="norm of the inputs in dt's range (default 1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


def main_diagnose(argv: Sequence[str]) -> int:
    """Run the command; returns 0. Bad input raises a TheoryError, which the caller prints with exit code 2."""
    args = _parser().parse_args(list(argv))
    if (args.file is None) == (args.init is None):
        raise InvalidInput("give one of FILE.safetensors and --init NAME" + (", not both" if args.file else ""))
    require_length(args.seed, "seed", least=0)
    if args.init is not None:
        layers = initial_dynamics(
            args.init, d_model=args.d_model, n_layers=args.n_layers, d_state=args.d_state, expand=args.expand, seed=args.seed
        )
        source = f"{layers[0].model} initialisation, seed {args.seed}"
    else:
        layers, source = read_checkpoint(args.file), str(args.file)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("diagnosing layers", total=len(layers))
        payload = diagnose(
            layers,
            source,
            channels=args.channels,
            readout=args.c,
            seed=args.seed,
            radius=args.radius,
            progress=lambda: bar.update(task, advance=1),
        )
    if args.json:
        print(json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_diagnosis(payload, Console(width=None if sys.stdout.isatty() else 160))
    return 0

"""Pretraining of the bundled model: bits per byte while it reads, and on the held-out books, beside xz and a 5-gram model.

Training and validation bits are of other texts than the held-out books, which the two lines and the star stand for.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from .. import style
from ..registry import Picture
from ..sources import committed

PATH = "empirics/data/bundled/record.json"
COMMAND = "python -m empirics pretrain full --device cuda --corpus FILES --held-out FILES --out runs/pretrain"
LINES = (("--", style.VERMILION), (":", style.GREEN))


def data() -> dict[str, Any]:
    """Training losses, validation and held-out bits per byte, and the baselines; steps as bytes read."""
    record = committed(PATH, COMMAND)
    try:
        each = record["recipe"]["batch"] * record["recipe"]["sequence"]
        curves = {
            part: [[point["step"] * each, point["bits_per_byte"]] for point in record[part]] for part in ("curve", "validation")
        }
        return {
            **curves,
            "held_out": record["held_out"]["bits_per_byte"],
            "baselines": {row["name"]: row["bits_per_byte"] for row in record["baselines"]},
            "parameters": record["parameters"],
            "placeholder": record["recipe"]["placeholder"],
            "device": record["device"],
        }
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{PATH} is no record of a pretraining: it lacks {error}; run {COMMAND}") from error


def says(data: dict[str, Any]) -> str:
    """Bits per byte on the held-out books, beside the baselines."""
    others = ", ".join(f"{name} {bits:.2f}" for name, bits in data["baselines"].items())
    return (
        f"The bundled model ({data['parameters'] / 1e6:.1f} million parameters): {data['held_out']:.3f} bits per byte; {others}"
    )


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Bits per byte against bytes read, on a logarithmic axis."""
    axes = figure.subplots()
    for (line, colour), (name, bits) in zip(LINES, data["baselines"].items(), strict=False):
        axes.axhline(bits, color=colour, linewidth=0.9, linestyle=line)
        axes.text(1.01, bits, f"{name} {bits:.2f}", transform=axes.get_yaxis_transform(), color=colour, va="center")
    axes.plot(*zip(*data["curve"], strict=True), color=style.LIGHT, linewidth=1.4, label="training text")
    axes.plot(*zip(*data["validation"], strict=True), "-", color=style.BLUE, label="validation text")
    end = data["curve"][-1][0]
    axes.plot(end, data["held_out"], "*", color=style.BLACK, markersize=7, label=f"held-out books {data['held_out']:.3f}")
    axes.set_xscale("log")
    axes.set_ylim(top=min(4.5, max(bits for _, bits in data["curve"])))
    axes.set_xlabel("bytes read")
    axes.set_ylabel("bits per byte")
    axes.legend(loc="upper right")
    kind = "placeholder, trained briefly; " if data["placeholder"] else ""
    style.note(figure, "xz and 5-gram: on the held-out books", f"{kind}{data['device']}")


FIGURE = Picture(
    title="pretraining of the bundled model: bits per byte beside xz and a 5-gram model",
    claims=(),
    sources=(PATH,),
    height=2.7,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)

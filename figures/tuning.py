"""The curves of a fine-tuning as a picture: training loss, and held-out bits per token against the base model.

Drawn from the JSON that ``ssmproof tune`` writes, and from nothing else.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from theory.core.errors import InvalidInput
from theory.core.files import write_bytes

from . import style

NAME, HEIGHT, DPI = "curves.png", 2.4, 200
COLOURS = (style.BLUE, style.ORANGE)


def write(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the record of a fine-tuning into the folder, atomically; returns the file.

    Raises
    ------
    InvalidInput
        The record lacks something.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style.RC)
        figure = style.page(HEIGHT)
        try:
            axes = figure.subplots()
            for (name, run), colour in zip(record["runs"].items(), COLOURS, strict=False):
                bits = [value / math.log(2) for value in run["losses"]]
                axes.plot(range(1, len(bits) + 1), bits, color=colour, linewidth=0.5, alpha=0.5)
                curve = run["curve"]
                label = f"{name}, {run['trained']:,} numbers"
                axes.plot([p["step"] for p in curve], [p["bits_per_token"] for p in curve], "o-", color=colour, label=label)
            axes.axhline(record["baseline"], color=style.GREY, linestyle="--", linewidth=0.8, label="base model")
        except (KeyError, TypeError) as error:
            raise InvalidInput(f"the record lacks {error}; make it again with ssmproof tune") from error
        axes.set_title("Held-out rows")
        axes.set_xlabel("step (faint: training batches)")
        axes.set_ylabel("bits per token")
        axes.legend(loc="lower left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    write_bytes(folder / NAME, buffer.getvalue())
    return [folder / NAME]

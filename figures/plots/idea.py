"""The idea of the project in three panels, computed by theory's own functions on a channel with two states.

Left: two tokens carry the state from 0 to any point of the plane, one token only along a line (claims prefix_state.equivalent,
minimal_length). Middle: outputs after the prefix are those of the initial state that it leaves, for the same later inputs, and
the difference to no prefix fades at the rate of the slowest state (contained, decay). Right: response of the weights' system to
an impulse. LoRA on projections changes how much of each decay there is and no decay (lora_limits.spectrum_frozen); only a change
of A adds other decays.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from theory.core.lti import LTI
from theory.prefix_state.reach.lti import minimal_prefix_length, prefix_for
from theory.prefix_state.reach.window import state_after

from .. import style
from ..registry import Picture

FROZEN = LTI(["9/10", "1/2"], [1, 1], [1, -1])
"""h_t = a ⊙ h_{t-1} + b x_t, y_t = c·h_t with two states."""
TARGET = [Fraction(1), Fraction(2)]
LENGTH = 16
INPUTS = [Fraction((7 * t * t + 3 * t) % 11 - 5, 10) for t in range(LENGTH)]
"""Later inputs, an arbitrary sequence."""
ON_PROJECTIONS = FROZEN.replace(c=[2, 3])
ON_A = FROZEN.replace(a=["7/10", "1/5"])


def data() -> dict[str, Any]:
    """Tokens, path of the state, outputs three ways, and responses of three systems, as floats of exact numbers."""
    prefix = prefix_for(FROZEN, TARGET)
    path = [[0, 0], *(state_after(FROZEN, prefix[: i + 1]) for i in range(len(prefix)))]
    if list(path[-1]) != TARGET:
        raise ArithmeticError("a prefix that misses its state: theory.prefix_for is wrong")
    with_tokens, with_state, without = (
        FROZEN.run([*prefix, *INPUTS])[0][len(prefix) :],
        FROZEN.run(INPUTS, TARGET)[0],
        FROZEN.run(INPUTS)[0],
    )
    systems = {"frozen": FROZEN, "LoRA on projections": ON_PROJECTIONS, "SDT or LoRA on A": ON_A}
    return {
        "tokens": _floats(prefix),
        "needed": int(minimal_prefix_length(FROZEN)),
        "b": _floats(FROZEN.b),
        "path": [_floats(point) for point in path],
        "outputs": {"with tokens": _floats(with_tokens), "with state": _floats(with_state), "without": _floats(without)},
        "responses": {name: _floats(abs(value) for value in system.kernel(LENGTH)) for name, system in systems.items()},
    }


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]


def says(data: dict[str, Any]) -> str:
    """The idea, with what was computed."""
    same = data["outputs"]["with tokens"] == data["outputs"]["with state"]
    return (
        f"A prefix of {data['needed']} tokens writes any state of a channel with {len(data['b'])} states and does "
        f"{'nothing' if same else 'something'} else; how the channel answers its inputs is left to the weights"
    )


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Prefix to state, state to outputs, and what weights change."""
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.25))
    _states(left, data)
    _outputs(middle, data)
    _responses(right, data)


def _states(axes: Axes, data: dict[str, Any]) -> None:
    path, (b0, b1) = np.array(data["path"]), data["b"]
    reach = 1.35 * np.abs(path).max()
    axes.axhspan(-reach, reach, color=style.SKY, alpha=0.18, linewidth=0)
    axes.plot([-reach * b0, reach * b0], [-reach * b1, reach * b1], "--", color=style.BLUE, linewidth=0.9)
    for i, (start, end) in enumerate(pairwise(path), 1):
        props = {"arrowstyle": "-|>", "color": style.VERMILION, "linewidth": 1.2, "mutation_scale": 8, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end, start, arrowprops=props)
        shift = (5, -6) if i == 1 else (-10, 3)
        axes.annotate(f"$x_{i}$", (start + end) / 2, shift, textcoords="offset points", color=style.VERMILION)
    axes.plot(0, 0, "o", color=style.BLACK)
    axes.plot(*path[-1], "*", color=style.VERMILION, markersize=8)
    axes.annotate("$h_0$", path[-1], (5, 3), textcoords="offset points", color=style.VERMILION)
    axes.text(0.03, 0.97, "two tokens: every state", transform=axes.transAxes, va="top", color=style.BLACK)
    axes.text(0.97, 0.03, "one token: a line", transform=axes.transAxes, ha="right", va="bottom", color=style.BLUE)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("first state")
    axes.set_ylabel("second state")
    axes.set_title("A prefix writes a state")


def _outputs(axes: Axes, data: dict[str, Any]) -> None:
    outputs = data["outputs"]
    t = np.arange(1, len(outputs["without"]) + 1)
    axes.plot(t, outputs["without"], "-", color=style.GREY, linewidth=0.9, label="no prefix")
    axes.plot(t, outputs["with tokens"], "-", color=style.VERMILION, label="prefix of tokens")
    axes.plot(t, outputs["with state"], "o", color=style.BLUE, markersize=2.8, label="initial state $h_0$")
    axes.legend(loc="upper right")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))
    axes.set_xlabel("t after the prefix")
    axes.set_ylabel("output $y_t$")
    axes.set_title("Outputs see only that state")


def _responses(axes: Axes, data: dict[str, Any]) -> None:
    looks = {
        "frozen": (style.BLACK, "-", "frozen, prefix, initial state"),
        "LoRA on projections": (style.BLUE, "--", "LoRA on projections: same decays"),
        "SDT or LoRA on A": (style.GREEN, "-.", "SDT, LoRA on A: other decays"),
    }
    for name, values in data["responses"].items():
        colour, line, label = looks[name]
        lags = [lag for lag, value in enumerate(values) if value > 0]
        axes.plot(lags, [values[lag] for lag in lags], line, color=colour, label=label)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.45)
    axes.legend(loc="upper right")
    axes.set_xlabel("lag")
    axes.set_ylabel("size of the impulse response")
    axes.set_title("Weights change the response")


FIGURE = Picture(
    title="the idea: a prefix writes a state, outputs see that state, and only weights change the response",
    claims=(
        "prefix_state.contained", "prefix_state.equivalent", "prefix_state.minimal_length", "prefix_state.decay",
        "lora_limits.spectrum_frozen",
    ),
    sources=("theory.prefix_for", "theory.state_after", "theory.LTI"),
    height=2.2,
    data=data,
    draw=draw,
    says=says,
    dpi=200,
    width=style.WIDE,
)  # fmt: skip

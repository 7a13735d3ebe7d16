"""jax-linear-attention's selective scan (package ``jla``), in a process of its own beside the one that measures:

    python -m empirics.bench.jla B,D,L,N DTYPE

Turning its kernels into machine code takes some minutes for every shape, so there is one process a shape, and all work at once.
Each checks its results against the fused scan's, says so in a line of JSON, waits for a line on its standard input, so that only
one process uses the GPU while it is timed, and then writes its seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput
from ..kernels.dispatch import selective_scan
from .peers import ORDER, make_arguments

PACKAGE = "jla"
PIP = "jax-linear-attention==0.1.0"
QUEUED = 10
"""Calls that are queued and timed as one: the CPU's time for launching them is hidden behind the GPU's where that is longer."""

ROUNDS = 5
_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def absent() -> str | None:
    """Why it cannot be measured here, or ``None``."""
    for name in ("jax", PACKAGE):
        if importlib.util.find_spec(name) is None:
            return f"No module named {name!r}"
    return None


class Measurement:
    """One shape's process."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: str):
        command = [sys.executable, "-m", "empirics.bench.jla", ",".join(map(str, shape)), dtype]
        # Without this JAX takes three quarters of the GPU's memory.
        environment = {
            **os.environ,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a pipe that nobody reads may fill up)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True, env=environment
        )

    def error(self) -> float:
        """Its largest relative difference from the fused scan's results, once its kernels are there.

        Raises
        ------
        InvalidInput
            It failed; the message is its last line.
        """
        return float(self._line()["error"])

    def seconds(self) -> list[float]:
        """Of a forward and backward pass, one number a round."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        found = [float(value) for value in self._line()["seconds"]]
        self._process.wait()
        return found

    def stop(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.communicate()
        self._said.close()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        self._said.seek(0)
        said = self._said.read().strip().splitlines()
        raise InvalidInput(f"jla failed: {said[-1] if said else 'without a message'}")


def _scan_of(jax: Any) -> Any:
    mamba1 = importlib.import_module("jla.ops.mosaic_gpu.mamba1").mamba1

    def scan(u: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, dt_bias: Any) -> Any:
        return mamba1(C, B, u, dt, A, d=D, z=z, dt_bias=dt_bias, dt_softplus=True)[0]

    def passes(arguments: Any, weight: Any) -> Any:
        out, backward = jax.vjp(scan, *arguments)
        return out, backward(weight)

    return passes


def _in_its_layout(value: Tensor) -> Tensor:
    """(batch, L, D) and (batch, L, N)."""
    return value.transpose(1, 2).contiguous() if value.ndim == 3 else value


def _measure(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    jax = importlib.import_module("jax")
    values = make_arguments(shape, dtype, "cuda")
    weight = torch.ones_like(values["u"])
    given = [jax.dlpack.from_dlpack(_in_its_layout(values[k])) for k in ORDER]
    ones = jax.dlpack.from_dlpack(_in_its_layout(weight))
    run = jax.jit(_scan_of(jax)).lower(given, ones).compile()
    out, gradients = run(given, ones)
    leaves: dict[str, Any] = {k: v.clone().requires_grad_() for k, v in values.items()}
    own = selective_scan(**leaves, dt_softplus=True, scan="fused")
    assert isinstance(own, Tensor)
    expected = [own, *torch.autograd.grad(own, [leaves[k] for k in ORDER], weight)]
    got = [_in_its_layout(torch.from_dlpack(v)) for v in (out, *gradients)]
    print(json.dumps({"error": max(_difference(a, b) for a, b in zip(got, expected, strict=True))}), flush=True)
    del leaves, own, expected, got, out, gradients
    torch.cuda.empty_cache()
    sys.stdin.readline()
    seconds = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        results = [run(given, ones) for _ in range(QUEUED)]
        jax.block_until_ready(results)
        seconds.append((time.perf_counter() - began) / QUEUED)
        del results
    print(json.dumps({"seconds": seconds[1:]}), flush=True)


def _difference(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected.detach().double()).norm() / expected.detach().double().norm())


def main(argv: Sequence[str]) -> int:
    """Of the process."""
    batch, width, length, states = (int(part) for part in argv[0].split(","))
    _measure((batch, width, length, states), _DTYPES[argv[1]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

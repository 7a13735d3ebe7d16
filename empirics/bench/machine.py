"""The machine that a benchmark's numbers depend on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from ..study.results import git_commit, versions


def machine(device: str) -> dict[str, Any]:
    """What the numbers depend on."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0] if models else name
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "versions": versions(),
        "git": git_commit(),
    }

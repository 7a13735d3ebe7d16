"""Runs pytest in forks of one process that has imported the slow libraries, so that a mutant costs its test alone.

Reads requests from stdin, one JSON object a line: {"folder": root of a copy of theory/, "tests": [node ids], "seconds": limit}.
Answers on stdout, one a line: {"code": pytest's exit code or null where the time ran out, "output": the end of its report}.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import control  # noqa: F401
import flint  # noqa: F401
import mpmath  # noqa: F401
import networkx  # noqa: F401
import pytest
import rich.console
import rich.table  # noqa: F401
import safetensors.numpy  # noqa: F401
import scipy.linalg
import scipy.optimize
import scipy.signal  # noqa: F401
import sympy  # noqa: F401
from hypothesis import HealthCheck, Phase, settings

# As theory's profile ci (the same draws, since both are derandomised), but a failure need not be shrunk to be one.
settings.register_profile(
    "mutants",
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Of the plugins that are installed, the one that the tests use: loading all takes longer than most mutants' tests.
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
PLUGINS = ["-p", "_hypothesis_pytestplugin", "-p", "no:cacheprovider", "--assert=plain"]
OPTIONS = ["-x", "-q", "--no-header", "--tb=short", *PLUGINS, "--hypothesis-profile=mutants"]


def run(folder: Path, tests: list[str], seconds: float) -> dict[str, Any]:
    """One pytest run in a fork, from the copy of theory/ in ``folder``."""
    report = folder / "report.txt"
    child = os.fork()
    if child == 0:
        code = 70  # EX_SOFTWARE, unless pytest comes to an end
        try:
            os.setpgid(0, 0)
            stream = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            code = int(pytest.main([*OPTIONS, *(str(folder / "theory" / t) for t in tests)]))
            sys.stdout.flush()
        finally:
            os._exit(code)
    end, pause = time.monotonic() + seconds, 0.002
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return {"code": os.waitstatus_to_exitcode(status), "output": _tail(report)}
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
    with contextlib.suppress(ProcessLookupError):  # the child's own group: itself and what it started
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return {"code": None, "output": _tail(report)}


def _tail(report: Path) -> str:
    return report.read_text(encoding="utf-8", errors="replace")[-3000:] if report.exists() else ""


def main() -> None:
    """Serve until stdin closes."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = run(Path(request["folder"]), request["tests"], request["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

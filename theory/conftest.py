"""Hypothesis profiles: quick (the default), ci (what .ci/run takes), long (10,000 instances), dev (random); all cores for the
whole folder.

Choose a profile with HYPOTHESIS_PROFILE=long or --hypothesis-profile=long. ``pytest theory`` runs in one process a core where
pytest-xdist is installed; ``-n 0`` keeps it in one, and a part of the folder is run in one anyway, because it ends sooner.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from theory.verification.claim import Profile
from theory.verification.decide import cores

_QUIET: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

_SAME: dict[str, Any] = {"derandomize": True, "database": None, "print_blob": True, **_QUIET}

settings.register_profile("dev", max_examples=25, **_QUIET)
settings.register_profile("quick", max_examples=25, **_SAME)
settings.register_profile("ci", max_examples=40, **_SAME)
settings.register_profile("long", max_examples=10_000, **_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


GLANCE = Profile("glance", 8)
"""Instances for tests that a claim's checks run and can fail; ``python -m theory`` decides the claims, on 200 and more."""


def share(of: float) -> settings:
    """A share of the profile's instances, where one instance takes long: 0.5 is 20 of ci's 40 and 5,000 of long's 10,000."""
    profile = settings.default
    assert profile is not None  # one is loaded above
    return settings(max_examples=max(1, round(of * profile.max_examples)))


def wants_all_cores(config: Any) -> bool:
    """Whether pytest was asked for this whole folder, and for nothing that needs one process (debugger, prints, list, ``-n``)."""
    option = config.option
    one = option.usepdb or option.collectonly or option.capture == "no" or hasattr(config, "workerinput")
    if one or getattr(option, "numprocesses", 0) is not None:  # 0: no pytest-xdist
        return False
    return [Path(config.invocation_params.dir, name).resolve() for name in config.args] == [Path(__file__).resolve().parent]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: Any) -> None:
    if wants_all_cores(config):
        config.option.numprocesses = cores()

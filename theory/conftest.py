"""Hypothesis profiles: dev (random, short), ci (derandomised), long (10,000 instances).

Choose with HYPOTHESIS_PROFILE=long or --hypothesis-profile=long.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

_QUIET: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

settings.register_profile("dev", max_examples=25, **_QUIET)
settings.register_profile("ci", max_examples=40, derandomize=True, database=None, print_blob=True, **_QUIET)
settings.register_profile("long", max_examples=10_000, **_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def share(of: float) -> settings:
    """A share of the profile's instances, where one instance takes long: 0.5 is 20 of ci's 40 and 5,000 of long's 10,000."""
    profile = settings.default
    assert profile is not None  # one is loaded above
    return settings(max_examples=max(1, round(of * profile.max_examples)))

"""How many cases are drawn: about 200 in all, or with KINDRED_FUZZ=nightly more than 2,000."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_SHARED = {
    "deadline": None,  # the machine may be busy; nothing here asserts a time
    "database": None,  # what ever failed is kept as an example in the test itself
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("normal", max_examples=8, derandomize=True, **_SHARED)
settings.register_profile("nightly", max_examples=100, print_blob=True, **_SHARED)
settings.load_profile(os.environ.get("KINDRED_FUZZ") or "normal")

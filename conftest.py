"""Hypothesis profiles for every test of the repository, chosen by ``HYPOTHESIS_PROFILE``.

``dev`` (the default) is quick; ``ci`` looks longer. With the environment variable ``CI`` both draw the same
examples on every run, so that a gate never turns red by luck. Neither has a deadline: time is measured in
``benchmarks/``, not in tests.
"""

import os

from hypothesis import settings

settings.register_profile("dev", max_examples=50, deadline=None, derandomize="CI" in os.environ)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

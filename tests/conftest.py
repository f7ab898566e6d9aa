"""For all tests: the example plugin is known, and Hypothesis measures no time: on a busy machine drawing takes long."""

import os

from hypothesis import HealthCheck, settings

from writ_testing import plugin

plugin.enable()

settings.register_profile("writ", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("writ")


def pytest_xdist_auto_num_workers() -> int | None:
    """Three workers for two cores: tests often wait, for a process to start, for a lease or a timeout to end."""
    cores = len(os.sched_getaffinity(0))
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else max(1, cores * 3 // 2)

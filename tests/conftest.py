"""For all tests: the example plugin is on the path, and Hypothesis has no deadline, since a busy machine is slow."""

import os

from hypothesis import HealthCheck, settings

from writ_testing import plugin

plugin.enable()

settings.register_profile("writ", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("writ")


GIGABYTE = 2**30


def pytest_xdist_auto_num_workers() -> int | None:
    """Five workers for two cores, as far as there is a gigabyte for each.

    Half of the tests' time is waiting, for a process to start, for a lease or a timeout to end.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // GIGABYTE
    return max(1, min(cores * 5 // 2, memory))

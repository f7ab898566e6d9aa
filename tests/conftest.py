"""For all tests: the example plugin is on the path, and Hypothesis has no deadline, since a busy machine is slow.

Installations are forked, which takes a third of the time. Exhaustive tests run only on request.
"""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from writ_hostops.syscalls import die_with_parent
from writ_testing import plugin
from writ_testing.installations.forked_process import FORKS

plugin.enable()
os.environ[FORKS] = "1"

settings.register_profile("writ", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("writ")


GIGABYTE = 2**30


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Six workers for two cores, as far as there is a gigabyte for each; five if exhaustive tests run, too.

    Two thirds of the tests' time is waiting, for a process to start, for a lease or a timeout to end. Exhaustive tests
    wait less: they start clusters, and floods compute.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // GIGABYTE
    workers = 6 if "not exhaustive" in config.option.markexpr else 5
    return max(1, min(cores * workers // 2, memory))


def pytest_configure(config: pytest.Config) -> None:
    """Let a worker of xdist end at once with a run that is killed, and with the worker the programs of its tests."""
    if hasattr(config, "workerinput"):
        die_with_parent()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without the garbage collector, and exempt all objects from it: a million, which it would visit ten
    times meanwhile, four seconds in each worker, and once more whenever a test collects. A sixth of them is garbage,
    which stays: to find it takes a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave exhaustive tests out, unless `-m` is given or an argument names a test: some take ten minutes."""
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    if left_out:
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)

"""`python -m writ_testing.conformance BACKEND`: run the suite of backends on an installed one.

Its package has an entry point `writ.conformance` of the backend's name: a function that takes an empty folder and
returns a context manager of a `writ_testing.suites.backend.BackendHost`. The result is JSON on standard output.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import pytest

from writ_contracts.plugins import CONFORMANCE
from writ_testing.suites.backend import BackendHost, BackendSuite

BACKEND = "WRIT_CONFORMANCE_BACKEND"
OPTIONS = ("-q", "-n0", "-pno:cacheprovider", "--import-mode=importlib", "-c", os.devnull)
ASYNC = ("-oasyncio_mode=auto", "-oasyncio_default_fixture_loop_scope=function")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[BackendHost]:
    """Yield the host of the backend's package."""
    [entry] = entry_points(group=CONFORMANCE, name=os.environ[BACKEND])
    with entry.load()(tmp_path) as made:
        yield made


class TestConformance(BackendSuite):
    pass


class Findings:
    """Collects the results of a run of pytest."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result of a test, or of its fixture."""
        name = report.nodeid.rpartition("::")[2]
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed[name] = str(crash.message if crash else report.longrepr)[:500]
        elif report.when == "call":
            self.passed.append(name)


def main() -> None:
    """Run the suite on the backend named on the command line."""
    os.environ[BACKEND] = sys.argv[1]
    os.environ.pop("PYTEST_ADDOPTS", None)  # the caller's, for tests of theirs
    findings = Findings()
    with contextlib.redirect_stdout(sys.stderr):
        status = pytest.main([*OPTIONS, *ASYNC, __file__], plugins=[findings])
    answer: dict[str, Any] = {"passed": findings.passed, "failed": findings.failed}
    if not findings.passed and not findings.failed:
        answer["failed"] = {"the suite": f"pytest ended with {int(status)} and ran nothing"}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()

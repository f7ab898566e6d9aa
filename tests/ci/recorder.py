"""A pytest plugin that writes the result of a run (flakes.Record) into a file: `-p tests.ci.recorder --record=FILE`.

With pytest-xdist it works in the controller, which sees the reports of all workers and notices when one of them dies.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.ci.flakes import Failure, Record


def pytest_addoption(parser: pytest.Parser) -> None:
    """See pytest's hooks."""
    parser.addoption("--record", type=Path, help="write what the run came to into this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """See pytest's hooks."""
    path: Path | None = config.getoption("--record")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(path))


class Recorder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._chosen = 0
        self._passed: set[str] = set()
        self._skipped: set[str] = set()
        self._failures: list[Failure] = []
        self._broken: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without xdist, record the collected tests."""
        self._chosen = max(self._chosen, len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """With xdist, record the tests of a worker; all have the same."""
        self._chosen = max(self._chosen, len(ids))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected hides its tests."""
        if report.failed:
            self._broken.append(f"{report.nodeid} could not be collected: {report.longreprtext}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """`error` is None where a worker ended as it should."""
        if error:
            self._broken.append(f"the worker {node.gateway.id} crashed: {error}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has up to three reports; it passed with that of its call."""
        if report.failed:
            self._failures.append(
                Failure(test=report.nodeid, when=report.when, cause=cause(report), text=report.longreprtext)
            )
        elif report.skipped:
            self._skipped.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write it, complete or not at all."""
        record = Record(
            exit_status=int(exitstatus),
            chosen=self._chosen,
            passed=len(self._passed - {failure.test for failure in self._failures}),
            skipped=len(self._skipped),
            failures=tuple(self._failures),
            broken=tuple(self._broken),
        )
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(record))
        draft.replace(self._path)


def cause(report: pytest.TestReport) -> str:
    """Return place and reason of the failure, equal for all tests of a failed shared fixture."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash or "".join(report.longreprtext.splitlines()[-1:]))

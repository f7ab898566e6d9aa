"""The fake backend passes the suite of backends."""

from collections.abc import Iterator

import pytest

from writ_agent.backends.port import Task, TaskResult
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_testing.fakes.backend import FakeBackend
from writ_testing.plugin.operations import OPERATIONS
from writ_testing.suites.backend import BackendSuite, task
from writ_testing.suites.host_cases import HostCase

TARGET = Target(id="host-1", role="testing", backend="fake")
CATALOGUE = Catalogue(OPERATIONS)


class FakeHost:
    def __init__(self) -> None:
        self.backend = FakeBackend()

    def change(self, operation_id: str) -> Task:
        return task(CATALOGUE["test_count"], TARGET, operation_id, path="/x")

    def slow(self, operation_id: str) -> Task:
        return task(CATALOGUE["test_sleep"], TARGET, operation_id)

    def refused(self, operation_id: str) -> Task:
        return task(CATALOGUE["test_fail"], TARGET, operation_id, how="refused")

    async def changed(self, operation_id: str) -> bool:
        return operation_id in self.backend.effects

    def host_cases(self) -> Iterator[HostCase]:
        counted = self.change("t" * 26)

        async def shows(done: TaskResult | None) -> bool:
            return counted.operation_id in self.backend.effects

        yield HostCase(counted, shows)

    @property
    def elsewhere(self) -> set[str]:
        return {"test_noop", "test_sleep", "test_secret", "test_fail"}

    async def busy(self, operation_id: str) -> bool:
        return operation_id in self.backend.running


class TestFakeBackend(BackendSuite):
    @pytest.fixture
    def host(self) -> FakeHost:
        return FakeHost()

"""The fake passes what every backend must pass."""

import pytest

from writ_agent.backend import Task
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_testing.backend_suite import BackendSuite, task
from writ_testing.fake_backend import FakeBackend
from writ_testing.operations import OPERATIONS

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

    async def busy(self, operation_id: str) -> bool:
        return operation_id in self.backend.running


class TestFakeBackend(BackendSuite):
    @pytest.fixture
    def host(self) -> FakeHost:
        return FakeHost()

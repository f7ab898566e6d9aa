"""The suite of all backends. Effects are read on the host itself, never taken from the backend's report.

A subclass gives the fixture `host`: the backend, with tasks that suit it.
"""

import asyncio
import os
from collections.abc import Collection, Iterator
from typing import Any, Protocol

import msgspec
import pytest

from writ_agent.backends.port import Backend, Baselines, Listings, Previews, Probes, TargetTester, Task, TaskResult
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_contracts.parameters import Output
from writ_contracts.policy.facts import LISTING_SOURCES
from writ_testing.eventually import eventually
from writ_testing.suites.host_cases import HostCase, show

PATIENCE = 20.0


class BackendHost(Protocol):
    """A backend, and a host to try it on."""

    backend: Backend

    def change(self, operation_id: str) -> Task:
        """Return a task with a visible effect and a probe."""

    def slow(self, operation_id: str) -> Task:
        """Return a task of a minute, by several processes where the backend has any."""

    def refused(self, operation_id: str) -> Task:
        """Return a task refused by the host before any effect."""

    async def changed(self, operation_id: str) -> bool:
        """Return whether the effect of `change` exists."""

    async def busy(self, operation_id: str) -> bool:
        """Return whether a part of `slow` runs on the host."""

    def host_cases(self) -> Iterator[HostCase]:
        """Yield a case for each operation of the backend, one after the other."""

    @property
    def elsewhere(self) -> Collection[str]:
        """Return the operations shown by the lab's hosts alone."""


class ProgressRecorder:
    """Records progress, and lets a test wait for it."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.silences: list[tuple[str, str]] = []
        self.first = asyncio.Event()

    def __call__(self, message: str) -> None:
        self.words.append(message)
        self.first.set()

    def report_silence(self, host: str, message: str) -> None:
        self.silences.append((host, message))


class BackendSuite:
    """Inherit it, and give the fixture `host`."""

    async def test_a_change_takes_effect_and_is_reported_as_it_is(self, host: BackendHost) -> None:
        task = host.change(_id(1))
        assert not await host.changed(_id(1))
        done = await run(host, task)
        assert (done.outcome, done.effect, done.over) == ("succeeded", "done", True)
        assert await host.changed(_id(1))
        assert isinstance(msgspec.convert(done.output, task.operation.output), Output)

    async def test_refused_operation_has_no_effect_and_gives_the_reason(self, host: BackendHost) -> None:
        try:
            done = await run(host, host.refused(_id(2)))
        except WritError as error:
            assert error.code  # noqa: PT017 - raising is one of the two ways to refuse
            return
        assert (done.outcome, done.effect, done.over) == ("failed", "none", True)
        assert done.code
        assert done.message

    async def test_stopped_operation_ends_with_all_its_processes(self, host: BackendHost) -> None:
        task, heard = host.slow(_id(3)), ProgressRecorder()
        under_way = asyncio.create_task(host.backend.run(task, heard))
        await eventually(lambda: host.busy(_id(3)))
        assert await host.backend.stop(_id(3), 1.0)
        done = await asyncio.wait_for(under_way, PATIENCE)
        assert not await host.busy(_id(3))
        assert done.over
        assert done.outcome in ("cancelled", "unknown")

    async def test_stopping_one_leaves_the_others_alone(self, host: BackendHost) -> None:
        slow = asyncio.create_task(host.backend.run(host.slow(_id(4)), ProgressRecorder()))
        await eventually(lambda: host.busy(_id(4)))
        other = asyncio.create_task(run(host, host.change(_id(5))))
        assert (await other).outcome == "succeeded"
        assert await host.busy(_id(4))
        assert await host.backend.stop(_id(4), 1.0)
        await asyncio.wait_for(slow, PATIENCE)

    async def test_stopping_what_does_not_run_is_certain(self, host: BackendHost) -> None:
        assert await host.backend.stop(_id(6), 0.1)

    async def test_probe_distinguishes_an_effect_from_none(self, host: BackendHost) -> None:
        backend, task = host.backend, host.change(_id(7))
        if not isinstance(backend, Probes) or not isinstance(backend, Baselines):
            return
        before = await backend.baseline(task)
        assert (await backend.probe(task, before)).verdict == "no_effect"
        await run(host, task)
        assert (await backend.probe(task, before)).verdict == "took_effect"

    async def test_a_preview_changes_nothing(self, host: BackendHost) -> None:
        backend = host.backend
        if isinstance(backend, Previews):
            assert await backend.preview(host.change(_id(8)))
            assert not await host.changed(_id(8))

    async def test_backend_reads_a_whole_listing_and_refuses_an_unknown_one(self, host: BackendHost) -> None:
        backend, target = host.backend, host.change(_id(9)).target
        if not isinstance(backend, Listings):
            return
        with pytest.raises(WritError) as refused:
            await backend.listing(target, "list_of_nothing")
        assert "cannot list" in str(refused.value)
        for source in LISTING_SOURCES:
            try:
                names = await backend.listing(target, source)
            except WritError as error:
                assert str(error)  # noqa: PT017 - that it cannot is one of the two answers
            else:
                assert all(names)

    async def test_target_test_reports_capabilities_and_carries_out_nothing(self, host: BackendHost) -> None:
        backend, task = host.backend, host.change(_id(10))
        if not isinstance(backend, TargetTester):
            return
        found = await backend.test_target(task.target)
        assert (found.code, found.message) == ("", "")
        assert all(step.well for step in found.steps)
        assert found.versions
        assert set(found.operations) | found.lacking.keys() == set(backend.operations)
        assert not set(found.operations) & found.lacking.keys()
        assert found.fails.keys() <= found.lacking.keys()
        assert (task.target.id, "ok") in [(name, standing.reason) for name, standing in backend.target_health]
        assert not await host.changed(_id(10))

    async def test_each_operation_that_it_claims_shows_on_the_host(self, host: BackendHost) -> None:
        tried = set()
        for host_case in host.host_cases():
            await show(host.backend, host_case)
            tried.add(host_case.task.operation.name)
        assert set(host.backend.operations) == tried | set(host.elsewhere)

    async def test_backend_reports_readiness(self, host: BackendHost) -> None:
        assert await host.backend.check() is None


async def run(host: BackendHost, task: Task) -> TaskResult:
    """Run the task to its end."""
    return await asyncio.wait_for(host.backend.run(task, ProgressRecorder()), PATIENCE)


def _id(number: int) -> str:
    """Return an id unique to this process: running operations are found by id on the whole machine."""
    return encode_id(((os.getpid() << 32) + number).to_bytes(16, "big"))


def task(operation: Any, target: Any, operation_id: str, **parameters: Any) -> Task:
    """Return a task as the runtime makes it."""
    return Task(
        operation_id=operation_id,
        attempt=1,
        operation=operation,
        target=target,
        parameters=operation.check(parameters),
        timeout=60.0,
    )

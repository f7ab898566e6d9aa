"""What every backend must pass. Effects are looked at on the host itself, never taken from what the backend says.

A subclass gives the fixture `host`: the backend, with tasks that mean something to it.
"""

import asyncio
from typing import Any, Protocol

import msgspec

from writ_agent.backend import Backend, Baselines, Done, Previews, Probes, Task
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_contracts.parameters import Output
from writ_testing.eventually import eventually

PATIENCE = 20.0


class Host(Protocol):
    """A backend, and a host to try it on."""

    backend: Backend

    def change(self, operation_id: str) -> Task:
        """Something with an effect that can be seen, and that has a probe."""

    def slow(self, operation_id: str) -> Task:
        """Something that takes a minute, by several processes where the backend has any."""

    def refused(self, operation_id: str) -> Task:
        """Something that the host refuses before any effect."""

    async def changed(self, operation_id: str) -> bool:
        """Whether the effect of `change` is there."""

    async def busy(self, operation_id: str) -> bool:
        """Whether anything of `slow` goes on, on the host."""


class Heard:
    """Progress, and a way to wait for it."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.first = asyncio.Event()

    def __call__(self, message: str) -> None:
        self.words.append(message)
        self.first.set()


class BackendSuite:
    """Inherit, and give the fixture `host`."""

    async def test_a_change_takes_effect_and_is_told_as_it_is(self, host: Host) -> None:
        task = host.change(_id(1))
        assert not await host.changed(_id(1))
        done = await run(host, task)
        assert (done.outcome, done.effect, done.over) == ("succeeded", "done", True)
        assert await host.changed(_id(1))
        assert isinstance(msgspec.convert(done.output, task.operation.output), Output)

    async def test_what_is_refused_has_no_effect_and_says_why(self, host: Host) -> None:
        try:
            done = await run(host, host.refused(_id(2)))
        except WritError as error:
            assert error.code  # noqa: PT017 - raising is one of the two ways to refuse
            return
        assert (done.outcome, done.effect, done.over) == ("failed", "none", True)
        assert done.code
        assert done.message

    async def test_what_is_stopped_ends_with_all_that_belongs_to_it(self, host: Host) -> None:
        task, heard = host.slow(_id(3)), Heard()
        under_way = asyncio.create_task(host.backend.run(task, heard))
        await eventually(lambda: host.busy(_id(3)))
        assert await host.backend.stop(_id(3), 1.0)
        done = await asyncio.wait_for(under_way, PATIENCE)
        assert not await host.busy(_id(3))
        assert done.over
        assert done.outcome in ("cancelled", "unknown")

    async def test_stopping_one_leaves_the_others_alone(self, host: Host) -> None:
        slow = asyncio.create_task(host.backend.run(host.slow(_id(4)), Heard()))
        await eventually(lambda: host.busy(_id(4)))
        other = asyncio.create_task(run(host, host.change(_id(5))))
        assert (await other).outcome == "succeeded"
        assert await host.busy(_id(4))
        assert await host.backend.stop(_id(4), 1.0)
        await asyncio.wait_for(slow, PATIENCE)

    async def test_stopping_what_does_not_run_is_certain(self, host: Host) -> None:
        assert await host.backend.stop(_id(6), 0.1)

    async def test_a_probe_tells_what_happened_from_what_did_not(self, host: Host) -> None:
        backend, task = host.backend, host.change(_id(7))
        if not isinstance(backend, Probes) or not isinstance(backend, Baselines):
            return
        before = await backend.baseline(task)
        assert (await backend.probe(task, before)).verdict == "no_effect"
        await run(host, task)
        assert (await backend.probe(task, before)).verdict == "took_effect"

    async def test_a_preview_changes_nothing(self, host: Host) -> None:
        backend = host.backend
        if isinstance(backend, Previews):
            assert await backend.preview(host.change(_id(8)))
            assert not await host.changed(_id(8))

    async def test_it_says_that_it_is_ready(self, host: Host) -> None:
        assert await host.backend.check() is None


async def run(host: Host, task: Task) -> Done:
    """Run it to its end."""
    return await asyncio.wait_for(host.backend.run(task, Heard()), PATIENCE)


def _id(number: int) -> str:
    return encode_id(number.to_bytes(16, "big"))


def task(operation: Any, target: Any, operation_id: str, **parameters: Any) -> Task:
    """A task as the runtime would make it."""
    return Task(
        operation_id=operation_id,
        attempt=1,
        operation=operation,
        target=target,
        parameters=operation.check(parameters),
        timeout=60.0,
    )

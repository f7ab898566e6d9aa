"""A target that accepts a connection and stays silent costs its own operations one timeout, and others nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from tests.agent_ssh.conftest import SshHost

from writ_agent.backends import connection_retries
from writ_agent_ssh.host_sessions import recent_failures
from writ_agent_ssh.host_sessions.recent_failures import FIRST_PAUSE, LONGEST_PAUSE, MOST_TARGETS, RecentFailures
from writ_agent_ssh.host_sessions.session import HostSession
from writ_contracts.errors import Invalid, Unreachable
from writ_contracts.inventory import Target
from writ_testing.stopwatch import stopwatch

CONNECT_SECONDS = 1.5
AGAIN = "it is tried again in"
"""Of a failure that is known, and is reported without another attempt."""


class Clock:
    """A clock set by the test."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(failures: RecentFailures, clock: Clock, target: str, seconds: float) -> None:
    def connect() -> None:
        with failures.watch(target):
            clock.now += seconds
            raise Unreachable("silent", code="unreachable")

    with pytest.raises(Unreachable):
        connect()


def is_tried(failures: RecentFailures, target: str) -> bool:
    try:
        failures.check(target)
    except Unreachable:
        return False
    return True


def test_a_target_that_failed_slowly_is_not_tried_for_a_while_that_grows() -> None:
    clock, pauses = Clock(), []
    failures = RecentFailures(clock)
    for _ in range(7):
        fail(failures, clock, "web-1", 10.0)
        before = clock.now
        while not is_tried(failures, "web-1"):
            clock.now += 0.5
        pauses.append(clock.now - before)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    with failures.watch("web-1"):
        clock.now += 20.0
    fail(failures, clock, "web-1", 10.0)
    clock.now += FIRST_PAUSE
    assert is_tried(failures, "web-1")


def test_a_failure_that_costs_no_time_is_tried_again_at_once() -> None:
    failures = RecentFailures(clock := Clock())
    fail(failures, clock, "web-1", 0.1)
    assert is_tried(failures, "web-1")


def test_authentication_failure_does_not_set_a_target_aside() -> None:
    failures = RecentFailures(clock := Clock())

    def connect() -> None:
        with failures.watch("web-1"):
            clock.now += 5.0
            raise Invalid("no", code="auth_failed")

    with pytest.raises(Invalid):
        connect()
    assert is_tried(failures, "web-1")


def test_recorded_failures_are_bounded() -> None:
    failures = RecentFailures(clock := Clock())
    for number in range(MOST_TARGETS + 1):
        fail(failures, clock, f"t-{number}", 1.0)
        clock.now -= 1.0
    assert is_tried(failures, "t-0")
    assert not is_tried(failures, f"t-{MOST_TARGETS}")
    assert LONGEST_PAUSE > FIRST_PAUSE


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Run a server that accepts connections and stays silent."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def dead(host: SshHost, port: int) -> Target:
    connection = host.server.connection(port=port, host_key_alias="127.0.0.1", connect_timeout=CONNECT_SECONDS)
    return host.server.target(connection={**connection, "host_keys": [_key(host)]})


def _key(host: SshHost) -> str:
    return (host.server.folder / "host_key.pub").read_text().strip()


async def test_operations_on_a_dead_target_fail_together_and_later_ones_at_once(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_failures, "FIRST_PAUSE", 60.0)
    async with silent_server() as port:
        target = dead(host, port)

        async def failure(eager: bool = False) -> str:
            with pytest.raises(Unreachable) as refused:
                await host.pool.session(target, eager=eager)
            assert refused.value.code == "unreachable"
            return str(refused.value)

        failures = await asyncio.gather(*(failure() for _ in range(8)))
        assert [AGAIN in words for words in failures].count(False) == 1
        assert AGAIN in await failure()
        assert AGAIN not in await failure(eager=True)


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (2, 3)])
async def test_a_target_says_how_often_its_connection_is_tried_again(
    host: SshHost, monkeypatch: pytest.MonkeyPatch, retries: int, attempts: int
) -> None:
    tried: list[bool] = []

    async def refused(*_: object, eager: bool, root: bool) -> HostSession:
        tried.append(eager)
        raise Unreachable("refused", code="unreachable")

    monkeypatch.setattr(connection_retries, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(host.pool, "_session", refused)
    target = host.server.target(connection={**host.server.connection(), "connect_retries": retries})
    with pytest.raises(Unreachable):
        await host.pool.session(target, patience=60)
    assert tried == [False, *[True] * (attempts - 1)]


@pytest.mark.parametrize(
    ("operation", "retries", "attempts"),
    [("service_status", 2, 3), ("service_status", None, 1), ("service_restart", 2, 1)],
)
async def test_claimed_read_retries_its_connection_as_configured_and_a_change_does_not(
    host: SshHost, monkeypatch: pytest.MonkeyPatch, operation: str, retries: int | None, attempts: int
) -> None:
    tried: list[str] = []

    async def refused(target: str, *_: object, eager: bool, root: bool) -> HostSession:
        tried.append(target)
        raise Unreachable("refused", code="unreachable")

    monkeypatch.setattr(connection_retries, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(host.pool, "_session", refused)
    target = host.server.target(connection={**host.server.connection(), "connect_retries": retries})
    task = replace(host.task(operation, service_name="nginx"), target=target)
    with pytest.raises(Unreachable):
        await host.backend.run(task, print)
    assert len(tried) == attempts


async def test_further_attempts_reach_a_host_that_is_slow_to_fail(host: SshHost) -> None:
    async with silent_server() as port:
        target = dead(host, port)
        target = replace(target, connection={**target.connection, "connect_retries": 1})
        started = time.monotonic()
        with pytest.raises(Unreachable):
            await host.pool.session(target, patience=60)
        assert time.monotonic() - started >= 1.5 * CONNECT_SECONDS


async def test_further_attempts_of_a_read_end_within_its_time(host: SshHost) -> None:
    async with silent_server() as port:
        target = dead(host, port)
        target = replace(target, connection={**target.connection, "connect_retries": 100})
        task = replace(host.task("service_status", service_name="nginx"), target=target, timeout=3 * CONNECT_SECONDS)
        started = time.monotonic()
        with stopwatch() as seconds, pytest.raises(Unreachable):
            await host.backend.run(task, print)
        assert time.monotonic() - started > CONNECT_SECONDS
        assert seconds() < 3 * CONNECT_SECONDS + 1

"""Many targets that are one busy machine: their connections wait their turn, and sshd's limit of logins is survived."""

import asyncio
from contextlib import AsyncExitStack, closing
from pathlib import Path

import asyncssh
import pytest
from tests.agent_ssh.conftest import SshHost, ssh_host
from tests.agent_ssh.test_connecting import code_of

from writ_agent.backends import silence_watch
from writ_agent_ssh import target_test
from writ_agent_ssh.connection import ignored_messages, link
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.session import HostopsSession
from writ_agent_ssh.host_sessions.silence_notices import SilenceNotices
from writ_agent_ssh.settings import JumpHost
from writ_contracts.errors import Unreachable
from writ_contracts.inventory import Target
from writ_testing.eventually import eventually
from writ_testing.peers.sshd import USER
from writ_testing.peers.tcp_proxy import tcp_proxy
from writ_testing.suites.backend import ProgressRecorder

OTHER_SECONDS = 21.0
"""The time limit of a connection whose start is not held."""


class HeldStarts:
    """Starts of hostops that wait until the test lets them go."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.let_go = asyncio.Event()
        real = HostopsSession.start

        async def start(*arguments: object) -> HostopsSession:
            if OTHER_SECONDS not in arguments:
                self.begun += 1
                await self.let_go.wait()
            return await real(*arguments)  # type: ignore[arg-type]

        patch.setattr(HostopsSession, "start", start)


def targets(host: SshHost, count: int) -> list[Target]:
    return [host.server.target(f"t{number}") for number in range(count)]


async def test_login_that_sshd_drops_at_its_limit_is_tried_again(tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", "MaxStartups 1", "PerSourcePenalties no") as host:
        host.server.target()
        reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        assert (await reader.readline()).startswith(b"SSH-2.0")  # the only login that may be under way
        connecting = asyncio.create_task(code_of(host))

        async def dropped() -> bool:
            return "drop connection" in host.server.log.read_text()

        await eventually(dropped)
        writer.close()
        assert await connecting == ""


async def test_host_that_always_hangs_up_is_tried_more_than_once(tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", "MaxStartups 1", "PerSourcePenalties no") as host:
        host.server.target()
        reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        with closing(writer):
            assert (await reader.readline()).startswith(b"SSH-2.0")
            assert await code_of(host, connect_timeout=4.0) == "turned_away"
        assert host.server.log.read_text().count("drop connection") > 2


async def test_jump_host_that_turns_away_many_targets_gives_each_the_reason(host: SshHost) -> None:
    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Not allowed at this time\r\n")
        writer.close()

    async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        host.server.trust([port])
        way = [{"host": "127.0.0.1", "port": port, "user": USER}]
        behind = [
            host.server.target(
                f"t{number}", connection=host.server.connection(port=number, jump=way, connect_timeout=4.0)
            )
            for number in range(1, 17)
        ]
        for target in behind:
            host.server.authorize(f"{target.id}.jump")
        ends = await asyncio.gather(*map(host.pool.session, behind), return_exceptions=True)
    assert {getattr(end, "code", "") for end in ends} == {"turned_away"}


async def test_starts_of_hostops_at_one_address_are_bounded_with_its_logins(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes the host's processor as a login does. Sixty at once are all slower than their time limit."""
    starts = HeldStarts(monkeypatch)
    waiting = [asyncio.create_task(host.pool.session(target)) for target in targets(host, 9)]

    async def four() -> bool:
        return starts.begun == 4

    await eventually(four)
    apart = host.server.connection(host="localhost", host_key_alias="127.0.0.1", connect_timeout=OTHER_SECONDS)
    await host.pool.session(host.server.target("apart", connection=apart))
    assert starts.begun == 4
    assert sum(host.pool.is_queued(target) for target in targets(host, 9)) == 5
    starts.let_go.set()
    await asyncio.gather(*waiting)
    assert starts.begun == 9


async def test_slow_starts_at_a_jump_host_do_not_hold_up_targets_behind_it(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = HeldStarts(monkeypatch)
    waiting = [asyncio.create_task(host.pool.session(target)) for target in targets(host, 4)]

    async def four() -> bool:
        return starts.begun == 4

    await eventually(four)
    way = [{"host": "127.0.0.1", "port": host.server.port, "user": USER}]
    behind = host.server.target("behind", connection=host.server.connection(jump=way, connect_timeout=OTHER_SECONDS))
    host.server.authorize("behind.jump")
    await asyncio.wait_for(host.pool.session(behind), OTHER_SECONDS / 2)
    assert starts.begun == 4
    starts.let_go.set()
    await asyncio.gather(*waiting)


async def test_one_address_behind_two_jump_hosts_is_two_machines(host: SshHost) -> None:
    """Of the first, all logins hang. The other is reached meanwhile."""
    async with tcp_proxy(host.server.port) as first, tcp_proxy(host.server.port) as second:
        host.server.trust([first.port, second.port])
        first.stall()
        ways = [[{"host": "127.0.0.1", "port": proxy.port, "user": USER}] for proxy in (first, second)]
        there = [
            host.server.target(f"t{number}", connection=host.server.connection(jump=way))
            for number, way in enumerate([ways[0]] * 5 + [ways[1]])
        ]
        for target in there:
            host.server.authorize(f"{target.id}.jump")
        waiting = [asyncio.create_task(host.pool.session(target)) for target in there[:5]]

        async def fifth_is_queued() -> bool:
            return host.pool.is_queued(there[4])

        await eventually(fifth_is_queued)
        await host.pool.session(there[5])
        assert not any(task.done() for task in waiting)
        first.flow()
        await asyncio.gather(*waiting)


async def test_connection_that_waits_its_turn_is_reported_so(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_watch, "LATE_SECONDS", 0.05)
    starts, heard = HeldStarts(monkeypatch), ProgressRecorder()
    others = [asyncio.create_task(host.pool.session(target)) for target in targets(host, 4)]

    async def four() -> bool:
        return starts.begun == 4

    await eventually(four)
    run = asyncio.create_task(host.backend.run(host.task("network_status"), heard))
    await asyncio.wait_for(heard.first.wait(), 20)
    assert heard.words == ["waits for its turn: others connect to the address of web1. Nothing has run"]
    assert heard.silences == []
    starts.let_go.set()
    await asyncio.gather(*others)
    assert (await run).outcome == "succeeded"


async def test_wait_for_a_turn_is_named_apart_from_the_time_of_an_operation(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, task = HeldStarts(monkeypatch), host.task("network_status")
    others = [asyncio.create_task(host.pool.session(target)) for target in targets(host, 4)]

    async def four() -> bool:
        return starts.begun == 4

    async def waited() -> bool:
        return host.backend.queued_seconds(task.operation_id) > 0.2

    await eventually(four)
    run = asyncio.create_task(host.backend.run(task, ProgressRecorder()))
    await eventually(waited)
    starts.let_go.set()
    await asyncio.gather(*others)
    assert (await run).outcome == "succeeded"
    assert host.backend.queued_seconds(task.operation_id) == 0.0


async def test_connection_is_made_to_its_end_when_nobody_waits_for_it_any_more(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd turns away an address for 15 s whose logins were given up (PerSourcePenalties)."""
    starts = HeldStarts(monkeypatch)
    given_up = asyncio.create_task(host.pool.session(host.target))

    async def begun() -> bool:
        return starts.begun == 1

    await eventually(begun)
    given_up.cancel()
    await asyncio.wait({given_up})
    later = asyncio.create_task(host.pool.session(host.target))
    starts.let_go.set()
    await later
    assert starts.begun == 1


async def test_connection_whose_turn_has_just_come_gets_the_whole_time_to_reply(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence_watch, "LATE_SECONDS", 0.05)
    heard, looks = ProgressRecorder(), list[bool]()
    notices = SilenceNotices(host.task("network_status"), heard)

    def is_queued() -> bool:
        looks.append(not looks)
        return looks[-1]

    async def silence_is_reported() -> bool:
        return bool(heard.silences)

    with notices.connecting(heard, is_queued):
        await eventually(silence_is_reported)
    assert looks == [True, False, False]


async def test_wait_for_a_place_does_not_count_in_the_login_time_of_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logins of targets behind it hold its places; it has not been asked yet."""

    async def ask(*_: object) -> None:
        raise Unreachable("it was asked")

    monkeypatch.setattr(link, "_hop", ask)
    async with ssh_host(tmp_path / "host") as host:
        direct = host.server.target(connection=host.server.connection(connect_timeout=0.1))
        places = host.pool._logins[(("127.0.0.1", host.server.port),)]
        async with AsyncExitStack() as held:
            for _ in range(4):
                await held.enter_async_context(places)
            asking = asyncio.create_task(host.pool.session(direct))
            done, _ = await asyncio.wait({asking}, timeout=0.5)
            assert not done
        with pytest.raises(Unreachable, match="it was asked"):
            await asking


async def test_login_that_is_dropped_after_a_wait_for_its_place_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, place, hop = list[object](), asyncio.Semaphore(0), object()

    async def connected(*_: object, **__: object) -> object:
        calls.append(hop)
        if len(calls) == 1:
            raise asyncssh.ConnectionLost("dropped")
        return hop

    monkeypatch.setattr(asyncssh, "connect", connected)
    monkeypatch.setattr(ignored_messages, "leave_out", calls.append)
    options = {"login_timeout": 1.0}
    asyncio.get_running_loop().call_later(0.6, place.release)
    trusted = KnownHosts(None).of("h", 22)
    found = await link._hop([], JumpHost(host="h", user="u"), options, trusted, link.ConnectionWatch(), place)
    assert (found, len(calls)) == (hop, 3)


async def test_wait_of_others_does_not_lengthen_an_operation_that_runs(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of its target, for instance, or a connection of its own after the first one broke."""
    task, session = host.task("network_status"), await host.pool.session(host.target)
    runs, go_on = asyncio.Event(), asyncio.Event()

    async def run_request(*_: object) -> dict[str, object]:
        runs.set()
        await go_on.wait()
        return {"outcome": "succeeded", "output": {}}

    monkeypatch.setattr(session, "run_request", run_request)
    run = asyncio.create_task(host.backend.run(task, ProgressRecorder()))
    await runs.wait()
    starts = HeldStarts(monkeypatch)
    others = [asyncio.create_task(host.pool.session(target)) for target in targets(host, 4)]

    async def four() -> bool:
        return starts.begun == 4

    await eventually(four)
    host.pool.drop(host.target)
    queued = [
        asyncio.create_task(target_test.tested(host.pool, host.target, ())),
        asyncio.create_task(host.pool.session(host.target)),
    ]

    async def waits() -> bool:
        return host.pool.is_queued(host.target)

    await eventually(waits)
    await asyncio.wait(queued, timeout=0.2)
    assert host.backend.queued_seconds(task.operation_id) == 0.0
    go_on.set()
    starts.let_go.set()
    await asyncio.gather(run, *others, *queued)


async def test_wait_for_a_turn_uses_up_no_patience_with_a_host(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    retrying = host.server.connection(connect_retries=1, connect_timeout=OTHER_SECONDS)
    asked, starts = 0, HeldStarts(monkeypatch)
    others = [asyncio.create_task(host.pool.session(target)) for target in targets(host, 4)]

    async def four() -> bool:
        return starts.begun == 4

    await eventually(four)
    target = host.server.target(connection=retrying)
    session = asyncio.create_task(host.pool.session(target, patience=0.3))

    async def waits() -> bool:
        return host.pool.is_queued(target)

    await eventually(waits)
    await asyncio.wait({session}, timeout=0.5)
    connect = host.pool._connect

    async def refused_once(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Unreachable("refused")
        return await connect(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(host.pool, "_connect", refused_once)
    starts.let_go.set()
    await asyncio.gather(*others)
    await session
    assert asked == 2

"""A host that does not reply is reported to the requester while the operation waits, with what follows."""

import asyncio
import re

import pytest
from msgspec.structs import replace
from tests.agent_ssh.conftest import SshHost
from tests.agent_ssh.test_breaks import count, counted, kill_sessions
from tests.agent_ssh.test_dead_targets import silent_server

from writ_agent.backends import silence_watch
from writ_agent.backends.port import Task
from writ_agent_ssh.host_sessions import session as host_session
from writ_agent_ssh.host_sessions import settlement
from writ_contracts.errors import Unreachable
from writ_testing.eventually import eventually
from writ_testing.peers.sshd import paused
from writ_testing.suites.backend import ProgressRecorder


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report a host sooner."""
    monkeypatch.setattr(silence_watch, "PAUSE", 0.2)
    monkeypatch.setattr(silence_watch, "LATE_SECONDS", 0.5)
    monkeypatch.setattr(host_session, "ANSWER_SECONDS", 0.5)


async def reported(heard: ProgressRecorder, count: int = 1) -> list[tuple[str, str]]:
    async def enough() -> bool:
        return len(heard.silences) >= count

    await eventually(enough, within=30)
    return heard.silences


def expected(host: SshHost, text: str) -> re.Pattern[str]:
    return re.compile(f"{host.target.id} {text}")


async def under_way(host: SshHost, task: Task) -> tuple["asyncio.Task[object]", ProgressRecorder]:
    heard = ProgressRecorder()
    run: asyncio.Task[object] = asyncio.create_task(host.backend.run(task, heard))
    await asyncio.wait_for(heard.first.wait(), 20)
    return run, heard


async def test_change_on_a_host_that_hangs_is_reported_until_the_host_replies(host: SshHost) -> None:
    await host.pool.session(host.target)
    run, heard = await under_way(host, replace(count(host, delay=1.0), timeout=40.0))
    with paused(host.server.sessions()):
        name, text = (await reported(heard))[0]
        assert name == host.target.id
        end = r"If it stays silent, its outcome is unknown at the timeout, 40 s after the start"
        assert expected(host, rf"has not replied for more than [35] s\. {end}").fullmatch(text), text
        assert (await reported(heard, 2))[1][1].startswith(f"{host.target.id} has not replied for more than 5 s.")
    done = await asyncio.wait_for(run, 20)
    assert getattr(done, "outcome", None) == "succeeded"
    assert counted(host) != []


@pytest.mark.usefixtures("impatient")
async def test_host_that_replies_again_is_reported(host: SshHost) -> None:
    await host.pool.session(host.target)
    run, heard = await under_way(host, replace(host.slow("b" * 26), timeout=60.0))
    with paused(host.server.sessions()):
        await reported(heard)

    async def again() -> bool:
        return heard.silences[-1] == ("", f"{host.target.id} replies again")

    await eventually(again)
    await host.backend.stop("b" * 26, 0.2)
    await asyncio.wait_for(run, 30)


@pytest.mark.usefixtures("impatient")
async def test_read_of_a_host_that_hangs_is_reported_to_fail(host: SshHost) -> None:
    async with silent_server() as port:
        await host.pool.session(host.target)
        heard = ProgressRecorder()
        task = host.task("network_test", host="127.0.0.1", port=port, protocol="http")
        run = asyncio.create_task(host.backend.run(replace(task, timeout=60.0), heard))
        with paused(host.server.sessions()):
            _, text = (await reported(heard))[0]
            assert re.search(r"If it stays silent, the operation fails at the timeout, 60 s after the start$", text), (
                text
            )
        await host.backend.stop(task.operation_id, 0.2)
        await asyncio.wait_for(run, 30)


@pytest.mark.usefixtures("impatient")
async def test_host_that_does_not_accept_the_connection_is_reported(host: SshHost) -> None:
    heard = ProgressRecorder()
    async with silent_server() as port:
        connection = host.server.connection(port=port, host_key_alias="127.0.0.1", connect_timeout=1.5)
        host.target = host.server.target(connection=connection)
        with pytest.raises(Unreachable):
            await host.backend.run(count(host), heard)
    text = "has not replied for more than 0.5 s while the agent connects. Nothing has run; the operation fails if the"
    assert heard.silences == [(host.target.id, f"{host.target.id} {text} connection does")]


@pytest.mark.usefixtures("impatient")
async def test_host_that_is_not_reached_after_its_connection_broke_is_reported(host: SshHost) -> None:
    await host.pool.session(host.target)
    assert host.server.process is not None
    run, heard = await under_way(host, replace(count(host, delay=0.5), timeout=40.0))
    with paused([host.server.process.pid]):
        kill_sessions(host)
        name, text = (await reported(heard))[0]
        begin = (
            f"the connection to {host.target.id} broke, and it has not replied since. If it stays silent, its outcome"
        )
        assert (name, text.partition(" is unknown at the timeout, 40 s")[0]) == (host.target.id, begin)
    await asyncio.wait_for(run, 30)


async def test_host_that_replies_to_pings_is_not_reported(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a long operation, with a ping every few milliseconds."""
    monkeypatch.setattr(silence_watch, "PAUSE", 0.01)
    monkeypatch.setattr(silence_watch, "LATE_SECONDS", 60.0)  # a slow machine connects late
    monkeypatch.setattr(host_session, "ANSWER_SECONDS", 20.0)
    pings = []
    real = host_session.HostopsSession.is_silent

    async def is_silent(session: host_session.HostopsSession) -> bool:
        pings.append(await real(session))
        return pings[-1]

    monkeypatch.setattr(host_session.HostopsSession, "is_silent", is_silent)
    heard = ProgressRecorder()
    done = await asyncio.wait_for(host.backend.run(count(host, delay=1.0), heard), 30)
    assert (done.outcome, heard.silences) == ("succeeded", [])
    assert len(pings) >= 3
    assert not any(pings)


async def test_host_that_replies_after_its_connection_broke_is_not_reported(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operation goes on there, and is queried until its end."""
    await host.pool.session(host.target)
    run, heard = await under_way(host, replace(count(host, delay=4.0), timeout=60.0))
    replied = asyncio.Event()
    real = settlement.Settlement._responding_session

    async def responding(one: settlement.Settlement) -> host_session.HostSession:
        session = await real(one)
        replied.set()
        return session

    monkeypatch.setattr(settlement.Settlement, "_responding_session", responding)
    kill_sessions(host)
    await asyncio.wait_for(replied.wait(), 20)
    heard.silences.clear()  # of a slow machine, which needed long to connect again
    await asyncio.wait_for(run, 30)
    assert [one for one in heard.silences if one[0]] == []

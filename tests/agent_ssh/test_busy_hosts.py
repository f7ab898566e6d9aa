"""Many targets that are one busy machine: their connections wait their turn, and sshd's limit of logins is survived."""

import asyncio
from pathlib import Path

import pytest
from tests.agent_ssh.conftest import SshHost, ssh_host
from tests.agent_ssh.test_connecting import code_of

from writ_agent_ssh.host_sessions import silence_notices
from writ_agent_ssh.host_sessions.session import HostopsSession
from writ_contracts.inventory import Target
from writ_testing.eventually import eventually
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


async def test_host_that_always_hangs_up_is_tried_for_half_of_the_login_time(tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", "MaxStartups 1", "PerSourcePenalties no") as host:
        host.server.target()
        reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        assert (await reader.readline()).startswith(b"SSH-2.0")
        assert await code_of(host, connect_timeout=3.0) == "turned_away"
        assert host.server.log.read_text().count("drop connection") >= 1
        writer.close()


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


async def test_connection_that_waits_its_turn_is_reported_so(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_notices, "LATE_SECONDS", 0.05)
    starts, heard = HeldStarts(monkeypatch), ProgressRecorder()
    others = [asyncio.create_task(host.pool.session(target)) for target in targets(host, 4)]

    async def four() -> bool:
        return starts.begun == 4

    await eventually(four)
    run = asyncio.create_task(host.backend.run(host.task("network_status"), heard))
    await asyncio.wait_for(heard.first.wait(), 20)
    assert heard.words == ["web1 waits while others connect to the same address. Nothing has run"]
    assert heard.silences == []
    starts.let_go.set()
    await asyncio.gather(*others)
    assert (await run).outcome == "succeeded"

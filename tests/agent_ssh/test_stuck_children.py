"""A process of hostops that does not read its request holds up no other request of its host."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace
from tests.agent_ssh.conftest import SshHost

from writ_agent.work.running import RunningOperation
from writ_agent_ssh.host_sessions.session import HostSession
from writ_contracts.ids import encode_id
from writ_testing.eventually import eventually
from writ_testing.search import cmdline, contents
from writ_testing.suites.backend import ProgressRecorder

LARGE = "x" * 1_000_000
"""More than a pipe takes (64 KiB)."""


def waiting_children(host: SshHost) -> list[int]:
    """Return the processes of hostops that have no children."""
    ours = [pid for pid in host.server.sessions() if b"\0-S\0-c\0exec(" in cmdline(pid)]
    return [pid for pid in ours if not contents(Path(f"/proc/{pid}/task/{pid}/children")).split()]


def send(processes: list[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that live."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def busy(session: HostSession) -> bool:
    return session.busy


async def test_host_replies_while_a_child_does_not_read_a_large_request(host: SshHost) -> None:
    assert (await host.run("network_status")).outcome == "succeeded"
    session = await host.pool.session(host.target)
    stuck = waiting_children(host)
    assert stuck
    send(stuck, signal.SIGSTOP)
    write = host.task("file_write", encode_id(os.urandom(16)), file_path=f"{host.root}/large", content=LARGE)
    running = RunningOperation(host.backend, replace(write, timeout=2.0), ProgressRecorder(), 1.0)
    ending = asyncio.create_task(running.wait())
    await eventually(lambda: busy(session), what="its request on the way")
    await session.answers()
    done = await asyncio.wait_for(ending, 60)
    assert (done.outcome, done.over) == ("unknown", True)
    assert not session.lost
    send(stuck, signal.SIGCONT)
    assert (await host.run("network_status", encode_id(os.urandom(16)))).outcome == "succeeded"

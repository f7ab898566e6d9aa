"""Broken connections, hanging hosts and chatty shells: one correct outcome each, and no leftovers."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.agent_ssh.conftest import ID, SshHost, ssh_host

from writ_agent.backends.port import Task, TaskResult
from writ_agent.backends.turn_waits import TurnWait
from writ_agent.work.running import RunningOperation
from writ_agent_ssh.host_sessions.session import HostopsSession
from writ_agent_ssh.host_sessions.settlement import Probe, Settlement
from writ_agent_ssh.startup import bootstrap
from writ_contracts.errors import WritError
from writ_hostops import processes
from writ_testing.eventually import eventually
from writ_testing.peers.tcp_proxy import tcp_proxy
from writ_testing.search import cmdline, contents, pids
from writ_testing.stopwatch import stopwatch
from writ_testing.suites.backend import ProgressRecorder


def kill_sessions(host: SshHost) -> None:
    """Kill sshd's own processes, as if the network had failed, but none that they started."""
    processes.kill([pid for pid in host.server.sessions() if "sshd" in _name(pid)], signal.SIGKILL)


async def begun(host: SshHost, task: Task) -> asyncio.Task[TaskResult]:
    """The operation, under way on the host."""
    heard = ProgressRecorder()
    run = asyncio.create_task(host.backend.run(task, heard))
    await asyncio.wait_for(heard.first.wait(), 20)
    return run


def count(host: SshHost, delay: float = 0.0) -> Task:
    return host.task("test_count", path=f"{host.root}/counted", delay=delay)


def counted(host: SshHost) -> list[str]:
    path = host.root / "counted"
    return path.read_text().splitlines() if path.exists() else []


async def test_a_change_whose_connection_breaks_is_finished_there_and_its_own_result_is_reported(host: SshHost) -> None:
    run = await begun(host, count(host, delay=1.0))
    kill_sessions(host)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.effect, done.output, done.over) == ("succeeded", "done", {"lines": 1}, True)
    assert counted(host) == [ID]


async def test_settlement_of_a_change_ends_with_its_timeout_however_long_it_waited_its_turn(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, wait = list[float](), Settlement.wait

    async def timed(one: Settlement, until: float, probe: Probe, replied: Callable[[], None]) -> TaskResult:
        left.append(until - time.monotonic())
        return await wait(one, until, probe, replied)

    monkeypatch.setattr(Settlement, "wait", timed)
    monkeypatch.setattr(TurnWait, "seconds", 1_000.0)
    task = count(host, delay=1.0)
    run = await begun(host, task)
    kill_sessions(host)
    assert (await asyncio.wait_for(run, 20)).outcome == "succeeded"
    assert [seconds <= task.timeout for seconds in left] == [True]


async def test_read_fails_when_its_connection_breaks(host: SshHost) -> None:
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        heard = ProgressRecorder()
        task = host.task("network_test", host="127.0.0.1", port=port, protocol="http", timeout=60)
        run = asyncio.create_task(host.backend.run(task, heard))

        async def is_running() -> bool:
            return ID in host.backend._runs and bool(host.backend._runs[ID].tag)

        await eventually(is_running)
        kill_sessions(host)
        done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.code, done.effect) == ("failed", "connection_lost", "none")


async def test_request_that_did_not_reach_the_host_never_will(host: SshHost) -> None:
    session = await host.pool.session(host.target)
    assert (await session.settle(ID, 1, end=False))["seen"] == "never"
    done = await host.backend.run(count(host), ProgressRecorder())
    assert (done.outcome, done.code) == ("unknown", "already_seen")
    assert counted(host) == []


async def test_a_child_killed_before_its_effect_is_seen_by_the_probe(host: SshHost) -> None:
    task = count(host, delay=30.0)
    task = replace(task, baseline=await host.backend.baseline(task))
    run = await begun(host, task)
    kill_sessions(host)
    for pid in await eventually(lambda: workers(host)):
        os.kill(pid, signal.SIGKILL)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.code, done.effect, done.over) == ("failed", "connection_lost", "none", True)
    assert counted(host) == []


async def test_change_without_a_probe_is_over_and_its_effect_unknown(host: SshHost) -> None:
    task = host.slow(ID)
    run = await begun(host, task)
    kill_sessions(host)
    there = [*await eventually(lambda: workers(host)), *processes.marked(ID)]
    processes.kill(there, signal.SIGKILL)  # the host ends the others as soon as the first one is gone
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "connection_lost", "maybe", True)


@pytest.mark.usefixtures("patient")
async def test_operation_behind_a_broken_connection_can_be_ended(host: SshHost) -> None:
    run = await begun(host, host.slow(ID))
    await eventually(lambda: host.busy(ID))
    kill_sessions(host)
    assert await host.backend.stop(ID, 0.5)
    done = await asyncio.wait_for(run, 20)
    assert done.over
    assert processes.marked(ID) == []


async def test_a_worker_that_dies_leaves_a_change_unknown(host: SshHost) -> None:
    done = await host.run("test_fail", how="defect")
    assert (done.outcome, done.code, done.effect) == ("unknown", "ended", "maybe")


async def test_processes_of_a_killed_hostops_are_ended(host: SshHost) -> None:
    run = await begun(host, host.slow(ID))
    await eventually(lambda: host.busy(ID))
    for pid in await eventually(lambda: workers(host)):
        os.kill(pid, signal.SIGKILL)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "ended", "maybe", True)
    assert processes.marked(ID) == []


@pytest.mark.usefixtures("patient")
async def test_a_timeout_is_kept_on_the_host_itself(host: SshHost) -> None:
    await host.pool.session(host.target)
    running = RunningOperation(
        host.backend, replace(host.task("test_sleep", stubborn=True), timeout=1.0), ProgressRecorder(), 0.5
    )
    with stopwatch() as seconds:
        done = await running.wait()
    assert seconds() < 6
    assert (done.outcome, done.over) == ("unknown", True)
    assert processes.marked(ID) == []


async def test_a_network_that_falls_silent_has_an_outcome_in_time(host: SshHost) -> None:
    async with tcp_proxy(host.server.port) as proxy:
        host.server.trust([proxy.port])
        host.target = host.server.target(connection=host.server.connection(port=proxy.port))
        await host.pool.session(host.target)
        heard = ProgressRecorder()
        running = RunningOperation(host.backend, replace(host.task("test_sleep"), timeout=5.0), heard, 0.2)
        await asyncio.wait_for(heard.first.wait(), 20)
        proxy.stall()
        with stopwatch() as seconds:
            done = await running.wait()
        assert seconds() < 5 + 5 + 2
        assert (done.outcome, done.code, done.over) == ("unknown", "timeout", False)
        proxy.flow()


async def test_an_agent_that_is_gone_leaves_nothing_on_the_host_but_a_finished_change(host: SshHost) -> None:
    run = await begun(host, count(host, delay=1.0))
    await host.pool.close()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)

    async def finished() -> bool:
        return counted(host) == [ID] and not host.server.sessions() and not await _supervisors(host)

    await eventually(finished)


async def test_a_greeting_before_the_first_frame_is_skipped(tmp_path: Path) -> None:
    noise = f'ForceCommand echo "Welcome to {"x" * 9000}"; echo; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
    async with ssh_host(tmp_path / "host", noise) as host:
        assert (await host.run("network_status")).outcome == "succeeded"


@pytest.fixture(
    params=[
        ("cat /dev/zero | head -c 100000000", "garbled", 20.0),
        ("cat /dev/zero | head -c 100000000 >&2", "garbled", 20.0),
        ("cat /dev/zero >&2", "garbled", 20.0),
        ("exit 3", "connection_lost", 20.0),
        ("sleep 60", "unreachable", 2.0),
        ('PATH=/nonexistent exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"', "no_python", 20.0),
    ],
    ids=["garbage", "errors", "endless", "exits", "hangs", "no-python"],
)
async def odd(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[SshHost, str]]:
    command, code, seconds = request.param
    async with ssh_host(tmp_path / "host", f"ForceCommand {command}") as host:
        host.target = host.server.target(connection=host.server.connection(connect_timeout=seconds))
        yield host, code


async def test_host_with_garbled_or_no_replies_has_an_error_code_and_leaks_nothing(odd: tuple[SshHost, str]) -> None:
    host, code = odd
    with pytest.raises(WritError) as refused:
        await asyncio.wait_for(host.run("network_test", host="127.0.0.1"), 50)
    assert refused.value.code == code
    if code == "unreachable":
        assert re.search(
            r"hostops did not start on the host within [12] s: its Python or its login is slow", str(refused.value)
        )

    async def gone() -> bool:
        return not [pid for pid in host.server.sessions() if "sshd" in _name(pid)]

    await eventually(gone)


async def test_noise_in_the_middle_of_the_stream_ends_the_connection(host: SshHost) -> None:
    session = await host.pool.session(host.target)
    assert isinstance(session, HostopsSession)
    run = await begun(host, count(host, delay=0.5))
    session._channel.data_received(b"Broadcast message: the system goes down\n" * 10, None)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.effect) == ("succeeded", "done")
    assert session.lost


async def test_a_folder_that_others_can_write_to_is_not_used(host: SshHost) -> None:
    host.server.host_folder.mkdir()
    host.server.host_folder.chmod(0o777)
    with pytest.raises(WritError) as refused:
        await host.run("network_status")
    assert refused.value.code == "unusable_folder"


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def _name(pid: int) -> str:
    return contents(Path(f"/proc/{pid}/comm")).decode(errors="replace")


def _commands() -> dict[int, str]:
    return {pid: cmdline(pid).replace(b"\0", b" ").decode(errors="replace") for pid in pids()}


async def _supervisors(host: SshHost) -> list[int]:
    """Return the living hostops processes that came from this server's folder."""
    folder = str(host.server.host_folder)
    return [pid for pid, command in _commands().items() if "readline())" in command and _uses(pid, folder)]


def _uses(pid: int, folder: str) -> bool:
    try:
        return folder in Path(f"/proc/{pid}/maps").read_text() or folder in str(processes.marked(ID))
    except OSError:
        return False


async def workers(host: SshHost) -> list[int] | None:
    """Return the process with the operation's mark."""
    mark = host.server.host_folder / "marks" / f"{ID}.1.begun"
    who = json.loads(text)["process"] if (text := contents(mark)) else {}
    return [who["pid"]] if processes.alive(who) else None


@pytest.mark.parametrize("kept", [None, b""])
async def test_code_on_the_host_that_is_not_whole_any_more_is_sent_again(host: SshHost, kept: bytes | None) -> None:
    """A crash leaves files without their content; a cleanup of the disk removes them."""
    assert (await host.run("network_status")).outcome == "succeeded"
    await host.pool.close()
    (code,) = (host.server.host_folder / "code").iterdir()
    lost = code / "writ_hostops" / "supervised" / "start.py"
    lost.unlink()
    if kept is not None:
        lost.write_bytes(kept)
    assert (await host.run("network_status")).outcome == "succeeded"
    assert list((host.server.host_folder / "code").iterdir()) == [code]
    assert lost.stat().st_size


def test_old_code_that_another_connection_has_just_removed_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    os.utime(old, (0, 0))
    monkeypatch.setattr("writ_agent_ssh.startup.bootstrap.os.listdir", lambda _: ["gone", "old"])
    bootstrap.sweep(str(tmp_path))
    assert not old.exists()

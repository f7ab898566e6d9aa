"""A host that fails during an operation yields the right outcome within the timeout and five seconds.

`ssh_host` checks that no process or file is left.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import fields, replace
from tests.agent_ssh.conftest import ID, SshHost, ssh_host
from tests.agent_ssh.test_breaks import begun, kill_sessions, workers

from writ_agent.backends.port import Task, TaskResult
from writ_agent.config import AgentConfig
from writ_agent.work.running import RunningOperation
from writ_agent_ssh.startup.archive import build
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_hostops.supervised import frames
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.stopwatch import stopwatch
from writ_testing.suites.backend import ProgressRecorder

TIMEOUT, LATE = 2.0, 5.0
BOOTSTRAP = 'exec(open(0,"rb",0,closefd=False).readline())'
GRACE = next(field.default for field in fields(AgentConfig) if field.name == "kill_grace")
ODD = """
import json, os, struct, sys
source = open(0, "rb", 0, closefd=False)
source.readline()
nonce = json.loads(source.readline())["nonce"]

def tell(kind, message, claimed=None):
    head = json.dumps(message).encode()
    data = struct.pack(">cII", kind, claimed or len(head), 0) + head
    while data:
        data = data[os.write(1, data):]

def hang():  # until the connection ends
    while source.read(1):
        pass
    sys.exit()

def flood(data, times):
    for _ in range(times):
        os.write(1, data)

os.write(1, f"\\nWRIT-HERE {nonce} \\n".encode())
tell(b"H", {"boot_id": "b", "operations": []})
mute = sys.argv[0] + ".mute"
while os.path.exists(mute):
    hang()
while True:
    kind, head, attached = struct.unpack(">cII", source.read(9))
    tag = json.loads(source.read(head))["tag"]
    if kind == b"P":
        tell(b"R", {"tag": tag})
        continue
    BEHAVIOUR
"""
BEHAVIOURS = {
    "hangs": "hang()",
    "hangs up": "sys.exit(1)",
    "hangs up, and does not say what became of it": f"sys.exit(1) if kind == {frames.REQUEST!r} else hang()",
    "hangs up, and is mute": "open(mute, 'w').close(); sys.exit(1)",
    "garbage": "flood(bytes(1 << 20), 100)",
    "endless progress": "while True: tell(b'G', {'tag': tag, 'message': 'x' * 400})",
    "endless log": "while True: tell(b'L', {'tag': tag, 'message': 'x' * 400})",
    "a frame of 4 GB": "tell(b'R', {'tag': tag}, claimed=1 << 31); flood(bytes(1 << 20), 100)",
    "no JSON": "flood(struct.pack('>cII', b'R', 3, 0) + b'{{{', 1); hang()",
    "another's answer": "tell(b'R', {'tag': 999}); hang()",
    "no result": "tell(b'R', {'tag': tag, 'outcome': 'wonderful', 'seen': 'wonderful'}); hang()",
}


@asynccontextmanager
async def odd_host(folder: Path, behaviour: str) -> AsyncIterator[SshHost]:
    """Yield a host that reports a hostops, and then does that with each request."""
    folder.mkdir()
    script = folder / "odd.py"
    script.write_text(ODD.replace("BEHAVIOUR", behaviour))
    async with ssh_host(folder / "host", f"ForceCommand exec {sys.executable} {script}") as host:
        yield host


async def timed(host: SshHost, task: Task) -> TaskResult:
    """Return the agent's report, which must come in time."""
    with stopwatch() as seconds:
        done = await RunningOperation(host.backend, replace(task, timeout=TIMEOUT), ProgressRecorder(), GRACE).wait()
    assert seconds() < TIMEOUT + LATE
    return done


def change(host: SshHost, delay: float = 0.0) -> Task:
    return host.task("test_count", path=f"{host.root}/counted", delay=delay)


@pytest.mark.parametrize("behaviour", some(BEHAVIOURS, "hangs", "hangs up", "endless log", "a frame of 4 GB"))
async def test_host_that_misbehaves_later_leaves_a_change_unknown_and_fails_a_read(
    tmp_path: Path, behaviour: str
) -> None:
    async with odd_host(tmp_path / "odd", BEHAVIOURS[behaviour]) as host:
        await host.pool.session(host.target)  # it is odd only afterwards
        changed = await timed(host, change(host))
        assert (changed.outcome, changed.effect) == ("unknown", "maybe")
        looked = await timed(host, host.task("network_test", host="127.0.0.1"))
        assert (looked.outcome, looked.effect) in [("failed", "none"), ("unknown", "none")]


@pytest.mark.parametrize("place", ["output", "state"])
async def test_a_result_with_too_many_values_is_garbled_and_no_defect_of_the_agent(tmp_path: Path, place: str) -> None:
    result = f"'outcome': 'succeeded', 'effect': 'done', '{place}': {{str(i): 'x' for i in range(1025)}}"
    async with odd_host(tmp_path / "odd", f"tell(b'R', {{'tag': tag, {result}}})") as host:
        changed = await timed(host, change(host))
        looked = await timed(host, host.task("network_test", host="127.0.0.1"))
        with pytest.raises(WritError, match="more than 1024 values") as refused:
            await host.backend.baseline(change(host))
    assert (changed.outcome, changed.effect, changed.code) == ("unknown", "maybe", "garbled")
    assert (looked.outcome, looked.effect, looked.code) == ("failed", "none", "garbled")
    assert "more than 1024 values" in changed.message
    assert refused.value.code == "garbled"


async def test_a_host_that_never_returns_leaves_a_change_unknown_in_time(host: SshHost) -> None:
    await host.pool.session(host.target)
    timeout = 5.0  # it has to begin within this
    running = RunningOperation(
        host.backend, replace(change(host, delay=60.0), timeout=timeout), heard := ProgressRecorder(), GRACE
    )
    await asyncio.wait_for(heard.first.wait(), 20)
    with stopwatch() as seconds:
        kill_sessions(host)
        await host.server.stop()
        done = await running.wait()
    assert (done.outcome, done.effect, done.over) == ("unknown", "maybe", False)
    assert seconds() < timeout + LATE


@pytest.mark.parametrize(("probed", "outcome"), [(True, "failed"), (False, "unknown")])
async def test_a_reboot_in_the_middle_is_reported_by_the_boot_id(host: SshHost, probed: bool, outcome: str) -> None:
    task = change(host, delay=60.0)
    task = replace(task, operation=replace(task.operation, probe=probed), baseline=await host.backend.baseline(task))
    run = await begun(host, task)
    await crash(host)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.code, done.over) == (outcome, "host_rebooted", True)


async def test_effect_before_a_reboot_counts(host: SshHost) -> None:
    task = change(host, delay=60.0)
    task = replace(task, baseline=await host.backend.baseline(task))
    run = await begun(host, task)
    (host.root / "counted").write_text(f"{ID}\n")  # as if it had come so far
    await crash(host)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.effect, done.over) == ("succeeded", "done", True)


async def crash(host: SshHost) -> None:
    """Leave the state after a power cut: no process, and a mark of another boot."""
    [worker] = await eventually(lambda: workers(host))
    mark = host.server.host_folder / "marks" / f"{ID}.1.begun"
    record = json.loads(mark.read_text())
    record["process"]["boot_id"] = "another"
    mark.write_text(json.dumps(record))
    there = [*host.server.sessions(), worker]
    kill_sessions(host)  # first, or somebody there would still tell that the worker is gone
    for pid in there:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_full_disk_refuses_a_file_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", full(300_000)) as host:
        path = host.root / "a"
        path.write_text("before")
        done = await host.run("file_write", file_path=str(path), content="x" * 500_000)
        assert (done.outcome, done.code, done.effect, done.over) == ("failed", "no_space", "none", True)
        assert [(one.name, one.read_text()) for one in host.root.iterdir()] == [("a", "before")]


async def test_without_room_for_its_mark_nothing_is_begun(tmp_path: Path, host: SshHost) -> None:
    await host.run("network_status")
    async with ssh_host(tmp_path / "full", full(20)) as later:
        folder = str(host.server.host_folder)
        later.target = later.server.target(connection=later.server.connection(folder=folder))
        done = await later.run("test_count", path=f"{later.root}/counted")
        assert (done.outcome, done.code, done.effect) == ("failed", "no_space", "none")
        assert not (later.root / "counted").exists()


async def test_without_room_for_hostops_nothing_of_it_is_left(tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", full(2_000)) as host:
        for _ in range(3):
            with pytest.raises(WritError) as refused:
                await host.run("network_status")
            assert refused.value.code == "unusable_folder"
        assert list((host.server.host_folder / "code").iterdir()) == []


async def test_many_connections_that_break_leave_nothing(host: SshHost) -> None:
    for number in range(12):
        number_id = encode_id(number.to_bytes(16, "big"))
        run = await begun(host, host.task("test_count", number_id, path=f"{host.root}/{number}", delay=0.2))
        kill_sessions(host)
        assert (await asyncio.wait_for(run, 20)).outcome == "succeeded"


def full(most: int) -> str:
    """Return a host with a limit on file length, which acts like a full disk."""
    return f'ForceCommand exec prlimit --fsize={most} /bin/sh -c "$SSH_ORIGINAL_COMMAND"'


def test_host_gets_no_bytecode_of_its_own_python(tmp_path: Path) -> None:
    """On a full disk, a .pyc would be cut off, and break that module for every program on the host."""
    opening = build(()).opening("nonce", str(tmp_path / "no-folder" / "of-it"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", BOOTSTRAP],
        input=opening,
        env={"PYTHONPYCACHEPREFIX": str(tmp_path / "cache")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"WRIT-UNUSABLE nonce" in done.stdout, done
    kept = {path.name.partition(".")[0] for path in (tmp_path / "cache").rglob("*.pyc")}
    assert not kept & {"zipfile", "hashlib", "tempfile", "shutil"}

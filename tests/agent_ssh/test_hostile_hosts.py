"""Hostile hosts cost the agent little, and their answers cannot pose as anything else in the journal."""

import asyncio
import importlib.util
import json
import logging
import marshal
import resource
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.agent_ssh.conftest import ARCHIVE, SshHost, ssh_host
from tests.agent_ssh.test_troubles import odd_host, timed

from writ_agent.work.running import RunningOperation
from writ_agent_ssh.host_sessions.channel import MOST_LOG
from writ_agent_ssh.host_sessions.channel_pace import BURST, RATE
from writ_agent_ssh.startup.bootstrap import contents
from writ_contracts.errors import WritError
from writ_contracts.wire import canonical
from writ_testing.eventually import eventually
from writ_testing.stopwatch import stopwatch
from writ_testing.suites.backend import ProgressRecorder

MB = 1024 * 1024
SECRET = "a secret of the file's content"
ASKS_AGAIN = """
import json, os, time
source = open(0, "rb", 0, closefd=False)
source.readline()
nonce = json.loads(source.readline())["nonce"]
while True:
    try:
        os.write(1, f"\\nWRIT-SEND {nonce} \\n".encode() * 1000)
    except OSError:
        break
"""


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@asynccontextmanager
async def opening_host(folder: Path, script: str) -> AsyncIterator[SshHost]:
    """Yield a host with this script as its answer to the bootstrap."""
    folder.mkdir()
    (folder / "opening.py").write_text(script)
    async with ssh_host(folder / "host", f"ForceCommand exec {sys.executable} {folder}/opening.py") as host:
        yield host


async def test_connection_ends_if_the_host_requests_the_archive_twice(tmp_path: Path) -> None:
    async with opening_host(tmp_path / "host", ASKS_AGAIN) as host:
        before = peak()
        with stopwatch() as seconds, pytest.raises(WritError) as refused:
            await host.run("network_status")
        assert refused.value.code == "garbled"
        assert seconds() < 5.0
        assert peak() - before < 64 * MB


FAILED = (
    "tell(b'R', {{'tag': tag, 'outcome': 'failed', 'code': {code}, 'message': {message}, 'state': {state}}}); hang()"
)


def failed(code: str = "'internal'", message: str = "''", state: str = "{}") -> str:
    return FAILED.format(code=code, message=message, state=state)


OVERLAPPING = """
head = json.dumps({"tag": tag, "attached": [["output", "a", 8], ["output", "b", -8]]}).encode()
flood(struct.pack(">cII", b"R", len(head), 8) + head + bytes(8), 1); hang()
""".strip().replace("\n", "; ")


@pytest.mark.parametrize(
    "answer",
    [
        failed(message=r"'\ud800'"),
        failed(code=r"'\udfff'"),
        failed(state=r"{'\ud800': 1}"),
        failed(state="{'a': float('nan')}"),
        failed(state="{'a': 2**70}"),
        failed(code="'host_key_changed'"),
        failed(code="'tailscale_wrong_node'"),
        OVERLAPPING,
    ],
)
async def test_reply_that_hostops_never_sends_ends_the_connection_without_a_result(tmp_path: Path, answer: str) -> None:
    async with odd_host(tmp_path / "odd", answer) as host:
        await host.pool.session(host.target)
        looked = await timed(host, host.task("network_test", host="127.0.0.1"))
        canonical([looked.outcome, looked.code, looked.message, looked.state])
        assert (looked.outcome, looked.code, looked.effect) == ("failed", "garbled", "none")


async def test_secret_in_a_hosts_answer_stays_out_of_the_journal(tmp_path: Path) -> None:
    statements = [
        f"echo = {json.dumps({'content': SECRET})!r}",
        "tell(b'G', {'tag': tag, 'message': echo})",
        "result = {'outcome': 'failed', 'code': 'internal', 'effect': 'none', 'message': echo}",
        "seen = {'output': {'digest_after': echo}, 'state': {'digest': [echo], echo: 1}}",
        "tell(b'R', {'tag': tag, **result, **seen}); hang()",
    ]
    async with odd_host(tmp_path / "odd", "; ".join(statements)) as host:
        task = host.task("file_write", file_path=f"{host.root}/a", content=SECRET)
        done = await timed(host, task)
        assert done.code == "internal"
        assert SECRET not in json.dumps([done.message, done.state, done.output.get("digest_after")])
        assert "<secret>" in done.message


async def test_a_host_writes_no_more_into_the_log_than_hostops_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    flood = "[tell(b'L', {'tag': of, 'message': 'x' * 30000}) for of in (tag, 999) for _ in range(100)]; hang()"
    async with odd_host(tmp_path / "odd", flood) as host:
        await timed(host, host.task("network_test", host="127.0.0.1"))
        written = capsys.readouterr()
        assert len(written.out) + len(written.err) + len(caplog.text) < 8 * MOST_LOG


async def test_a_host_that_floods_with_progress_is_read_at_a_bounded_pace(tmp_path: Path) -> None:
    flood = "[tell(b'G', {'tag': tag, 'message': 'x' * 400}) for _ in iter(int, 1)]"
    async with odd_host(tmp_path / "odd", flood) as host:
        await host.pool.session(host.target)
        heard, began = ProgressRecorder(), time.process_time()
        running = RunningOperation(
            host.backend, replace(host.task("network_test", host="127.0.0.1"), timeout=1.5), heard, 0.5
        )
        await running.wait()
        assert len(heard.words) * 400 < BURST + 6.0 * RATE
        assert time.process_time() - began < 2.0  # the event loop is free for others


ENDLESS = "write = open(1, 'wb', closefd=False).write; [write(frame * 6000) for _ in iter(int, 1)]"
FLOODS = {
    "greetings": f"frame = struct.pack('>cII', b'H', 2, 0) + b'{{}}'; {ENDLESS}",
    "results of nothing": f"frame = struct.pack('>cII', b'R', 11, 0) + b'{{\"tag\": 99}}'; {ENDLESS}",
    "results of one request": "[tell(b'R', {'tag': tag, 'outcome': 'succeeded'}) for _ in iter(int, 1)]",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_host_that_floods_with_greetings_or_results_is_cut_off_at_the_first_in_excess(
    tmp_path: Path, flood: str
) -> None:
    async with odd_host(tmp_path / "odd", flood) as host:
        session = await host.pool.session(host.target)
        began = time.process_time()
        looked = await timed(host, host.task("network_test", host="127.0.0.1"))
        assert looked.code == ("" if "succeeded" in flood else "garbled")

        async def lost() -> bool:
            return session.lost

        await eventually(lost, what="the end of the connection")
        assert time.process_time() - began < 0.5  # the event loop is free for others


async def test_opening_a_channel_counts_into_its_time(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = replace_timeout(host, 2)
    host.target = host.server.target(connection=connection)

    async def never(*_: object, **__: object) -> object:
        return await asyncio.Event().wait()

    monkeypatch.setattr("asyncssh.SSHClientConnection.create_session", never)
    with stopwatch() as seconds, pytest.raises(WritError) as refused:
        await host.backend.run(replace(host.task("network_status"), timeout=40.0), lambda _: None)
    assert refused.value.code == "unreachable"
    assert seconds() < 10.0


def replace_timeout(host: SshHost, seconds: float) -> dict[str, object]:
    return host.server.connection(connect_timeout=seconds)


def changed(code: Path) -> None:
    path = code / "writ_hostops" / "network" / "status.py"
    text = path.read_bytes()
    path.write_bytes(b"raise SystemExit  # " + b"x" * (len(text) - 20))


def added(code: Path) -> None:
    (code / "json.py").write_text("raise SystemExit")


def linked(code: Path) -> None:
    (code.parent / "elsewhere").mkdir()
    (code.parent / "elsewhere" / "__init__.py").write_text("raise SystemExit")
    (code / "json").symlink_to(code.parent / "elsewhere")


def bytecode(code: Path) -> None:
    """Write the bytecode that Python would make from the source there."""
    source = code / "writ_hostops" / "network" / "status.py"
    stat = source.stat()
    text = marshal.dumps(compile("raise SystemExit", str(source), "exec"))
    head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(stat.st_mtime), stat.st_size)
    cached = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(head + text)


@pytest.mark.parametrize("spoil", [changed, added, linked, bytecode])
async def test_code_on_a_host_that_somebody_changed_is_not_run(host: SshHost, spoil: Callable[[Path], None]) -> None:
    assert (await host.run("network_status")).outcome == "succeeded"
    await host.pool.close()
    (code,) = [path for path in (host.server.host_folder / "code").iterdir() if path.name == ARCHIVE.digest]
    spoil(code)
    assert (await host.run("network_status")).outcome == "succeeded"
    assert contents(str(code)) == ARCHIVE.contents

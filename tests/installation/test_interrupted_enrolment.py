"""`writ-enrol` ends on Ctrl-C with one line, wherever it is."""

import asyncio
import base64
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path

from writ_contracts.wire import encode
from writ_trust.enrolment_tickets import HEAD, Ticket
from writ_trust.keys import Key, generate_seed


def token(port: int) -> str:
    seed = generate_seed().decode()
    key = Key(seed.encode(), "").public
    ticket = Ticket(
        token="a" * 26,
        seed=seed,
        pool="a",
        url=f"nats://127.0.0.1:{port}",
        policy_key=key,
        installation="a" * 26,
    )
    return HEAD + base64.urlsafe_b64encode(encode(ticket)).decode()


async def started(folder: Path, token_file: Path) -> Process:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    words = ("--to", str(folder / "etc"), "--token-file", str(token_file))
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "writ_enrolment", *words), cwd=folder, stdout=PIPE, stderr=PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)


async def interrupted(process: Process) -> tuple[int | None, str, str]:
    """Send SIGINT twice at once; return status and outputs."""
    for _ in range(2):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
    try:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()


async def test_ctrl_c_ends_an_enrolment_that_waits_for_its_server(tmp_path: Path) -> None:
    loop, file = asyncio.get_running_loop(), tmp_path / "token"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        file.write_text(token(silent.getsockname()[1]))
        process = await started(tmp_path, file)
        accepted, _ = await asyncio.wait_for(loop.sock_accept(silent), 60)
        with accepted:
            ended = await interrupted(process)
    text = "writ-enrol: interrupted; the same command with the same token finishes the enrolment\n"
    assert ended == (130, "", text)


async def test_ctrl_c_ends_an_enrolment_that_waits_for_its_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    os.mkfifo(file)
    process = await started(tmp_path, file)
    writer = await asyncio.wait_for(asyncio.to_thread(os.open, file, os.O_WRONLY), 60)  # it opens once the other reads
    try:
        os.kill(process.pid, signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        os.close(writer)
        if process.returncode is None:
            process.kill()
    assert (process.returncode, out.decode(), err.decode()) == (130, "", "writ-enrol: interrupted\n")

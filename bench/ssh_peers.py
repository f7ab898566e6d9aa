"""What people use over SSH instead: plain `ssh`, new and kept; asyncssh, new and kept; a bare helper that is kept."""

import asyncio
import json
import shlex
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncssh

from bench.ssh_place import SERVICE, Place

Call = Callable[[int], Awaitable[object]]
HELPER = """
import glob, json, os, sys
sys.path.insert(0, max(glob.glob(sys.argv[1] + "/code/*"), key=os.path.getmtime))
from writ_hostops.systemd.bus import system_bus
with system_bus() as systemd:
    for line in sys.stdin:
        print(json.dumps(systemd.unit(json.loads(line)["unit"]).as_state()), flush=True)
"""
"""Nothing but the question: no request is checked, nothing is marked, no process of its own, no deadline."""
FILE_HELPER = """
import json, sys
for line in sys.stdin:
    print(json.dumps(open(json.loads(line)["unit"]).read()), flush=True)
"""


class Ssh:
    """The program, with a configuration of ours alone."""

    def __init__(self, place: Place, scratch: Path) -> None:
        known = scratch / "known_hosts"
        name = place.address if place.port == 22 else f"[{place.address}]:{place.port}"
        known.write_text(f"{name} {place.host_key}\n")
        self._control = ["-o", "ControlMaster=auto", "-o", f"ControlPath={scratch}/c", "-o", "ControlPersist=60"]
        options = [f"UserKnownHostsFile={known}", "BatchMode=yes", "IdentitiesOnly=yes"]
        where = ["-p", str(place.port), f"{place.user}@{place.address}"]
        given = [word for option in options for word in ("-o", option)]
        self._plain = ["ssh", "-F", "none", "-i", str(place.key), *given]
        self._where, self._bare = where, place.bare

    async def new(self, _: int) -> None:
        """A connection for one command."""
        await _ended([*self._plain, *self._where, self._bare])

    async def kept(self, _: int) -> None:
        """By a master that stays."""
        await _ended([*self._plain, *self._control, *self._where, self._bare])

    def close(self) -> None:
        """End the master."""
        subprocess.run([*self._plain, *self._control, "-O", "exit", *self._where], capture_output=True, check=False)


async def _ended(argv: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{argv[0]} gave {process.returncode}: {errors.decode()}")


class BareProcess:
    """A Python process kept on the host, JSON lines over one channel of a kept connection."""

    def __init__(self, process: "asyncssh.SSHClientProcess[str]", asked: str) -> None:
        self._process, self._line = process, json.dumps({"unit": asked}) + "\n"

    @classmethod
    async def start(cls, connection: asyncssh.SSHClientConnection, place: Place) -> "BareProcess":
        """On this connection; an agent must have been there before."""
        script, asked = (
            (HELPER, f"{SERVICE}.service") if place.systemd else (FILE_HELPER, str(place.parameters["file_path"]))
        )
        command = shlex.join(["python3", "-I", "-c", script, place.code])
        return cls(await connection.create_process(command), asked)

    async def ask(self, _: int) -> None:
        """One question."""
        self._process.stdin.write(self._line)
        if not json.loads(await self._process.stdout.readline()):
            raise RuntimeError("the helper told nothing")


async def connect(place: Place) -> asyncssh.SSHClientConnection:
    """A connection of asyncssh."""
    return await asyncssh.connect(place.address, place.port, **place.options())


def bare_new(place: Place) -> Call:
    """A connection of asyncssh for each command."""

    async def call(_: int) -> None:
        async with await connect(place) as connection:
            await connection.run(place.bare, check=True)

    return call


def bare_kept(place: Place, connection: asyncssh.SSHClientConnection) -> Call:
    """The command on a connection that stays."""
    return lambda _: connection.run(place.bare, check=True)


@asynccontextmanager
async def many(place: Place, count: int) -> AsyncIterator[list[asyncssh.SSHClientConnection]]:
    """So many connections, ready."""
    turns = asyncio.Semaphore(4)

    async def one() -> asyncssh.SSHClientConnection:
        async with turns:
            return await connect(place)

    async with AsyncExitStack() as stack:
        made = await asyncio.gather(*(one() for _ in range(count)))
        for connection in made:
            await stack.enter_async_context(connection)
        yield list(made)

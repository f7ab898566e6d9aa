"""Other tools over SSH: `ssh`, new and kept; asyncssh, new and kept; a bare kept helper."""

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
"""It only replies: it checks no request, leaves no marker, starts no process, and knows no deadline."""
FILE_HELPER = """
import json, sys
for line in sys.stdin:
    print(json.dumps(open(json.loads(line)["unit"]).read()), flush=True)
"""


class Ssh:
    """The program `ssh`, with no configuration but ours."""

    def __init__(self, place: Place, scratch: Path) -> None:
        known = scratch / "known_hosts"
        name = place.address if place.port == 22 else f"[{place.address}]:{place.port}"
        known.write_text(f"{name} {place.host_key}\n")
        self._control = ["-o", "ControlMaster=auto", "-o", f"ControlPath={scratch}/c", "-o", "ControlPersist=60"]
        options = [f"UserKnownHostsFile={known}", "BatchMode=yes", "IdentitiesOnly=yes"]
        where = ["-p", str(place.port), f"{place.user}@{place.address}"]
        options_of = [word for option in options for word in ("-o", option)]
        self._plain = ["ssh", "-F", "none", "-i", str(place.key), *options_of]
        self._where, self._bare = where, place.bare

    async def new(self, _: int) -> None:
        """Run the command over a connection of its own."""
        await _ended([*self._plain, *self._where, self._bare])

    async def kept(self, _: int) -> None:
        """Run the command over the connection of a kept master."""
        await _ended([*self._plain, *self._control, *self._where, self._bare])

    def close(self) -> None:
        """End the kept master."""
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

    def __init__(self, process: "asyncssh.SSHClientProcess[str]", request: str) -> None:
        self._process, self._line = process, json.dumps({"unit": request}) + "\n"

    @classmethod
    async def start(cls, connection: asyncssh.SSHClientConnection, place: Place) -> "BareProcess":
        """Start it on this connection. An agent must have sent hostops to the host before."""
        script, request = (
            (HELPER, f"{SERVICE}.service") if place.systemd else (FILE_HELPER, str(place.parameters["file_path"]))
        )
        # Without -B it writes bytecode into the folder, so that the next connection of an agent replaces the code.
        command = shlex.join(["python3", "-I", "-B", "-c", script, place.code])
        return cls(await connection.create_process(command), request)

    async def ask(self, _: int) -> None:
        """Send one request, and wait for its reply."""
        self._process.stdin.write(self._line)
        if not json.loads(await self._process.stdout.readline()):
            raise RuntimeError("the helper printed nothing")


async def connect(place: Place, *ciphers: str) -> asyncssh.SSHClientConnection:
    """Return a connection of asyncssh, with these ciphers instead of its own choice if any."""
    chosen = {"encryption_algs": ciphers} if ciphers else {}
    return await asyncssh.connect(place.address, place.port, **place.options(), **chosen)


def bare_new(place: Place) -> Call:
    """Return a call of the command by asyncssh, each over a connection of its own."""

    async def call(_: int) -> None:
        async with await connect(place) as connection:
            await connection.run(place.bare, check=True)

    return call


def bare_kept(place: Place, connection: asyncssh.SSHClientConnection) -> Call:
    """Return a call of the command by asyncssh over a kept connection."""
    return lambda _: connection.run(place.bare, check=True)


@asynccontextmanager
async def many(place: Place, count: int) -> AsyncIterator[list[asyncssh.SSHClientConnection]]:
    """Yield so many open connections."""
    turns = asyncio.Semaphore(4)

    async def one() -> asyncssh.SSHClientConnection:
        async with turns:
            return await connect(place)

    async with AsyncExitStack() as stack:
        made = await asyncio.gather(*(one() for _ in range(count)))
        for connection in made:
            await stack.enter_async_context(connection)
        yield list(made)

"""An operation over SSH beside the tools that people use instead, all in one run on one host: `python -m bench ssh`.

One at a time, warm and cold; 50 targets at once, with the controller's processor time for each; files of 1 MB beside
SFTP, with the cipher that asyncssh and OpenSSH choose, and with the agent's. The operation is `service_status` where
the host has systemd (the lab), else `file_read` of a small file. The table names it.
"""

import asyncio
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import asyncssh
import msgspec
from msgspec import Struct

from bench.end_to_end import ENVIRON, PRINCIPAL, Requester
from bench.ssh_peers import BareProcess, Call, Ssh, bare_kept, bare_new, connect, many
from bench.ssh_place import Place, place
from bench.timing import Sample, measure
from writ_agent.backends.port import Task, TaskResult
from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.connection.algorithms import CIPHERS
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.startup.archive import build
from writ_client.context import Context, open_bus
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

WARM, COLD, NEW, FILES, ROUNDS = 150, 6, 10, 20, 5
"""Calls a round, and rounds: all take their turn in each, and of each the round with the best p50 counts."""
MANY = 50
MEGABYTE = "0123456789abcde\n" * 62_500
CATALOGUE = load_catalogue()
ARCHIVE = build()
TARGETS = [f"t{number}" for number in range(MANY)]


class Round(Struct, frozen=True, kw_only=True):
    """50 targets at once: wall milliseconds of the best round, and the controller's processor milliseconds a target in
    it.
    """

    wall: float
    cpu: float


class Agent:
    """The SSH agent's own backend, in this process: the part of an operation after its grant."""

    def __init__(self, place: Place, keys: Path) -> None:
        self._place = place
        self._pool = Pool(ARCHIVE, SshCredentials(keys), KnownHosts(None), idle=600.0, connects=4)
        self._backend = SshBackend(self._pool, ARCHIVE.operations)
        self._number = time.time_ns()

    async def run(self, target: str, operation: str, parameters: Mapping[str, object]) -> TaskResult:
        """Run one operation. Raises RuntimeError unless it succeeds."""
        definition = CATALOGUE[operation]
        self._number += 1
        task = Task(
            operation_id=encode_id(self._number.to_bytes(16, "big")),
            attempt=1,
            operation=definition,
            target=msgspec.convert(self._place.entry(target), Target),
            parameters=definition.check(parameters),
            timeout=60.0,
        )
        done = await self._backend.run(task, lambda _: None)
        if done.outcome != "succeeded":
            raise RuntimeError(f"{operation}: {done.code} {done.message}")
        return done

    def asking(self, target: str = TARGETS[0]) -> Call:
        """Return a call of the measured operation on a connection that is kept."""
        return lambda _: self.run(target, self._place.operation, self._place.parameters)

    async def cold(self, _: int) -> None:
        """Run the measured operation with a connection and a hostops of its own."""
        await self._pool.close()
        await self.run(TARGETS[0], self._place.operation, self._place.parameters)

    async def close(self) -> None:
        await self._pool.close()


async def run() -> dict[str, object]:
    """Return all figures."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        async with place(scratch) as host:
            host.keys(scratch / "keys", TARGETS)
            agent = Agent(host, scratch / "keys")
            await agent.cold(0)
            home = prepare(scratch / "installation", targets=[host.entry(name) for name in TARGETS])
            host.keys(home.ssh, TARGETS)
            async with running_installation(scratch / "installation", home=home, environ=ENVIRON) as installation:
                figures = await _measured(host, scratch, agent, installation)
            await agent.close()
    return {"host": host.name, "operation": host.operation, "bare": host.bare, **figures}


async def _measured(host: Place, scratch: Path, agent: Agent, installation: RunningInstallation) -> dict[str, object]:
    seed = installation.home.seed_file(f"principal-{PRINCIPAL}").read_bytes()
    bus = await open_bus(Context(principal=PRINCIPAL, url=installation.url), seed, wait=10)
    writ = Requester(bus)
    await writ.listen()
    async with await connect(host) as connection, await connect(host, *CIPHERS) as alike:
        one = await _one_at_a_time(host, scratch, agent, writ, connection)
        async with connection.start_sftp_client() as sftp, alike.start_sftp_client() as sftp_alike:
            files = await _files(host, agent, writ, {"": sftp, ", the agent's ciphers": sftp_alike})
    at_once = await _at_once(host, scratch, agent, writ, installation)
    await bus.close()
    return {"one": one, "at_once": at_once, "files": files}


async def _one_at_a_time(
    host: Place, scratch: Path, agent: Agent, writ: Requester, connection: asyncssh.SSHClientConnection
) -> dict[str, Sample]:
    ssh, helper = Ssh(host, scratch), await BareProcess.start(connection, host)
    end_to_end = _end_to_end(host, writ)
    await measure(end_to_end, 4, 50)  # warm
    rows: dict[str, tuple[Call, int]] = {
        "`ssh`, new connection": (ssh.new, NEW),
        "`ssh`, ControlMaster": (ssh.kept, WARM // 3),
        "asyncssh, new connection": (bare_new(host), NEW),
        "asyncssh, kept connection": (bare_kept(host, connection), WARM),
        "bare helper, kept": (helper.ask, WARM),
        "**Writ's agent, cold**": (agent.cold, COLD),
        "**Writ's agent, warm**": (agent.asking(), WARM),
        "**Writ end to end, warm**": (end_to_end, WARM),
    }
    try:
        return await _in_turns(rows)
    finally:
        ssh.close()


async def _in_turns(rows: dict[str, tuple[Call, int]]) -> dict[str, Sample]:
    best: dict[str, Sample] = {}
    for call, _ in rows.values():
        await measure(call, 1, 3)  # warm
    for _ in range(ROUNDS):
        for name, (call, count) in rows.items():
            sample = await measure(call, 1, count)
            best[name] = min(best.get(name, sample), sample, key=lambda one: one.p50)
    return best


def _end_to_end(host: Place, writ: Requester, target: str = TARGETS[0]) -> Call:
    return lambda _: writ.ask(host.operation, target, host.parameters)


async def _at_once(
    host: Place, scratch: Path, agent: Agent, writ: Requester, installation: RunningInstallation
) -> dict[str, Round]:
    ssh = Ssh(host, scratch)
    async with many(host, MANY) as connections:
        helpers = [await BareProcess.start(one, host) for one in connections]
        kept = [bare_kept(host, one) for one in connections]
        calls: dict[str, list[Call]] = {
            "`ssh`, new connections": [ssh.new] * MANY,
            "asyncssh, kept connections": kept,
            "bare helpers, kept": [helper.ask for helper in helpers],
            "**Writ's agent, warm**": [agent.asking(name) for name in TARGETS],
        }
        found = {name: await _best(all_of, _own_cpu) for name, all_of in calls.items()}
    pids = {one.name: one.pid for one in installation.report.processes if one.pid is not None}
    everything = [_end_to_end(host, writ, name) for name in TARGETS]
    found["**Writ end to end, warm**, all its processes"] = await _best(everything, lambda: _cpu(*pids.values()))
    found["… of it its SSH agent"] = await _best(everything, lambda: _cpu(pids["agent-ssh"]))
    return found


async def _best(calls: list[Call], cpu: Callable[[], float]) -> Round:
    """Return the round with the best p50, after one round to warm up."""
    await asyncio.gather(*(call(0) for call in calls))
    rounds = [await _round(calls, cpu) for _ in range(ROUNDS)]
    return min(rounds, key=lambda one: one.wall)


async def _round(calls: list[Call], cpu: Callable[[], float]) -> Round:
    before, began = cpu(), time.perf_counter()
    await asyncio.gather(*(call(0) for call in calls))
    wall = time.perf_counter() - began
    return Round(wall=round(wall * 1000, 1), cpu=round((cpu() - before) * 1000 / len(calls), 2))


def _own_cpu() -> float:
    """Return the processor seconds of this process and of its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _cpu(*pids: int) -> float:
    """Return the processor seconds of these processes."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


async def _files(
    host: Place, agent: Agent, writ: Requester, clients: Mapping[str, asyncssh.SFTPClient]
) -> dict[str, Sample]:
    path = f"{host.folder}/megabyte"
    read, numbers = {"file_path": path}, itertools.count()

    def new_content() -> str:
        """Return other contents than the file has: Writ leaves a file alone that has them already."""
        return f"{next(numbers):015}\n{MEGABYTE[16:]}"

    def written() -> dict[str, object]:
        return {"file_path": path, "content": new_content()}

    writes: dict[str, Call] = {
        "write: **Writ's agent, warm**": lambda _: agent.run(TARGETS[0], "file_write", written()),
        "write: **Writ end to end, warm**": lambda _: writ.ask_packed("file_write", TARGETS[0], written()),
        "write: Writ end to end, a request in JSON": lambda _: writ.ask("file_write", TARGETS[0], written()),
    }
    reads: dict[str, Call] = {
        "read: **Writ's agent, warm**": lambda _: agent.run(TARGETS[0], "file_read", read),
        "read: **Writ end to end, warm**": lambda _: writ.ask("file_read", TARGETS[0], read),
    }
    puts = {f"write: asyncssh SFTP, kept{of}": _put(sftp, path, new_content) for of, sftp in clients.items()}
    gets = {f"read: asyncssh SFTP, kept{of}": _get(sftp, path) for of, sftp in clients.items()}
    return await _in_turns({name: (call, FILES) for name, call in {**puts, **writes, **gets, **reads}.items()})


def _put(sftp: asyncssh.SFTPClient, path: str, new_content: Callable[[], str]) -> Call:
    async def put(_: int) -> None:
        async with sftp.open(path, "wb") as file:
            await file.write(new_content().encode())

    return put


def _get(sftp: asyncssh.SFTPClient, path: str) -> Call:
    async def get(_: int) -> None:
        async with sftp.open(path, "rb") as file:
            if len(await file.read()) != len(MEGABYTE):
                raise RuntimeError("the file is not whole")

    return get


def table(figures: dict[str, object]) -> str:
    """Return the tables for docs/performance.md."""
    one, at_once, files = figures["one"], figures["at_once"], figures["files"]
    assert isinstance(one, dict)
    assert isinstance(at_once, dict)
    assert isinstance(files, dict)
    heading = f"On {figures['host']}: `{figures['operation']}` beside `{figures['bare']}`."
    lines = [heading, "", "| one at a time | p50 ms | p99 ms |", "|---|--:|--:|"]
    lines += [f"| {name} | {sample.p50} | {sample.p99} |" for name, sample in one.items()]
    lines += ["", f"| {MANY} targets at once | wall ms | controller's CPU ms a target |", "|---|--:|--:|"]
    lines += [f"| {name} | {each.wall} | {each.cpu} |" for name, each in at_once.items()]
    lines += ["", "| 1 MB file | p50 ms | p99 ms |", "|---|--:|--:|"]
    return "\n".join([*lines, *(f"| {name} | {sample.p50} | {sample.p99} |" for name, sample in files.items())])

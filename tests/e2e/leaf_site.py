"""A site behind NAT: its leaf node and agent with the files of `writ leaf add`, and foreign leaf nodes."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from writ_bus.errors import TimedOut, Unreachable
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.connection import Options
from writ_contracts.subjects import inbox_prefix
from writ_installation.processes.child import tie
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.installations.commands import start_service
from writ_testing.installations.installation import RunningInstallation
from writ_testing.peers.nats_server import free_port, open_server
from writ_trust.keys import Key, generate_seed

ENVIRON = {"WRIT_HEARTBEAT": "0.3", "WRIT_LEASE": "2", "WRIT_SWEEP": "0.3"}
POOL = "local-depot"
KILL_GRACE = 1


@asynccontextmanager
async def site_of(installation: RunningInstallation, folder: Path, url: str, *options: str) -> AsyncIterator[Path]:
    """Add the site, reached at `url`, while the installation runs; yield its folder. `options`: of `writ leaf add`."""
    port, monitor_port = free_port(), free_port()
    ports = ("--site-port", str(port), "--monitor-port", str(monitor_port), "--out", str(folder))
    added = await installation.writ("leaf", "add", "depot", "--pool", POOL, "--url", url, *ports, *options)
    assert added.status == 0, added
    conf = folder / "leaf.conf"
    node = await ServerProcess.start(conf, folder / "leaf.log", port=port, monitor_port=monitor_port, through=tie())
    try:
        async with _agent(folder):
            yield folder
    finally:
        await node.stop()


@asynccontextmanager
async def _agent(folder: Path) -> AsyncIterator[None]:
    """Run the agent with its written environment and local paths."""
    lines = (folder / f"agent-{POOL}.env").read_text().splitlines()
    options = dict(line.split("=", 1) for line in lines)
    here = {
        "PATH": os.environ["PATH"],
        "WRIT_KEY_FILE": str(folder / f"agent-{POOL}.seed"),
        "WRIT_STATE_DIR": str(folder / "state"),
        "WRIT_KILL_GRACE": str(KILL_GRACE),
        **ENVIRON,
    }
    with (folder / "agent.log").open("ab") as output:
        process = await start_service("writ_agent_local", {**options, **here}, output)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)


async def reaches(bus: NatsBus, subject: str, data: bytes = b"{}") -> bool:
    """Return true if the address accepts a connection."""
    try:
        await bus.request(subject, data, timeout=2)
    except (Unreachable, TimedOut):
        return False
    return True


async def wait_for_log(folder: Path, words: str) -> None:
    """Wait until the log of a leaf node has the text."""

    async def check() -> bool:
        return words in (folder / "open.log").read_text()

    await eventually(check, what=words)


@asynccontextmanager
async def node_without_rules(url: str, seed: bytes, folder: Path, name: str, **more: Any) -> AsyncIterator[NatsBus]:
    """Yield a foreign leaf node without any restriction, linked with this key, and a client of it."""
    key = Key(generate_seed())
    accounts = {"ANY": {"users": [{"nkey": key.public}]}}
    remote = {"urls": [url], "account": "ANY", "nkey": seed.decode(), **more}
    lines = (f"accounts: {json.dumps(accounts)}", f"leafnodes: {json.dumps({'remotes': [remote]})}")
    async with open_server(folder, *lines) as (_, own):
        bus = await connect(Options(name=name, servers=[own], seed=key.seed, inbox_prefix=inbox_prefix(name)))
        try:
            yield bus
        finally:
            await bus.close()

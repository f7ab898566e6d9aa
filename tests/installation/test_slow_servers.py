"""A cluster of somebody else's: a server that does not reply never counts as one with the present configuration."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from writ_bus.errors import BusRefused
from writ_installation.files.home import Home
from writ_installation.nats.external_server import ExternalServer
from writ_installation.nats.server import make_streams
from writ_installation.provisioner import provisioner
from writ_testing.eventually import eventually
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_cluster import Cluster, cluster_for
from writ_trust.keys import Key, generate_seed

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(180)]
SILENT = "these NATS servers do not reply, and may accept removed keys: n3"
LATE = "these NATS servers have another configuration and may accept removed keys: n3"


def add_agent(home: Home) -> None:
    """Change the users of the configuration."""
    key = Key(generate_seed(), home.installation).public
    home.agents.write_text(f"{home.agents.read_text()}- pool: other\n  key: {key}\n")


async def reports(server: ExternalServer, words: str) -> None:
    async def check() -> bool:
        await server.check()
        return words in server.warning if words else not server.warning

    await eventually(check, within=60, what=words or "no warning")


async def unchanged(home: Home, cluster: Cluster) -> ExternalServer:
    """Return an installation's view of three servers with the present configuration."""
    url = ",".join(f"nats://127.0.0.1:{node.port}" for node in cluster.nodes[:2])
    await make_streams(home, url, [], None)
    server = ExternalServer(home, url, print, {})
    await server.start()
    assert server.warning == ""
    return server


async def test_server_that_replies_late_is_named_and_the_change_waits_for_it(tmp_path: Path) -> None:
    home = prepare(tmp_path)
    async with cluster_for(home, tmp_path) as cluster:
        server, third = await unchanged(home, cluster), cluster.nodes[2]
        add_agent(home)
        cluster.load(home, *cluster.nodes[:2])
        os.kill(third.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(BusRefused, match=SILENT):
                await server.adapt()
        finally:
            os.kill(third.process.pid, signal.SIGCONT)
        await reports(server, LATE)
        cluster.load(home, third)
        await reports(server, "")


async def test_server_that_is_down_delays_no_change(tmp_path: Path) -> None:
    home = prepare(tmp_path)
    async with cluster_for(home, tmp_path) as cluster:
        server, third = await unchanged(home, cluster), cluster.nodes[2]
        await third.process.kill()
        add_agent(home)
        cluster.load(home, *cluster.nodes[:2])
        await reports(server, "")
        await third.start()
        await reports(server, "")


async def test_provisioner_reloads_a_server_that_hung_at_the_change_once_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = prepare(tmp_path)
    async with cluster_for(home, tmp_path) as cluster:
        server, third = await unchanged(home, cluster), cluster.nodes[2]
        ours = tmp_path / "writ-nats.conf"

        def write(home: Home) -> bool:
            before = ours.read_bytes()
            cluster.load(home)
            return ours.read_bytes() != before

        monkeypatch.setattr(provisioner, "_write", write)
        keeper = provisioner.Provisioner(home, server.url, {})
        following = asyncio.create_task(keeper.follow())
        try:
            await asyncio.wait_for(keeper.settled.wait(), 60)
            os.kill(third.process.pid, signal.SIGSTOP)
            try:
                keeper.settled.clear()
                add_agent(home)
                await asyncio.wait_for(keeper.settled.wait(), 60)
            finally:
                os.kill(third.process.pid, signal.SIGCONT)
            await reports(server, "")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await keeper.close()

"""A link with `tls://` between real servers uses TLS or is not made."""

import asyncio
from pathlib import Path
from urllib.request import urlopen

import pytest
from msgspec import json
from msgspec.structs import replace

from writ_installation.processes.child import tie
from writ_nats_server.leaf import LeafListener
from writ_nats_server.leaf_config import LeafLink, LeafPlan, render_leaf
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import WritServer, free_port
from writ_trust.keys import Key, generate_seed

REFUSED = "TLS Handshake Failure"


@pytest.mark.parametrize(("scheme", "links"), [("nats", True), ("tls", False)])
async def test_link_over_tls_sends_nothing_to_a_hub_without_tls(tmp_path: Path, scheme: str, links: bool) -> None:
    key, server = Key(generate_seed()), WritServer(tmp_path, [], ["a"])
    listener = LeafListener(host="127.0.0.1", port=free_port())
    server.plan = replace(server.plan, leaf=listener, links={"a": [key.public]})
    link = LeafLink(pool="a", seed=key.seed.decode(), agents=server.plan.pools["a"])
    hub = [f"{scheme}://127.0.0.1:{listener.port}"]
    plan = LeafPlan(hub=hub, links=[link], port=free_port(), monitor_port=free_port())
    conf, log = tmp_path / "leaf.conf", tmp_path / "leaf.log"
    conf.write_text(render_leaf(plan))

    async def settled() -> bool:
        return REFUSED in log.read_text() or await _linked(plan.monitor_port)

    await server.start()
    try:
        node = await ServerProcess.start(conf, log, port=plan.port, monitor_port=plan.monitor_port, through=tie())
        try:
            await eventually(settled, what="the link, or that there is none")
            assert (await _linked(server.plan.monitor_port), REFUSED in log.read_text()) == (links, not links)
        finally:
            await node.stop()
    finally:
        await server.stop()


async def _linked(monitor_port: int) -> bool:
    """Return true if the server has a link, according to its monitor."""

    def ask() -> bytes:
        with urlopen(f"http://127.0.0.1:{monitor_port}/leafz", timeout=30) as answer:
            return bytes(answer.read())

    return bool(json.decode(await asyncio.to_thread(ask))["leafnodes"])

"""A server that has not loaded its file since a change is reloaded, and no other."""

import asyncio
from pathlib import Path

import pytest

from writ_bus.errors import Forbidden
from writ_nats_server.system_account import reload_late
from writ_testing.peers.nats_server import writ_server
from writ_trust.keys import Key, generate_seed

HOUR = 3_600.0


async def test_only_a_server_that_loaded_its_file_before_a_change_is_reloaded(tmp_path: Path) -> None:
    async with writ_server(tmp_path, pools=()) as server:
        system = await server.bus("system")
        text, other = server.config.read_text(), Key(generate_seed()).public
        server.config.write_text(text.replace(server.keys["bob"].public, other))
        async with server.connected("bob"):
            pass  # the server has its former file
        none, one = await asyncio.gather(reload_late(system, HOUR), reload_late(system, 0.0))
        assert (none, one) == ([], ["writ"])
        with pytest.raises(Forbidden):
            await server.bus("bob", wait=5.0)

"""An account has limits, so one key cannot take all connections and subscriptions of the server."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from writ_bus.errors import BusError
from writ_bus.nats.bus import connect
from writ_contracts.registry import Role
from writ_nats_server import config
from writ_testing.peers.nats_server import writ_server


async def test_account_has_a_limit_of_connections_and_others_still_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.CONNECTIONS, Role.PRINCIPAL, 3)
    async with writ_server(tmp_path) as server:
        held = [await server.bus("alice") for _ in range(3)]
        with pytest.raises(BusError):
            await connect(replace(server.options("alice"), wait=2.0))
        await server.bus("bob")
        await server.bus("executor")
        await held[0].close()

        async def again() -> None:
            while True:
                try:
                    await (await connect(replace(server.options("alice"), wait=2.0))).close()
                    break
                except BusError:
                    continue

        await asyncio.wait_for(again(), 10)


async def test_connection_has_a_limit_of_subscriptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SUBSCRIPTIONS", 5)
    async with writ_server(tmp_path) as server:
        alice = await server.bus("alice")

        async def ignore(message: object) -> None:
            return

        async def subscribe_to_many() -> None:
            for number in range(20):
                await alice.subscribe(f"writ.event.op.alice.{number}.>", ignore)

        with pytest.raises(BusError):
            await subscribe_to_many()

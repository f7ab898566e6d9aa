"""The plain client passes the suite of the bus, and the direct client finds the internals of nats-py that it needs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from tests.bus.test_nats_bus import NatsGround

from writ_bus.errors import BusRefused
from writ_bus.nats.client import internals
from writ_bus.nats.client.choice import CLIENTS, make_client
from writ_bus.nats.options import client_of
from writ_testing.peers.nats_server import writ_server
from writ_testing.suites.bus import BusSuite


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NatsGround]:
    monkeypatch.setenv("WRIT_NATS_CLIENT", "plain")
    async with writ_server(tmp_path, journal_bytes=NatsGround.max_bytes, ack_wait=NatsGround.ack_wait) as server:
        yield NatsGround(server)


@pytest.mark.exhaustive
class TestPlainBus(BusSuite):
    """All tests of TestNatsBus, over the other client."""


def test_internals_of_nats_py_are_as_the_direct_client_needs_them() -> None:
    assert internals.missing() == [], "see libs/bus/writ_bus/nats/client; until then WRIT_NATS_CLIENT=plain works"


def test_internals_that_change_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def _read_loop(self: Client, limit: int) -> None:
        """Take one parameter more."""

    monkeypatch.setattr(Client, "_read_loop", _read_loop)
    monkeypatch.delattr(Client, "_flush_pending")
    assert internals.missing() == [
        "Client._read_loop should take (), and takes ('limit',)",
        "Client._flush_pending is not there",
    ]


def test_client_is_chosen_by_one_variable() -> None:
    assert [client_of({}), client_of({"WRIT_NATS_CLIENT": "plain"})] == ["direct", "plain"]
    assert set(CLIENTS) == {"direct", "plain"}
    with pytest.raises(BusRefused, match="WRIT_NATS_CLIENT is 'fast'; it can be direct or plain"):
        make_client("fast")

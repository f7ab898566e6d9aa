"""Every key of a running installation sends malformed headers on every subject that it may publish on.

nats-server passes on any bytes as headers where no other account's import rewrites them. Some made the reading task of
a client end: with an agent's key, audit became deaf to reports and queries until its watchdog made a new connection.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.stolen_keys import holding

from writ_bus.nats.bus import NatsBus
from writ_client.client import Writ
from writ_installation.nats.server import plan
from writ_installation.server_access.server_address import ServerAddress
from writ_nats_server.config import parties, rights, status_rights
from writ_testing.installations.installation import RunningInstallation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
BLOCKS = (
    b"\r\n",
    b"X",
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\nStatus: 503\r\n\r\n",
    b"NATS/1.0\r\nStatus: 404\r\nNats-Sequence: x\r\n\r\n",
    b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
    b"NATS/1.0\r\nWrit-Timeout: nan\r\nWrit-Started: 1e999\r\n\r\n",
    b"NATS/1.0\r\nA\r\n:b\r\n: \r\n\r\n",
    b"NATS/1.0\r\nContent-Type: application/msgpack\r\n\r\n",
)
BODIES = (b"", b"{}", b"\x80")


def subjects_of_keys(installation: RunningInstallation) -> Iterator[tuple[str, list[str]]]:
    """Yield each key's file name and the subjects that it may publish on, without JetStream's API and journal."""
    whole = plan(installation.home, ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222))
    for party in parties(whole):
        name = {"PRINCIPAL": "principal-"}.get(party.role.name, "") + party.name
        yield name, [one for one in rights(party).publish if not one.startswith("$") and "journal" not in one]
    yield "status", status_rights().publish


def send(thief: NatsBus, data: bytes) -> None:
    """Write to the socket, since no client library sends these bytes."""
    transport: Any = getattr(thief.connection.client, "_transport")  # noqa: B009 - nats-py's own
    transport.write(data)


async def test_malformed_headers_end_no_connection_and_no_process(
    installation: RunningInstallation, alice: Writ
) -> None:
    before = {one.name: (one.pid, one.restarts) for one in installation.report.processes}
    for key, subjects in subjects_of_keys(installation):
        async with holding(installation, key) as thief:
            assert isinstance(thief, NatsBus)
            for subject in subjects:
                concrete = subject.replace("*", "x").replace(">", "x").encode()
                for block in BLOCKS:
                    for body in BODIES:
                        sizes = b"%d %d" % (len(block), len(block) + len(body))
                        send(thief, b"HPUB %b %b\r\n%b%b\r\n" % (concrete, sizes, block, body))
            await thief.connection.round_trip(20.0)
    done = await alice.run("test_noop", "web-1")
    assert done.outcome == "succeeded"
    assert (await alice.trace(operation_id=done.operation_id)).events
    assert "nats: encountered error" not in installation.logs()
    assert {one.name: (one.pid, one.restarts) for one in installation.report.processes} == before

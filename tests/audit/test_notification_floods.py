"""Floods of security events: another attack is notified of all the same, and an inbox stays bounded."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.audit.replica import replica
from tests.audit.test_notifications import STAMP, Receiver, configured, exists

from writ_audit.notifications.delivery import ALL_BURST, BURST
from writ_bus.port import Entry
from writ_contracts import journal, subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.wire import encode
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def titles(inbox: Receiver) -> Counter[str]:
    return Counter(json.loads(body)["title"] for _, body in inbox.received)


async def raise_alarm(bus: MemoryBus, number: int, kind: SecurityKind, principal: str) -> None:
    where = subjects.security_event(kind)
    last = await bus.journal.last(where)
    stamp = {**STAMP, "id": f"e{number}"}
    event = journal.SecurityEvent(**stamp, kind=kind, detail="x", principal=principal)
    expected = last.sequence if last else 0
    await bus.journal.append(
        Entry(subject=where, data=encode(event), event_id=event.id, filter=where, expected=expected)
    )


async def test_security_events_of_one_kind_do_not_hide_another_attack(tmp_path: Path, inbox: Receiver) -> None:
    """The thief of any principal's key causes a `permission_violation` every two seconds as long as they like."""
    bus, file = MemoryBus(Broker()), configured(tmp_path, inbox.url)

    async def is_notified() -> bool:
        return "security: forged_start" in titles(inbox)

    async with replica(bus, tmp_path / "state", notifications=file):
        await eventually(lambda: exists(tmp_path / "state" / "notifications-ops.json"))
        for number in range(100):
            await raise_alarm(bus, number, "permission_violation", "mallory")
        await raise_alarm(bus, 100, "forged_start", "alice")
        await eventually(is_notified, within=20)
    assert BURST <= titles(inbox)["security: permission_violation"] < 2 * BURST


async def test_made_up_principals_fill_no_inbox(tmp_path: Path, inbox: Receiver) -> None:
    bus, file = MemoryBus(Broker()), configured(tmp_path, inbox.url)
    many = int(3 * ALL_BURST)

    async def is_over() -> bool:
        return position.read_text() == json.dumps({"sequence": many}, separators=(",", ":"))

    position = tmp_path / "state" / "notifications-ops.json"
    async with replica(bus, tmp_path / "state", notifications=file):
        await eventually(lambda: exists(position))
        began = asyncio.get_running_loop().time()
        for number in range(many):
            await raise_alarm(bus, number, "forged_claim", f"nobody-{number}")
        await eventually(is_over, within=60)
        seconds = asyncio.get_running_loop().time() - began
    assert ALL_BURST <= len(inbox.received) <= ALL_BURST + 2 * seconds + 1

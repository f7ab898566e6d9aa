"""Floods of security events: another attack is notified of all the same, stops are at once, and inboxes are bounded."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.audit.replica import replica
from tests.audit.test_notifications import STAMP, WAITING, Receiver, configured, control, exists, record

from writ_audit.notifications.delivery import DeliveryPosition
from writ_audit.notifications.limits import (
    ALL_BURST,
    FIRST_BURST,
    LONGEST_KEY,
    POOL_BURST,
    SOURCE_BURST,
    NotificationLimits,
)
from writ_audit.notifications.messages import pool_of
from writ_bus.port import Entry
from writ_contracts import journal, subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.notifications import Notification
from writ_contracts.wire import encode
from writ_runtime.files.state_file import StateFile
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
        await eventually(lambda: exists(tmp_path / "state" / "notifications-ops.security.json"))
        for number in range(100):
            await raise_alarm(bus, number, "permission_violation", "mallory")
        await raise_alarm(bus, 100, "forged_start", "alice")
        await eventually(is_notified, within=20)
    assert SOURCE_BURST <= titles(inbox)["security: permission_violation"] < 2 * SOURCE_BURST


def alarm(kind: SecurityKind, principal: str = "") -> Notification:
    return Notification(
        id="e", kind="security", at=0.0, title=f"security: {kind}", text="", sequence=1, principal=principal
    )


def test_made_up_principals_of_all_pools_fill_no_inbox() -> None:
    limits = NotificationLimits()
    sent = [limits.permit(alarm("forged_claim", f"nobody-{n}"), f"pool-{n}", n / 10) for n in range(1_000)]
    assert ALL_BURST <= sum(sent) <= FIRST_BURST + ALL_BURST + 100 * (1 / 60 + 0.5) + 1


def test_made_up_kinds_fill_no_inbox() -> None:
    limits = NotificationLimits()
    made = [structs.replace(alarm("forged_claim"), title=f"security: made-up-{n}") for n in range(1_000)]
    assert sum(limits.permit(one, "", 0.0) for one in made) <= FIRST_BURST + ALL_BURST


def test_made_up_principals_hide_no_other_kind() -> None:
    limits = NotificationLimits()
    for number in range(1_000):
        limits.permit(alarm("forged_claim", f"nobody-{number}"), f"pool-{number}", 0.0)
    assert limits.permit(alarm("forged_start", "alice"), "pool_a", 0.0)


def test_made_up_principals_of_one_pool_do_not_hide_the_same_attack_on_another_pool() -> None:
    limits = NotificationLimits()
    sent = [limits.permit(alarm("forged_claim", f"nobody-{n}"), "pool_a", 0.0) for n in range(1_000)]
    assert sum(sent) == FIRST_BURST + POOL_BURST
    assert limits.permit(alarm("forged_claim", "alice"), "pool_b", 0.0)


def test_event_of_one_pool_does_not_hide_the_same_event_of_another() -> None:
    limits = NotificationLimits()
    sent = [limits.permit(alarm("host_key_changed"), "pool_a", 0.0) for _ in range(100)]
    assert sum(sent) == FIRST_BURST + SOURCE_BURST
    assert limits.permit(alarm("host_key_changed"), "pool_b", 0.0)


def test_long_names_have_a_bounded_key() -> None:
    limits = NotificationLimits()
    long = LONGEST_KEY * "x"
    sent = [limits.permit(alarm("forged_claim", f"{long}{n}"), "", 0.0) for n in range(100)]
    assert sum(sent) == FIRST_BURST + SOURCE_BURST


def test_pool_of_a_security_event_is_read() -> None:
    event = journal.SecurityEvent(**STAMP, kind="forged_claim", detail="x", pool="pool_a")
    assert pool_of(record(event, subjects.security_event("forged_claim"))) == "pool_a"
    assert pool_of(record(structs.replace(event, pool=None), subjects.security_event("forged_claim"))) == ""
    assert pool_of(record(WAITING)) == ""


async def test_stop_does_not_wait_for_security_events_before_it(tmp_path: Path, inbox: Receiver) -> None:
    """The receiver refuses each security event: these are repeated for up to an hour."""
    bus, file = MemoryBus(Broker()), configured(tmp_path, inbox.url)
    inbox.refused = b"security: "

    async def is_refused() -> bool:
        return len(inbox.paths) > 0

    async def is_notified() -> bool:
        return titles(inbox)["stop_set by alice"] == 1

    async with replica(bus, tmp_path / "state", notifications=file) as audit:
        await eventually(lambda: exists(tmp_path / "state" / "notifications-ops.json"))
        await eventually(lambda: exists(tmp_path / "state" / "notifications-ops.security.json"))
        for number in range(10):
            await raise_alarm(bus, number, "forged_claim", f"nobody-{number}")
        await eventually(is_refused, within=20)
        where = subjects.control_event("stop_set")
        await bus.journal.append(
            Entry(subject=where, data=encode(control("stop_set")), event_id="s", filter=where, expected=0)
        )
        await eventually(is_notified, within=20)
        assert await audit.checks()["notifications"]() == "ops: HTTP 503"
    assert set(titles(inbox)) == {"stop_set by alice"}


async def test_security_events_during_an_upgrade_are_notified(tmp_path: Path, inbox: Receiver) -> None:
    """The release before had one position for all kinds."""
    bus, state = MemoryBus(Broker()), tmp_path / "state"
    state.mkdir()
    await raise_alarm(bus, 1, "forged_claim", "seen")
    StateFile(state / "notifications-ops.json", DeliveryPosition).write(DeliveryPosition(sequence=1))
    await raise_alarm(bus, 2, "forged_receipt", "thief")

    async def is_notified() -> bool:
        return bool(inbox.received)

    async with replica(bus, state, notifications=configured(tmp_path, inbox.url)):
        await eventually(is_notified, within=20)
    assert titles(inbox) == Counter(["security: forged_receipt"])

"""Notifications that are older than an hour when they would be sent, and the problem of a destination after them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.audit.test_notification_floods import inbox, raise_alarm, titles
from tests.audit.test_notifications import Receiver, configured, control, exists, read

from writ_audit.metrics import metrics
from writ_audit.notifications.delivery import GIVE_UP, Deliveries
from writ_audit.notifications.limits import FIRST_BURST, SOURCE_BURST
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.wire import encode
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

__all__ = ["inbox"]


class Delivering:
    """The deliveries to one receiver, with a clock that the test sets."""

    def __init__(self, folder: Path, inbox: Receiver) -> None:
        self.now = time.time()
        self.measured: Metrics = metrics()
        broker = Broker()
        broker.disk.clock = lambda: self.now
        self.bus = MemoryBus(broker)
        targets, link = read(configured(folder, inbox.url))
        self.deliveries = Deliveries(self.bus.journal, targets, link, folder, self.measured, lambda: self.now)

    def count(self, result: str) -> int:
        line = f'writ_notifications_total{{destination="ops",result="{result}"}} '
        text = self.measured.exposition()[0].decode()
        return sum(int(float(one.removeprefix(line))) for one in text.splitlines() if one.startswith(line))


@asynccontextmanager
async def delivering(one: Delivering, folder: Path) -> AsyncIterator[None]:
    running = asyncio.create_task(one.deliveries.run())
    await eventually(lambda: exists(folder / "notifications-ops.json"))
    await eventually(lambda: exists(folder / "notifications-ops.security.json"))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_problem_ends_with_the_next_accepted_notification_of_any_kind(tmp_path: Path, inbox: Receiver) -> None:
    """The receiver is away for longer than a security event is repeated; no further one follows for weeks."""
    inbox.refused, one = b"", Delivering(tmp_path, inbox)

    async def is_accepted() -> bool:
        return titles(inbox)["stop_set by alice"] == 1

    async def is_dropped() -> bool:
        return one.count("dropped") == 1

    async with delivering(one, tmp_path):
        await raise_alarm(one.bus, 1, "forged_claim", "mallory")
        assert await eventually(one.deliveries.check, within=20) == "ops: HTTP 503"
        one.now += GIVE_UP + 1
        await eventually(is_dropped, within=20)
        assert await one.deliveries.check() == "ops: HTTP 503"
        inbox.refused = None
        where = subjects.control_event("stop_set")
        await one.bus.journal.append(
            Entry(subject=where, data=encode(control("stop_set")), event_id="s", filter=where, expected=0)
        )
        await eventually(is_accepted, within=20)
        await eventually(lambda: passes(one), within=20)


async def passes(one: Delivering) -> bool:
    return await one.deliveries.check() is None


async def test_old_security_events_use_up_no_limit_of_new_ones(tmp_path: Path, inbox: Receiver) -> None:
    """Audit starts after hours in which a thief caused more events than the limits permit at once."""
    one, many = Delivering(tmp_path, inbox), int(FIRST_BURST + SOURCE_BURST)
    (tmp_path / "notifications-ops.json").write_text('{"sequence": 0}')
    for number in range(many):
        await raise_alarm(one.bus, number, "permission_violation", "mallory")
    one.now += GIVE_UP + 1
    await raise_alarm(one.bus, many, "permission_violation", "mallory")

    async def is_notified() -> bool:
        return titles(inbox)["security: permission_violation"] == 1

    async with delivering(one, tmp_path):
        await eventually(is_notified, within=20)
    assert one.count("dropped") == many

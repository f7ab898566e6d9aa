"""A thief of the executors' key can stop honest executors for a few seconds within the account that they share.

NATS republishes stored events into that account. Nothing there distinguishes them from an event that one of its own
keys makes up, so an honest executor takes in the first one and finds that the journal does not have it. It trusts
nothing, records this, reads the journal again, and from then on reads the stream alone.
"""

import time
from secrets import token_hex

import pytest
from tests.attacks.rogue import alarm
from tests.e2e.stolen_keys import holding

from writ_bus.port import Bus, Entry
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.journal import ControlEvent, SecurityEvent
from writ_contracts.wire import encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


async def make_up(executor: Bus) -> None:
    """Publish an event as if the journal had stored it."""
    kind, now = "stop_lift", time.time()
    event = ControlEvent(
        id="x" * 20, at=now, correlation_id="c", kind=kind, principal="alice", operation_id="a" * 26, body={}
    )
    headers = {
        "Nats-Stream": "WRIT_JOURNAL",
        "Nats-Subject": f"writ.journal.control.{kind}",
        "Nats-Sequence": str((await executor.journal.usage()).last_sequence + 1),
        "Nats-Time-Stamp": "2026-01-01T00:00:00Z",
    }
    await executor.publish(f"writ.event.op.alice.{'a' * 26}.progress", encode(event), headers)


async def store_notice(executor: Bus) -> None:
    """Store an event, as any honest executor may at any time."""
    subject = subjects.security_event("broken_record")
    last = await executor.journal.last(subject)
    event = SecurityEvent(id=token_hex(16), at=time.time(), correlation_id="c", kind="broken_record", detail="x")
    expected = last.sequence if last else 0
    entry = Entry(subject=subject, data=encode(event), event_id=event.id, filter=subject, expected=expected)
    await executor.journal.append(entry)


async def runs_again(alice: Writ) -> None:
    """Wait until an operation succeeds: honest executors read the journal again within seconds."""

    async def attempt() -> bool:
        try:
            return (await alice.run("test_noop", "web-1", timeout=5)).outcome == "succeeded"
        except WritError:
            return False

    await eventually(attempt, within=30.0, what="a success")


async def test_forged_republished_event_stops_honest_executors_for_seconds_and_only_once(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    assert (await alice.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"
    await make_up(executor)
    async with holding(installation, "audit") as record:
        await alarm(record, "journal_replaced", text="reported by an executor")
    await runs_again(alice)
    status = await installation.writ("status")
    assert (status.status != 0, "Replace the executors' key" in status.out) == (True, True)
    for _ in range(10):  # they read the stream alone now
        await make_up(executor)
        assert (await alice.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"
    assert (await installation.writ("restart")).status == 0
    assert (await alice.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"


async def test_made_up_event_is_found_also_where_the_journal_grows_at_once(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    await make_up(executor)
    for _ in range(2):
        await store_notice(executor)
    async with holding(installation, "audit") as record:
        await alarm(record, "journal_replaced", text="two different events")
    await runs_again(alice)
    assert (await installation.writ("restart")).status == 0
    assert (await alice.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"

"""A policy service that runs while its journal is restored forgets its state before it decides."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.policy.publishing import another, broker_of
from tests.policy.replica import Asking, files

from writ_contracts.errors import Unreachable
from writ_policy.state import control_follower
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker

STOP = {"reason": "it burns", "until": None}


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with another(Broker(), files(tmp_path)) as asking:
        for number in range(3):
            await asking.control("stop_set", {"scope": [f"far-{number}"], **STOP})
        assert await asking.code(asking.subject(), control_sequence=3) == "allowed"
        yield asking


async def test_a_stop_that_a_restored_journal_stores_lower_is_not_passed_over(asking: Asking) -> None:
    del broker_of(asking).disk.records[1:]
    stopped = await asking.control("stop_set", {"scope": ["*"], **STOP})
    assert stopped == 2
    assert await asking.code(asking.subject(), control_sequence=stopped) == "behind"


async def test_journal_with_another_last_event_makes_policy_not_ready(asking: Asking) -> None:
    records = broker_of(asking).disk.records
    del records[2:]
    again = await asking.control("stop_set", {"scope": ["*"], **STOP})
    assert again == 3

    async def noticed() -> bool:
        return "was the journal restored?" in (await asking.service.checks()["bus"]() or "")

    await eventually(noticed, what="that the journal is another")
    assert await asking.code(asking.subject(), control_sequence=again) == "behind"


async def test_a_copy_of_the_journal_that_was_behind_for_a_moment_counts_again(asking: Asking) -> None:
    records = broker_of(asking).disk.records
    missing = records.pop()
    assert await asking.code(asking.subject(), control_sequence=2) == "behind"
    records.append(missing)
    assert await asking.code(asking.subject(), control_sequence=3) == "allowed"


async def test_policy_ends_if_the_journal_stays_replaced(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_follower, "INTERVAL", 0.01)
    broker_of(asking).disk.records.clear()
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(30):
            await asking.service.follow()
    assert caught.group_contains(Unreachable, match="was the journal restored")

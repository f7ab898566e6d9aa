"""Policy counts the starts under a limit itself: an executor with too many dispatches gets no grant for them."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import Asking
from tests.policy.test_starts import dispatched, grants

from writ_contracts import subjects
from writ_contracts.agents import Receipt
from writ_contracts.decisions import Subject
from writ_contracts.history.records import Record
from writ_contracts.journal import Finished, LimitCounted
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event
from writ_trust.statements import digest, sign

RULE = {"name": "services", "operations": ["service_restart"], "allowed": True}


async def code(asking: Asking, subject: Subject) -> str:
    answer = await asking.granted(subject)
    return answer.error.code if answer.error else "" if answer.grant else "denied"


async def receipt(asking: Asking, subject: Subject, **changed: object) -> Signed:
    [started] = await grants(asking, subject)
    reported = Receipt(
        operation_id=subject.operation_id,
        attempt=1,
        pool="a",
        instance="one",
        grant_digest=digest(started.grant),
        outcome="succeeded",
        code="",
        message="",
        output_digest="0" * 64,
        output_bytes=2,
    )
    return sign(asking.files.keys["agent-a"], structs.replace(reported, **changed))


async def finish(asking: Asking, subject: Subject, signed: Signed | None) -> None:
    end = Finished(
        id=f"end-{subject.operation_id}",
        at=asking.clock.now,
        correlation_id="c",
        operation_id=subject.operation_id,
        outcome="succeeded",
        receipt=signed,
    )
    await asking.append(subject, end)


async def counted(asking: Asking, kind: str = "max_concurrent") -> list[int]:
    """The number of holders after each start."""
    records = await asking.bus.journal.read(subjects.limit_count("services", kind))
    return [len(event.holders) for one in records if isinstance(event := decode_event(one.data), LimitCounted)]


async def test_one_of_two_starts_for_the_last_place_is_granted(asking: Asking) -> None:
    asking.files.policy({**RULE, "max_concurrent": 1})
    rivals = [asking.subject(), asking.subject()]
    assert sorted(await asyncio.gather(*(code(asking, one) for one in rivals))) in (
        ["", "limit_reached"],
        ["", "moved_on"],
    )
    assert await counted(asking) == [1]


async def test_starts_at_the_same_moment_are_all_granted_while_there_is_room(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent acknowledges a claim that moved on, so a refused start would never be repeated."""
    asking.files.policy({**RULE, "max_concurrent": 4})
    journal, line = type(asking.bus.journal), subjects.limit_count("services", "max_concurrent")
    last, read, all_read = journal.last, list[str](), asyncio.Event()

    async def together(one: Any, subject: str) -> Record | None:
        found = await last(one, subject)
        if subject == line:  # all of them have read the count before any of them is stored
            read.append(subject)
            if len(read) >= 4:
                all_read.set()
            await all_read.wait()
        return found

    monkeypatch.setattr(journal, "last", together)
    rivals = [asking.subject() for _ in range(4)]
    assert await asyncio.gather(*(code(asking, one) for one in rivals)) == [""] * 4
    assert await counted(asking) == [1, 2, 3, 4]


async def test_place_under_a_limit_is_freed_by_the_agents_receipt_alone(asking: Asking) -> None:
    asking.files.policy({**RULE, "max_concurrent": 1})
    first, second = asking.subject(), asking.subject()
    assert await code(asking, first) == ""
    assert await code(asking, second) == "limit_reached"
    signed = await receipt(asking, first)
    await finish(asking, first, None)
    assert await code(asking, second) == "limit_reached"
    third = asking.subject()
    await asking.record(third)
    await asking.append(first, dispatched(asking, first, 2, over=None))
    assert await code(asking, third) == "limit_reached"
    await asking.append(first, dispatched(asking, first, 2, over=signed))
    assert await code(asking, second) == ""


@pytest.mark.parametrize("changed", [{"over": False}, {"grant_digest": "0" * 64}], ids=["not over", "another grant"])
async def test_receipt_of_another_start_frees_no_place(asking: Asking, changed: dict[str, object]) -> None:
    asking.files.policy({**RULE, "max_concurrent": 1})
    first, second = asking.subject(), asking.subject()
    assert await code(asking, first) == ""
    await finish(asking, first, await receipt(asking, first, **changed))
    assert await code(asking, second) == "limit_reached"


async def test_a_place_is_free_once_the_time_of_its_start_has_passed(asking: Asking) -> None:
    asking.files.policy({**RULE, "max_concurrent": 1})
    assert await code(asking, asking.subject()) == ""
    [started] = [await asking.bus.journal.last(subjects.limit_count("services", "max_concurrent"))]
    assert started is not None
    event = decode_event(started.data)
    assert isinstance(event, LimitCounted)
    asking.clock.now = event.holders[0].until + 1
    assert await code(asking, asking.subject()) == ""


async def test_max_targets_counts_targets_and_not_operations(asking: Asking) -> None:
    asking.files.policy({**RULE, "max_targets": 1})
    assert [await code(asking, asking.subject()) for _ in range(2)] == ["", ""]
    other = asking.subject(target="narrow")
    asking.files.write(
        "inventory",
        {
            "targets": [
                {"id": one, "agent": "a", "role": "development", "backend": "local", "file_roots": ["/srv"]}
                for one in ("web-a", "narrow")
            ]
        },
    )
    assert await code(asking, other) == "limit_reached"
    assert await counted(asking, "max_targets") == [1, 2]

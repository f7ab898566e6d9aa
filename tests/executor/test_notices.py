"""Notices of policy and audit are recorded: only their own kinds, once where needed, and limited in number."""

from typing import Any

import pytest
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.journal import ControlEvent, SecurityEvent
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.wire import decode, encode
from writ_executor.metrics import metrics


async def note(world: World, subject: str, **notice: Any) -> NoticeReply:
    data = encode(Notice(**{"detail": "a test", **notice}))
    return decode((await world.bus.request(subject, data, timeout=5)).data, NoticeReply)


async def test_a_file_that_cannot_be_used_is_recorded(world: World) -> None:
    await world.executor()
    noted = await note(world, subjects.NOTICE_POLICY, kind="file_refused", detail="line 3")
    [event] = await world.events(subjects.SECURITY)
    assert isinstance(event, SecurityEvent)
    assert (event.kind, event.detail, noted.sequence) == ("file_refused", "line 3", 1)


async def test_a_refused_read_is_recorded_by_a_notice(world: World) -> None:
    await world.executor()
    for subject in (subjects.NOTICE_AUDIT, subjects.NOTICE_POLICY):
        assert (await note(world, subject, kind="read_refused", principal="alice")).error is None
    events = await world.events(subjects.SECURITY)
    assert [one.principal for one in events if isinstance(one, SecurityEvent)] == ["alice", "alice"]


async def test_mistakes_in_files_and_denied_reads_are_recorded_and_counted_as_no_violation(world: World) -> None:
    measured = metrics()
    await world.executor(measured=measured)
    for kind in ("file_refused", "file_ignored", "read_refused", "version_refused"):
        assert (await note(world, subjects.NOTICE_POLICY, kind=kind)).error is None
    assert len(await world.events(subjects.SECURITY)) == 4
    rows = measured.exposition()[0].decode().splitlines()
    violations = [row for row in rows if row.startswith("writ_security_events_total{") and not row.endswith(" 0.0")]
    assert violations == ['writ_security_events_total{kind="version_refused"} 1.0']


async def test_audit_has_nothing_recorded_that_is_policys(world: World) -> None:
    await world.executor()
    for kind in ("file_refused", "version_refused", "file_ignored", "file_version"):
        noted = await note(world, subjects.NOTICE_AUDIT, kind=kind, version=1)
        assert noted.error is not None
        assert noted.error.code == "invalid"
    assert await world.records() == []


async def test_file_that_became_a_version_is_one_control_event_despite_several_reports(world: World) -> None:
    await world.executor()
    replies = [
        await note(world, subjects.NOTICE_POLICY, kind="file_version", version=number) for number in (1, 1, 2, 1)
    ]
    assert [one.sequence for one in replies] == [1, 1, 2, 1]
    events = await world.events(subjects.CONTROL)
    assert [one.body["version"] for one in events if isinstance(one, ControlEvent)] == [1, 2]


async def test_a_flood_of_notices_is_not_recorded(world: World) -> None:
    await world.executor()
    codes = [
        noted.error.code if (noted := await note(world, subjects.NOTICE_AUDIT, kind="read_refused")).error else ""
        for _ in range(130)
    ]
    assert set(codes) == {"", "rate_limited"}
    assert len(await world.records()) < 120


async def test_the_end_of_an_emergency_is_one_control_event_whichever_replica_of_policy_sees_it(world: World) -> None:
    await world.executor()
    ended = {"kind": "emergency_closed", "detail": "lapsed", "emergency": "e-1"}
    assert [(await note(world, subjects.NOTICE_POLICY, **ended)).sequence for _ in range(2)] == [1, 1]
    [event] = await world.events(subjects.CONTROL)
    assert isinstance(event, ControlEvent)
    assert (event.kind, event.body) == ("emergency_closed", {"emergency_id": "e-1", "how": "lapsed"})
    for subject, changed in ((subjects.NOTICE_POLICY, {"emergency": None}), (subjects.NOTICE_AUDIT, {})):
        noted = await note(world, subject, **{**ended, **changed})
        assert noted.error is not None
        assert noted.error.code == "invalid"


async def test_a_flood_of_control_events_is_not_recorded_and_holds_up_no_other_service(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_executor.agents.notices.CONTROL_BURST", 20.0)
    await world.executor()
    enrolled = {"kind": "agent_enrolled", "pool": "a", "key": "U" + "A" * 55}
    tokens = [23 * "a" + first + second + "a" for first in "abcde" for second in "abcdefgh"]
    replies = [await note(world, subjects.NOTICE_PROVISIONER, **enrolled, token=token) for token in tokens]
    assert {one.error.code if one.error else "" for one in replies} == {"", "rate_limited"}
    assert 20 <= len(await world.events(subjects.CONTROL)) < 30
    assert (await note(world, subjects.NOTICE_POLICY, kind="file_version", version=1)).error is None

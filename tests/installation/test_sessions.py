"""Sessions as the provisioner reads them from the journal, and as users of NATS."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from writ_contracts.decisions import Decision, PolicyVersion
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.ids import operation_id
from writ_contracts.inventory import Principal
from writ_contracts.journal import ControlEvent
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_installation.files.sessions import SessionRecord, session_keys
from writ_installation.provisioner.idle_sessions import IdleSessions
from writ_trust import sessions
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.sessions import Session
from writ_trust.statements import digest, sign

HERE, NOW = "a-b-c-d", 1_790_000_000.0
POLICY, ALICE, HERS = (Key(generate_seed(), HERE) for _ in range(3))
DIGEST_KEY, SALT = "ab" * 32, "cd" * 32
KEYS = {POLICY.public: 1 << 53}
VERSION = PolicyVersion(name="p", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64)


def stated(key: str, parameters: dict[str, Any]) -> Signed:
    """The statement of alice on a session."""
    statement = RequestStatement(
        principal="alice",
        operation="session_open",
        target="writ",
        parameters_digest=keyed_digest(SALT, parameters),
        idempotency_key=key,
        issued_at=NOW,
        dry_run=False,
    )
    return sign(ALICE, statement)


def opened(
    sequence: int,
    *,
    by: Key = POLICY,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    name: str = "a",
    signed: dict[str, Any] | None = None,
    requested: dict[str, Any] | None = None,
    key: str = HERS.public,
    at: float = NOW,
) -> Record:
    """The record of a session of alice, decided on her statement, of which `signed` changes the wrapping."""
    number, parameters = operation_id("alice", name), requested or {"key": key, "seconds": 3600}
    effective = {"key": key, "seconds": 3600, "device": "", "idle": 60, "timeout": 30}
    statement = structs.replace(stated(name, parameters), **(signed or {}))
    decision = Decision(
        operation_id=number,
        principal="alice",
        operation="session_open",
        target="writ",
        effect="allow",
        code="own",
        rules=[],
        reason="",
        parameters_digest=keyed_digest(DIGEST_KEY, effective),
        policy=VERSION,
        control_sequence=0,
        at=at,
        authenticated="signature",
        statement_digest=digest(statement),
    )
    event = {"decision": sign(by, decision), "statement": statement, "salt": SALT, "given": parameters}
    made = record(sequence, "session_open", {**effective, **(body or {})}, headers, number, **event)
    return structs.replace(made, time=at)


def record(
    sequence: int,
    kind: str,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
    number: str = "z" * 26,
    **signed: Any,
) -> Record:
    event = ControlEvent(
        id=number,
        at=NOW + 100,
        correlation_id="c",
        kind=kind,
        principal="alice",
        operation_id=number,
        body=body,
        parameters_key=DIGEST_KEY,
        **signed,
    )
    subject = f"writ.journal.control.{kind}"
    return Record(subject=subject, sequence=sequence, data=encode(event), headers=headers or {}, time=NOW)


def known(*records: Record, before: SessionRecord | None = None) -> SessionRecord:
    found = before or SessionRecord()
    found.take_in(records, KEYS, HERE)
    return found


END = {"session_id": operation_id("alice", "a")}


def test_a_session_counts_by_policys_decision_on_exactly_it() -> None:
    [session] = known(opened(3)).sessions.values()
    assert (session.by, session.key, session.signer, session.idle) == ("alice", HERS.public, ALICE.public, 60)


@pytest.mark.parametrize(
    "forged",
    [
        opened(3, by=ALICE),
        opened(3, body={"key": POLICY.public}),
        opened(3, body={"idle": 0}),
        structs.replace(opened(3), time=NOW + 3600),  # held back
        opened(3, signed={"signature": "A" * 86}),  # by thieves of policy's and an executor's keys
        opened(3, requested={"key": POLICY.public, "seconds": 3600}),
        opened(3, requested={"key": HERS.public, "seconds": 60}),
    ],
)
def test_a_session_that_policy_did_not_allow_so_is_no_user_of_nats(forged: Record) -> None:
    assert not known(forged).sessions


def test_a_forged_session_keeps_no_real_one_from_counting() -> None:
    forged = opened(3, signed={"signature": "A" * 86})
    assert len(known(forged, opened(4)).sessions) == 1


def test_a_session_is_opened_once_also_by_a_copy_of_its_event() -> None:
    """An executor that stores the event again, as if from an archive, opens no ended session."""
    ended = known(opened(3), record(4, "session_end", END))
    copy = opened(5, headers={CARRIED_FROM: "4"})
    assert not known(opened(5), before=ended).sessions
    assert not ended.continues([record(4, "session_end", END), copy])  # then the whole journal is read
    assert not known(opened(3), record(4, "session_end", END), copy).sessions


def test_only_sessions_and_their_ends_are_read_on() -> None:
    found, first = known(opened(3)), opened(3)
    assert found.continues([first])
    assert found.continues([first, record(4, "session_end", END), record(5, "session_idle", END)])
    assert not found.continues([first, record(4, "principal_manage", {})])
    assert not found.continues([first, record(4, "journal_archive", {})])
    assert not found.continues([opened(3, body={"idle": 0})])  # another journal
    assert not found.continues([])
    assert not SessionRecord().continues([])


def test_an_event_that_cannot_be_read_is_left_out() -> None:
    assert known(structs.replace(opened(2), data=b"{"), opened(3)).sequence == 3


def test_a_key_of_policy_that_was_rotated_counts_for_sessions_read_before_alone() -> None:
    before = list(known(opened(3)).sessions.values())
    later = {Key(generate_seed()).public: 1 << 53}
    kept = SessionRecord(before)
    kept.take_in([opened(3)], later, HERE)
    assert len(kept.sessions) == 1
    for other in (opened(3, body={"key": ALICE.public}), opened(3, name="b")):
        strange = SessionRecord(before)
        strange.take_in([other], later, HERE)
        assert not strange.sessions


@pytest.mark.parametrize("kind", ["session_end", "session_idle", "journal_restored"])
def test_a_session_ends_on_nats(kind: str) -> None:
    found = known(opened(3), record(4, kind, {**END, "ends_access": True})).sessions.values()
    alice = Principal(id="alice", kind="human", key=ALICE.public)
    assert session_keys(found, [alice], (), NOW + 200) == {}


def test_session_lasts_after_a_restore_on_record_by_an_earlier_release() -> None:
    assert known(opened(3), record(4, "journal_restored", {"backup": "b"})).sessions == known(opened(3)).sessions


def test_keys_of_sessions_are_those_of_present_principals_and_of_nobody_else() -> None:
    found = list(known(opened(3)).sessions.values())
    alice = Principal(id="alice", kind="human", key=ALICE.public)
    assert session_keys(found, [alice], (), NOW) == {"alice": [HERS.public]}
    assert session_keys(found, [alice], (), NOW + 3600) == {}
    assert session_keys(found, [alice], {HERS.public}, NOW) == {}  # of a service, or an agent
    assert session_keys(found, [alice, Principal(id="bob", kind="human", key=HERS.public)], (), NOW) == {}
    assert session_keys(found, [structs.replace(alice, key=POLICY.public)], (), NOW) == {}
    assert session_keys(found, [], (), NOW) == {}
    assert session_keys([*found, structs.replace(found[0], id="other")], [alice], (), NOW) == {"alice": [HERS.public]}
    damaged = structs.replace(found[0], key=HERS.public[:-1] + ("A" if HERS.public[-1] != "A" else "B"))
    assert session_keys([damaged, *found], [alice], (), NOW) == {"alice": [HERS.public]}  # NATS would refuse them all


def test_only_the_latest_sessions_of_a_principal_that_are_over_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new session copies those that are known: any principal could make every restart take minutes."""
    monkeypatch.setattr(sessions, "MOST_OVER", 3)
    keys = [Key(generate_seed()).public for _ in range(9)]
    each = [opened(at, name=str(at), key=key, at=NOW + 4000.0 * at) for at, key in enumerate(keys, 1)]
    assert list(known(*each).sessions) == keys[-4:]  # three that are over, and the open one
    at_once = [opened(at, name=str(at), key=key) for at, key in enumerate(keys, 1)]
    assert list(known(*at_once).sessions) == keys  # all are open


def session(name: str, idle: int = 60) -> Session:
    return Session(id=name, by="alice", key=name, signer="s", since=NOW, until=NOW + 3600, idle=idle)


def test_idle_sessions_are_those_whose_connections_sent_nothing_for_their_limit() -> None:
    sessions, idle = [session("used"), session("idle"), session("gone"), session("free", 0)], IdleSessions()

    async def seconds(key: str) -> float | None:
        return {"used": 10.0, "idle": 61.0, "gone": None}[key]

    assert idle.due(sessions, 1000.0) == []
    assert idle.due(sessions, 1059.0) == []
    due = idle.due(sessions, 1061.0)
    assert [one.id for one in due] == ["used", "idle", "gone"]
    assert [one.id for one in asyncio.run(idle.ended(due, 1061.0, seconds))] == ["idle", "gone"]
    assert [one.id for one in idle.due(sessions, 1110.0)] == ["idle", "gone"]

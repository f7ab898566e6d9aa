"""Sessions at policy: a short-lived key acts as its principal, until it expires, is ended, or its principal goes."""

from typing import Any

import pytest
from msgspec import json, structs
from tests.policy.approving import NEEDS, know, pending
from tests.policy.replica import KEY, SALT, Asking

from writ_contracts import subjects
from writ_contracts.decisions import Decision, Subject
from writ_contracts.people.sessions import SessionsQuery, SessionsReply
from writ_contracts.wire import decode, encode
from writ_trust.approvals import sign_approval
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, read, sign

RULES = [{"name": "restarts", "operations": ["service_restart"], "allowed": True}]


class Sessions:
    """Requests for sessions, and by them."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.last = 0

    def subject(self, operation: str, parameters: dict[str, Any], principal: str = "alice") -> Subject:
        subject = self.asking.subject(operation, "writ", principal=principal, parameters=parameters)
        return self.asking.signed(subject)

    async def decision(self, subject: Subject) -> tuple[str, str]:
        """The effect and code of the decision, or the code of the error."""
        decided = await self.asking.decide(subject, control_sequence=self.last)
        if decided.error is not None:
            return "error", decided.error.code
        assert decided.decision is not None
        decision = read(decided.decision, Decision)
        return decision.effect, decision.code

    async def open(self, key: Key, principal: str = "alice", seconds: int = 3600, **changed: Any) -> str:
        """The id of an open session of this principal."""
        return await self.stored(
            self.subject("session_open", {"key": key.public, "seconds": seconds}, principal), **changed
        )

    async def stored(self, subject: Subject, body: dict[str, Any] | None = None, **changed: Any) -> str:
        """Store the control event of an allowed operation, as an executor does."""
        decided = await self.asking.decide(subject, control_sequence=self.last)
        assert decided.decision is not None, decided
        assert read(decided.decision, Decision).effect == "allow", decided
        number = subject.operation_id
        event = {
            "id": number,
            "operation_id": number,
            "principal": subject.principal,
            "parameters_key": KEY,
            "statement": subject.statement,
            **({"salt": SALT, "given": subject.parameters} if subject.operation == "session_open" else {}),
            **changed,
        }
        signed = decided.decision.detached()
        self.last = await self.asking.control(subject.operation, body or dict(decided.effective), signed, **event)
        return number

    async def end(self, session: str) -> str:
        return await self.stored(self.asking.subject("session_end", "writ", parameters={"session_id": session}))

    def by(self, key: Key, *, signer: Key | None = None) -> Subject:
        """A restart of alice's, sent by this key."""
        subject = self.asking.subject(key=key.public)
        if signer is None:
            return subject
        self.asking.files.keys["session"] = signer
        return self.asking.signed(subject, by="session")

    async def listed(self, who: str, key: str, **query: Any) -> SessionsReply:
        headers = {"Nats-Request-Info": json.encode({"user": key}).decode()}
        message = await self.asking.bus.request(
            subjects.query(who, "sessions"), encode(SessionsQuery(**query)), timeout=20, headers=headers
        )
        return decode(message.data, SessionsReply)


@pytest.fixture
def sessions(asking: Asking) -> Sessions:
    asking.files.policy(*RULES)
    return Sessions(asking)


def new_key() -> Key:
    return Key(generate_seed())


async def test_a_session_acts_as_its_principal_and_the_decision_names_it(sessions: Sessions) -> None:
    key = new_key()
    assert await sessions.decision(sessions.by(key)) == ("error", "key_mismatch")
    session = await sessions.open(key)
    decision = await sessions.asking.decision(sessions.by(key, signer=key), control_sequence=sessions.last)
    assert (decision.effect, decision.session, decision.authenticated) == ("allow", session, "signature")
    assert (await sessions.asking.decision(sessions.asking.subject())).session == ""


async def test_a_statement_by_another_key_than_the_sessions_or_the_principals_is_refused(sessions: Sessions) -> None:
    key, other = new_key(), new_key()
    await sessions.open(key)
    await sessions.open(other)
    assert await sessions.decision(sessions.by(key, signer=other)) == ("error", "bad_signature")
    assert await sessions.decision(sessions.by(key, signer=sessions.asking.files.keys["alice"])) == ("allow", "allowed")
    bobs = structs.replace(sessions.by(key), principal="bob")
    assert await sessions.decision(bobs) == ("error", "key_mismatch")


async def test_a_session_expires_and_what_was_requested_in_it_still_starts(sessions: Sessions) -> None:
    key = new_key()
    await sessions.open(key, seconds=60)
    restart = sessions.by(key, signer=key)
    allowed = await sessions.asking.decide(restart, control_sequence=sessions.last)
    assert allowed.decision is not None
    await sessions.asking.record(restart, allowed.decision.detached())
    sessions.asking.clock.now += 61
    assert await sessions.decision(sessions.by(key)) == ("error", "session_expired")
    granted = await sessions.asking.granted_as_recorded(restart, control_sequence=sessions.last)
    assert granted.grant is not None, granted


async def test_an_ended_session_counts_no_more_also_for_what_has_not_started(sessions: Sessions) -> None:
    key = new_key()
    session = await sessions.open(key)
    restart = sessions.by(key)
    allowed = await sessions.asking.decide(restart, control_sequence=sessions.last)
    assert allowed.decision is not None
    await sessions.asking.record(restart, allowed.decision.detached())
    await sessions.end(session)
    assert await sessions.decision(sessions.by(key)) == ("error", "key_mismatch")
    granted = await sessions.asking.granted_as_recorded(restart, control_sequence=sessions.last)
    assert granted.error is not None
    assert granted.error.code == "key_mismatch"
    again = sessions.asking.subject("session_end", "writ", parameters={"session_id": session})
    assert await sessions.decision(sessions.asking.signed(again)) != ("allow", "own")


async def test_a_session_opens_no_other_and_gives_no_other_principals(sessions: Sessions) -> None:
    key = new_key()
    await sessions.open(key)
    sessions.asking.files.keys["session"] = key
    plain = sessions.asking.subject("session_open", "writ", parameters={"key": new_key().public, "seconds": 60})
    by_session = sessions.asking.signed(structs.replace(plain, key=key.public), by="session")
    assert await sessions.decision(by_session) == ("deny", "denied")
    relayed = sessions.asking.signed(
        structs.replace(plain, key=sessions.asking.files.keys["alice"].public), by="session"
    )
    assert await sessions.decision(relayed) == (
        "error",
        "bad_signature",
    )  # sent by alice's key, signed by the session's
    unsigned = sessions.asking.subject("session_open", "writ", parameters={"key": new_key().public, "seconds": 60})
    assert await sessions.decision(unsigned) == ("deny", "signature_required")


@pytest.mark.parametrize("approval", [False, True])
async def test_a_session_changes_no_principals_and_so_outlasts_its_end_by_no_key(
    sessions: Sessions, approval: bool
) -> None:
    asking, key, mine = sessions.asking, new_key(), new_key().public
    manage = {"name": "manage", "operations": ["principal_manage"], "allowed": True, "inherit": False}
    asking.files.policy(*RULES, manage, require_approval_for_admin=approval)
    await sessions.open(key)
    asking.files.keys["session"] = key
    for change in (
        {"action": "rotate", "principal_id": "alice", "key": mine},
        {"action": "add", "principal_id": "mallory", "kind": "human", "key": mine, "roles": ["approver"]},
    ):
        plain = asking.subject("principal_manage", "writ", key=key.public, parameters=change)
        for signer in ("session", "alice"):
            assert await sessions.decision(asking.signed(plain, by=signer)) == ("deny", "denied")
    by_own_key = sessions.subject("principal_manage", change)
    assert (await sessions.decision(by_own_key))[0] in ("allow", "require_approval")


async def test_an_agent_ends_its_own_session_and_not_that_of_its_human(sessions: Sessions) -> None:
    def end(who: str, session: str) -> Subject:
        return sessions.asking.subject("session_end", "writ", principal=who, parameters={"session_id": session})

    humans, agents = await sessions.open(new_key()), await sessions.open(new_key(), "copilot")
    decided = {
        (who, whose): (await sessions.decision(end(who, session)))[0]
        for who in ("alice", "copilot", "bob")
        for whose, session in (("alice", humans), ("copilot", agents))
    }
    allowed = {about for about, effect in decided.items() if effect == "allow"}
    assert allowed == {("alice", "alice"), ("alice", "copilot"), ("copilot", "copilot")}


async def test_sessions_are_bounded_by_the_policy_and_a_rule_may_deny_them(sessions: Sessions) -> None:
    asking = sessions.asking
    asking.files.policy(*RULES, sessions={"longest": "1h", "most": 1})
    long = sessions.subject("session_open", {"key": new_key().public, "seconds": 3601})
    assert await sessions.decision(long) == ("deny", "too_long")
    await sessions.open(new_key())
    second = sessions.subject("session_open", {"key": new_key().public, "seconds": 60})
    assert await sessions.decision(second) == ("deny", "too_many_sessions")
    asking.clock.now += 3601
    asking.files.policy(*RULES, {"name": "none", "operations": ["session_open"], "allowed": False})
    third = sessions.subject("session_open", {"key": new_key().public, "seconds": 60})
    assert await sessions.decision(third) == ("deny", "denied")


@pytest.mark.parametrize("whose", ["alice", "bob", "agent-a"])
async def test_a_session_has_a_key_of_its_own(sessions: Sessions, whose: str) -> None:
    key = sessions.asking.files.keys[whose]
    expected = sessions.subject("session_open", {"key": key.public, "seconds": 60})
    assert await sessions.decision(expected) == ("error", "conflict")


@pytest.mark.parametrize("action", ["disable", "remove", "rotate"])
async def test_sessions_of_a_principal_who_changes_end(sessions: Sessions, action: str) -> None:
    asking, key = sessions.asking, new_key()
    manage = {"name": "manage", "operations": ["principal_manage"], "allowed": True, "inherit": False}
    asking.files.policy(*RULES, manage)
    await sessions.open(key, "bob")
    change = {"action": action, "principal_id": "bob"} | ({"key": new_key().public} if action == "rotate" else {})
    await sessions.stored(sessions.subject("principal_manage", change))
    effect, code = await sessions.decision(asking.subject(principal="bob", key=key.public))
    assert (effect, code in ("principal_disabled", "unknown_principal", "key_mismatch")) == ("error", True)
    assert (await sessions.listed("alice", asking.files.keys["alice"].public)).sessions == []


async def test_a_key_that_is_changed_in_the_file_ends_its_sessions(sessions: Sessions) -> None:
    key = new_key()
    await sessions.open(key)
    sessions.asking.files.keys["alice"] = new_key()
    know(sessions.asking)
    assert await sessions.decision(sessions.by(key)) == ("error", "key_mismatch")


async def test_a_session_that_policy_did_not_allow_so_counts_for_nothing(sessions: Sessions) -> None:
    """A thief of an executor's key has a decision on one key, and stores another, or another statement."""
    key, stolen = new_key(), new_key()
    subject = sessions.subject("session_open", {"key": key.public, "seconds": 60})
    await sessions.stored(subject, body={"key": stolen.public, "seconds": 60, "timeout": 30})
    assert await sessions.decision(sessions.by(stolen)) == ("error", "key_mismatch")
    other = sessions.asking.signed(sessions.asking.subject(), by="bob")
    await sessions.open(new_key(), statement=other.statement)
    assert (await sessions.listed("alice", sessions.asking.files.keys["alice"].public)).sessions == []


THIEFS = Key(generate_seed())
SHORT = {"key": THIEFS.public, "seconds": 60}


@pytest.mark.parametrize(
    ("signed", "wrapped", "stored"),
    [
        ({}, {}, {}),
        *(({one: text}, {}, {}) for one, text in (("by", "bob"), ("principal", "bob"), ("operation", "session_end"))),
        ({"idempotency_key": "other"}, {}, {}),
        ({"dry_run": True}, {}, {}),
        ({}, {"signature": "A" * 86}, {}),
        ({}, {}, {"salt": "", "given": {}}),
        ({"parameters_digest": keyed_digest(SALT, SHORT)}, {}, {"given": SHORT}),
    ],
)
async def test_forged_session_with_policys_decision_alone_does_not_count(
    sessions: Sessions, signed: dict[str, Any], wrapped: dict[str, Any], stored: dict[str, Any]
) -> None:
    """Thieves of policy's and an executor's keys store it. Only the first session has its principal's own signature."""
    asking = sessions.asking
    plain = asking.subject("session_open", "writ", parameters={"key": THIEFS.public, "seconds": 3600})
    allowed, made = await asking.decision(asking.signed(plain)), asking.signed(plain, **signed).statement
    assert made is not None
    statement = structs.replace(made, **wrapped)
    decision = sign(asking.files.keys["policy"], structs.replace(allowed, statement_digest=digest(statement)))
    number, body = plain.operation_id, {**plain.parameters, "idle": 3600, "device": "", "timeout": 30}
    about = {"id": number, "operation_id": number, "principal": "alice", "parameters_key": KEY}
    event = {"statement": statement, "salt": SALT, "given": plain.parameters, **stored}
    sessions.last = await asking.control("session_open", body, decision, **about, **event)
    honest = not (signed or wrapped or stored)
    expected = ("allow", "allowed") if honest else ("error", "key_mismatch")
    assert await sessions.decision(sessions.by(THIEFS)) == expected


async def test_an_approval_in_a_session_counts_for_the_person_and_by_an_expired_one_never(sessions: Sessions) -> None:
    asking, key = sessions.asking, new_key()
    asking.files.keys["bobs"] = key
    await sessions.open(key, "bob", seconds=60)
    one = await pending(asking, NEEDS)
    answer = await one.send(sign_approval(key, one.approval()), "bob", key.public)
    assert answer.state == "approved", answer
    asking.clock.now += 61
    await one.dispatched()
    assert await one.start() == ("allow", "approved")
    other = await pending(asking, NEEDS)
    late = await other.send(sign_approval(key, other.approval()), "bob", asking.files.keys["bob"].public)
    assert late.error is not None
    assert late.error.code == "bad_approval"


async def test_approvals_in_a_session_that_was_ended_start_nothing(sessions: Sessions) -> None:
    asking, key = sessions.asking, new_key()
    session = await sessions.open(key, "bob")
    one = await pending(asking, NEEDS)
    assert (await one.send(sign_approval(key, one.approval()), "bob", key.public)).state == "approved"
    ended = asking.subject("session_end", "writ", principal="bob", parameters={"session_id": session})
    await sessions.stored(ended)
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


@pytest.mark.parametrize("requester", ["bob", "copilot"])
async def test_nobody_approves_their_own_request_by_a_session(sessions: Sessions, requester: str) -> None:
    """The same holds for requests of the AI agent that acts for them."""
    asking, key = sessions.asking, new_key()
    principal = {"bob": "bob", "copilot": "alice"}[requester]
    await sessions.open(key, principal)
    one = await pending(asking, NEEDS, principal=requester)
    answer = await one.send(sign_approval(key, one.approval(principal)), principal, key.public)
    assert answer.error is not None
    assert answer.error.code == "not_approver"


async def test_an_agents_session_approves_nothing(sessions: Sessions) -> None:
    asking, key = sessions.asking, new_key()
    await sessions.open(key, "copilot")
    one = await pending(asking, NEEDS)
    answer = await one.send(sign_approval(key, one.approval("copilot")), "copilot", key.public)
    assert answer.error is not None
    assert answer.error.code == "not_approver"


async def test_principals_list_their_own_sessions_and_auditors_those_of_others(sessions: Sessions) -> None:
    keys, key = sessions.asking.files.keys, new_key()
    session = await sessions.open(key)
    agents = await sessions.open(new_key(), "copilot")
    mine = await sessions.listed("alice", key.public)
    assert {one.id: one.here for one in mine.sessions} == {session: True, agents: False}
    assert (await sessions.listed("bob", keys["bob"].public)).sessions == []
    refused = await sessions.listed("bob", keys["bob"].public, everybody=True)
    assert refused.error is not None
    reads = {"name": "reads", "operations": ["audit_read"], "allowed": True, "inherit": False}
    sessions.asking.files.policy(*RULES, reads)
    assert len((await sessions.listed("bob", keys["bob"].public, everybody=True)).sessions) == 2

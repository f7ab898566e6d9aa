"""Irregular events are found in histories of dishonest executors, and none in those of honest executors."""

import itertools
from typing import Any

from msgspec import Raw, structs

from writ_audit.irregular_events import IrregularEvent, OperationHistories
from writ_contracts import journal, subjects
from writ_contracts.agents import ProbeFinding, Receipt
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import Approval, SignedApproval
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_testing.each_case import each_case
from writ_trust.approvals import sign_approval
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, sign

ID = "a" * 26
AGENT, THIEF, BOB = (Key(generate_seed()) for _ in range(3))
RECEIPT = Receipt(
    operation_id=ID,
    attempt=1,
    pool="a",
    instance="one",
    grant_digest="0" * 64,
    outcome="succeeded",
    code="",
    message="",
    output_digest="0" * 64,
    output_bytes=0,
)
CLAIM, GRANT, OTHER = (sign(AGENT, structs.replace(RECEIPT, message=text)) for text in ("claim", "grant", "other"))
COMMON: dict[str, Any] = {"id": "e", "at": 1.0, "correlation_id": "c", "operation_id": ID}
WORK: dict[str, Any] = {
    **COMMON,
    "principal": "alice",
    "operation": "service_restart",
    "target": "web-1",
    "pool": "a",
    "parameters": {},
    "start_by": 2.0,
    "timeout": 60,
}
REQUESTED = journal.Requested(
    **WORK,
    risk="change",
    idempotent=False,
    key="U",
    effective={},
    hidden=[],
    parameters_digest="0" * 64,
    fingerprint="",
    verdict=Verdict(decision="allow", rules=[], reason="", code="allowed"),
    decision=GRANT,
)
NEWER = structs.replace(GRANT, payload=Raw(b'{"type":"decision","effect":"require_approval","at":"noon"}'))
"""A decision of which this release can read the effect alone."""
TWICE = structs.replace(REQUESTED, idempotent=True)
CONTROL = structs.replace(REQUESTED, target="writ")
AT_ONCE = structs.replace(
    REQUESTED, dispatched=journal.DispatchedAtOnce(start_by=2.0, decision_digest=digest(REQUESTED.decision))
)
DISPATCHED = journal.Dispatched(**WORK, attempt=1)
GRANTED = journal.Granted(**COMMON, attempt=1, instance="one", deadline=3.0, claim=CLAIM, grant=GRANT, decision=GRANT)
STARTED = journal.Started(**COMMON, attempt=1, instance="executor", deadline=3.0)
CANCEL = journal.CancelRequested(
    **COMMON, by="alice", cancel_id="b" * 26, decision=GRANT, parameters={}, parameters_key="0" * 64
)


def finished(receipt: Signed | None = None) -> journal.Finished:
    return journal.Finished(**COMMON, outcome="succeeded", receipt=receipt)


def probed(outcome: Any, **changed: Any) -> journal.Finished:
    finding = ProbeFinding(
        operation_id=ID,
        operation="service_restart",
        target="web-1",
        pool="a",
        instance="one",
        look_digest="0" * 64,
        attempt=1,
        verdict="took_effect",
    )
    return journal.Finished(**COMMON, outcome=outcome, probe=sign(AGENT, structs.replace(finding, **changed)))


def receipt(by: Key = AGENT, **changed: Any) -> Signed:
    return sign(by, structs.replace(RECEIPT, **{"grant_digest": digest(GRANT), **changed}))


ARCHIVED = journal.Archived(
    **COMMON,
    principal="alice",
    operation="service_restart",
    target="web-1",
    requested_at=1.0,
    outcome="succeeded",
    fingerprint="",
    generation=1,
)
AWAITING = journal.AwaitingApproval(**COMMON, until=9.0, approvers=["bob"], quorum=1)
PREVIEW, ANOTHER = (sign(AGENT, structs.replace(RECEIPT, message=text)) for text in ("preview", "another"))
PREVIEWED = journal.PreviewTaken(**COMMON, preview=PREVIEW)
DECIDED = structs.replace(REQUESTED, verdict=structs.replace(REQUESTED.verdict, decision="require_approval"))


def verdict(preview: Signed | None, choice: str = "approve") -> SignedApproval:
    """Return bob's signed verdict on this preview."""
    approval = Approval(
        operation_id=ID,
        requested="0" * 64,
        decision_digest="0" * 64,
        step="rule#1",
        verdict=choice,  # type: ignore[arg-type]
        approver="bob",
        issued_at=1.0,
        nonce="0" * 64,
        preview=digest(preview) if preview is not None else None,
    )
    return sign_approval(BOB, approval)


def approved(preview: Signed | None) -> journal.Approved:
    return journal.Approved(**COMMON, approvals=[verdict(preview)], approver="bob")


def approval_given(preview: Signed | None) -> journal.ApprovalGiven:
    return journal.ApprovalGiven(**COMMON, approver="bob", approval=verdict(preview), remaining=1)


def rejected(preview: Signed | None) -> journal.Rejected:
    return journal.Rejected(**COMMON, approver="bob", approval=verdict(preview, "reject"))


Events = list[journal.OperationEvent]
HONEST: list[Events] = [
    [REQUESTED, DISPATCHED, GRANTED, finished(receipt()), ARCHIVED],
    [REQUESTED, DISPATCHED, GRANTED, CANCEL, finished(receipt())],
    [REQUESTED, DISPATCHED, GRANTED, finished(receipt(output={"not": "kept"}, state={"nor": "this"}))],
    [REQUESTED, DISPATCHED, GRANTED, structs.replace(finished(receipt(output={"a": 1.5})), output={"a": 1.5})],
    [REQUESTED, DISPATCHED, GRANTED, journal.Unknown(**COMMON, code="", message="", receipt=receipt(outcome="failed"))],
    [REQUESTED, DISPATCHED, GRANTED, probed("succeeded")],
    [REQUESTED, DISPATCHED, finished()],
    [REQUESTED, finished()],
    [AT_ONCE, GRANTED, finished(receipt()), ARCHIVED],
    [AT_ONCE, finished()],
    [AT_ONCE, DISPATCHED, GRANTED, finished(receipt())],
    [AT_ONCE, DISPATCHED, finished()],
    [structs.replace(AT_ONCE, idempotent=True), GRANTED, DISPATCHED, GRANTED, finished(receipt())],
    [CONTROL, STARTED, finished()],
    [TWICE, DISPATCHED, GRANTED, DISPATCHED, GRANTED, finished(receipt())],
    [REQUESTED, DISPATCHED, GRANTED, finished(receipt(grant_digest=None, claim_digest=digest(CLAIM)))],
    [ARCHIVED, ARCHIVED],
    [DECIDED, AWAITING, approved(None)],
    [DECIDED, AWAITING, PREVIEWED, approval_given(PREVIEW), approved(PREVIEW)],
    [DECIDED, AWAITING, PREVIEWED, structs.replace(PREVIEWED, preview=ANOTHER), approved(PREVIEW)],
    [DECIDED, AWAITING, PREVIEWED, rejected(PREVIEW)],
    [DECIDED, AWAITING, PREVIEWED, rejected(None)],
]
OF_ANOTHER = "signed another preview than the agent's on record"
BROKEN: dict[str, tuple[Events, str]] = {
    "an approval of another preview": ([DECIDED, AWAITING, PREVIEWED, approved(ANOTHER)], OF_ANOTHER),
    "one of several approvals of another preview": (
        [DECIDED, AWAITING, PREVIEWED, approval_given(ANOTHER)],
        OF_ANOTHER,
    ),
    "an approval without a preview where there is one": ([DECIDED, AWAITING, PREVIEWED, approved(None)], OF_ANOTHER),
    "an approval of a preview that is not on record": ([DECIDED, AWAITING, approved(PREVIEW)], OF_ANOTHER),
    "an approval of a preview that came second": (
        [DECIDED, AWAITING, PREVIEWED, structs.replace(PREVIEWED, preview=ANOTHER), approved(ANOTHER)],
        OF_ANOTHER,
    ),
    "a rejection of another preview": ([DECIDED, AWAITING, PREVIEWED, rejected(ANOTHER)], OF_ANOTHER),
    "a dispatch of what nobody requested": ([DISPATCHED], "absent"),
    "a start of what nobody requested": ([GRANTED], "absent"),
    "a start without a dispatch": ([REQUESTED, GRANTED], "requested"),
    "a start by an executor": ([REQUESTED, STARTED], "without a grant"),
    "a start by an executor after the dispatch": ([REQUESTED, DISPATCHED, STARTED], "dispatched"),
    "a start without the approvals that a decision demands, which is not readable otherwise": (
        [structs.replace(REQUESTED, decision=NEWER), DISPATCHED, GRANTED],
        "without the approvals",
    ),
    "a start of what was dispatched at once, without the approvals that its decision demands": (
        [structs.replace(AT_ONCE, decision=NEWER), GRANTED],
        "without the approvals",
    ),
    "an approval of what was dispatched at once": ([AT_ONCE, approved(None)], "dispatched"),
    "a third dispatch of what was dispatched at once": ([AT_ONCE, DISPATCHED, DISPATCHED], "dispatched"),
    "a second attempt of what was dispatched at once": (
        [AT_ONCE, structs.replace(DISPATCHED, attempt=2)],
        "dispatched",
    ),
    "a dispatch of what was dispatched at once and granted": ([AT_ONCE, GRANTED, DISPATCHED], "must not run twice"),
    "a second start of what was dispatched at once": ([AT_ONCE, GRANTED, GRANTED], "started"),
    "a second start": ([REQUESTED, DISPATCHED, GRANTED, GRANTED], "started"),
    "a second attempt": ([REQUESTED, DISPATCHED, GRANTED, DISPATCHED], "must not run twice"),
    "an attempt after the end": ([REQUESTED, DISPATCHED, GRANTED, finished(receipt()), DISPATCHED], "ended"),
    "a receipt for a grant that nobody recorded": (
        [REQUESTED, DISPATCHED, GRANTED, finished(receipt(grant_digest=digest(OTHER)))],
        "not on record",
    ),
    "a receipt by another key": (
        [REQUESTED, DISPATCHED, GRANTED, finished(receipt(THIEF))],
        "from another agent than claimed",
    ),
    "a success by a receipt of a failure": (
        [REQUESTED, DISPATCHED, GRANTED, finished(receipt(outcome="failed"))],
        "says failed",
    ),
    "an end with another output than its receipt": (
        [REQUESTED, DISPATCHED, GRANTED, structs.replace(finished(receipt(output={"a": 1})), output={"a": True})],
        "has another output",
    ),
    "an end with another reason than its receipt": (
        [REQUESTED, DISPATCHED, GRANTED, structs.replace(finished(receipt()), code="x", message="y", state={"z": 1})],
        "has another code, message, state",
    ),
    "a success that is recorded as unknown": (
        [REQUESTED, DISPATCHED, GRANTED, journal.Unknown(**COMMON, code="lost", message="", receipt=receipt())],
        "says that the operation succeeded",
    ),
    "a success by a finding that there is no effect": (
        [REQUESTED, DISPATCHED, GRANTED, probed("succeeded", verdict="no_effect")],
        "says no_effect",
    ),
    "an end by a finding about another operation": (
        [REQUESTED, DISPATCHED, GRANTED, probed("succeeded", operation_id="b" * 26)],
        "of another operation",
    ),
    "a receipt by another instance": (
        [REQUESTED, DISPATCHED, GRANTED, finished(receipt(instance="two"))],
        "from another agent than claimed",
    ),
}


def records(events: Events) -> list[Record]:
    numbers = itertools.count(1)
    found = []
    for event in events:
        kind = str(event.__struct_config__.tag)
        where = {"pool": "a", "target": "web-1"} if kind == "dispatched" else {}
        subject = subjects.operation_event("alice", ID, kind, **where)
        found.append(Record(next(numbers), subject, encode(event), {}, 1.0))
    return found


def looked(events: Events) -> list[IrregularEvent]:
    courses, stored = OperationHistories(), records(events)
    return [found for record in stored if (found := courses.examine(record))]


@each_case("events", HONEST)
def test_history_of_honest_executors_is_regular(events: Events) -> None:
    assert looked(events) == []


@each_case("events", HONEST)
def test_honest_history_is_regular_wherever_an_audit_service_begins_to_read(events: Events) -> None:
    for position in range(1, len(events)):
        courses, stored = OperationHistories(), records(events)
        for _, operation_id in courses.unknown(stored[position:]):
            courses.learn(operation_id, stored[:position])
        assert [courses.examine(record) for record in stored[position:]] == [None] * (len(events) - position), position


@each_case("case", BROKEN)
def test_impossible_history_is_found(case: str) -> None:
    events, text = BROKEN[case]
    *_, last = found = looked(events)
    assert len(found) == 1
    assert (last.sequence, last.operation_id, last.principal) == (len(events), ID, "alice")
    assert text in last.what


def test_only_operations_whose_beginning_is_not_here_have_to_be_read() -> None:
    courses, stored = OperationHistories(), records(HONEST[0])
    assert courses.unknown(stored) == set()
    assert courses.unknown(stored[2:]) == {("alice", ID)}
    courses.learn(ID, stored[:2])
    assert courses.unknown(stored[2:]) == set()
    assert [courses.examine(record) for record in stored[2:]] == [None, None, None]


def test_events_left_before_an_archive_are_not_judged() -> None:
    courses, stored = OperationHistories(), records(HONEST[0])
    courses.learn(ID, stored[-1:])
    assert [courses.examine(record) for record in stored[1:]] == [None] * 4


def test_operation_that_goes_on_after_an_archive_in_the_same_records_is_regular() -> None:
    courses, stored = OperationHistories(), records([CONTROL, STARTED, finished()])
    stored.insert(2, Record(9, subjects.control_event("journal_archive"), b"{}", {}, 1.0))
    assert courses.unknown(stored) == set()
    assert [courses.examine(record) for record in stored] == [None] * 4


def test_key_of_a_request_that_ended_before_an_archive_may_be_used_again() -> None:
    courses, stored = OperationHistories(), records(HONEST[0])
    archive = Record(9, subjects.control_event("journal_archive"), b"{}", {}, 1.0)
    assert [courses.examine(record) for record in (*stored, archive, *stored)] == [None] * (2 * len(stored) + 1)


def test_a_record_that_cannot_be_read_is_passed_over() -> None:
    broken = Record(1, subjects.operation_event("alice", ID, "granted"), b"\xff", {}, 1.0)
    assert OperationHistories().examine(broken) is None

"""A word that a newer release adds to a list of words (outcomes, kinds, effects, …) is read, shown and passed on.

Every list in a message is extensible, or is in CLOSED with the reason. A new list fails here until it has one of both.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest
from msgspec import Struct, inspect, structs
from tests.contracts.messages import messages, sample

from writ_audit.notifications.messages import notification_of
from writ_audit.projection import UNREADABLE, project
from writ_client.operations.operation_events import read_body
from writ_contracts import journal, subjects
from writ_contracts.agents import Receipt
from writ_contracts.decisions import Decision, RuleLimit
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import DecisionDemand
from writ_contracts.wire import decode, decode_event, encode
from writ_proof.archive.signatures import Signatures
from writ_testing.each_case import each_case
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

WORD = "of_tomorrow"
QUESTION = "a request, whose sender gets a clear refusal"
DECIDES = "a signature on it opens something: what is not understood must not"
FILE = "a line of a file or a report of a scanner, whose author gets a clear refusal"
CLOSED = {
    "ReadRequest.action": QUESTION,
    "DecideRequest.look": QUESTION,
    "PolicyAllowedQuery.role": QUESTION,
    "PolicyValidateQuery.mode": QUESTION,
    "PolicyWhoCanQuery.role": QUESTION,
    "SearchQuery.outcome": QUESTION,
    "SearchQuery.outcomes": QUESTION,
    "ReadGrant.actions": DECIDES,
    "Approval.verdict": DECIDES,
    "Approval.proof": DECIDES,
    "Presence.proof": DECIDES,
    "StoredPolicy.origin": DECIDES,
    "Credential.method": DECIDES,
    "Credential.proof": DECIDES,
    "Credential.algorithm": DECIDES,
    "PeopleDirectory.posture": DECIDES,
    "Finding.severity": FILE,
    "SuppliedFinding.severity": FILE,
    "Target.role": FILE,
}


def words(info: inspect.Type) -> Iterator[str]:
    """Yield `closed` or `extensible` for each list of words in the type of a field."""
    match info:
        case inspect.LiteralType():
            yield "closed"
        case inspect.Metadata(extra={"known": _}):
            yield "extensible"
        case inspect.Metadata():
            yield from words(info.type)
        case inspect.UnionType():
            yield from (word for one in info.types for word in words(one))
        case inspect.ListType():
            yield from words(info.item_type)
        case inspect.DictType():
            yield from words(info.value_type)


def fields(how: str) -> list[tuple[type[Struct], str]]:
    found = ((kind, field) for kind in messages() for field in inspect.type_info(kind).fields)  # type: ignore[attr-defined]
    return [(kind, field.name) for kind, field in found if how in words(field.type)]


EXTENSIBLE = fields("extensible")
EVENTS = get_args(journal.JournalEvent)


def with_word(kind: type[Struct], name: str) -> Struct:
    return structs.replace(sample(kind), **{name: WORD})


def test_every_list_of_words_is_extensible_or_closed_for_a_reason() -> None:
    assert {f"{kind.__name__}.{name}" for kind, name in fields("closed")} == CLOSED.keys()


@each_case(("kind", "name"), EXTENSIBLE, ids=lambda one: getattr(one, "__name__", one))
def test_word_of_a_newer_release_is_read_and_written_again(kind: type[Struct], name: str) -> None:
    newer = with_word(kind, name)
    assert decode(encode(newer), kind) == newer


@each_case("text", ["", "Two Words", "a\n", "x" * 41, "späte"])
@each_case(("kind", "name"), [(journal.Finished, "outcome"), (journal.SecurityEvent, "kind")])
def test_text_that_is_no_word_is_refused(kind: type[Struct], name: str, text: str) -> None:
    body = {**msgspec.json.decode(encode(sample(kind))), name: text}
    with pytest.raises(Invalid):
        decode(encode(body), kind)


def events_with_words() -> list[Any]:
    limited = structs.replace(sample(journal.Requested), limits=[with_word(RuleLimit, "kind")])
    awaiting = structs.replace(sample(journal.AwaitingApproval), demands=[with_word(DecisionDemand, "proof")])
    plain = [with_word(kind, name) for kind, name in EXTENSIBLE if kind in EVENTS]
    return [*plain, limited, awaiting]


def subject_of(event: Any) -> str:
    kind = str(event.__struct_config__.tag)
    if kind in journal.OPERATION_KINDS:
        return f"writ.journal.op.alice.{'a' * 26}.{kind}"
    return f"writ.journal.other.{kind}"


@each_case("event", events_with_words(), ids=lambda event: type(event).__name__)
def test_event_with_a_newer_word_is_read_by_index_notifications_verifier_and_clients(event: Any) -> None:
    named = {"operation_id": "a" * 26} if hasattr(event, "operation_id") else {}
    event = structs.replace(event, **named)
    record = Record(7, subject_of(event), encode(event), {}, 1.0)
    assert decode_event(record.data) == event
    assert project(7, record.subject, record.data, 1.0).event.kind == event.__struct_config__.tag != UNREADABLE
    notification_of(record)
    with suppress(Untrusted):  # the sample's signatures do not hold: to read it comes before
        Signatures([]).check(record)
    assert read_body(event.__struct_config__.tag, msgspec.json.decode(record.data)) == event


@pytest.mark.parametrize("word", ["effect", "authenticated"])
def test_decision_with_a_newer_word_is_verified_with_its_signature(word: str) -> None:
    key = Key(generate_seed())
    of = {"operation_id": "a" * 26, "principal": "alice", "operation": "test_noop", "target": "web-1"}
    decision = structs.replace(with_word(Decision, word), **of, acts_for=None, presence=None, statement_digest=None)
    fields = {**of, "acts_for": None, "decision": sign(key, decision), "statement": None, "presence": None}
    event = structs.replace(sample(journal.Requested), **fields, look=None, ahead=None)
    Signatures([key.public]).check(Record(7, subject_of(event), encode(event), {}, 1.0))


@pytest.mark.parametrize("word", ["outcome", "effect"])
def test_receipt_with_a_newer_word_is_verified_with_its_signature(word: str) -> None:
    key = Key(generate_seed())
    receipt = structs.replace(with_word(Receipt, word), operation_id="a" * 26)
    copied = ("operation_id", "outcome", "code", "message", "output", "state", "output_digest")
    fields = {name: getattr(receipt, name) for name in copied}
    event = structs.replace(sample(journal.Finished), **fields, receipt=sign(key, receipt), probe=None, decision=None)
    Signatures([]).check(Record(7, subject_of(event), encode(event), {}, 1.0))


@pytest.mark.parametrize("subject", ["writ.journal.quota.alice", subjects.security_event("flood")])
def test_event_of_a_newer_kind_is_carried_on_any_subject(subject: str) -> None:
    body = encode({"type": "quota_noted", "id": "q", "at": 1.0, "correlation_id": "c", "size": 3})
    event = decode_event(body)
    assert isinstance(event, journal.Carried)
    assert event.kind == "quota_noted"
    assert project(7, subject, body, 1.0).event.kind == "quota_noted"
    record = Record(7, subject, body, {}, 1.0)
    Signatures([]).check(record)
    assert notification_of(record) is None


def test_control_event_of_another_kind_is_not_carried_by_the_verifier() -> None:
    body = encode({"type": "stopped_later", "id": "q", "at": 1.0, "correlation_id": "c"})
    with pytest.raises(Invalid, match="unknown kind"):
        Signatures([]).check(Record(7, subjects.control_event("stop_set"), body, {}, 1.0))


def test_event_of_a_known_kind_with_a_bad_field_is_not_carried() -> None:
    body = encode({"type": "finished", "id": "f", "at": 1.0, "correlation_id": "c"})
    with pytest.raises(Invalid):
        decode_event(body)

"""The wire form of every message equals its golden file, decodes again, and follows the rule for unknown fields."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from tests.contracts.messages import GOLDEN, carried, file_name, messages, sample, statements, text

from writ_contracts import agents, decisions, journal, notices
from writ_contracts.errors import Invalid
from writ_contracts.history import audit
from writ_contracts.registry import CHANNELS, Style
from writ_contracts.wire import MSGPACK, decode, decode_event, encode
from writ_testing.each_case import each_case

EVERY = messages()
every_message = each_case("kind", EVERY, ids=file_name)
STRICT = {
    kind for channel in CHANNELS if channel.style in (Style.REQUEST, Style.PUBLISH) for kind in carried(channel.message)
}
REPORTS: set[type[Struct]] = {agents.Heartbeat, agents.Progress, audit.AuditStanding, notices.Notice}
"""How their sender is: an executor that is older than it must not take it for dead."""
STRICT |= set(statements()) - {decisions.Decision}
STRICT -= REPORTS
TOLERANT: set[type[Struct]] = {kind for channel in CHANNELS for kind in carried(channel.answer)} | {decisions.Decision}
TOLERANT |= set(carried(journal.JournalEvent)) | REPORTS


def in_order(kinds: set[type[Struct]]) -> list[type[Struct]]:
    return sorted(kinds, key=file_name)


def golden(kind: type[Struct]) -> bytes:
    """Return the wire form, without the white space for readers."""
    return msgspec.json.format((GOLDEN / file_name(kind)).read_bytes(), indent=-1)


def test_golden_files_are_those_of_the_messages() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {file_name(kind) for kind in EVERY}


def test_golden_test_covers_the_known_messages() -> None:
    names = {kind.__name__ for kind in EVERY}
    assert {
        "Request",
        "Grant",
        "Receipt",
        "Granted",
        "Started",
        "SecurityEvent",
        "Signed",
        "FileRoot",
        "TraceEntry",
    } <= names
    assert len(EVERY) > 60


@every_message
def test_message_is_encoded_as_in_its_golden_file(kind: type[Struct]) -> None:
    assert (GOLDEN / file_name(kind)).read_text() == text(kind)


@every_message
def test_golden_file_is_decoded_to_its_message(kind: type[Struct]) -> None:
    assert encode(decode(golden(kind), kind)) == encode(sample(kind))


@every_message
def test_messagepack_carries_the_same_message(kind: type[Struct]) -> None:
    if kind in STRICT and kind not in set(statements()):
        plain = msgspec.json.decode(encode(sample(kind)))
        if "payload" not in json.dumps(plain):
            assert encode(decode(msgspec.msgpack.encode(plain), kind, content_type=MSGPACK)) == encode(sample(kind))


def with_unknown_field(kind: type[Struct]) -> bytes:
    known: dict[str, Any] = json.loads(golden(kind))
    return msgspec.json.encode({**known, "field_of_tomorrow": {"x": [1]}})


@each_case("kind", in_order(STRICT), ids=file_name)
def test_commands_claims_and_grants_refuse_an_unknown_field(kind: type[Struct]) -> None:
    with pytest.raises(Invalid, match="field_of_tomorrow"):
        decode(with_unknown_field(kind), kind)


@each_case("kind", in_order(TOLERANT), ids=file_name)
def test_events_and_answers_tolerate_a_field_of_a_newer_writer(kind: type[Struct]) -> None:
    assert encode(decode(with_unknown_field(kind), kind)) == encode(sample(kind))


@every_message
def test_missing_required_field_is_named(kind: type[Struct]) -> None:
    known: dict[str, Any] = json.loads(golden(kind))
    for name in [field.encode_name for field in msgspec.structs.fields(kind) if field.required]:
        with pytest.raises(Invalid, match=f"missing required field `{name}`"):
            decode(json.dumps({key: value for key, value in known.items() if key != name}).encode(), kind)


def test_statement_is_never_read_as_another_kind() -> None:
    for kind in statements():
        for other in statements():
            if other is not kind:
                with pytest.raises(Invalid):
                    decode(golden(kind), other)


def test_event_of_the_journal_is_distinguished_by_its_tag() -> None:
    for kind in carried(journal.JournalEvent):
        assert type(decode_event(golden(kind))) is kind

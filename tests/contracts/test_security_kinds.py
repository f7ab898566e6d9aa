"""Each kind of security event can be stored.

A kind of a newer release is recorded as `newer_kind`, since kinds are subjects.
"""

from typing import get_args

import pytest
from msgspec import json

from writ_contracts import subjects
from writ_contracts.agents import SecurityKind, SecurityReport, recorded_kind
from writ_contracts.errors import Invalid
from writ_contracts.journal import SecurityEvent
from writ_contracts.wire import decode, decode_event, encode
from writ_testing.each_case import each_case

KINDS: tuple[str, ...] = get_args(SecurityKind)


@each_case("kind", KINDS)
def test_security_event_of_each_kind_can_be_stored(kind: SecurityKind) -> None:
    event = SecurityEvent(id="e", at=1.0, correlation_id="c", kind=kind, detail="seen")
    assert decode_event(encode(event)) == event
    assert subjects.security_event(kind) == f"writ.journal.security.{kind}"


@pytest.mark.parametrize("kind", ["", "forged_grant ", "FORGED_GRANT", "a.b", "x" * 41])
def test_security_event_with_a_malformed_kind_is_invalid(kind: str) -> None:
    event = {"type": "security", "id": "e", "at": 1.0, "correlation_id": "c", "kind": kind, "detail": "seen"}
    with pytest.raises(Invalid):
        decode_event(json.encode(event))
    report = {"type": "writ.security.v1", "kind": kind, "pool": "p", "instance": "i", "detail": "seen"}
    with pytest.raises(Invalid):
        decode(json.encode(report), SecurityReport)


def test_kind_of_a_newer_release_is_recorded_as_newer_kind() -> None:
    report = SecurityReport(kind="surprise", pool="p", instance="i", detail="seen")  # type: ignore[arg-type]
    assert decode(encode(report), SecurityReport).recorded == ("newer_kind", "surprise: seen")
    assert recorded_kind("flood", "seen") == ("flood", "seen")

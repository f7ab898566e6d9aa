"""Subjects are built and parsed; no text of a caller adds a token or a wildcard."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.journal import OperationEvent
from writ_contracts.registry import CHANNELS, summary_of
from writ_testing.each_case import each_case

ID = "a" * 26
token = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)

BUILDERS: dict[str, tuple[Callable[..., str], int]] = {
    "request": (subjects.request, 2),
    "query": (subjects.query, 2),
    "operation_event": (subjects.operation_event, 3),
    "operation_filter": (subjects.operation_filter, 2),
    "any_operation_filter": (subjects.any_operation_filter, 1),
    "dispatched_requests_filter": (subjects.dispatched_requests_filter, 0),
    "dispatched_filter": (subjects.dispatched_filter, 1),
    "target_lock": (subjects.target_lock, 1),
    "security_event": (subjects.security_event, 1),
    "refused_summary": (subjects.refused_summary, 1),
    "record_read": (subjects.record_read, 1),
    "control_event": (subjects.control_event, 1),
    "published_policy": (subjects.published_policy, 1),
    "consumer": (subjects.consumer, 1),
    "events_of": (subjects.events_of, 1),
    "progress_event": (subjects.progress_event, 2),
    "claim": (subjects.claim, 1),
    "receipt": (subjects.receipt, 1),
    "report": (subjects.report, 1),
    "heartbeat": (subjects.heartbeat, 1),
    "progress": (subjects.progress, 1),
    "host_read": (subjects.host_read, 1),
    "cancel": (subjects.cancel, 2),
}
every_builder = each_case(("build", "count"), BUILDERS.values(), ids=BUILDERS)


@every_builder
@settings(max_examples=30)  # of each builder
@given(data=st.data())
def test_text_adds_no_token_and_no_wildcard_to_a_subject(build: Callable[..., str], count: int, data: Any) -> None:
    texts = [data.draw(st.one_of(st.text(max_size=80), token)) for _ in range(count)]
    try:
        built = build(*texts)
    except Invalid:
        return
    plain = build(*["x"] * count)
    assert built.count(".") == plain.count(".")
    assert (built.count("*"), built.count(">")) == (plain.count("*"), plain.count(">"))
    assert not set(built) & set(" \t\r\n\0")


@every_builder
@each_case("text", ["", "a.b", "*", ">", "a b", "a\n", "a" * 65, "é", "a\0"])
def test_malformed_token_is_refused_at_every_position(build: Callable[..., str], count: int, text: str) -> None:
    for place in range(count):
        texts = ["x"] * count
        texts[place] = text
        with pytest.raises(Invalid, match="cannot be a subject token"):
            build(*texts)


@given(token, token)
def test_request_subject_is_parsed_to_its_parts(principal: str, operation: str) -> None:
    assert subjects.parse_request(subjects.request(principal, operation)) == (principal, operation)
    assert subjects.parse_query(subjects.query(principal, operation)) == (principal, operation)


@given(token, token, token)
def test_event_subject_is_parsed_to_its_parts(principal: str, operation: str, event: str) -> None:
    stored = subjects.operation_event(principal, operation, event)
    for subject in (stored, stored.replace("writ.journal.", "writ.event.")):
        parsed = subjects.parse_event(subject)
        assert parsed == subjects.EventSubject(principal=principal, operation_id=operation, event=event)


def test_dispatched_subject_names_pool_and_target() -> None:
    subject = subjects.operation_event("alice", ID, "dispatched", pool="local-a", target="web-1")
    assert subject == f"writ.journal.op.alice.{ID}.dispatched.local-a.web-1"
    parsed = subjects.EventSubject(principal="alice", operation_id=ID, event="dispatched")
    assert subjects.parse_event(subject) == parsed


@pytest.mark.parametrize("kind", ["claim", "receipt", "report", "heartbeat", "progress"])
@given(pool=token)
def test_pool_subject_is_parsed_to_its_pool(kind: str, pool: str) -> None:
    assert subjects.parse_pool(getattr(subjects, kind)(pool)) == pool


@given(st.text(max_size=120))
@example("writ.request.alice")
@example("writ.request.alice.a.b")
@example("writ.request..a")
@example("writ.query.*.x")
@example("writ.claim.*")
def test_foreign_subject_is_invalid(subject: str) -> None:
    for parse in (subjects.parse_request, subjects.parse_query, subjects.parse_pool):
        try:
            parse(subject)
        except Invalid:
            continue
        assert subject.startswith("writ.")


@given(st.text(max_size=200))
def test_claimed_names_are_made_safe_to_store(claimed: str) -> None:
    shown = subjects.printable(claimed)
    assert len(shown) <= 64
    assert set(shown) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


QUERIES = (
    *("operation", "operations", "result", "simulate", "targets", "backend_test", "journal", "trace", "search"),
    *("policy_history", "policy_show", "policy_status", "policy_can_i", "policy_explain", "policy_eval"),
    *("policy_validate", "policy_test", "policy_allowed", "policy_who_can", "policy_diff"),
    *("approvals", "approval", "people", "preview", "sessions"),
)
EVENTS = {str(kind.__struct_config__.tag) for kind in get_args(OperationEvent)} - {
    "dispatched",  # also names pool and target
}
BUILT = [
    subjects.request("p", "o"),
    *(subjects.query("p", kind) for kind in QUERIES),
    subjects.POLICY_DECIDE,
    subjects.POLICY_RECORD_READ,
    subjects.baseline_notice("a"),
    subjects.people_notice("a"),
    subjects.POLICY_GRANT,
    subjects.POLICY_PEOPLE,
    subjects.POLICY_VISIBLE,
    subjects.POLICY_FILE,
    subjects.published_policy(ID),
    subjects.NOTICE_POLICY,
    subjects.NOTICE_AUDIT,
    subjects.NOTICE_PROVISIONER,
    subjects.enrol(ID),
    subjects.approval("p"),
    subjects.approval_event("p"),
    subjects.AUDIT_STANDING,
    subjects.SEARCH_DIGESTS,
    *(subjects.operation_event("p", ID, kind) for kind in sorted(EVENTS)),
    subjects.operation_event("p", ID, "dispatched", pool="l", target="t"),
    subjects.operation_event("p", ID, "requested", pool="l", target="t"),
    subjects.target_lock("t"),
    subjects.limit_line("a rule", "max_concurrent"),
    subjects.window_uses(ID),
    "writ.provision",
    subjects.limit_count("a rule", "max_concurrent"),
    subjects.scan("s"),
    subjects.scanned("s", "t"),
    subjects.security_event("flood"),
    subjects.control_event("stop_set"),
    subjects.refused_summary("p"),
    subjects.record_read("p"),
    subjects.progress_event("p", ID),
    f"writ.params.{ID}",
    f"writ.result.p.{ID}",
    *(getattr(subjects, kind)("l") for kind in ("claim", "receipt", "report", "heartbeat", "progress", "host_read")),
    subjects.cancel("l", "i"),
]


def covers(pattern: str, subject: str) -> bool:
    pattern_tokens, subject_tokens = pattern.split("."), subject.split(".")
    if pattern_tokens[-1] == ">":
        return len(subject_tokens) >= len(pattern_tokens) and covers(
            ".".join(pattern_tokens[:-1]), ".".join(subject_tokens[: len(pattern_tokens) - 1])
        )
    return len(pattern_tokens) == len(subject_tokens) and all(
        a in ("*", b) for a, b in zip(pattern_tokens, subject_tokens, strict=True)
    )


@each_case("subject", BUILT)
def test_built_subjects_are_in_the_registry(subject: str) -> None:
    assert [channel.name for channel in CHANNELS if covers(channel.subject(), subject)]


@each_case("channel", CHANNELS, ids=lambda channel: channel.name)
def test_registry_has_no_channel_without_a_built_subject(channel: Any) -> None:
    republished = [subject.replace("writ.journal.", "writ.event.") for subject in BUILT]
    assert any(covers(channel.subject(), subject) for subject in [*BUILT, *republished])


def test_registry_summaries_of_messages_are_whole_sentences() -> None:
    messages = [kind for item in CHANNELS for part in (item.message, item.answer) for kind in get_args(part) or (part,)]
    summaries = {kind: summary_of(kind) for kind in messages if isinstance(kind, type) and issubclass(kind, Struct)}
    assert {kind for kind, text in summaries.items() if not text.endswith((".", ")")) or "\n" in text} == set()

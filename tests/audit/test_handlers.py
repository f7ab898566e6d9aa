"""Audit's endpoints against arbitrary bytes: each gets one answer with the reason, and the service continues."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_audit.handlers import service
from writ_audit.permission import QueryReader
from writ_bus.port import EndpointReply, Message
from writ_contracts.errors import Unreachable
from writ_contracts.history.audit import SearchQuery, SearchReply, TraceQuery, TraceReply
from writ_contracts.subjects import query
from writ_contracts.wire import MSGPACK, decode, encode
from writ_runtime.endpoint_frame import Respond
from writ_runtime.metrics import HandledMessage


class Nothing:
    """A record in which nothing ever happened."""

    async def trace(self, reader: QueryReader, query_message: TraceQuery) -> TraceReply:
        return TraceReply()

    async def search(self, reader: QueryReader, query_message: SearchQuery) -> SearchReply:
        return SearchReply()


class Away(Nothing):
    async def trace(self, reader: QueryReader, query_message: TraceQuery) -> TraceReply:
        raise Unreachable("the server is away")


def responding(reading: Any, endpoint: str, observe: Any) -> Respond:
    return next(  # type: ignore[return-value]
        one.handler for one in service("0", reading, observe).endpoints if one.name == endpoint
    )


def reply_and_record(reading: Any, endpoint: str, message: Message) -> tuple[Any, HandledMessage]:
    """Return the reply and its record."""
    records: list[HandledMessage] = []
    answer = asyncio.run(responding(reading, endpoint, records.append)(message))
    assert isinstance(answer, EndpointReply)
    (record,) = records
    kind: type = TraceReply if endpoint == "trace" else SearchReply
    return decode(answer.data, kind, content_type=answer.headers["Content-Type"]), record


@pytest.mark.parametrize("endpoint", ["trace", "search"])
@given(data=st.binary(max_size=200), content_type=st.sampled_from(["", MSGPACK, "text/plain", "\x00"]))
def test_any_bytes_get_an_answer(endpoint: str, data: bytes, content_type: str) -> None:
    answer, record = reply_and_record(
        Nothing(), endpoint, Message(query("alice", endpoint), data, {"Content-Type": content_type})
    )
    assert (answer.error is None) is (record.outcome == "ok")
    assert answer.error is None or (answer.error.code, answer.error.retry) == ("invalid", False)


@given(st.text(max_size=60))
def test_any_subject_gets_an_answer(subject: str) -> None:
    answer, _ = reply_and_record(Nothing(), "search", Message(subject, b"{}"))
    assert answer.error is None or answer.error.code == "invalid"


def test_a_query_may_be_messagepack_and_is_answered_in_kind() -> None:
    data = msgspec.msgpack.encode({"correlation_id": "c-1"})
    message = Message(query("alice", "trace"), data, {"Content-Type": MSGPACK})
    answered = asyncio.run(responding(Nothing(), "trace", lambda _: None)(message))
    assert isinstance(answered, EndpointReply)
    assert answered.headers["Content-Type"] == MSGPACK
    answer, record = reply_and_record(Nothing(), "trace", message)
    assert answer.error is None
    assert (record.endpoint, record.outcome, record.fields["principal"]) == ("trace", "ok", "alice")


def test_unreachable_reply_has_retry_true() -> None:
    message = Message(query("alice", "trace"), encode(TraceQuery(correlation_id="c")))
    answer, record = reply_and_record(Away(), "trace", message)
    assert (answer.error.code, answer.error.retry) == ("unavailable", True)
    assert (record.outcome, record.code) == ("failed", "unavailable")

"""The outermost frame of endpoints: one reply and one record on every path, the same codes mean the same everywhere."""

import asyncio
from typing import Any

import msgspec
import pytest

from writ_bus.port import Message
from writ_contracts import errors
from writ_contracts.errors import CODES
from writ_contracts.failures import FAILED, error_of, failure_of, outcome_of
from writ_contracts.requests import Failure, RequestReply
from writ_contracts.wire import JSON, MSGPACK, decode
from writ_runtime.endpoint_frame import Reply, endpoint_handler
from writ_runtime.logs import Log
from writ_runtime.metrics import HandledMessage

ID = "a" * 26
ALICE = "writ.request.alice.test_noop"


def run(handle: Any, subject: str = ALICE, content_type: str = JSON) -> tuple[RequestReply, HandledMessage]:
    records: list[HandledMessage] = []
    respond = endpoint_handler("request", handle, RequestReply, records.append, Log("writ.test"))
    reply = asyncio.run(respond(Message(subject, b"", {"Content-Type": content_type})))
    assert reply.headers["Content-Type"] == content_type
    (record,) = records
    return decode(reply.data, RequestReply, content_type=content_type), record


def raising(error: Exception) -> Any:
    async def handle(_: Message) -> RequestReply:
        raise error

    return handle


def giving(body: Any) -> Any:
    async def handle(_: Message) -> Any:
        return body

    return handle


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_a_reply_goes_out_in_the_encoding_of_its_sender(content_type: str) -> None:
    answer, record = run(giving(RequestReply(operation_id=ID)), content_type=content_type)
    assert answer.operation_id == ID
    assert (record.outcome, record.code, record.fields) == ("ok", "", {"principal": "alice", "operation_id": ID})


def test_a_defect_is_internal_and_keeps_its_text_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    answer, record = run(raising(KeyError("hunter2")))
    assert answer.error is not None
    assert (answer.error.code, record.outcome, record.code) == ("internal", "failed", "internal")
    assert "hunter2" not in answer.error.message


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.Invalid("x"), "refused"),
        (errors.Denied("x"), "refused"),
        (errors.Untrusted("x"), "refused"),
        (errors.Conflict("x"), "refused"),
        (errors.Full("x"), "refused"),
        (errors.Unreachable("x"), "failed"),
        (errors.TimedOut("x"), "failed"),
        (errors.WritError("x"), "failed"),
    ],
)
def test_an_error_is_a_reply_and_counts_by_its_code(error: errors.WritError, outcome: str) -> None:
    answer, record = run(raising(error))
    assert answer.error is not None
    assert (answer.error.code, record.code, record.outcome) == (error.code, error.code, outcome)
    assert type(error_of(answer.error)) is type(error)
    again, same = run(giving(RequestReply(error=answer.error)))
    assert (again.error, same.outcome) == (answer.error, outcome)


def test_problems_of_a_document_cross_the_wire_and_a_long_message_is_cut() -> None:
    failure = failure_of(errors.Invalid("x" * 5_000, problems=[(1, 2, "no such key")]))
    assert len(failure.message) == 1_000
    assert msgspec.to_builtins(failure.problems) == [{"line": 1, "column": 2, "message": "no such key"}]


def test_fields_for_the_log_may_be_given_with_a_reply() -> None:
    _, record = run(giving(Reply(RequestReply(), {"effect": "deny"})), subject="writ.policy.decide")
    assert record.fields == {"effect": "deny"}


def test_failed_codes_are_among_all_codes() -> None:
    assert CODES.keys() >= FAILED
    assert {outcome_of(code) for code in CODES} == {"refused", "failed"}
    assert isinstance(failure_of(errors.Full("x")), Failure)

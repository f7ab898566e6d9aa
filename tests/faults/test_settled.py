"""A wait for the outcome of an operation that fails tells what was last seen of it, and its events."""

from typing import cast

import pytest

from writ_client.client import Writ
from writ_contracts.errors import Unreachable
from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.requests import OperationView
from writ_testing.installations.count_load import settled

UNKNOWN = OperationView(
    operation_id="o1",
    principal="operator",
    operation="test_count",
    target="web-1",
    state="unknown",
    requested_at=0.0,
    updated_at=0.0,
    correlation_id="c1",
    outcome="unknown",
    code="lost",
    message="its agent is silent",
)


class UnsettledClient:
    """A client to which an operation stays unknown, or to which nobody replies."""

    def __init__(self, *, replies: bool) -> None:
        self.replies = replies

    async def get(self, operation_id: str) -> OperationView:
        if not self.replies:
            raise Unreachable("no executor replies")
        return UNKNOWN

    async def trace(self, *, operation_id: str) -> TraceReply:
        if not self.replies:
            raise Unreachable("no audit replies")
        return TraceReply(events=[TraceEvent(sequence=7, subject="s", kind="granted", at=2.5, body={})])


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        (True, ("unknown, outcome unknown, lost: its agent is silent", "on record: granted at 2.500")),
        (False, ("unavailable: no executor replies", "no trace: unavailable: no audit replies")),
    ],
    ids=["unknown", "no-reply"],
)
async def test_operation_without_a_known_outcome_is_described(replies: bool, told: tuple[str, str]) -> None:
    with pytest.raises(AssertionError, match="a known outcome of o1 did not happen") as failed:
        await settled(cast(Writ, UnsettledClient(replies=replies)), "o1", within=0.0)
    assert all(part in str(failed.value) for part in told)

"""Reads of the journal ask the server for what it finds without a walk over all subjects."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from writ_bus.nats.journal import NatsJournal

WHOLE = "writ.journal.>"


class RecordedRequests:
    """In the place of a connection's replies; it holds nothing."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    async def one(self, _: str, data: bytes, **__: object) -> object:
        self.requests.append(msgspec.json.decode(data))
        return SimpleNamespace(data=b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}')


@pytest.mark.parametrize(
    ("filter", "asked_of_the_server"),
    [(WHOLE, ">"), ("writ.journal.control.>", "writ.journal.control.>"), ("writ.journal.x", "writ.journal.x")],
)
async def test_the_last_event_of_the_whole_journal_is_found_without_a_walk(
    filter: str, asked_of_the_server: str
) -> None:
    replies: Any = RecordedRequests()
    connection: Any = SimpleNamespace(clustered=False)
    journal = NatsJournal(connection, replies, "S", WHOLE, "writ.event.>")
    assert await journal.last(filter) is None
    assert replies.requests == [{"last_by_subj": asked_of_the_server}]

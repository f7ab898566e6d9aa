"""An append with a lost answer is never reported as undone, whatever happens later."""

from types import SimpleNamespace
from typing import Any

import pytest

from writ_bus.errors import Full, TimedOut, Unreachable
from writ_bus.nats.journal import NatsJournal
from writ_bus.port import Entry

ENTRY = Entry(subject="writ.journal.x", data=b"", event_id="e", filter="writ.journal.x", expected=0)


def journal(monkeypatch: pytest.MonkeyPatch, *answers: Exception) -> NatsJournal:
    """Return a journal with these answers in order, the last one repeated; it never finds an event stored."""
    left = list(answers)

    async def publish(*_: object) -> int:
        raise left.pop(0) if len(left) > 1 else left[0]

    async def nothing(*_: object, **__: object) -> list[Any]:
        return []

    monkeypatch.setattr("writ_bus.nats.journal.PATIENCE", 0.05)
    connection: Any = SimpleNamespace(wait_up=nothing)
    replies: Any = None
    made = NatsJournal(connection, replies, "S", "writ.journal.>", "writ.event.>")
    monkeypatch.setattr(made, "_publish", publish)
    monkeypatch.setattr(made, "read", nothing)
    return made


async def test_event_without_an_answer_and_then_without_a_server_may_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimedOut, match="is not known"):
        await journal(monkeypatch, TimedOut("lost"), Unreachable("nobody")).append(ENTRY)


async def test_event_without_an_answer_and_then_refused_may_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TimedOut, match="is not known"):
        await journal(monkeypatch, TimedOut("lost"), Full("no space")).append(ENTRY)
    with pytest.raises(Full):
        await journal(monkeypatch, Full("no space")).append(ENTRY)


async def test_event_that_no_server_accepted_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable):
        await journal(monkeypatch, Unreachable("nobody")).append(ENTRY)

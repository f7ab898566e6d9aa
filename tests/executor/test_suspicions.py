"""Suspicions of a review that no test had decided: each is shown right or wrong here."""

import pytest
from msgspec import Struct, structs
from tests.contracts.messages import sample
from tests.executor.conftest import World

from writ_bus.errors import TimedOut
from writ_bus.port import Usage
from writ_contracts.journal import Refused, Requested
from writ_contracts.subjects import operation_event
from writ_contracts.wire import encode
from writ_executor.journal.index import Index

ID = "a" * 26
RESTART = {"parameters": {"service_name": "nginx"}}


def test_key_of_a_refused_request_that_an_archive_has_freed_begins_a_new_operation() -> None:
    index = Index()
    kinds: tuple[type[Struct], ...] = (Refused, Requested)
    for sequence, kind in enumerate(kinds, 5):
        event = structs.replace(sample(kind), operation_id=ID, principal="alice")
        index.read(sequence, operation_event("alice", ID, str(kind.__struct_config__.tag)), encode(event))
    life = index.get(ID)
    assert life is not None
    assert (life.open, life.first_sequence) == (True, 6)


async def test_a_journal_that_cannot_be_measured_holds_up_no_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await world.executor(start_window=0.3)

    async def silent() -> Usage:
        raise TimedOut("no answer about the stream")

    monkeypatch.setattr(one.admission._bus.journal, "usage", silent)
    operation_id = (await world.ask("service_restart", **RESTART)).operation_id or ""
    assert await world.outcome(operation_id) == "expired"

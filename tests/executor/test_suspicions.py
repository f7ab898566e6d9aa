"""Suspicions of a review that no test had decided: each is shown right or wrong here."""

import pytest
from tests.executor.conftest import World

from writ_bus.errors import TimedOut
from writ_bus.port import Usage

RESTART = {"parameters": {"service_name": "nginx"}}


async def test_a_journal_that_cannot_be_measured_holds_up_no_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await world.executor(start_window=0.3)

    async def silent() -> Usage:
        raise TimedOut("no answer about the stream")

    monkeypatch.setattr(one.admission._bus.journal, "usage", silent)
    operation_id = (await world.ask("service_restart", **RESTART)).operation_id or ""
    assert await world.outcome(operation_id) == "expired"

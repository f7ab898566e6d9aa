"""An enforced version is not taken back with its store, at once or after a restart."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.policy.publishing import CLOSED, OPEN, another, broker_of, publish
from tests.policy.replica import Asking, Files, files

from writ_contracts import subjects
from writ_contracts.errors import TimedOut, Unreachable
from writ_policy import service
from writ_policy.versions import stored_versions
from writ_runtime.journal.security_events import security_event
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker


@pytest.fixture
def known(tmp_path: Path) -> Files:
    made = files(tmp_path)
    made.write("policy", OPEN)
    return made


def again(broker: Broker, known: Files, **changed: Any) -> AbstractAsyncContextManager[Asking]:
    """The same replica, started again."""
    return another(broker, known, state_dir=known.folder / "state", **changed)


async def denied_by_second(broker: Broker, known: Files) -> None:
    """Publish version 2, which denies the restart of a service that version 1 allows."""
    async with again(broker, known) as asking:
        assert await asking.code(asking.subject()) == "allowed"
        await publish(asking, CLOSED)
        assert await asking.code(asking.subject(), stored_policies=2) == "denied"


async def unanswered(asking: Asking) -> None:
    with pytest.raises((Unreachable, TimedOut)):
        await asking.bus.request(subjects.POLICY_DECIDE, b"{}", timeout=0.3)


async def test_an_earlier_store_is_refused_after_a_restart(known: Files) -> None:
    broker = Broker()
    await denied_by_second(broker, known)
    del broker.policies.records[1:]
    async with again(broker, known) as asking:
        await unanswered(asking)
        assert "version 2 was enforced" in (await asking.service.checks()["versions"]() or "")
        await alarm(asking, "version 2 was enforced")


async def test_an_empty_store_is_not_filled_from_the_file(known: Files) -> None:
    broker = Broker()
    await denied_by_second(broker, known)
    broker.policies.records.clear()
    async with again(broker, known) as asking:
        await unanswered(asking)
    assert broker.policies.records == []


async def test_another_document_under_the_same_number_is_refused(known: Files) -> None:
    async with again(Broker(), known) as asking:
        assert await asking.code(asking.subject()) == "allowed"
    known.write("policy", CLOSED)
    other = Broker()
    async with another(other, known, state_dir=known.folder / "elsewhere") as asking:
        assert await asking.code(asking.subject()) == "denied"
    async with again(other, known) as asking:
        await unanswered(asking)
        assert "another document" in (await asking.service.checks()["versions"]() or "")


async def test_versions_that_are_given_up_as_lost_are_not_waited_for(known: Files) -> None:
    broker = Broker()
    await denied_by_second(broker, known)
    del broker.policies.records[1:]
    async with again(broker, known, versions_lost=2) as asking:
        assert await asking.code(asking.subject()) == "allowed"


async def test_a_store_that_loses_versions_under_a_running_policy_is_an_alarm(
    known: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CHECK_EVERY", 0.01)
    broker = Broker()
    async with again(broker, known) as asking:
        await publish(asking, CLOSED)
        assert await asking.code(asking.subject(), stored_policies=2) == "denied"
        del broker_of(asking).policies.records[1:]

        async def noticed() -> bool:
            return "now ends at 1" in (await asking.service.checks()["versions"]() or "")

        await eventually(noticed, what="that the store lost a version")
        assert await asking.code(asking.subject()) == "behind"
        await alarm(asking, "now ends at 1")
    assert stored_versions.CONFIRMED > 1


async def alarm(asking: Asking, detail: str) -> None:
    """Wait for the security event in the journal, without an executor; assert that the alert counts it."""

    async def recorded() -> bool:
        records = await asking.bus.journal.read(subjects.security_event("version_lost"))
        return [detail in event.detail for one in records if (event := security_event(one))] == [True]

    await eventually(recorded, what="the security event")
    reported = asking.measured.exposition()[0].decode()
    assert 'writ_security_events_total{kind="version_lost"} 1.0' in reported
    assert "writ_policy_versions_lost 1.0" in reported


async def test_policy_decides_again_once_its_store_has_all_versions(
    known: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CHECK_EVERY", 0.01)
    async with again(Broker(), known) as asking:
        await publish(asking, CLOSED)
        assert await asking.code(asking.subject(), stored_policies=2) == "denied"
        records = broker_of(asking).policies.records
        missing = records.pop()

        async def lost() -> bool:
            return await asking.service.checks()["versions"]() is not None

        async def whole() -> bool:
            return await asking.service.checks()["versions"]() is None

        await eventually(lost, what="that the store lost a version")
        records.append(missing)
        await eventually(whole, what="that the store has it again")
        assert await asking.code(asking.subject(), stored_policies=2) == "denied"
        records[1] = structs.replace(records[0], sequence=2)
        await eventually(lost, what="that the store has another version at its head")
        assert "another document" in (await asking.service.checks()["versions"]() or "")

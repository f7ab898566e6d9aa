"""A new key of policy: the former one's earlier decisions count, from archives too, and none of its later ones."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.policy.publishing import another, broker_of
from tests.policy.replica import KEY, RULES, Asking, Files, files

from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.errors import ConfigError
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_testing.memory.broker import Broker
from writ_trust.digests import of_all
from writ_trust.keys import Key, generate_seed

ARCHIVES = {"name": "archives", "operations": ["journal_archive"], "allowed": True}


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    known = files(tmp_path)
    known.policy(*RULES, ARCHIVES)
    async with another(Broker(), known) as asking:
        yield asking


def renewed(known: Files) -> Files:
    return structs.replace(known, keys={**known.keys, "policy": Key(generate_seed())})


async def decided(asking: Asking, operation: str, **parameters: Any) -> int:
    """Return the sequence of a correctly decided control event."""
    subject = asking.signed(asking.subject(operation, "writ", parameters=parameters))
    answer = await asking.decide(subject)
    assert answer.decision is not None, answer.error
    true: dict[str, Any] = {"decision": answer.decision, "operation_id": subject.operation_id, "parameters_key": KEY}
    return await asking.control(operation, answer.effective, **true)


async def lifted(asking: Asking, stop_id: str) -> int:
    await asking.control("stop_set", {"scope": ["*"], "reason": "it burns", "until": None}, id=stop_id)
    return await decided(asking, "stop_lift", stop_id=stop_id)


async def archived(asking: Asking) -> int:
    """Archive all control events; return the sequence of the archive's announcement."""
    records = broker_of(asking).disk.records
    before = list(records)
    for one in before:
        last = await asking.bus.journal.last(one.subject)
        await asking.bus.journal.append(
            Entry(
                subject=one.subject,
                data=one.data,
                event_id=f"carried-{one.sequence}",
                filter=one.subject,
                expected=last.sequence if last else 0,
                headers={CARRIED_FROM: str(one.sequence)},
            )
        )
    end = before[-1].sequence
    control = of_all(one.data for one in before if one.subject.startswith(subjects.CONTROL.removesuffix(">")))
    what: dict[str, Any] = {
        "generation": 1,
        "first": 1,
        "last": end,
        "events": end,
        "digest": "0" * 64,
        "control": control,
    }
    announced = await decided(asking, "journal_archive", reason="it is full", **what)
    records[: len(before)] = [structs.replace(one, subject="writ.journal.gone") for one in before]
    return announced


async def test_decision_of_a_former_key_before_the_change_counts_from_an_archive_too(asking: Asking) -> None:
    await lifted(asking, "stop-1")
    end = await archived(asking)
    await asking.service.stop()
    former, known = asking.files.keys["policy"].public, renewed(asking.files)
    for keys, code in (
        (f"{former}@1", "stopped"),
        (f"{former}@1@{end - 1}", "stopped"),
        (f"{former}@1@{end}", "allowed"),
    ):
        async with another(broker_of(asking), known, former_keys=keys) as second:
            assert await second.code(second.subject()) == code, keys
            await second.service.stop()


async def test_decision_of_a_former_key_after_the_change_does_not_count(asking: Asking) -> None:
    end = await lifted(asking, "stop-1")
    former, known = asking.files.keys["policy"].public, renewed(asking.files)
    late = await lifted(asking, "stop-2")
    await asking.service.stop()
    for last, code in ((end, "stopped"), (late, "allowed")):
        async with another(broker_of(asking), known, former_keys=f"{former}@1@{last}") as second:
            assert await second.code(second.subject()) == code
            await second.service.stop()


@pytest.mark.parametrize("keys", ["U", "@1", "U@1@2@3", "U@NUMBER", "U@1@EVENT"])
def test_former_keys_that_say_nothing_are_refused(tmp_path: Path, keys: str) -> None:
    with pytest.raises(ConfigError, match=r"KEY@NUMBER@EVENT, .*such as 3"):
        files(tmp_path).config(former_keys=keys).former()

"""Two executors carry out one `journal_archive`, as after a lease that was over before its replica was."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from writ_bus.port import Bus
from writ_contracts.errors import Invalid
from writ_contracts.journal import Requested
from writ_executor.control.archiving import ArchiveOperation
from writ_executor.journal.generations import Generations
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.recorder import Recorder

RANGE = {"generation": 1, "first": 1, "last": 6, "events": 6, "digest": "a" * 64, "control": "b" * 64, "reason": "full"}
REQUESTED = cast("Requested", SimpleNamespace(operation_id="a" * 26, effective=RANGE, at=0.0, timeout=600))


class OfAnother:
    """Announcements of which another replica made this one between two reads: `announced` are the replies."""

    def __init__(self, *announced: bool) -> None:
        self._announced = iter(announced)

    async def is_announced(self, _: str) -> bool:
        return next(self._announced)

    async def must_be_next(self, _: Any) -> int:
        raise Invalid("archive 1 was announced with another last event than 6", code="conflict")


def operation(generations: OfAnother) -> ArchiveOperation:
    bus = cast("Bus", SimpleNamespace(journal=None))
    unused = SimpleNamespace()
    return ArchiveOperation(bus, cast("Recorder", unused), cast("Vault", unused), cast("Generations", generations), 1)


async def test_archive_that_another_replica_announces_meanwhile_is_done() -> None:
    done = await operation(OfAnother(False, True)).carry_out(REQUESTED)
    assert done.output == {"id": REQUESTED.operation_id, "generation": 1}


async def test_archive_whose_end_another_operation_announced_is_refused() -> None:
    with pytest.raises(Invalid, match="another last event"):
        await operation(OfAnother(False, False)).carry_out(REQUESTED)

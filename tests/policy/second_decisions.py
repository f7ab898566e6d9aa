"""Second decisions on records by a test, made as audit makes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import structs
from tests.policy.approving import stamp
from tests.policy.replica import Asking
from tests.rules.asking import CATALOGUE

from writ_contracts import subjects
from writ_contracts.decisions import Decision, Subject
from writ_contracts.history.records import Record
from writ_contracts.journal import Granted
from writ_contracts.people.directory import PeopleDirectory
from writ_rules.second_decisions.checker import Checker, SecondDecision
from writ_rules.second_decisions.comparison import Comparison
from writ_rules.second_decisions.file_history import FileHistory
from writ_trust.statements import sign


def checker(
    asking: Asking,
    folder: Path,
    directory: PeopleDirectory | None = None,
    *,
    at: float | None = None,
    set_forward: Callable[[float, float], float] = lambda since, until: 0.0,
) -> Checker:
    """Return a checker that knows the present files, from the time `at` on."""
    histories = [FileHistory(folder / "inputs", asking.files.path(name)) for name in ("inventory", "principals")]
    for history in histories:
        history.record_change(asking.clock.now if at is None else at)
    keys = {asking.files.keys["policy"].public: 1 << 60}
    return Checker(
        asking.bus.journal,
        asking.bus.policies,
        CATALOGUE,
        *histories,
        events=keys,
        versions=keys,
        installation="",
        now=asking.clock,
        people=lambda: directory,
        set_forward=set_forward,
    )


async def recorded(asking: Asking, about: Subject, decision: Decision, **effective: Any) -> Record:
    """Return the record of a request with this decision, signed by policy's key, and these effective parameters."""
    signed = sign(asking.files.keys["policy"], decision)
    await asking.record(about, signed, parameters=about.parameters, effective={**about.parameters, **effective})
    found = await asking.bus.journal.read(subjects.operation_filter(about.principal, about.operation_id))
    return found[0]


async def checked(
    asking: Asking, folder: Path, about: Subject, change: Callable[[Decision], Decision] = lambda one: one, **more: Any
) -> Comparison:
    decision = await asking.decision(about, **more)
    record = await recorded(asking, about, change(decision))
    result = await checker(asking, folder).check(record)
    assert isinstance(result, SecondDecision)
    return result.comparison


def allowed(decision: Decision) -> Decision:
    return structs.replace(decision, effect="allow", code="allowed")


def start(asking: Asking, about: Subject, decision: Decision, parameters: dict[str, Any] | None = None) -> Granted:
    """Store a start by a thief of policy's key."""
    signed = sign(asking.files.keys["policy"], decision)
    return Granted(
        **stamp(asking, f"start-{about.operation_id}"),
        operation_id=about.operation_id,
        attempt=1,
        instance="one",
        deadline=asking.clock.now + 60,
        claim=signed,
        grant=signed,
        decision=signed,
        parameters=about.parameters if parameters is None else parameters,
    )


async def last_checked(
    asking: Asking, folder: Path, about: Subject, directory: PeopleDirectory | None = None
) -> Comparison:
    """Check the last event of the operation."""
    own = subjects.operation_filter(about.principal, about.operation_id)
    last = await asking.bus.journal.last(own)
    assert last is not None
    found = await checker(asking, folder, directory).check(last)
    assert found is not None
    return found.comparison

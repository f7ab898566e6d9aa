"""Find recorded parameters that neither the requester nor the policy gave. Pure.

Executors refuse changed parameters. They accept an added one, since it may be a default of the policy, which they do
not know.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from writ_contracts.operations import Operation
from writ_contracts.parameters import defaults, public
from writ_contracts.wire import canonical
from writ_rules.engine.rules.rule import NONE, Rule
from writ_rules.second_decisions.signatures import DecidedRequest


def differing(recorded: DecidedRequest, operation: Operation, effective: Mapping[str, Any]) -> list[str]:
    """Return the names of public parameters with another value on record than these effective ones. One that is not on
    record has the catalogue's default at its agent.
    """
    shown, expected = _public(recorded, operation), public(operation.parameters, effective)
    if not shown:
        return []
    at_agent = {**defaults(operation.parameters), **shown}
    return sorted(name for name in {*shown, *expected} if not _equal(at_agent.get(name), expected.get(name)))


def unexplained(recorded: DecidedRequest, operation: Operation, rules: Iterable[Rule]) -> list[str]:
    """Return the names of public parameters whose value was not requested, and which is no default of the catalogue or
    of one of the rules: for a request of which the record lacks a part.
    """
    shown = _public(recorded, operation)
    known: list[Mapping[str, Any]] = [defaults(operation.parameters)]
    known += [rule.defaults.get(operation.name, NONE) for rule in rules]
    return sorted(
        name
        for name, value in shown.items()
        if name not in recorded.hidden
        and not any(
            name in one and (_equal(one[name], value) or one[name] == value)  # 1 is requested, and 1.0 on record
            for one in ([recorded.parameters] if name in recorded.parameters else known)
        )
    )


def _public(recorded: DecidedRequest, operation: Operation) -> dict[str, Any]:
    """Return the recorded effective ones; none for a control operation, whose own checks set some."""
    return {} if operation.control or recorded.refused else public(operation.parameters, recorded.effective)


def _equal(left: object, right: object) -> bool:
    return canonical(left) == canonical(right)

"""Cases for single clauses, without the rest of a request."""

from collections.abc import Iterable, Mapping
from typing import Any

from writ_contracts.inventory import WRIT, Principal, Target
from writ_contracts.parameters import defaults
from writ_documents.readers import NOBODYS_KEY
from writ_rules.analysis.scope_index import holds
from writ_rules.engine.clauses.case import Case, DecisionRequest
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.verbs import Verb

ANYBODY = Principal(id="anybody", kind="human", key=NOBODYS_KEY)
ANY_TARGET = WRIT


def signature(clauses: Iterable[Any], case: Case) -> tuple[object, ...]:
    """Return the result of each clause: two cases of one signature are the same to all of them."""
    return tuple(holds(clause, case) for clause in clauses)


def case_of(
    verb: Verb,
    target: Target,
    principal: Principal,
    parameters: Mapping[str, Any] | None = None,
    at: float = 0.0,
    known: Facts = NO_FACTS,
) -> Case:
    """Return a case with only these parameters, for single clauses; missing ones have the catalogue's default."""
    effective = {**defaults(verb.operation.parameters), **(parameters or {})}
    request = DecisionRequest(
        operation=verb.operation,
        target=target,
        principal=principal,
        parameters=parameters or {},
        effective=effective,
        at=at,
    )
    return Case(request, verb.public, known)

"""Diff and access agree with decisions about every request in a small world: no false and no missing statement."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.rules.asking import CATALOGUE, NOBODYS_KEY, NOON, at
from tests.rules.mutants import mutants
from tests.rules.test_lint_properties import PARAMETERS, PRINCIPALS, TARGETS, compiled, compiles, policies

from writ_contracts.inventory import Principal
from writ_rules.analysis.access import AccessQuery, allowed
from writ_rules.analysis.diff import Change, diff
from writ_rules.analysis.question_space import Example, QuestionSpace
from writ_rules.analysis.request_space import RequestVariant, request
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import decide
from writ_rules.engine.facts import Facts, TargetListing
from writ_rules.engine.people import people_of
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.json_lines import reply_line
from writ_rules.setting import setting

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.timeout(600),
]  # it asks everything: half a minute where there is nothing else to do
CAROL = Principal(id="carol", kind="human", key=NOBODYS_KEY, roles=["approver"])
EVERYBODY = (*PRINCIPALS, CAROL)
PEOPLE = people_of(EVERYBODY)
SPACE = QuestionSpace(catalogue=CATALOGUE, targets=TARGETS, principals=EVERYBODY)
VALUES: dict[str, list[Any]] = {
    "service_name": ["nginx", "ssh", "web-1", "db", "a", "abcdefghij", "x1", "nginx.service"],
    "timeout": [1, 2, 19, 20, 21, 59, 60, 61, 99, 100, 101, 200, 300],
    "cpus": [0.5, 1, 1.1, 1.2, 1.5, 20.0, 60, 301.5],
    "memory": [6, 20, 60, 301, None],
}
TIMES = ("2026-11-24T05:30:00Z", NOON, "2026-11-24T12:30:00Z", "2026-11-29T17:59:00Z", "2026-12-01T03:00:00Z")


def everything(operation: str) -> Iterator[tuple[DecisionRequest, Facts]]:
    """Yield each value of one parameter at a time, at a few times, for all principals and targets."""
    base = PARAMETERS[operation][0]
    requested = [*PARAMETERS[operation]]
    fields = CATALOGUE[operation].parameters.__struct_fields__
    requested += [{**base, name: value} for name, values in VALUES.items() if name in fields for value in values]
    for parameters, moment, emergency in product(requested, TIMES, (False, True)):
        for target, principal in product(TARGETS, EVERYBODY):
            option = RequestVariant(parameters=parameters, at=at(moment), emergency=emergency)
            made = request(CATALOGUE[operation], target, principal, option)
            if made is not None:
                names = frozenset(str(value) for value in parameters.values())
                for listed in (names, frozenset[str]()):
                    yield made, Facts({"list_services": TargetListing("list_services", listed, made.at)}, {})


def effect(policy: Policy, decision_request: DecisionRequest, known: Facts) -> str:
    return decide(policy, decision_request, ControlState(), PEOPLE, known).effect


def evaluated(policy: Policy, example: Example) -> str:
    """Return the result of `writ policy eval` for an example, read from a file."""
    line = json.dumps(structs.asdict(example)).encode()
    made = setting(policy, CATALOGUE, TARGETS, EVERYBODY)
    decision: str = json.loads(reply_line(made, line, now=0.0))["decision"]
    return decision


SAME_EFFECT = "other_terms"
KINDS = {
    ("deny", "allow"): "newly_allowed",
    ("deny", "require_approval"): "newly_allowed_with_approval",
    ("allow", "require_approval"): "newly_needs_approval",
    ("require_approval", "allow"): "no_longer_needs_approval",
    ("allow", "deny"): "newly_denied",
    ("require_approval", "deny"): "newly_denied",
}


@st.composite
def changes(draw: st.DrawFn) -> tuple[PolicyDocument, PolicyDocument]:
    """A policy, and the same with one thing changed, or another one."""
    one = draw(policies(most_clauses=3).filter(compiles))
    near = [mutant.file for mutant in mutants(one) if compiles(mutant.file)]
    other: int = draw(st.integers(0, len(near)))
    return one, near[other] if other < len(near) else draw(policies(most_clauses=3).filter(compiles))


@settings(max_examples=25, deadline=None)
@given(changes(), st.booleans())
def test_diff_agrees_with_the_decisions_on_all_requests(
    pair: tuple[PolicyDocument, PolicyDocument], backwards: bool
) -> None:
    old, new = reversed(pair) if backwards else pair
    found = diff(old, new, SPACE, at(NOON))
    before, after = compiled(old)[0], compiled(new)[0]
    event(f"{min(len(found.changes), 10)} changes or more")
    for change in found.changes:
        assert (evaluated(before, change.example), evaluated(after, change.example)) == (change.before, change.after)
        assert KINDS.get((change.before, change.after), SAME_EFFECT) == change.kind
    assert list(filter(_is_of_more, found.bounded)) == []
    for operation in PARAMETERS:
        for requested, known in everything(operation):
            effects = effect(before, requested, known), effect(after, requested, known)
            if effects[0] != effects[1]:
                assert any(_tells(change, KINDS[effects], requested) for change in found.changes), (
                    effects,
                    requested,
                    known,
                )


def _is_of_more(note: str) -> bool:
    """Return true if it concerns things outside this small domain: a text between two patterns, an old report."""
    apart = (" matches and pattern " in note and note.endswith(" does not")) or note.endswith(" were not distinguished")
    return not apart and " is older than " not in note


def _tells(change: Change, kind: str, decision_request: DecisionRequest) -> bool:
    return (
        (change.kind, change.operation, change.role)
        == (kind, decision_request.operation.name, decision_request.target.role)
        and decision_request.target.id in change.targets
        and decision_request.principal.id in change.principals
    )


@settings(max_examples=25, deadline=None)
@given(policies(most_clauses=3).filter(compiles))
def test_access_agrees_with_the_decisions_on_all_requests(file: PolicyDocument) -> None:
    policy, _ = compiled(file)
    found = allowed(policy, SPACE, AccessQuery(operations=tuple(PARAMETERS), around=at(NOON)))
    places = [
        (one.operation, target, who) for one in found.accesses for target in one.targets for who in one.principals
    ]
    assert len(places) == len(set(places))
    by_place = {
        (one.operation, target, who): one for one in found.accesses for target in one.targets for who in one.principals
    }
    for access in found.accesses:
        event(access.allowed)
        assert access.example_allowed is None or evaluated(policy, access.example_allowed) != "deny"
        assert access.example_denied is None or evaluated(policy, access.example_denied) == "deny"
        assert (access.example_allowed is None) == (access.allowed == "never")
        assert (access.example_denied is None) == (access.allowed == "always")
    for operation in PARAMETERS:
        for requested, known in everything(operation):
            access, got = (
                by_place[operation, requested.target.id, requested.principal.id],
                effect(policy, requested, known),
            )
            if access.allowed == "never":
                assert got == "deny", (requested, known)
            if access.allowed == "always" and not requested.emergency:
                assert got != "deny", (requested, known)
            if got != "deny" and not access.emergency and not requested.emergency and access.approval != "sometimes":
                assert got == ("allow" if access.approval == "never" else "require_approval"), (requested, known)


def test_scene_has_more_than_5000_requests() -> None:
    assert sum(1 for operation in PARAMETERS for _ in everything(operation)) > 5_000

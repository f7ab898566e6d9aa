"""A comparison decides rules of one form once. It finds what a slower one does, which decides all requests of each
target and principal.
"""

from collections.abc import Iterator, Sequence
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from tests.rules.asking import ALICE, CATALOGUE, NOBODYS_KEY, NOON, at, policy, rule
from tests.rules.test_analysis_properties import KINDS

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.assumed_facts import facts
from writ_rules.analysis.changes import ChangeCollection, ChangeKind, ConcernedGroup
from writ_rules.analysis.diff import diff_of
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.analysis.questions import QuestionDecider, approved
from writ_rules.analysis.request_space import RequestVariant, options, relevant, request
from writ_rules.analysis.terms import terms
from writ_rules.engine.compile import Policy
from writ_rules.engine.decide import Ruling

OPERATIONS = ("service_restart", "service_stop")
TARGETS = (
    Target(id="web-1", role="production", backend="local", docker={}, attributes={"tier": 1}),
    Target(id="web-2", role="staging", backend="local", docker={}, gateway="gw", attributes={"tier": 2}),
    Target(id="dev-1", role="development", backend="local", docker={}),
)
PEOPLE = (
    ALICE,
    Principal(id="bob", kind="human", key=NOBODYS_KEY, roles=["operator", "approver"]),
    Principal(id="carol", kind="human", key=NOBODYS_KEY, roles=["approver"]),
    Principal(id="dave", kind="human", key=NOBODYS_KEY, roles=["lead", "approver"]),
    Principal(id="copilot", kind="agent", key=NOBODYS_KEY, roles=["assistant"], acts_for="carol"),
    Principal(id="helper", kind="agent", key=NOBODYS_KEY, roles=["assistant"], acts_for="alice"),
    Principal(id="clerk", kind="agent", key=NOBODYS_KEY, roles=["assistant"], acts_for="dave"),
)
SPACE = QuestionSpace(catalogue=CATALOGUE, targets=TARGETS, principals=PEOPLE)
"""Each target has a role of its own. The agents have the same ones, and act for people of others."""
Found = dict[tuple[str, str, str, str], set[str]]
"""By kind of change, operation, target and principal: the terms and the changed rules."""

SCOPES: list[dict[str, Any]] = [
    {},
    *({"users": [name]} for name in ("alice", "carol", "copilot")),
    *({"targets": [name]} for name in ("web-*", "*-1", "dev-1")),
    {"user_roles": ["approver"]},
    {"target_attributes": {"tier": {"max": 1}}},
]
EFFECTS: list[dict[str, Any]] = [
    {"allowed": False},
    *(
        {"approval": {"approvers": [role], "quorum": many}}
        for role, many in (("approver", 1), ("approver", 2), ("lead", 1))
    ),
    *({"max_targets": most} for most in (1, 2)),
    {"parameter_constraints": {"timeout": {"max": 100}}},
    {"parameter_constraints": {"service_name": {"pattern": "web-.*"}}, "operation_timeout": 30},
    {},
]
WORLDS = st.fixed_dictionaries({"deny_by_default": st.sampled_from([True, True, False])})


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies whose rules have the same names, and often the same scopes."""
    old, new = list[dict[str, Any]](), list[dict[str, Any]]()
    for number in range(draw(st.integers(1, 5))):
        scope = draw(st.sampled_from(SCOPES))
        operations = draw(st.sampled_from([OPERATIONS[:1], OPERATIONS]))
        for rules in (old, new):
            moved = draw(st.sampled_from([scope, scope, *SCOPES]))
            rules.append(rule(f"r{number}", *operations, **moved, **draw(st.sampled_from(EFFECTS))))
    unnamed = [[one | {"name": ""} for one in rules] for rules in (old, new)]
    # A rule that has another's text in the other policy is renamed, which the terms of an allow would show.
    assume(all(unnamed[0][at] != unnamed[1][to] for at, to in permutations(range(len(old)), 2)))
    keys = draw(WORLDS)
    return policy(global_policies=old, **keys), policy(global_policies=new, **keys)


def slowly(one: Policy, other: Policy) -> Found:
    """Return the differences of each target and principal, each with all kinds of request."""
    found: Found = {}
    asker, policies = QuestionDecider(SPACE.people()), (one, other)
    for name, target, principal in product(OPERATIONS, TARGETS, PEOPLE):
        verb = one.verbs[name]
        tried = options(verb, policies, [relevant(each, name, target, principal) for each in policies], at(NOON))
        assert len(tried.options) == tried.every
        for option in tried.options:
            shown = dict[str, set[str]]()
            for before, after in _ruled(asker, policies, name, target, principal, option):
                kind = KINDS.get((before.effect, after.effect))
                if kind is not None:
                    shown.setdefault(kind, set())
                elif before.effect != "deny":
                    rules = tuple({each.name: each for each in _rules(side)} for side in policies)
                    differing = {term.text for term in terms(verb, (rules[0], rules[1]), before, after)}
                    shown.setdefault("other_terms", set()).update(differing)
            if not shown.get("other_terms", {""}) or len(shown) > 1:
                shown.pop("other_terms", None)
            for kind, differing in shown.items():
                found.setdefault((kind, name, target.id, principal.id), set()).update(differing)
    return found


def _rules(side: Policy) -> list[Any]:
    return [one for some in side.index.values() for one in some]


def _ruled(
    asker: QuestionDecider,
    policies: tuple[Policy, Policy],
    name: str,
    target: Target,
    principal: Principal,
    option: RequestVariant,
) -> Iterator[tuple[Ruling, Ruling]]:
    made = request(CATALOGUE[name], target, principal, option)
    if made is None:
        return
    known = facts(option.assumed, made)
    rulings = [asker.decide(each, made, known) for each in policies]
    yield rulings[0], rulings[1]
    for approving in rulings if {ruling.effect for ruling in rulings} == {"require_approval"} else ():
        with_approvals = approved(made, asker.approvals(approving.demands, made))
        before, after = (asker.decide(each, with_approvals, known) for each in policies)
        yield before, after


def compared(one: Policy, other: Policy) -> Found:
    """Return the differences that a comparison notes, by each target and principal."""
    found: Found = {}
    note = ChangeCollection.note

    def kept(
        collection: ChangeCollection, change: ChangeKind, changed: Sequence[str], group: ConcernedGroup, evidence: Any
    ) -> None:
        for target, principal in product(group.target_ids, group.people.ids):
            found.setdefault((change[0], group.operation, target, principal), set()).update(change[1])
        note(collection, change, changed, group, evidence)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChangeCollection, "note", kept)
        result = diff_of(one, other, SPACE, at(NOON))
    assert all(KINDS.get((change.before, change.after), "other_terms") == change.kind for change in result.changes)
    return found


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_a_comparison_finds_what_one_of_each_target_and_principal_does(pair: tuple[Policy, Policy]) -> None:
    expected = slowly(*pair)
    event(f"{min(len(expected), 50)} differences or more")
    assert compared(*pair) == expected


def test_agents_of_the_same_roles_are_compared_by_the_people_they_act_for() -> None:
    def demanding(role: str) -> Policy:
        return policy(global_policies=[rule("r", "service_stop", approval={"approvers": [role]})])

    found = compared(demanding("lead"), demanding("approver"))
    kinds = {who: {kind for kind, *_, principal in found if principal == who} for who in ("copilot", "helper", "clerk")}
    assert kinds == {
        "copilot": {"other_terms"},  # carol may not approve it, and dave counts as either
        "helper": {"no_longer_needs_approval"},
        "clerk": {"no_longer_needs_approval"},  # before, nobody could approve it: dave is the only lead
    }

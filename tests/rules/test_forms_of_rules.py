"""A comparison decides rules of one form once. It finds what a slower one does, which decides all requests of each
target and principal.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.rules.asking import ALICE, CATALOGUE, NOBODYS_KEY, NOON, at, policy, rule
from tests.rules.test_analysis_properties import KINDS

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.assumed_facts import facts
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
)
SPACE = QuestionSpace(catalogue=CATALOGUE, targets=TARGETS, principals=PEOPLE)
"""Each target and each principal has roles of its own, so that a change names exactly the pairs that it concerns."""
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


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_a_comparison_finds_what_one_of_each_target_and_principal_does(pair: tuple[Policy, Policy]) -> None:
    found: Found = {}
    for change in diff_of(*pair, SPACE, at(NOON)).changes:
        for target, principal in product(change.targets, change.principals):
            found.setdefault((change.kind, change.operation, target, principal), set()).update(change.terms)
    expected = slowly(*pair)
    event(f"{min(len(expected), 50)} differences or more")
    assert found == expected

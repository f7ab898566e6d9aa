"""Brute force over a small world confirms each vacuous, shadowed, redundant or overridden rule of lint."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.rules.asking import CATALOGUE, NOBODYS_KEY, at, file_of, rule
from tests.rules.mutants import replaced

from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.request_space import RequestVariant, request
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy, compile_policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import Ruling, decide
from writ_rules.engine.policy_file.findings import LintFinding
from writ_rules.engine.policy_file.format import PlacedRule, PolicyDocument
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.verbs import offered
from writ_rules.lint import rule_pairs
from writ_rules.lint.implication import follows_by_bits
from writ_rules.lint.policy_lint import lint
from writ_rules.lint.rule_reading import RuleReading

TARGETS = (
    Target(id="web-1", role="production", backend="local", docker={}, tags=["web"], gateway="gw-1"),
    Target(id="web-2", role="development", backend="local", docker={}, tags=["web", "eu"]),
    Target(id="db-1", role="production", backend="local", docker={}),
    Target(id="gw-1", role="gateway", backend="local", docker={}),
)
PRINCIPALS = (
    Principal(id="alice", kind="human", key=NOBODYS_KEY, roles=["operator"]),
    Principal(id="bob", kind="human", key=NOBODYS_KEY, roles=["sre", "operator"]),
    Principal(id="copilot", kind="agent", key=NOBODYS_KEY, roles=["assistant"], acts_for="alice"),
)
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "service_restart": [
        {"service_name": "nginx"},
        {"service_name": "ssh", "timeout": 60},
        {"service_name": "web-1", "timeout": 200},
        {"service_name": "nginx", "timeout": 20},
    ],
    "service_status": [{"service_name": "nginx"}, {"service_name": "ssh", "timeout": 20}],
    "container_create": [
        {"container_name": "web", "image": "nginx"},
        {"container_name": "web", "image": "nginx", "cpus": 1},
        {"container_name": "web", "image": "nginx", "cpus": 1.5, "memory": None, "start": False},
        {"container_name": "web", "image": "nginx", "memory": 20},
    ],
}
TIMES = [
    at(text)
    for text in ("2026-11-24T09:00:00Z", "2026-11-24T12:45:00Z", "2026-11-24T23:30:00Z", "2027-02-06T09:00:00Z")
]
CLAUSES: dict[str, st.SearchStrategy[Any]] = {
    "target_roles": st.lists(st.sampled_from(["production", "development", "gateway"]), min_size=1, unique=True),
    "user_roles": st.lists(st.sampled_from(["operator", "sre", "assistant"]), min_size=1, unique=True),
    "users": st.lists(st.sampled_from(["alice", "bob"]), min_size=1, unique=True),
    "principal_kinds": st.lists(st.sampled_from(["human", "agent"]), min_size=1, unique=True),
    "targets": st.lists(st.sampled_from(["web-1", "web-*", "db-?", "*"]), min_size=1, max_size=2, unique=True),
    "target_tags": st.lists(st.sampled_from(["web", "eu"]), min_size=1, unique=True),
    "requires_approval": st.booleans(),
    "operation_timeout": st.sampled_from([30, 90]),
    "max_concurrent": st.sampled_from([1, 3]),
    "inherit": st.booleans(),
    "emergency_overridable": st.booleans(),
    "effective_from": st.sampled_from(["2026-01-01", "2026-12-01"]),
    "expires_at": st.sampled_from(["2026-12-01", "2027-12-01"]),
    "time_restrictions": st.lists(
        st.fixed_dictionaries(
            {
                "start_time": st.sampled_from(["00:00", "08:00", "12:00"]),
                "end_time": st.sampled_from(["06:00", "12:30", "18:00", "24:00"]),
            },
            optional={
                "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
                "days_of_week": st.lists(st.integers(0, 7), max_size=4, unique=True),
                "from": st.sampled_from(["2026-11-01", "2026-12-01"]),
                "until": st.sampled_from(["2026-11-24", "2027-12-01"]),
            },
        ),
        max_size=2,
    ),
}
TEXT = st.fixed_dictionaries(
    {},
    optional={
        "required": st.booleans(),
        "type": st.sampled_from(["string", "int"]),
        "pattern": st.sampled_from(["[a-z]+", "nginx|ssh", ".*"]),
        "allowed_values": st.lists(st.sampled_from(["nginx", "ssh", "web-1", 1]), max_size=2),
        "denied_values": st.lists(st.sampled_from(["nginx", "ssh", 1]), max_size=2),
        "min_length": st.integers(0, 6),
        "max_length": st.integers(2, 8),
        "allowlist_source": st.just("list_services"),
    },
)
NUMBER = st.fixed_dictionaries(
    {},
    optional={
        "required": st.booleans(),
        "type": st.sampled_from(["int", "float"]),
        "min": st.sampled_from([0, 1, 1.5, 20, 301]),
        "max": st.sampled_from([1, 1.2, 20, 100, 300]),
        "default": st.sampled_from([1, 20, 60, 1.0]),
        "allowed_values": st.lists(st.sampled_from([1, 20, 60, 1.5, True]), max_size=2),
        "denied_values": st.lists(st.sampled_from([1, 60, 200]), max_size=2),
    },
)
CONSTRAINTS = st.fixed_dictionaries(
    {}, optional={"service_name": TEXT, "timeout": NUMBER, "cpus": NUMBER, "memory": NUMBER}
)
RULES = st.fixed_dictionaries(
    {
        "operations": st.lists(st.sampled_from(sorted(PARAMETERS)), min_size=1, max_size=2, unique=True),
        "allowed": st.booleans(),
    },
    optional={"parameter_constraints": CONSTRAINTS, **CLAUSES},
)


@st.composite
def policies(draw: st.DrawFn, most_clauses: int = len(CLAUSES) + 1) -> PolicyDocument:
    """A few rules, most of them made of an earlier one by leaving something out or turning it round."""
    sections: dict[str, list[dict[str, Any]]] = {"global": [], "gateway": [], "emergency": []}
    earlier: list[dict[str, Any]] = []
    for number in range(draw(st.integers(2, 4))):
        if draw(st.booleans()) and earlier:
            rule: dict[str, Any] = dict(draw(st.sampled_from(earlier)))
            left_out: list[str] = draw(st.lists(st.sampled_from(sorted(CLAUSES)), max_size=2))
            for key in left_out:
                rule.pop(key, None)
            if draw(st.booleans()):
                rule["allowed"] = not rule["allowed"]
        else:
            rule = draw(RULES)
            optional = sorted(set(rule) - {"operations", "allowed"})
            for key in draw(st.permutations(optional))[most_clauses:]:
                rule.pop(key)
        earlier.append(rule)
        section = draw(st.sampled_from(["global", "global", "gateway", "emergency"]))
        sections[section].append({**rule, "name": f"r{number}"})
    return file_of(
        deny_by_default=draw(st.booleans()),
        global_policies=sections["global"],
        role_policies={"gateway": sections["gateway"]},
        emergency_policies=sections["emergency"],
    )


def requests(operations: set[str]) -> Iterator[DecisionRequest]:
    for name in sorted(operations):
        for parameters in PARAMETERS[name]:
            for target in TARGETS:
                for principal in PRINCIPALS:
                    for moment in TIMES:
                        for emergency in (False, True):
                            option = RequestVariant(parameters=parameters, at=moment, emergency=emergency)
                            made = request(CATALOGUE[name], target, principal, option)
                            if made is not None and offered(target, CATALOGUE[name]):
                                yield made


def decided(policy: Policy, decision_request: DecisionRequest) -> tuple[Any, ...]:
    ruling = decide(policy, decision_request, ControlState())
    demands = sorted({str(structs.replace(demand, rule="")) for demand in ruling.demands})
    return ruling.effect, ruling.code, dict(ruling.effective), ruling.timeout, demands


def compiles(file: PolicyDocument) -> bool:
    return compile_policy(file, CATALOGUE)[0] is not None


def compiled(file: PolicyDocument) -> tuple[Policy, list[LintFinding]]:
    policy, known = compile_policy(file, CATALOGUE)
    assert policy is not None, known
    return policy, known


def rule_of(file: PolicyDocument, finding: LintFinding) -> PlacedRule:
    return next(place for place in placed(file.policies) if place.keys == finding.keys[: len(place.keys)])


PARTLY = file_of(
    global_policies=[
        rule("allow", "service_restart", "service_status"),
        rule("deny", "service_restart", allowed=False),
        rule("deny_one", "service_status", allowed=False, users=["alice"]),
    ]
)
"""`deny` leaves nothing of one of the operations of `allow`. Few generated policies have such a finding."""


@settings(max_examples=50, deadline=None)
@given(policies().filter(compiles))
@example(PARTLY)
def test_lint_finding_is_true_of_every_request(file: PolicyDocument) -> None:
    policy, known = compiled(file)
    for finding in lint(file, CATALOGUE, known):
        word = finding.message.partition(":")[0]
        event(word)
        if word in ("vacuous", "shadowed", "redundant", "overridden"):
            confirm(file, policy, word, rule_of(file, finding))
        if word == "partly overridden":
            names = re.search(r"denies all of (.+) that", finding.message)
            confirm_denied(policy, rule_of(file, finding).entry.name, names[1].split(", ") if names else [])


def confirm(file: PolicyDocument, policy: Policy, word: str, place: PlacedRule) -> None:
    every = list(requests(set(filter(None, place.entry.operations))))
    name = place.entry.name
    if word in ("vacuous", "overridden"):
        for requested in every:
            ruling: Ruling = decide(policy, requested, ControlState())
            matched = any(entry.rule == name and entry.matched for entry in ruling.trace)
            assert not matched or (word == "overridden" and ruling.effect == "deny"), (name, requested)
        return
    without, _ = compiled(replaced(file, place, None))
    for requested in every:
        assert decided(policy, requested) == decided(without, requested), (name, requested)


def confirm_denied(policy: Policy, name: str, operations: Sequence[str]) -> None:
    assert operations
    for requested in requests(set(operations)):
        ruling: Ruling = decide(policy, requested, ControlState())
        matched = any(entry.rule == name and entry.matched for entry in ruling.trace)
        assert not matched or ruling.effect == "deny", (name, requested)


@pytest.mark.parametrize("word", ["shadowed", "redundant", "overridden"])
def test_lint_property_fails_if_the_wrong_rule_is_named(word: str) -> None:
    """The check above fails if the wrong rule is named."""
    narrow = {"name": "narrow", "operations": ["service_restart"], "users": ["alice"]}
    wide = {"name": "wide", "operations": ["service_restart"]}
    sides = {"shadowed": (True, True), "redundant": (False, False), "overridden": (True, False)}[word]
    file = file_of(
        deny_by_default=word != "redundant",
        global_policies=[{**narrow, "allowed": sides[0]}, {**wide, "allowed": sides[1]}],
    )
    policy, _ = compiled(file)
    confirm(file, policy, word, placed(file.policies)[0])
    if word != "overridden":
        with pytest.raises(AssertionError):
            confirm(file, policy, word, placed(file.policies)[1])


def test_lint_property_fails_if_the_wrong_operations_are_named_as_denied() -> None:
    policy, known = compiled(PARTLY)
    (finding,) = lint(PARTLY, CATALOGUE, known)
    assert finding.message == "partly overridden: 'deny' denies all of service_restart that 'allow' allows"
    confirm_denied(policy, "allow", ["service_restart"])
    with pytest.raises(AssertionError):
        confirm_denied(policy, "allow", ["service_status"])


@pytest.mark.parametrize("key", ["users", "user_roles", "target_tags"])
def test_rules_with_words_of_their_own_are_compared_with_few_others(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    compared = list[str]()

    def counted(narrow: RuleReading, wide: RuleReading) -> bool:
        compared.append(narrow.name)
        return follows_by_bits(narrow, wide)

    monkeypatch.setattr(rule_pairs, "follows_by_bits", counted)
    rules = [rule(f"r{number}", "service_restart") | {key: [f"word-{number}"]} for number in range(200)]
    wide = rule("wide", "service_restart") | {key: ["word-0", "word-7"]}
    messages = [finding.message for finding in lint(file_of(global_policies=[*rules, wide]), CATALOGUE)]
    assert messages == [f"shadowed: 'wide' allows all that 'r{number}' allows" for number in (0, 7)]
    assert len(compared) < 10

"""The policies that Writ ships do what their cases say, and every rule of theirs has a case."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from tests.policy.asking import CATALOGUE, at, warned

from writ_contracts.inventory import WRIT, Inventory, Principals
from writ_policy.engine.case import Request
from writ_policy.engine.compile import Policy
from writ_policy.engine.control import ControlState
from writ_policy.engine.decide import Ruling, decide
from writ_policy.loading import load_policy
from writ_runtime import shapes, yamlfile
from writ_runtime.files import read_agents, read_inventory, read_principals

POLICIES = Path(__file__).parents[2] / "policies"
SUITES = sorted(POLICIES.glob("*_test.yaml"))


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    callers: list[str]
    targets: list[str]
    operations: list[str]
    decision: str
    parameters: dict[str, Any] = {}
    rules: list[str] | None = None
    code: str | None = None
    now: str | None = None


class Suite(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    policy: str
    inventory: str
    principals: str
    now: str
    cases: list[Entry]


def suite(path: Path) -> Suite:
    return shapes.convert(yamlfile.read(path), Suite)


def every_case() -> Iterator[Any]:
    for path in SUITES:
        for case in suite(path).cases:
            for caller in case.callers:
                for target in case.targets:
                    for operation in case.operations:
                        name = f"{path.stem}: {case.name} ({caller} {operation} {target})"
                        yield pytest.param(path, case, caller, target, operation, id=name)


def ruling(path: Path, case: Entry, caller: str, target: str, operation: str) -> tuple[Policy, Ruling]:
    known = suite(path)
    policy = load_policy(POLICIES / known.policy, CATALOGUE, "strict")
    inventory: Inventory = read_inventory(POLICIES / known.inventory)
    principals: Principals = read_principals(POLICIES / known.principals)
    definition = CATALOGUE[operation]
    effective = definition.check(case.parameters)
    request = Request(
        operation=definition,
        target={**{each.id: each for each in inventory.targets}, "writ": WRIT}[target],
        principal=next(each for each in principals.principals if each.id == caller),
        given={name: effective[name] for name in case.parameters},
        effective=effective,
        at=at(case.now or known.now),
    )
    return policy, decide(policy, request, ControlState())


@pytest.mark.parametrize(("path", "case", "caller", "target", "operation"), list(every_case()))
def test_a_case_is_decided_as_it_says(path: Path, case: Entry, caller: str, target: str, operation: str) -> None:
    _, decided = ruling(path, case, caller, target, operation)
    assert decided.effect == case.decision, decided
    assert case.rules is None or decided.rules == sorted(case.rules), decided
    assert case.code is None or decided.code == case.code, decided


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_rule_decides_some_case(path: Path) -> None:
    known = suite(path)
    policy = load_policy(POLICIES / known.policy, CATALOGUE, "strict")
    decisive = {name for case in known.cases for name in case.rules or ()}
    rules = {rule.name for rules in policy.index.values() for rule in rules}
    assert rules - decisive == set()


def test_every_shipped_policy_has_cases_and_loads_without_a_warning() -> None:
    shipped = {path.name for path in POLICIES.glob("*.yaml")} - {path.name for path in SUITES}
    assert shipped == {suite(path).policy for path in SUITES}
    for name in shipped:
        assert warned((POLICIES / name).read_text()) == []


def test_the_examples_load() -> None:
    inventory = read_inventory(POLICIES / "examples/inventory.yaml")
    pools = {agent.pool for agent in read_agents(POLICIES / "examples/agents.yaml").agents}
    assert {target.pool for target in inventory.targets} == pools

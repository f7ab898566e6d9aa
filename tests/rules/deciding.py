"""Generated questions for the engine, and its answers in the words of the reference evaluator."""

from datetime import datetime
from types import MappingProxyType
from typing import Any

from tests.rules.asking import CATALOGUE, NOBODYS_KEY, loaded
from tests.rules.small_world import INVENTORY, PRINCIPALS

from writ_contracts.errors import Invalid
from writ_contracts.inventory import WRIT, Principal, Target
from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import Ruling, decide
from writ_rules.engine.facts import Facts, ScanFinding, TargetListing, TargetScan
from writ_rules.engine.people import People

Data = dict[str, Any]
TARGETS = {each["id"]: Target(**each) for each in INVENTORY["targets"]} | {"writ": WRIT}
CALLERS = {each["id"]: Principal(key=NOBODYS_KEY, **each) for each in PRINCIPALS["principals"]}
PEOPLE = People(
    roles={
        role: tuple(each.id for each in CALLERS.values() if each.kind == "human" and role in each.roles)
        for role in ("operator", "approver", "sre", "lead", "assistant")
    }
)


def compiled(file: Data) -> Policy | None:
    try:
        return loaded(yaml_file.dump(file), "permissive")
    except FileErrors:
        return None


def ruling(policy: Policy, question: Data, facts: Data) -> Ruling | None:
    """Return the engine's decision; None for input that is no question."""
    try:
        definition = CATALOGUE.find(question["operation"])
        target, principal = TARGETS[question["target"]], CALLERS[question["principal"]]
        effective = definition.check(question["parameters"])
    except (KeyError, Invalid):
        return None
    request = DecisionRequest(
        operation=definition,
        target=target,
        principal=principal,
        parameters={name: effective[name] for name in question["parameters"] if name in effective},
        effective=effective,
        at=datetime.fromisoformat(question["at"]).timestamp(),
        dry_run=question["dry_run"],
        own=question["own"],
        approvals=tuple(question["approvals"]),
        emergency=question["emergency"],
    )
    return decide(policy, request, ControlState(), PEOPLE, known(facts, target.id))


def known(facts: Data, target: str) -> Facts:
    listings = {
        source: TargetListing(source, frozenset(found["names"]), found["at"], found["failure"])
        for source, found in facts["listings"].items()
    }
    scans = {
        scanner: TargetScan(scanner, target, found["at"], tuple(ScanFinding(**each) for each in found["findings"]))
        for scanner, found in facts["scans"].items()
    }
    return Facts(MappingProxyType(listings), MappingProxyType(scans))


def plain(ruling: Ruling | None) -> Data:
    """Return the part of an answer defined by docs/policy.md, without texts for readers."""
    if ruling is None:
        return {"decision": "invalid"}
    return {
        "decision": ruling.effect,
        "code": ruling.code,
        "rules": ruling.rules,
        "effective_parameters": dict(ruling.effective),
        "limits": {(limit.rule, limit.kind, limit.most) for limit in ruling.limits},
        "demands": {
            tuple((tuple(sorted(step.approvers)), step.quorum) for step in demand.steps) for demand in ruling.demands
        },
        "timeout": None if ruling.effect == "deny" else ruling.timeout,
    }

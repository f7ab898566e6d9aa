"""From a policy file to the policy in force: immutable, indexed by operation and target role, swapped whole."""

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import get_args

from msgspec import Struct

from writ_contracts.inventory import Role
from writ_contracts.operations import Catalogue
from writ_policy.engine import lint
from writ_policy.engine.clauses import InEffect
from writ_policy.engine.findings import Finding, Severity
from writ_policy.engine.format import Placed, PolicyFile, placed
from writ_policy.engine.judge import Shortlists
from writ_policy.engine.rules import Rule, Workshop
from writ_policy.engine.verbs import Verb, verbs

ROLES: tuple[Role, ...] = get_args(Role)


class Policy(Struct, frozen=True, eq=False, kw_only=True):
    """A policy that decides. `index`: rules by (operation, target role); `inherited`: the gateway's rules that bind
    targets behind it, by operation. `emergency`: rules that wait for an emergency, and are inert outside one.
    """

    name: str
    version: str
    deny_by_default: bool
    enable_dry_run: bool
    require_approval_for_admin: bool
    in_effect: InEffect
    index: Mapping[tuple[str, str], tuple[Rule, ...]]
    inherited: Mapping[str, tuple[Rule, ...]]
    emergency: tuple[Rule, ...]
    verbs: Mapping[str, Verb]
    rules: int
    shortlists: Shortlists

    def roles_with(self, operation: str) -> list[str]:
        """The target roles for which some rule allows the operation."""
        return [role for role in ROLES if any(rule.effect != "deny" for rule in self.index.get((operation, role), ()))]


def compile_policy(file: PolicyFile, catalogue: Catalogue) -> tuple[Policy | None, list[Finding]]:
    """The policy, unless there is an error among the findings."""
    entry = file.policies
    workshop = Workshop(verbs(catalogue))
    every = placed(entry)
    ready = [(item, workshop.rule(item)) for item in every if item.entry.enabled]
    in_effect = workshop.in_effect(("policies",), entry.effective_from, entry.expires_at)
    findings = [*workshop.findings, *_named_twice(every), *lint.lint(file, every, workshop.verbs)]
    if any(finding.severity is Severity.ERROR for finding in findings):
        return None, findings
    ordinary = [rule for item, rule in ready if item.section != "emergency_policies"]
    policy = Policy(
        name=entry.name,
        version=entry.version,
        deny_by_default=entry.deny_by_default,
        enable_dry_run=entry.enable_dry_run,
        require_approval_for_admin=entry.require_approval_for_admin,
        in_effect=in_effect,
        index=MappingProxyType(_index(ordinary)),
        inherited=MappingProxyType(_inherited(ordinary)),
        emergency=tuple(rule for item, rule in ready if item.section == "emergency_policies"),
        verbs=MappingProxyType(workshop.verbs),
        rules=len(ready),
        shortlists=Shortlists(),
    )
    return policy, findings


def _index(rules: Iterable[Rule]) -> dict[tuple[str, str], tuple[Rule, ...]]:
    found: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for operation in rule.operations:
            for role in rule.roles if rule.roles is not None else ROLES:
                found.setdefault((operation, role), []).append(rule)
    return {key: tuple(listed) for key, listed in found.items()}


def _inherited(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for operation in rule.operations if rule.inherited else ():
            found.setdefault(operation, []).append(rule)
    return {operation: tuple(listed) for operation, listed in found.items()}


def _named_twice(every: Iterable[Placed]) -> list[Finding]:
    counts = Counter(item.entry.name for item in every)
    return [
        Finding(Severity.ERROR, (*item.keys, "name"), f"the name '{item.entry.name}' stands here {many} times")
        for item in every
        if (many := counts[item.entry.name]) > 1
    ]

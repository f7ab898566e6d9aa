"""Compilation of a policy file to the policy in force: immutable, indexed by operation and target role, swapped
whole.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import get_args

from msgspec import Struct

from writ_contracts.inventory import Kind, Role, Target
from writ_contracts.operations import Catalogue
from writ_rules.engine.clauses.conditions import EvaluatorCondition, ParameterCondition
from writ_rules.engine.clauses.scopes import EffectClause
from writ_rules.engine.matching.tree import Trees, trees
from writ_rules.engine.policy_file import groups
from writ_rules.engine.policy_file.approval_windows import WindowTerms, window_terms_of
from writ_rules.engine.policy_file.emergency_terms import EmergencyTerms, terms_of
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import PlacedRule, PolicyDocument, PolicyEntry, present
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.policy_file.session_terms import SessionTerms, session_terms_of
from writ_rules.engine.rules import lint, pattern_sizes
from writ_rules.engine.rules.rule import Rule, RuleCompiler
from writ_rules.engine.verbs import Verb, verbs

ROLES: tuple[Role, ...] = get_args(Role)


class Policy(Struct, frozen=True, eq=False, kw_only=True):
    """A compiled policy, ready to decide.

    `index`: rules by (operation, target role); `inherited`: the gateway's rules binding targets behind it, by
    operation. `emergency`: rules without effect outside an emergency; `urgent` is their index. All of these are in the
    order of their names; `trees` hold the same rules by their clauses. `naming`: the (operation, target role) pairs
    where a deny depends on the name of the thing. `constrained`: the (operation, parameter) pairs that any rule
    constrains or fills in. `list_by_rules`: kinds of principals that list only what their rules reach (`reach`).
    """

    name: str
    version: str
    deny_by_default: bool
    enable_dry_run: bool
    require_approval_for_admin: bool
    list_by_rules: frozenset[Kind]
    in_effect: EffectClause
    index: Mapping[tuple[str, str], tuple[Rule, ...]]
    inherited: Mapping[str, tuple[Rule, ...]]
    emergency: tuple[Rule, ...]
    emergency_terms: EmergencyTerms
    window_terms: WindowTerms
    session_terms: SessionTerms
    urgent: Mapping[tuple[str, str], tuple[Rule, ...]]
    allowing: Mapping[str, tuple[Role, ...]]
    naming: frozenset[tuple[str, str]]
    constrained: frozenset[tuple[str, str]]
    verbs: Mapping[str, Verb]
    rules: int
    trees: Trees
    file: PolicyDocument | None
    """The source of this policy; None for a prepared one, since a service needs it for no decision."""
    excused: tuple[str, ...] = ()
    """The findings for which this stored version would be refused if it were new."""

    @property
    def source(self) -> PolicyDocument:
        """Return the document of a policy that is to be analysed. Raises ValueError for a prepared one."""
        if self.file is None:
            raise ValueError(f"the document of the policy '{self.name}' is not kept")
        return self.file

    def own(self, operation: str, target: Target) -> tuple[Rule, ...]:
        """Return the rules for the target's role."""
        return self.index.get((operation, target.role), ())

    def roles_with(self, operation: str) -> tuple[Role, ...]:
        """Return the target roles for which some rule allows the operation."""
        return self.allowing.get(operation, ())


def is_behind_gateway(target: Target) -> bool:
    """Return whether the rules of gateways bind this target."""
    return target.gateway is not None and target.role != "gateway"


CompiledPolicy = tuple[Policy | None, list[LintFinding]]


def compile_policy(
    file: PolicyDocument, catalogue: Catalogue, on_pattern: Callable[[int], None] | None = None
) -> CompiledPolicy:
    """Return the policy, unless there is an error among the findings. `on_pattern` receives the size of each pattern
    once it is compiled.
    """
    every = placed(file.policies)
    oversize = list(pattern_sizes.findings(every, on_pattern))
    return (None, oversize) if oversize else _compiled(file, catalogue, every)


def _compiled(file: PolicyDocument, catalogue: Catalogue, every: list[PlacedRule]) -> CompiledPolicy:
    parts = PolicyParts(file.policies, every, catalogue)
    all_findings = [*groups.findings(file.policies), *parts.findings, *_named_twice(every)]
    findings = [*all_findings, *lint.lint(file, every, parts.verbs)]
    if any(finding.severity is Severity.ERROR for finding in findings):
        return None, findings
    return parts.policy(file), findings


class PolicyParts:
    """The compiled rules and terms of a policy. `findings`: the mistakes that compiling them showed."""

    def __init__(self, entry: PolicyEntry, every: Iterable[PlacedRule], catalogue: Catalogue) -> None:
        """Compile one rule after the other, so that `every` may make each of them only then."""
        workshop = RuleCompiler(verbs(catalogue), entry, catalogue.evaluators)
        made = [(item.entry.enabled, workshop.rule(item)) for item in every]
        self._entry, self._catalogue = entry, catalogue
        self._ready = sorted((rule for enabled, rule in made if enabled), key=lambda rule: rule.name)
        self._in_effect = workshop.in_effect(("policies",), entry.effective_from, entry.expires_at)
        self._terms = terms_of(entry.emergencies, workshop.notes.attempt)
        self._window_terms = window_terms_of(entry.approval_windows, workshop.notes.attempt)
        self._session_terms = session_terms_of(entry.sessions, workshop.notes.attempt)
        self.verbs = workshop.verbs
        self.findings = workshop.notes.findings

    def policy(self, file: PolicyDocument | None) -> Policy:
        """Return the policy. There must be no error among the findings."""
        entry = self._entry
        ordinary = [rule for rule in self._ready if not rule.emergency]
        emergency = [rule for rule in self._ready if rule.emergency]
        index, inherited = _index(ordinary), _inherited(ordinary)
        return Policy(
            name=entry.name,
            version=entry.version,
            deny_by_default=entry.deny_by_default,
            enable_dry_run=entry.enable_dry_run,
            require_approval_for_admin=entry.require_approval_for_admin,
            list_by_rules=frozenset(["agent"] if entry.list_by_rules is None else present(entry.list_by_rules)),
            in_effect=self._in_effect,
            index=MappingProxyType(index),
            inherited=MappingProxyType(inherited),
            emergency=tuple(emergency),
            emergency_terms=self._terms,
            window_terms=self._window_terms,
            session_terms=self._session_terms,
            urgent=MappingProxyType(_index(emergency)),
            allowing=MappingProxyType(_allowing(index)),
            naming=frozenset(_naming(self._ready, self._catalogue)),
            constrained=frozenset(_constrained(self._ready)),
            verbs=MappingProxyType(self.verbs),
            rules=len(self._ready),
            trees=trees(ordinary, inherited, emergency),
            file=file,
        )


def _index(rules: Iterable[Rule]) -> dict[tuple[str, str], tuple[Rule, ...]]:
    index: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for operation in rule.operations:
            for role in rule.roles if rule.roles is not None else ROLES:
                index.setdefault((operation, role), []).append(rule)
    return {key: tuple(listed) for key, listed in index.items()}


def _allowing(index: Mapping[tuple[str, str], Iterable[Rule]]) -> dict[str, tuple[Role, ...]]:
    open_at = {cell for cell, rules in index.items() if any(rule.effect != "deny" for rule in rules)}
    operations = {operation for operation, _ in open_at}
    return {operation: tuple(role for role in ROLES if (operation, role) in open_at) for operation in operations}


def _naming(rules: Iterable[Rule], catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Yield (operation, role) pairs where a deny depends on the name: by a condition on this parameter, or by an
    evaluator.
    """
    for rule in rules:
        if rule.effect != "deny":
            continue
        for operation in rule.operations:
            named = catalogue[operation].named
            conditions = rule.conditions[operation] if named else ()
            if any(
                isinstance(one, EvaluatorCondition) or (isinstance(one, ParameterCondition) and one.name == named)
                for one in conditions
            ):
                roles = ROLES if rule.roles is None or rule.inherited else rule.roles
                yield from ((operation, role) for role in roles)


def _constrained(rules: Iterable[Rule]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        for operation, conditions in rule.conditions.items():
            yield from ((operation, one.name) for one in conditions if isinstance(one, ParameterCondition))


def _inherited(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    by_operation: dict[str, list[Rule]] = {}
    for rule in rules:
        for operation in rule.operations if rule.inherited else ():
            by_operation.setdefault(operation, []).append(rule)
    return {operation: tuple(listed) for operation, listed in by_operation.items()}


def _named_twice(every: Iterable[PlacedRule]) -> list[LintFinding]:
    counts = Counter(item.entry.name for item in every)
    return [
        LintFinding(Severity.ERROR, (*item.keys, "name"), f"{many} rules have the name '{item.entry.name}'")
        for item in every
        if (many := counts[item.entry.name]) > 1
    ]

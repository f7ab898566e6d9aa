"""One compiled rule: its scope and conditions as clauses, its demands, its limits."""

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from msgspec import Struct, structs

from writ_contracts.decisions import Effect
from writ_contracts.people.credentials import Presence
from writ_rules.engine.clauses import scopes
from writ_rules.engine.clauses.checks import values_of
from writ_rules.engine.clauses.conditions import Condition, ParameterCondition, ScanCondition, TimeCondition
from writ_rules.engine.clauses.patterns import glob
from writ_rules.engine.clauses.scopes import Clause, listed
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.findings import Keys
from writ_rules.engine.policy_file.format import ApprovalEntry, PlacedRule, PolicyEntry, RuleEntry, StepEntry, present
from writ_rules.engine.rules.compiler_notes import CompilerNotes
from writ_rules.engine.rules.conditioning import ConditionCompiler, Evaluators
from writ_rules.engine.rules.obligations import APPROVAL_MINUTES, APPROVER, ApproverStep, Demand, RuleLimit
from writ_rules.engine.verbs import Verb

NEVER, EVER = float("-inf"), float("inf")
EMERGENCY = "emergency_policies"
NO_NAMES = frozenset[str]()
NONE: Mapping[str, Any] = MappingProxyType({})


class Rule(Struct, frozen=True, eq=False, kw_only=True):
    """A rule in force.

    `people` are the clauses of its scope about the principal alone, `scope` the others. `conditions` and `defaults` are
    by operation, since a condition binds only the operations with its parameter; an operation without defaults is not
    among the latter. `asks_facts`: some condition needs gathered facts. `overridable`: an emergency's allow cancels
    this deny. `of_all`: by operation, the conditions under which an allow rule on names brings its demand and limits to
    a request on all things at once, which it never allows.
    """

    name: str
    section: str
    description: str
    effect: Effect
    operations: tuple[str, ...]
    roles: frozenset[str] | None
    inherited: bool
    overridable: bool
    people: tuple[Clause, ...]
    scope: tuple[Clause, ...]
    times: TimeCondition | None
    conditions: Mapping[str, tuple[Condition, ...]]
    of_all: Mapping[str, tuple[Condition, ...]]
    asks_facts: bool
    defaults: Mapping[str, Mapping[str, Any]]
    demand: Demand | None
    limits: tuple[RuleLimit, ...]
    timeout: int | None

    @property
    def emergency(self) -> bool:
        """Return true if it applies only in an emergency."""
        return self.section == EMERGENCY


@cache
def refused_flag(name: str) -> ParameterCondition:
    """Return the condition of an unset flag; one for all rules, so it is judged once a request."""
    expected = "one of false, since no rule names it"
    return ParameterCondition(name, None, False, (values_of("allowed_values", expected, [False]),), implied=True)


@cache
def named_thing(name: str) -> ParameterCondition:
    """Return the condition that a request names its thing; one for all rules."""
    return ParameterCondition(name, None, True, (), implied=True)


class RuleCompiler:
    """Compiles a policy's entries to rules, and notes the mistakes."""

    def __init__(self, verbs: Mapping[str, Verb], policy: PolicyEntry, evaluators: Evaluators) -> None:
        self.verbs = verbs
        self.notes = CompilerNotes()
        self._conditioning = ConditionCompiler(self.notes, policy, evaluators)

    def rule(self, placed: PlacedRule) -> Rule:
        """Compile one rule. Mistakes are noted as errors, and the rule is then unusable."""
        entry = placed.entry
        operations = tuple(dict.fromkeys(name for name in present(entry.operations) if name in self.verbs))
        operations = self.notes.same(operations)
        conditions = self._conditioning.of(placed)
        parameters = [one for one in conditions if isinstance(one, ParameterCondition)]
        binding = {
            name: (*_binding(entry, conditions, self.verbs[name]), *_unnamed(entry, self.verbs[name]))
            for name in operations
        }
        return Rule(
            name=entry.name,
            section=self.notes.same(placed.section),
            description=entry.description,
            effect=_effect(entry),
            operations=operations,
            roles=self.notes.same(_roles(placed)),
            inherited=placed.role == "gateway" and entry.inherit,
            overridable=entry.emergency_overridable and not entry.allowed and placed.section != EMERGENCY,
            people=self.notes.same(_people(entry)),
            scope=self.notes.same(self._scope(placed)),
            times=next(
                (one for one in conditions if isinstance(one, TimeCondition) and one.clause == "time_restrictions"),
                None,
            ),
            conditions=binding,
            of_all={name: _of_unnamed(binding[name], self.verbs[name]) for name in self._obliging(entry, operations)}
            or NONE,
            asks_facts=any(isinstance(one, ScanCondition) or getattr(one, "listed", None) for one in conditions),
            defaults={name: made for name in operations if (made := _defaults(self.verbs[name], parameters))} or NONE,
            demand=self._demand(placed),
            limits=_limits(entry),
            timeout=entry.operation_timeout,
        )

    def _obliging(self, entry: RuleEntry, operations: Iterable[str]) -> list[str]:
        """Return the operations whose requests on all things get a demand or limit of this rule on names."""
        values = entry.max_concurrent, entry.max_targets, entry.operation_timeout
        if not entry.allowed or (_effect(entry) == "allow" and not any(value is not None for value in values)):
            return []
        return [name for name in operations if needs_name(entry, self.verbs[name])]

    def _scope(self, placed: PlacedRule) -> tuple[Clause, ...]:
        entry, scope = placed.entry, list[Clause]()
        if entry.effective_from is not None or entry.expires_at is not None:
            scope.append(self.in_effect(placed.keys, entry.effective_from, entry.expires_at))
        if entry.targets is not None:
            scope.append(_targets([self.notes.same(one) for one in present(entry.targets)]))
        if entry.target_tags is not None:
            scope.append(scopes.TagClause(frozenset(present(entry.target_tags)), listed(present(entry.target_tags))))
        return tuple(scope)

    def in_effect(self, keys: Keys, since: str | None, until: str | None) -> scopes.EffectClause:
        """Return the time between two keys of an entry, either of which may be absent."""
        first = self.notes.attempt((*keys, "effective_from"), NEVER, times.instant, since)
        last = self.notes.attempt((*keys, "expires_at"), EVER, times.instant, until)
        text = " ".join([f"from {since}" if since else "", f"until {until}" if until else ""]).strip()
        return scopes.EffectClause(first, last, text)

    def _demand(self, placed: PlacedRule) -> Demand | None:
        entry = placed.entry
        if _effect(entry) != "require_approval":
            return None
        approval = entry.approval or ApprovalEntry()
        keys = (*placed.keys, "approval", "timeout")
        minutes = (entry.approval_timeout or APPROVAL_MINUTES) * 60
        seconds = self.notes.attempt(keys, minutes, times.duration, approval.timeout)
        return Demand(entry.name, steps_of(approval), seconds, presence_of(approval), approval.windows)


def _binding(entry: RuleEntry, conditions: list[Condition], verb: Verb) -> tuple[Condition, ...]:
    every = "" if entry.allowed else verb.operation.all_without
    return tuple(
        _of_all(one) if isinstance(one, ParameterCondition) and one.name == every else one
        for one in conditions
        if not isinstance(one, ParameterCondition) or one.name in verb.types
    )


def _of_all(condition: ParameterCondition) -> ParameterCondition:
    """Return the condition for a request on all things at once, which includes the things that a deny rule names."""
    return structs.replace(condition, required=False, default=None)


def _of_unnamed(conditions: Iterable[Condition], verb: Verb) -> tuple[Condition, ...]:
    every = verb.operation.all_without
    return tuple(one for one in conditions if not isinstance(one, ParameterCondition) or one.name != every)


def _unnamed(entry: RuleEntry, verb: Verb) -> tuple[ParameterCondition, ...]:
    """Return the conditions that the entry does not write down.

    A setting that breaks out of a container is allowed only by a rule that names its flag. A rule on names allows
    nothing on all things at once.
    """
    if not entry.allowed:
        return ()
    flags = tuple(refused_flag(name) for name in sorted(verb.breakouts - named(entry)))
    return (*flags, named_thing(verb.operation.all_without)) if needs_name(entry, verb) else flags


def needs_name(entry: RuleEntry, verb: Verb) -> bool:
    """Return whether the rule constrains the parameter without which the operation acts on all things."""
    constraint = (entry.parameter_constraints or {}).get(verb.operation.all_without)
    return constraint is not None and constraint.default is None


def named(entry: RuleEntry) -> set[str]:
    """Return the parameters constrained by a rule; a name with nothing behind it constrains nothing."""
    return {name for name, constraint in (entry.parameter_constraints or {}).items() if constraint is not None}


def _effect(entry: RuleEntry) -> Effect:
    if not entry.allowed:
        return "deny"
    return "require_approval" if entry.requires_approval or entry.approval is not None else "allow"


def _roles(placed: PlacedRule) -> frozenset[str] | None:
    if placed.entry.target_roles is not None:
        return frozenset(present(placed.entry.target_roles))
    return None if placed.role is None else frozenset({placed.role})


def _people(entry: RuleEntry) -> tuple[Clause, ...]:
    principal_clauses: list[Clause] = []
    if entry.users is not None:
        principal_clauses.append(scopes.PrincipalClause(frozenset(present(entry.users)), listed(present(entry.users))))
    if entry.user_roles is not None:
        principal_clauses.append(
            scopes.UserRoles(frozenset(present(entry.user_roles)), listed(present(entry.user_roles)))
        )
    if entry.principal_kinds is not None:
        kinds = present(entry.principal_kinds)
        principal_clauses.append(scopes.KindClause(frozenset(kinds), listed(kinds)))
    return tuple(principal_clauses)


def _targets(ids: list[str]) -> scopes.TargetClause:
    globs = [text for text in ids if "*" in text or "?" in text]
    names = frozenset(ids) - frozenset(globs) if len(globs) < len(ids) else NO_NAMES  # 0.2 KB each
    return scopes.TargetClause(names, tuple(glob(text) for text in globs), listed(ids))


def _defaults(verb: Verb, parameters: list[ParameterCondition]) -> dict[str, Any]:
    return {each.name: each.default for each in parameters if each.default is not None and each.name in verb.types}


def presence_of(approval: ApprovalEntry) -> Presence:
    """Return the presence each approver must prove."""
    return Presence(approval.proof, approval.attested)


def steps_of(approval: ApprovalEntry) -> tuple[ApproverStep, ...]:
    """Return the steps of an approval. Approvers beside steps are a step of their own, before them."""
    steps: list[StepEntry] = [StepEntry(approvers=approval.approvers, quorum=approval.quorum)]
    if present(approval.steps):
        steps = [*(steps if approval.approvers else ()), *present(approval.steps)]
    return tuple(
        ApproverStep(tuple(dict.fromkeys(present(step.approvers))) or (APPROVER,), step.quorum) for step in steps
    )


def _limits(entry: RuleEntry) -> tuple[RuleLimit, ...]:
    if not entry.allowed:
        return ()
    limits = []
    if entry.max_concurrent is not None:
        limits.append(RuleLimit(entry.name, "max_concurrent", entry.max_concurrent))
    if entry.max_targets is not None:
        limits.append(RuleLimit(entry.name, "max_targets", entry.max_targets))
    return tuple(limits)

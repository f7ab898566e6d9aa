"""Access lists derived from a policy: for each operation, target and principal never, always, or under conditions.

The policy decides one request of each class that it can distinguish, by the same code as real requests. `never` means
that each of them is denied, and `always` that none is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field, structs

from writ_contracts.errors import Invalid
from writ_contracts.inventory import WRIT, Principal, Target
from writ_contracts.policy.access import Extent
from writ_rules.analysis.assumed_facts import facts
from writ_rules.analysis.classes import (
    defaults_of,
    populated,
    principal_classes,
    rules_of,
    synthesis_notes,
    target_classes,
)
from writ_rules.analysis.question_space import Example, QuestionSpace
from writ_rules.analysis.questions import QuestionDecider, example
from writ_rules.analysis.request_space import OptionsByRules, RelevantRules, relevant, request
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.clauses.conditions import ParameterCondition
from writ_rules.engine.compile import Policy
from writ_rules.engine.decide import Ruling
from writ_rules.engine.facts import Facts
from writ_rules.engine.matching.judge import INHERITED
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb

MOST_COMPARED = 400_000
"""The most requests that one query decides."""


class AllowingRule(Struct, frozen=True, kw_only=True):
    """An allowing rule with its requirements: conditions in words, windows, approvals. `section`: as in a trace."""

    rule: str
    section: str
    parameters: list[str]
    windows: str
    other: list[str]
    approval: str


class Access(Struct, frozen=True, kw_only=True):
    """The access of one class of principals to one class of targets. The policy cannot distinguish the members of a
    class.

    `allowed`: with or without an approval; `approval`: how often it needs one; `emergency`: only in an emergency.
    `grants` are the rules allowing it, `denies` those which deny or limit some of it. `example_allowed` and
    `example_denied` are requests of either kind, if there is one.
    """

    operation: str
    role: str
    targets: list[str]
    principals: list[str]
    allowed: Extent
    approval: Extent
    emergency: bool
    grants: list[AllowingRule]
    denies: list[str]
    reason: str
    example_allowed: Example | None = None
    example_denied: Example | None = None


class AccessListing(Struct, frozen=True, kw_only=True):
    """The result of a query; `bounded` names the places where not every kind of request was tried."""

    accesses: list[Access]
    bounded: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    principals: list[Principal] = field(default_factory=list)


class AccessQuery(Struct, frozen=True, kw_only=True):
    """The operations, targets and principals of a query; None is all.

    `at` (Unix seconds): at this instant; None: at any time from `around` on. `parameters`: with exactly these; None:
    with any.
    """

    operations: tuple[str, ...] | None = None
    role: str | None = None
    target: str | None = None
    principal: str | None = None
    principal_role: str | None = None
    at: float | None = None
    around: float = 0.0
    parameters: Mapping[str, Any] | None = None


def allowed(policy: Policy, question_space: QuestionSpace, query: AccessQuery) -> AccessListing:
    """Return the access of each operation, class of targets and class of principals in the query, in this order.

    Raises Invalid (`unknown_operation`, `unknown_target`, `unknown_principal`).
    """
    _check(question_space, query)
    question_space = _with_role(question_space, query)
    names = policy.verbs if query.operations is None else query.operations
    search = _AccessSearch(policy, question_space, query)
    accesses = [access for name in names for access in search.about(_verb(policy, name))]
    return AccessListing(
        accesses=accesses,
        bounded=list(search.bounded),
        targets=search.targets if question_space.targets is None else [],
        principals=search.principals if question_space.principals is None else [],
    )


def who_can(policy: Policy, question_space: QuestionSpace, operation: str, query: AccessQuery) -> AccessListing:
    """Return the access to one operation, without `never`. Raises Invalid for parameters the operation refuses."""
    if query.parameters is not None:
        _verb(policy, operation).operation.check(query.parameters)
    listing = allowed(policy, question_space, structs.replace(query, operations=(operation,)))
    able = [access for access in listing.accesses if access.allowed != "never"]
    return structs.replace(listing, accesses=able)


def _with_role(question_space: QuestionSpace, query: AccessQuery) -> QuestionSpace:
    """Return the space with synthetic targets if the query is about a role that no target has yet."""
    targets = question_space.targets
    if query.role is None or query.target is not None or targets is None:
        return question_space
    there = any(target.role == query.role for target in targets) or query.role == WRIT.role
    return question_space if there else structs.replace(question_space, targets=None)


def _verb(policy: Policy, name: str) -> Verb:
    if name not in policy.verbs:
        raise Invalid(f"no operation {name!r} in the catalogue", code="unknown_operation")
    return policy.verbs[name]


def _check(question_space: QuestionSpace, query: AccessQuery) -> None:
    if question_space.targets is not None and query.target not in {
        None,
        *(target.id for target in question_space.targets),
    }:
        raise Invalid(f"no target {query.target!r} in the inventory", code="unknown_target")
    if question_space.principals is not None and query.principal not in {
        None,
        *(one.id for one in question_space.principals),
    }:
        raise Invalid(f"no principal {query.principal!r}", code="unknown_principal")


class _AccessSearch:
    def __init__(self, policy: Policy, question_space: QuestionSpace, query: AccessQuery) -> None:
        self.policy, self.question_space, self.query = policy, question_space, query
        self.asker = QuestionDecider(populated(question_space, [policy]).people())
        self.bounded: dict[str, None] = {}
        self.options = OptionsByRules()
        self.compared = 0
        self.targets: list[Target] = []
        self.principals: list[Principal] = []

    def about(self, verb: Verb) -> Iterator[Access]:
        """Yield the access to one operation."""
        rules = rules_of([self.policy], verb.operation.name)
        principals = [who for one in principal_classes(self.question_space, verb, rules) if (who := self._who(one))]
        self.bounded |= dict.fromkeys(synthesis_notes(self.question_space, verb, rules))
        for targets in target_classes(self.question_space, verb, rules):
            if kept := self._which(targets):
                self.targets.append(kept[0])
                for members in principals:
                    self.principals.append(members[0])
                    yield self._access(verb, kept, members)

    def _who(self, members: list[Principal]) -> list[Principal]:
        return [
            one
            for one in members
            if self.query.principal in (None, one.id)
            and (self.query.principal_role is None or self.query.principal_role in one.roles)
        ]

    def _which(self, targets: list[Target]) -> list[Target]:
        return [one for one in targets if self.query.target in (None, one.id) and self.query.role in (None, one.role)]

    def _access(self, verb: Verb, targets: Sequence[Target], members: Sequence[Principal]) -> Access:
        rules = relevant(self.policy, verb.operation.name, targets[0], members[0])
        at = self.query.around if self.query.at is None else self.query.at
        only, exactly = self.query.at is not None, self.query.parameters
        tried = self.options.options(verb, [self.policy], [rules], at, at_only=only, exactly=exactly)
        left, many = max(0, MOST_COMPARED - self.compared), len(tried.options)
        place = f"{verb.operation.name} on {targets[0].role}"
        if many < tried.every or left < many:
            self.bounded[f"{place}: {min(left, many)} of {tried.every} kinds of request tried"] = None
        self.bounded |= dict.fromkeys(f"{place}: {note}" for note in tried.notes)
        search = [request(verb.operation, targets[0], members[0], option) for option in tried.options[:left]]
        self.compared += len(search)
        defaults = defaults_of([self.policy], verb.operation.name)
        answers = [
            (one, known, self.asker.decide(self.policy, one, known))
            for one, option in zip(search, tried.options, strict=False)
            if one is not None
            for known in [facts(option.assumed, one, defaults)]
        ]
        return _summary(verb, rules, targets, members, answers)


def _summary(
    verb: Verb,
    rules: RelevantRules,
    targets: Sequence[Target],
    members: Sequence[Principal],
    answers: Sequence[tuple[DecisionRequest, Facts, Ruling]],
) -> Access:
    usual = [each for each in answers if not each[0].emergency] or list(answers)
    yes = [each for each in usual if each[2].effect != "deny"]
    urgent = [each for each in answers if each[0].emergency and each[2].effect != "deny"]
    no = [each for each in usual if each[2].effect == "deny"]
    # Where only an emergency allows it, those rules limit it that deny it in an emergency too.
    limiting = no if yes or not urgent else [each for each in answers if each[0].emergency and each not in urgent]
    shown = (yes or urgent)[:1]
    granting = {name for _, _, ruling in (*yes, *urgent) for name in ruling.rules}
    return Access(
        operation=verb.operation.name,
        role=targets[0].role,
        targets=[target.id for target in targets],
        principals=[member.id for member in members],
        allowed=_extent(len(yes) + (0 if yes else len(urgent)), len(answers) if not yes else len(usual)),
        approval=_extent(sum(each[2].effect == "require_approval" for each in yes or urgent), len(yes or urgent)),
        emergency=bool(urgent) and not yes,
        grants=[
            _grant(rule, verb, INHERITED if rule in rules.inherited else rule.section)
            for rule in rules.all()
            if rule.name in granting
        ],
        denies=sorted({name for _, _, ruling in limiting for name in ruling.rules}),
        reason=(shown or no)[0][2].reason if shown or no else "",
        example_allowed=example(*shown[0][:2]) if shown else None,
        example_denied=example(*no[0][:2]) if no else None,
    )


def _extent(some: int, every: int) -> Extent:
    if not some:
        return "never"
    return "always" if some == every else "sometimes"


def _grant(rule: Rule, verb: Verb, section: str) -> AllowingRule:
    conditions = rule.conditions[verb.operation.name]
    return AllowingRule(
        rule=rule.name,
        section=section,
        parameters=[
            text
            for clause in conditions
            if isinstance(clause, ParameterCondition) and not clause.implied
            for text in _words(clause, verb)
        ],
        windows="" if rule.times is None else rule.times.expected,
        other=[
            clause.expected
            for clause in conditions
            if not isinstance(clause, ParameterCondition) and clause is not rule.times and hasattr(clause, "expected")
        ],
        approval="" if rule.demand is None else str(rule.demand),
    )


def _words(clause: ParameterCondition, verb: Verb) -> Iterable[str]:
    """Return the constraint in words; without values for a sensitive or secret parameter."""
    shown = [check.expected for check in clause.checks if clause.name in verb.public or not check.tells]
    shown += ["required"] if clause.required else []
    shown += [clause.listed.expected] if clause.listed is not None else []
    return [f"{clause.name}: {', '.join(shown)}"] if shown else []

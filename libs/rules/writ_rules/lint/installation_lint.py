"""Lint of a policy against its installation: rules about missing targets or principals, approvals nobody can give.

The policy may be right and the inventory incomplete, so a service loading it only warns.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from msgspec import structs

from writ_contracts.bounds import first_names
from writ_contracts.catalogue.control import AUDIT_READ
from writ_contracts.inventory import WRIT, Principal, Target
from writ_contracts.nearest_name import near
from writ_contracts.operations import Catalogue, Risk
from writ_contracts.people.credentials import KEY, Presence
from writ_rules.engine.clauses.case import show
from writ_rules.engine.clauses.patterns import glob
from writ_rules.engine.people import People, people_of
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import PolicyDocument, RuleEntry, present
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.policy_file.nearest import NearestNames
from writ_rules.engine.rules.conditioning import attribute
from writ_rules.engine.rules.obligations import ADMIN_DEMAND, APPROVER, ApproverStep, Demand, progress
from writ_rules.engine.verbs import Verb, offered, verbs
from writ_rules.lint.rule_pairs import demand
from writ_rules.lint.rule_reading import ALL_ROLES, RuleReading, place_of, readings

Stored = TypeVar("Stored")


def lint_with(
    file: PolicyDocument,
    catalogue: Catalogue,
    *,
    targets: Iterable[Target] | None = None,
    principals: Iterable[Principal] | None = None,
    people: People | None = None,
) -> list[LintFinding]:
    """Return the findings these targets and principals give rise to; None means no file, hence no findings. `people`:
    the principals with their enrolled credentials, where these are known.

    LINT: the rule has no effect at present. WARNING: it has less effect than it seems.
    """
    known = verbs(catalogue)
    rules = readings(placed(file.policies), known)
    findings: list[LintFinding] = []
    if targets is not None:
        findings += _Targets(targets, known).about(rules)
    if principals is not None:
        findings += _Principals(principals, known, people).about(rules, admin=file.policies.require_approval_for_admin)
        findings += _emergency_proof(file, people)
    return findings


def _emergency_proof(file: PolicyDocument, people: People | None) -> Iterator[LintFinding]:
    """Yield a finding where nobody has a credential for the proof demanded by emergencies."""
    entry = file.policies.emergencies
    if entry is None or entry.proof == KEY.proof or people is None or people.presences is None:
        return
    if not any(one.meets(Presence(entry.proof)) for each in people.presences.values() for one in each):
        text = f"nobody has a credential that proves {entry.proof}: no emergency can be declared"
        yield LintFinding(Severity.WARNING, ("policies", "emergencies", "proof"), text)


def texts(findings: Iterable[LintFinding]) -> list[str]:
    """Return the findings for a log, each with its place."""
    return [f"{'.'.join(map(str, finding.keys))}: {finding.message}" for finding in findings]


def as_warnings(findings: Iterable[LintFinding]) -> list[LintFinding]:
    """Return the findings as warnings, which do not refuse a policy."""
    return [structs.replace(finding, severity=Severity.WARNING) for finding in findings]


class _Targets:
    def __init__(self, targets: Iterable[Target], known: Mapping[str, Verb]) -> None:
        listed = {target.id: target for target in targets}
        self._targets = [*listed.values(), *([WRIT] if WRIT.id not in listed else [])]
        self._ids = {target.id for target in self._targets}
        self._words: dict[str, set[str]] = {
            "target_roles": {str(target.role) for target in self._targets},
            "target_tags": {tag for target in self._targets for tag in target.tags},
        }
        self._attributes = {name for target in self._targets for name in target.attributes}
        self._known = known
        self._scopes: dict[Any, list[Target]] = {}
        self._globs: dict[Any, set[str]] = {}

    def about(self, rules: Iterable[RuleReading]) -> Iterator[LintFinding]:
        for rule in rules:
            yield from self._unknown_words(rule)
            for name in rule.entry.target_attributes or {}:
                if name not in self._attributes:
                    text = "no target has this attribute" + ("" if rule.entry.allowed else ": denies all in its scope")
                    yield LintFinding(
                        Severity.WARNING, (*rule.placed_rule.keys, "target_attributes", name), text, at_key=True
                    )
                else:
                    yield from self._lacking(rule, name)
                yield from self._other_kinds(rule, name)
            if self._scope(rule):
                yield from self._reach(rule)

    def _unknown_words(self, rule: RuleReading) -> Iterator[LintFinding]:
        unknown = [*_unknown(rule, "targets", lambda word: bool(self._named(word)), "no target is")]
        for key, problem in (("target_roles", "no target has role"), ("target_tags", "no target has tag")):
            unknown += _unknown(rule, key, self._words[key].__contains__, problem)
        text = f"no target of the inventory is one that '{rule.name}' is about"
        return iter(unknown) if self._scope(rule) else _no_scope(rule, unknown, text)

    def _lacking(self, rule: RuleReading, name: str) -> Iterator[LintFinding]:
        """Yield a finding for targets without the attribute of a deny rule, which denies everything there."""
        lacking = [
            one.id
            for one in self._scope(rule)
            if name not in one.attributes and any(_offers(one, self._known[verb]) for verb in rule.operations)
        ]
        if lacking and not rule.entry.allowed:
            lack = "lacks" if len(lacking) == 1 else "lack"
            text = f"{first_names(lacking)} {lack} this attribute: '{rule.name}' denies all in its scope there"
            keys = (*rule.placed_rule.keys, "target_attributes", name)
            yield LintFinding(Severity.WARNING, keys, text, at_key=True)

    def _other_kinds(self, rule: RuleReading, name: str) -> Iterator[LintFinding]:
        """Yield findings for targets whose attribute is of a kind the rule can't compare: text "1" and the number 1."""
        deny = not rule.entry.allowed
        condition = attribute(name, deny, (rule.entry.target_attributes or {})[name])
        values = {one.id: one.attributes[name] for one in self._scope(rule) if name in one.attributes}
        if odd := [target for target, value in values.items() if not condition.can_judge(value)]:
            then = "denies all in its scope there" if deny else "never matches there"
            text = f"can't be compared with {show(values[odd[0]])} of {first_names(odd)}: '{rule.name}' {then}"
            yield LintFinding(Severity.WARNING, (*rule.placed_rule.keys, "target_attributes", name), text)

    def _reach(self, rule: RuleReading) -> Iterator[LintFinding]:
        scope = self._scope(rule)
        missing = [name for name in rule.operations if not any(_offers(one, self._known[name]) for one in scope)]
        if missing and len(missing) == len(rule.operations):
            text = f"no target that '{rule.name}' is about has any of its operations"
            yield LintFinding(Severity.LINT, (*rule.placed_rule.keys, "operations"), text, to_come=True)
        elif missing:
            text = f"no target that '{rule.name}' is about has {first_names(missing)}"
            yield LintFinding(Severity.WARNING, place_of(rule, missing[0]), text, to_come=True)

    def _scope(self, rule: RuleReading) -> list[Target]:
        entry = rule.entry
        key = (rule.roles, rule.inherited, _key(entry.targets), _key(entry.target_tags))
        return _cached(self._scopes, key, lambda: [one for one in self._targets if self._is_about(rule, one)])

    def _is_about(self, rule: RuleReading, target: Target) -> bool:
        entry = rule.entry
        behind = rule.inherited and target.gateway is not None and target.role != "gateway"
        if target.role not in rule.roles and not behind:
            return False
        if entry.target_tags is not None and set(present(entry.target_tags)).isdisjoint(target.tags):
            return False
        return entry.targets is None or any(target.id in self._named(text) for text in present(entry.targets))

    def _named(self, text: str) -> set[str]:
        def named() -> set[str]:
            if "*" not in text and "?" not in text:
                return {text} & self._ids
            pattern = glob(text)
            return {one for one in self._ids if pattern.covers(one)}

        return _cached(self._globs, text, named)


class _Principals:
    def __init__(self, principals: Iterable[Principal], known: Mapping[str, Verb], people: People | None) -> None:
        self._all = list(principals)
        self._ids = {one.id for one in self._all}
        self._roles = {role for one in self._all for role in one.roles}
        self._kinds = {str(one.kind) for one in self._all}
        self._people = people or people_of(self._all)
        self._known = known
        self._scopes: dict[Any, list[Principal]] = {}
        self._unable: dict[Any, list[Principal]] = {}
        self._nearest = NearestNames()

    def about(self, rules: Sequence[RuleReading], *, admin: bool) -> Iterator[LintFinding]:
        for rule in rules:
            unknown = self._unknown_words(rule)
            if self._scope(rule):
                yield from unknown
                yield from self._approval(rule)
                yield from self._security_reads(rule)
            else:
                yield from _no_scope(rule, unknown, f"no principal is one that '{rule.name}' is about")
        if admin:
            yield from self._admin(rules)

    def _unknown_words(self, rule: RuleReading) -> list[LintFinding]:
        unknown: list[LintFinding] = []
        for key, known, problem in (
            ("users", self._ids, "no principal is"),
            ("user_roles", self._roles, "no principal has role"),
        ):
            unknown += _unknown(rule, key, known.__contains__, problem, partial(self._nearest.hint, known=known))
        return [*unknown, *_unknown(rule, "principal_kinds", self._kinds.__contains__, "no principal is")]

    def _approval(self, rule: RuleReading) -> Iterator[LintFinding]:
        required = demand(rule.entry)
        if required is None:
            return
        steps = tuple(ApproverStep(roles, quorum) for roles, quorum in required[0])
        scope, keys = (
            self._scope(rule),
            (*rule.placed_rule.keys, "approval" if rule.entry.approval else "requires_approval"),
        )
        unable = self._lacking(rule, Demand(rule.name, steps, 0, required[2]))
        if len(unable) == len(scope):
            yield LintFinding(Severity.LINT, keys, f"nobody can give this approval: {self._why(steps, required[2])}")
        elif unable:
            text = f"nobody can give this approval to {first_names([one.id for one in unable])}"
            yield LintFinding(Severity.WARNING, keys, text)

    def _security_reads(self, rule: RuleReading) -> Iterator[LintFinding]:
        """Yield a finding for agents that may read security events by a rule that does not name the queries.

        Such a rule is often older than this query. The events say who tried what, and how it was found out.
        """
        agents = [one.id for one in self._scope(rule) if one.kind == "agent"]
        if rule.entry.allowed and AUDIT_READ in rule.operations and "query" not in rule.constraints and agents:
            text = f"'{rule.name}' lets {first_names(agents)} read security events, too"
            text += ": constrain `query`, as in docs/policy.md"
            yield LintFinding(Severity.WARNING, place_of(rule, AUDIT_READ), text)

    def _admin(self, rules: Iterable[RuleReading]) -> Iterator[LintFinding]:
        """Yield findings for principals with operations of risk admin and no possible approver besides themselves."""
        unable: dict[str, None] = {}
        for rule in rules:
            risky = any(self._known[name].operation.risk is Risk.ADMIN for name in rule.operations)
            if rule.entry.allowed and risky and not rule.emergency:
                unable |= dict.fromkeys(one.id for one in self._lacking(rule, ADMIN_DEMAND))
        if unable:
            text = f"no other human has role {APPROVER}: operations of risk admin can't be approved for "
            keys = ("policies", "require_approval_for_admin")
            yield LintFinding(Severity.WARNING, keys, text + first_names(list(unable)))

    def _lacking(self, rule: RuleReading, required: Demand) -> list[Principal]:
        """Return the principals in the rule's scope without enough approvers."""
        key = (self._scope_key(rule), required.steps, required.presence)
        return _cached(
            self._unable,
            key,
            lambda: [one for one in self._scope(rule) if not progress(required, (), one, self._people).possible],
        )

    def _why(self, steps: Iterable[ApproverStep], presence: Presence) -> str:
        for step in steps:
            able = {self._people.person(who) for who in self._people.members(step.approvers)}
            roles = " or ".join(step.approvers)
            if not able:
                hint = near(step.approvers[0], sorted(self._roles)) if len(step.approvers) == 1 else ""
                return f"no human has role {roles}{hint}"
            if len(able) < step.quorum:
                have = "has" if len(able) == 1 else "have"
                return f"it takes {step.quorum}, and only {first_names(sorted(able))} {have} role {roles}"
            enrolled = [who for who in able if self._people.can_prove(who, presence)]
            if len(enrolled) < step.quorum:
                few = f"only {first_names(sorted(enrolled))}" if enrolled else "nobody"
                return f"{few} of role {roles} has a credential that proves {presence}: `writ credential enrol`"
        return "those who could are the requesters, or too few for all steps"

    def _scope(self, rule: RuleReading) -> list[Principal]:
        return _cached(
            self._scopes, self._scope_key(rule), lambda: [one for one in self._all if _is_about(rule.entry, one)]
        )

    def _scope_key(self, rule: RuleReading) -> Any:
        return (_key(rule.entry.users), _key(rule.entry.user_roles), _key(rule.entry.principal_kinds))


def _is_about(entry: RuleEntry, principal: Principal) -> bool:
    return (
        (entry.users is None or principal.id in present(entry.users))
        and (entry.user_roles is None or not set(present(entry.user_roles)).isdisjoint(principal.roles))
        and (entry.principal_kinds is None or principal.kind in present(entry.principal_kinds))
    )


def _offers(target: Target, verb: Verb) -> bool:
    return offered(target, verb.operation)


def _unknown(
    rule: RuleReading, key: str, known: Callable[[str], bool], problem: str, hint: Callable[[str], str] = lambda _: ""
) -> Iterator[LintFinding]:
    if key == "target_roles" and rule.roles >= ALL_ROLES:
        return
    for at, word in enumerate(getattr(rule.entry, key) or ()):
        if word is not None and not known(word):
            keys, near_one = (*rule.placed_rule.keys, key, at), hint(word)
            yield LintFinding(Severity.WARNING, keys, f"{problem} '{word}'{near_one}", to_come=not near_one)


def _no_scope(rule: RuleReading, unknown: list[LintFinding], text: str) -> Iterator[LintFinding]:
    """Yield why a rule covers nothing: the words of a key of which none is known, else this text."""
    missing = Counter(finding.keys[-2] for finding in unknown)
    whole = {key for key, count in missing.items() if count == len(present(getattr(rule.entry, str(key))))}
    for finding in unknown:
        yield structs.replace(finding, severity=Severity.LINT) if finding.keys[-2] in whole else finding
    if not whole:
        yield LintFinding(Severity.LINT, rule.placed_rule.keys, text, to_come=True)


def _key(words: Sequence[str | None] | None) -> Any:
    return None if words is None else frozenset(present(words))


def _cached(store: dict[Any, Stored], key: Any, make: Callable[[], Stored]) -> Stored:
    if key not in store:
        store[key] = make()
    return store[key]

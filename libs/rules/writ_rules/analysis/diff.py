"""Differences between two policies in their decisions: by operation, target role and principal roles, each with a
request.

Both policies decide one request of each kind distinguished by either. So the result is complete, unless it reports too
many kinds. Every change comes with a request decided by both policies.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property, partial

from msgspec import Struct, json, structs

from writ_contracts.decisions import Effect
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue, Risk
from writ_rules.analysis.assumed_facts import facts
from writ_rules.analysis.changes import Change as Change
from writ_rules.analysis.changes import ChangeCollection, ConcernedGroup, Evidence, Kind
from writ_rules.analysis.changes import Diff as Diff
from writ_rules.analysis.classes import (
    defaults_of,
    judged_elsewhere,
    of_the_same_roles,
    populated,
    principal_classes,
    rules_of,
    synthesis_notes,
    target_classes,
)
from writ_rules.analysis.compared_sides import Side, differing_rules, rule_forms
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.analysis.questions import QuestionDecider, approved
from writ_rules.analysis.relevance import Combination, Pair, RelevanceIndex
from writ_rules.analysis.request_space import OptionsByRules, RelevantRules, RequestVariant, request
from writ_rules.analysis.terms import DifferingTerm, terms
from writ_rules.engine.compile import Policy, compile_policy
from writ_rules.engine.decide import Ruling
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.engine.rules.rule import Rule
from writ_rules.engine.verbs import Verb

MOST_COMPARED = 200_000
"""The most requests that one comparison decides."""
_KINDS: dict[tuple[Effect, Effect], Kind] = {
    ("deny", "allow"): "newly_allowed",
    ("deny", "require_approval"): "newly_allowed_with_approval",
    ("allow", "deny"): "newly_denied",
    ("require_approval", "deny"): "newly_denied",
    ("allow", "require_approval"): "newly_needs_approval",
    ("require_approval", "allow"): "no_longer_needs_approval",
}


def diff(old: PolicyDocument, new: PolicyDocument, question_space: QuestionSpace, at: float) -> Diff:
    """Return the changes brought by `new`. Windows are tried for weeks from `at` (Unix seconds) on.

    Raises Invalid (`invalid_policy`) for a policy which doesn't compile.
    """
    catalogue = question_space.catalogue
    return diff_of(_compiled(old, catalogue), _compiled(new, catalogue), question_space, at)


def diff_of(old: Policy, new: Policy, question_space: QuestionSpace, at: float) -> Diff:
    """Return the changes brought by `new`, as `diff` does."""
    return _Comparison(old, new, question_space, at).run()


def _compiled(file: PolicyDocument, catalogue: Catalogue) -> Policy:
    policy, findings = compile_policy(file, catalogue)
    if policy is None:
        raise Invalid("; ".join(finding.message for finding in findings)[:1000], code="invalid_policy")
    return policy


class _Difference(Struct, frozen=True):
    """A change by some rules. These are given by their places among the names of a combination, so that it holds for
    each combination of the same form; without any, keys of the policy cause it.
    """

    kind: Kind
    terms: tuple[DifferingTerm, ...]
    rules: tuple[int, ...]


class _Shown(Struct, frozen=True, eq=False):
    """A kind of request which shows a difference; `approving`: the side whose demands are met, 0 the old, 1 the new.

    `evidence`: the request of the first principal for which it was tried.
    """

    option: RequestVariant
    approving: int | None
    evidence: Evidence


_Differences = dict[_Difference, _Shown]


class _Outcome(Struct, frozen=True, eq=False):
    """The result for all combinations of one form. `limits` of the result; `reached`: places of the differing rules
    that a request is in the scope of.
    """

    differences: _Differences
    limits: list[str]
    reached: tuple[int, ...]


class _Comparison:
    def __init__(self, old: Policy, new: Policy, question_space: QuestionSpace, at: float) -> None:
        self.sides = (Side(old), Side(new))
        self.policies = [old, new]
        self.question_space, self.at = question_space, at
        self.people = populated(question_space, self.policies)
        self.asker = QuestionDecider(self.people.people())
        self.found = ChangeCollection(question_space)
        self.differing = differing_rules(*self.sides)
        self.forms = rule_forms(*self.sides, self.differing)
        self.outcomes: dict[tuple[object, ...], _Outcome] = {}
        self.bounded: dict[str, None] = {}
        self.defaults = {name: defaults_of(self.policies, name) for name in self.policies[0].verbs}
        self.options = OptionsByRules()
        self.reached: set[str] = set()
        self.compared = 0

    def run(self) -> Diff:
        same = self.sides[0].switches == self.sides[1].switches
        for name, verb in self.policies[0].verbs.items():
            if not same or self.sides[0].rules_text(name) != self.sides[1].rules_text(name):
                self._operation(verb, same=same)
        result = self.found.diff(list(self.bounded), list(self._notes()), self.compared, self.people)
        old, new = (side.texts for side in self.sides)
        unreached = {rule.name for rule in self.differing if old.get(rule.name) != new.get(rule.name)} - self.reached
        return structs.replace(result, since=self.at, unreached=sorted(unreached))

    def _operation(self, verb: Verb, *, same: bool) -> None:
        rules = rules_of(self.policies, verb.operation.name)
        about = [rule for rule in rules if rule in self.differing] if same else None
        principals = [
            (members, of_the_same_roles(members, self.asker.approving_roles))
            for members in principal_classes(self.question_space, verb, rules, about)
        ]
        self.bounded |= dict.fromkeys(synthesis_notes(self.question_space, verb, rules))
        targets = target_classes(self.question_space, verb, rules, about)
        index = RelevanceIndex(verb, self.policies, rules, self.forms)
        opaque = judged_elsewhere(verb, rules)
        for pair in index.pairs(targets, principals, self.differing if same else None):
            self._compare(verb, pair, opaque=opaque)

    @cached_property
    def _demanding(self) -> set[str]:
        return {name for side in self.sides for name, rule in side.rules.items() if rule.demand is not None}

    def _compare(self, verb: Verb, pair: Pair, *, opaque: bool) -> None:
        combination, operation = pair.combination, verb.operation
        names, scope = combination.names, combination.scope
        for people in pair.groups:
            key: tuple[object, ...] = (operation.name, combination.form)
            if opaque:
                key = (*key, scope.targets[0].id, pair.principals[0].id)
            if people.approving and (operation.risk is Risk.ADMIN or not self._demanding.isdisjoint(names)):
                key = (*key, people.approving)
            outcome = self.outcomes.get(key)
            if outcome is None:
                outcome = self.outcomes[key] = self._outcome(verb, combination, people.first)
            self.reached.update(_of(outcome.reached, names))
            for limit in outcome.limits:
                self.bounded[f"{operation.name} on {scope.targets[0].role}: {limit}"] = None
            group = ConcernedGroup(operation=operation.name, targets=scope.targets, target_ids=scope.ids, people=people)
            for difference, shown in outcome.differences.items():
                changed = _of(difference.rules, names) or self._switched
                texts = tuple(_named(term, names).text for term in difference.terms)
                self.found.note((difference.kind, texts), changed, group, partial(self._evidence, verb, group, shown))

    def _evidence(self, verb: Verb, group: ConcernedGroup, shown: _Shown) -> Evidence | None:
        target, principal, request = group.targets[0], group.people.first, shown.evidence[0]
        if request.target is target and request.principal is principal:
            return shown.evidence
        return self._decided(verb, target, principal, shown.option, shown.approving)

    def _outcome(self, verb: Verb, combination: Combination, principal: Principal) -> _Outcome:
        """Return the changes for the first target and this principal."""
        rules = combination.rules(self.policies, verb.operation.name)
        about = self._may_matter(combination, rules)
        reaching = {
            rule.name
            for rule in combination.covering
            if rule in self.differing and (about is None or rule in combination.scope.fitting)
        }
        reached = tuple(place for place, name in enumerate(combination.names) if name in reaching)
        if about is not None and not about:
            return _Outcome({}, [], reached)
        tried = self.options.options(verb, self.policies, rules, self.at, about=about)
        many, limits = len(tried.options), list(tried.notes)
        if many < tried.every or self.compared + many > MOST_COMPARED:
            limits.insert(0, f"{many} of {tried.every} kinds of request tried")
        found: _Differences = {}
        for option in tried.options[: max(0, MOST_COMPARED - self.compared)]:
            shown = self._differences(verb, combination, principal, option)
            decided = {key: one for key, one in shown.items() if key.kind != "other_terms"}
            for key, one in (decided or shown).items():
                found.setdefault(key, one)
        return _Outcome(_telling(found), limits, reached)

    def _differences(
        self, verb: Verb, combination: Combination, principal: Principal, option: RequestVariant
    ) -> _Differences:
        """Return the changes shown by one kind of request: as it is, and with the approvals of either side where both
        demand some.
        """
        differences: _Differences = {}
        for approving in (None, 0, 1):
            evidence = self._decided(verb, combination.scope.targets[0], principal, option, approving)
            self.compared += 1
            if evidence is None:
                break
            for difference in self._differing(verb, combination.names, *evidence[2:]):
                differences.setdefault(difference, _Shown(option, approving, evidence))
            if [ruling.effect for ruling in evidence[2:]] != ["require_approval"] * 2 and approving is None:
                break
        return differences

    def _decided(
        self, verb: Verb, target: Target, principal: Principal, option: RequestVariant, approving: int | None
    ) -> Evidence | None:
        """Return the request with the rulings of both policies; None if the schema refuses it."""
        decision_request = request(verb.operation, target, principal, option)
        if decision_request is None:
            return None
        known = facts(option.assumed, decision_request, self.defaults[verb.operation.name])
        if approving is not None:
            ruling = self.asker.decide(self.policies[approving], decision_request, known)
            decision_request = approved(decision_request, self.asker.approvals(ruling.demands, decision_request))
        before, after = (self.asker.decide(policy, decision_request, known) for policy in self.policies)
        return decision_request, known, before, after

    def _may_matter(self, combination: Combination, rules: Iterable[RelevantRules]) -> list[Rule] | None:
        """Return the differing rules if a request matching none of them is decided alike; None where this is not
        certain.

        Under an open default and within a gateway's limits, the scope of a rule matters too.
        """
        differing = [rule for each in rules for rule in each.all() if rule in self.differing]
        open_default = any(not policy.deny_by_default for policy in self.policies)
        inherited = (rule for each in rules for rule in each.inherited)
        limiting = any(rule.effect != "deny" and rule in self.differing for rule in inherited)
        if self.sides[0].switches != self.sides[1].switches or open_default or limiting:
            return None
        return [rule for rule in differing if rule in combination.scope.fitting]

    def _differing(self, verb: Verb, names: tuple[str, ...], before: Ruling, after: Ruling) -> Iterator[_Difference]:
        """Yield the difference of two rulings; that of terms by the rules which have them."""
        kind = _KINDS.get((before.effect, after.effect))
        if kind is None and before.effect == "deny":
            return
        deciding = self._differing_among(names, {*before.rules, *after.rules})
        changed = deciding or self._differing_among(names, set(names))
        if kind is not None:
            yield _Difference(kind, (), changed)
            return
        by_rules: dict[tuple[int, ...], list[DifferingTerm]] = {}
        for term in terms(verb, (self.sides[0].rules, self.sides[1].rules), before, after):
            own = tuple(place for place in changed if names[place] == term.rule)
            by_rules.setdefault(own or changed, []).append(_placed(term, names))
        for rules, differing in by_rules.items():
            yield _Difference("other_terms", tuple(differing), rules)

    def _differing_among(self, names: tuple[str, ...], some: set[str]) -> tuple[int, ...]:
        """Return the places of those with different texts: among the deciding ones, or among all which could apply."""
        old, new = (side.texts for side in self.sides)
        return tuple(place for place, name in enumerate(names) if name in some and old.get(name) != new.get(name))

    @cached_property
    def _switched(self) -> tuple[str, ...]:
        """Return the policy's own keys that differ."""
        old, new = (json.decode(side.switches) for side in self.sides)
        return tuple(sorted(key for key in old if old[key] != new.get(key)))

    def _notes(self) -> Iterator[str]:
        before, after = (policy.enable_dry_run for policy in self.policies)
        if before != after:
            yield "dry runs become possible" if after else "dry runs are refused from now on"
        limited, now_limited = (policy.list_by_rules for policy in self.policies)
        if limited != now_limited:
            yield f"only what its rules reach is listed for: {', '.join(sorted(now_limited)) or 'nobody'}"
        old, new = (side.bounds for side in self.sides)
        yield from (f"{name}: {old[name]} → {new[name]}" for name in old if not _same(old[name], new[name]))


def _of(places: tuple[int, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names at these places."""
    return names if len(places) == len(names) else tuple([names[place] for place in places])


def _placed(term: DifferingTerm, names: tuple[str, ...]) -> DifferingTerm:
    """Return the term with the place of its rule instead of the name."""
    return structs.replace(term, rule=names.index(term.rule)) if term.rule in names else term


def _named(term: DifferingTerm, names: tuple[str, ...]) -> DifferingTerm:
    """Return the term with the name of its rule."""
    return structs.replace(term, rule=names[term.rule]) if isinstance(term.rule, int) else term


def _telling(found: _Differences) -> _Differences:
    """Return enough of the differences that each kind of change names all its rules, each with few others."""
    named: dict[object, set[int]] = {}
    kept: _Differences = {}
    for difference in sorted(found, key=lambda one: len(one.rules)):
        kind_of_change = difference.kind, difference.terms
        if kind_of_change not in named or not named[kind_of_change].issuperset(difference.rules):
            kept[difference] = found[difference]
            named.setdefault(kind_of_change, set()).update(difference.rules)
    return kept


def _same(old: str | int, new: str | int) -> bool:
    """Return whether two bounds are equal; `4h` is `240m`."""
    try:
        return old == new or times.duration(str(old)) == times.duration(str(new))
    except ValueError:
        return False

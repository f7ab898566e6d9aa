"""Differences between two policies in their decisions: by operation, target role and principal roles, each with a
request.

Both policies decide one request of each kind distinguished by either. So the result is complete, unless it reports too
many kinds. Every change comes with a request decided by both policies.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property, partial

from msgspec import Struct, json, structs

from writ_contracts.decisions import Effect
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_rules.analysis.assumed_facts import facts
from writ_rules.analysis.changes import Change as Change
from writ_rules.analysis.changes import ChangeCollection, ChangeKind, ConcernedGroup, Evidence, Kind
from writ_rules.analysis.changes import Diff as Diff
from writ_rules.analysis.classes import (
    defaults_of,
    every_rule,
    judged_elsewhere,
    populated,
    principal_classes,
    rules_of,
    synthesis_notes,
    target_classes,
)
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.analysis.questions import QuestionDecider, approved
from writ_rules.analysis.relevance import Pair, RelevanceIndex, on_attributes
from writ_rules.analysis.request_space import OptionsByRules, RelevantRules, RequestVariant, request
from writ_rules.analysis.terms import terms
from writ_rules.engine.compile import Policy, compile_policy
from writ_rules.engine.decide import Ruling
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.format import (
    ApprovalWindowsEntry,
    EmergenciesEntry,
    PolicyDocument,
    SessionsEntry,
)
from writ_rules.engine.policy_file.groups import placed
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
_SECTIONS = {"groups", "global_policies", "role_policies", "emergency_policies"}
_BOUNDS = {"emergencies": EmergenciesEntry, "approval_windows": ApprovalWindowsEntry, "sessions": SessionsEntry}
"""Sections whose values change no decision, but bound what people may declare, approve or open."""
_WORDS = {"name", "description", "version", "created_at", "created_by", "audit_all_operations"}


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


class _Difference(Struct, frozen=True, eq=False):
    """A kind of request which shows a change; `approving`: the side whose demands are met, 0 the old, 1 the new.

    `shown`: the request of the first principal for which it was tried.
    """

    option: RequestVariant
    approving: int | None = None
    shown: Evidence | None = None


_Differences = dict[tuple[ChangeKind, tuple[str, ...]], _Difference]
"""By the kind of change and the rules that cause it."""


class _Side:
    """One of the two policies, with the texts of its rules, by which unchanged rules are recognised."""

    def __init__(self, policy: Policy) -> None:
        file = policy.source
        self.policy = policy
        self.rules = {rule.name: rule for rule in every_rule(policy)}
        entry = json.decode(json.encode(file.policies))
        kept = {key: value for key, value in entry.items() if key not in _SECTIONS | _WORDS}
        self.switches = json.encode(kept, order="deterministic")
        self.bounds = {
            f"{section}.{name}": value
            for section, shape in _BOUNDS.items()
            for name, value in structs.asdict(getattr(file.policies, section) or shape()).items()
        }
        self.texts = {
            scope.entry.name: json.encode([scope.section, structs.replace(scope.entry, name="-", description="")])
            for scope in placed(file.policies)
        }

    def text(self, relevant_rules: RelevantRules) -> tuple[Counter[bytes], ...]:
        """Return the texts of these rules, without their order."""
        return tuple(
            Counter(self.texts[rule.name] for rule in rules)
            for rules in (relevant_rules.own, relevant_rules.inherited, relevant_rules.emergency)
        )

    def rules_text(self, operation: str) -> Counter[bytes]:
        return Counter(self.texts[rule.name] for rule in rules_of([self.policy], operation))


def _differing(old: _Side, new: _Side) -> set[Rule]:
    """Return the rules of either side whose text the other side lacks."""
    texts = set(old.texts.values()) ^ set(new.texts.values())
    counts = Counter(old.texts.values()), Counter(new.texts.values())
    texts |= {text for text in counts[0] if counts[0][text] != counts[1][text]}
    return {rule for side in (old, new) for rule in side.rules.values() if side.texts[rule.name] in texts}


class _Comparison:
    def __init__(self, old: Policy, new: Policy, question_space: QuestionSpace, at: float) -> None:
        self.sides = (_Side(old), _Side(new))
        self.policies = [old, new]
        self.question_space, self.at = question_space, at
        self.people = populated(question_space, self.policies)
        self.asker = QuestionDecider(self.people.people())
        self.found = ChangeCollection(question_space)
        self.differing = _differing(*self.sides)
        self.known: dict[tuple[object, ...], tuple[_Differences, list[str]]] = {}
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
        principals = principal_classes(self.question_space, verb, rules, about)
        self.bounded |= dict.fromkeys(synthesis_notes(self.question_space, verb, rules))
        targets = target_classes(self.question_space, verb, rules, about)
        pairs = RelevanceIndex(verb, self.policies, rules).pairs(targets, principals, self.differing if same else None)
        for pair in pairs:
            texts = [side.text(rules) for side, rules in zip(self.sides, pair.rules, strict=True)]
            if not (same and texts[0] == texts[1]):
                self._compare(verb, pair)

    def _compare(self, verb: Verb, pair: Pair) -> None:
        about = self._may_matter(pair)
        self.reached.update(rule.name for rule in pair.every_rule() if about is None or rule in pair.fitting)
        # The target's role and gateway matter only by the rules that they bring.
        key: tuple[object, ...] = (verb.operation.name, *(rules.names() for rules in pair.rules))
        if any(on_attributes(rule, verb) for rule in pair.every_rule()):
            key = (*key, pair.attributes)
        if judged_elsewhere(verb, pair.every_rule()):
            key = (*key, pair.targets[0].id, pair.principals[0].id)
        if key not in self.known:
            self.known[key] = self._differences(verb, pair, about)
        differences, limits = self.known[key]
        self.bounded |= dict.fromkeys(f"{verb.operation.name} on {pair.targets[0].role}: {limit}" for limit in limits)
        for (change_kind, changed), difference in differences.items():
            for people in pair.groups:
                group = ConcernedGroup(operation=verb.operation.name, targets=pair.targets, people=people)
                evidence = partial(self._evidence, verb, group, difference)
                if difference.approving is None:
                    self.found.note(change_kind, changed, group, evidence)
                # Approvals are those of one principal: nobody may approve their own request.
                elif (shown := evidence()) and self._kind_of_change(verb.operation.name, *shown[2:]) == change_kind:
                    self.found.note(change_kind, self._changed(pair, *shown[2:]), group, partial(_same_evidence, shown))

    def _evidence(self, verb: Verb, group: ConcernedGroup, difference: _Difference) -> Evidence | None:
        target, principal, shown = group.targets[0], group.people.first, difference.shown
        if shown is not None and shown[0].target is target and shown[0].principal is principal:
            return shown
        return self._shown(verb, target, principal, difference)

    def _differences(self, verb: Verb, pair: Pair, about: list[Rule] | None) -> tuple[_Differences, list[str]]:
        """Return the changes for the first target and principal, and the limits of the result."""
        found: _Differences = {}
        if about is not None and not about:
            return found, []
        tried = self.options.options(verb, self.policies, pair.rules, self.at, about=about)
        many, limits = len(tried.options), list(tried.notes)
        if many < tried.every or self.compared + many > MOST_COMPARED:
            limits.insert(0, f"{many} of {tried.every} kinds of request tried")
        for option in tried.options[: max(0, MOST_COMPARED - self.compared)]:
            shown = self._compared(verb, pair, option)
            decided = {key: one for key, one in shown.items() if key[0][0] != "other_terms"}
            for key, difference in (decided or shown).items():
                found.setdefault(key, difference)
        return _telling(found), limits

    def _compared(self, verb: Verb, pair: Pair, option: RequestVariant) -> _Differences:
        """Return the changes shown by one kind of request: as it is, and with the approvals of either side where both
        demand some.
        """
        differences: _Differences = {}
        for approving in (None, 0, 1):
            difference = _Difference(option, approving)
            shown = self._shown(verb, pair.targets[0], pair.principals[0], difference)
            self.compared += 1
            if shown is None:
                break
            change_kind = self._kind_of_change(verb.operation.name, *shown[2:])
            if change_kind is not None:
                changed = tuple(self._changed(pair, *shown[2:]))
                differences.setdefault((change_kind, changed), structs.replace(difference, shown=shown))
            if [ruling.effect for ruling in shown[2:]] != ["require_approval"] * 2 and approving is None:
                break
        return differences

    def _shown(self, verb: Verb, target: Target, principal: Principal, difference: _Difference) -> Evidence | None:
        """Return the request with the rulings of both policies; None if the schema refuses it or nothing differs."""
        decision_request = request(verb.operation, target, principal, difference.option)
        if decision_request is None:
            return None
        known = facts(difference.option.assumed, decision_request, self.defaults[verb.operation.name])
        if difference.approving is not None:
            ruling = self.asker.decide(self.policies[difference.approving], decision_request, known)
            decision_request = approved(decision_request, self.asker.approvals(ruling.demands, decision_request))
        before, after = (self.asker.decide(policy, decision_request, known) for policy in self.policies)
        return decision_request, known, before, after

    def _may_matter(self, pair: Pair) -> list[Rule] | None:
        """Return the differing rules if a request matching none of them is decided alike; None where this is not
        certain.

        Under an open default and within a gateway's limits, the scope of a rule matters too.
        """
        rules = [rule for rule in pair.every_rule() if rule in self.differing]
        open_default = any(not policy.deny_by_default for policy in self.policies)
        inherited = (rule for each in pair.rules for rule in each.inherited)
        limiting = any(rule.effect != "deny" and rule in self.differing for rule in inherited)
        if self.sides[0].switches != self.sides[1].switches or open_default or limiting:
            return None
        return [rule for rule in rules if rule in pair.fitting]

    def _kind_of_change(self, operation: str, before: Ruling, after: Ruling) -> ChangeKind | None:
        kind = _KINDS.get((before.effect, after.effect))
        if kind is not None:
            return kind, ()
        if before.effect == "deny":
            return None
        verb = self.policies[0].verbs[operation]
        differing_terms = tuple(terms(verb, (self.sides[0].rules, self.sides[1].rules), before, after))
        return ("other_terms", differing_terms) if differing_terms else None

    def _changed(self, pair: Pair, before: Ruling, after: Ruling) -> list[str]:
        """Return the differing rules: among the deciding ones, else among all which could apply; else the policy's own
        keys.
        """
        differing = self._differing_among(before.rules + after.rules)
        differing = differing or self._differing_among(rule.name for rule in pair.every_rule())
        return differing or self._switched

    def _differing_among(self, names: Iterable[str]) -> list[str]:
        old, new = (side.texts for side in self.sides)
        return sorted({name for name in names if old.get(name) != new.get(name)})

    @cached_property
    def _switched(self) -> list[str]:
        old, new = (json.decode(side.switches) for side in self.sides)
        return sorted(key for key in old if old[key] != new.get(key))

    def _notes(self) -> Iterator[str]:
        before, after = (policy.enable_dry_run for policy in self.policies)
        if before != after:
            yield "dry runs become possible" if after else "dry runs are refused from now on"
        limited, now_limited = (policy.list_by_rules for policy in self.policies)
        if limited != now_limited:
            yield f"only what its rules reach is listed for: {', '.join(sorted(now_limited)) or 'nobody'}"
        old, new = (side.bounds for side in self.sides)
        yield from (f"{name}: {old[name]} → {new[name]}" for name in old if not _same(old[name], new[name]))


def _same_evidence(shown: Evidence) -> Evidence:
    return shown


def _telling(found: _Differences) -> _Differences:
    """Return enough of the differences that each kind of change names all its rules, each with few others."""
    named: dict[ChangeKind, set[str]] = {}
    kept: _Differences = {}
    for key in sorted(found, key=lambda key: len(key[1])):
        change_kind, changed = key
        if change_kind not in named or not named[change_kind].issuperset(changed):
            kept[key] = found[key]
            named.setdefault(change_kind, set()).update(changed)
    return kept


def _same(old: str | int, new: str | int) -> bool:
    """Return whether two bounds are equal; `4h` is `240m`."""
    try:
        return old == new or times.duration(str(old)) == times.duration(str(new))
    except ValueError:
        return False

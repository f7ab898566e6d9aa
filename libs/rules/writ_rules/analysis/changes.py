"""Changes between two policies, collected while they are found; those of the same roles, kind and rules are merged."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct, field, json

from writ_contracts.decisions import Effect
from writ_contracts.inventory import Principal, Target
from writ_rules.analysis.classes import PrincipalGroup
from writ_rules.analysis.question_space import Example, QuestionSpace
from writ_rules.analysis.questions import example
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.decisions.ruling import Ruling
from writ_rules.engine.facts import Facts

MOST_APART = 100
"""The most sets of rules whose changes of the same roles and kind are shown apart; those of all others are merged."""
Kind = Literal[
    "newly_allowed",
    "newly_allowed_with_approval",
    "newly_denied",
    "newly_needs_approval",
    "no_longer_needs_approval",
    "other_terms",
]
ChangeKind = tuple[Kind, tuple[str, ...]]
"""The kind of a change, and the differing terms of an allow."""
_Key = tuple[str, str, tuple[str, ...], ChangeKind]
"""Operation, role of the target, roles of the principal and kind of change."""


class Change(Struct, frozen=True, kw_only=True):
    """One kind of change, of one operation on targets of one role for principals of the same roles.

    `targets` and `principals` are those it concerns. `example` is decided as `before` by the old policy and as `after`
    by the new one, by these rules and for these reasons. `changed`: the differing rules, and keys of the policy, which
    cause it. `terms`: the terms of an allow, before and after, where they differ.
    """

    kind: Kind
    operation: str
    role: str
    principal_kinds: list[str]
    principal_roles: list[str]
    targets: list[str]
    principals: list[str]
    before: Effect
    after: Effect
    before_rules: list[str]
    after_rules: list[str]
    before_reason: str
    after_reason: str
    example: Example
    changed: list[str] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)


class Diff(Struct, frozen=True, kw_only=True):
    """All changes, by operation and role, from `since` on.

    `bounded` names the places where not every kind of request was tried; `notes` are other differences. `unreached`:
    differing rules that no compared request is in the scope of. `targets` and `principals` are synthetic, for lack of
    files, and occur in the examples. Principals with several roles are kept only where they show a change which no
    single role shows.
    """

    changes: list[Change]
    bounded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: int = 0
    since: float | None = None
    unreached: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    principals: list[Principal] = field(default_factory=list)


class ConcernedGroup(Struct, frozen=True, eq=False, kw_only=True):
    """Targets that both policies treat alike, and such principals."""

    operation: str
    targets: Sequence[Target]
    target_ids: frozenset[str]
    people: PrincipalGroup

    def key(self, kind_of_change: ChangeKind) -> _Key:
        return self.operation, self.targets[0].role, self.people.roles, kind_of_change


Evidence = tuple[DecisionRequest, Facts, Ruling, Ruling]
"""A request with the rulings of both policies."""


class _Collected:
    """One change with everything it concerns so far. `evidence` is decided only for a change that is reported."""

    def __init__(self, evidence: Callable[[], Evidence | None]) -> None:
        self.evidence = evidence
        self.changed, self.kinds = set[str](), set[str]()
        self.targets, self.principals = set[str](), set[str]()

    def add(self, changed: Iterable[str], group: ConcernedGroup) -> None:
        self.changed.update(changed)
        self.kinds |= group.people.kinds
        self.targets |= group.target_ids
        self.principals |= group.people.ids


class ChangeCollection:
    """Collected changes; those of the same roles that are caused by the same rules are merged."""

    def __init__(self, question_space: QuestionSpace) -> None:
        self._question_space = question_space
        self._found: dict[_Key, dict[tuple[str, ...], _Collected]] = {}
        self._of_single_roles: dict[tuple[_Key, frozenset[str]], set[str]] = {}
        self._targets: dict[bytes, Target] = {}
        self._principals: dict[bytes, Principal] = {}

    def note(
        self,
        kind_of_change: ChangeKind,
        changed: Sequence[str],
        group: ConcernedGroup,
        evidence: Callable[[], Evidence | None],
    ) -> None:
        """Add a change of the group by these rules; `evidence` returns a request of its first members."""
        of_rules = self._found.setdefault(group.key(kind_of_change), {})
        apart = tuple(changed) if tuple(changed) in of_rules or len(of_rules) < MOST_APART else ()
        if apart not in of_rules:
            of_rules[apart] = _Collected(evidence)
        of_rules[apart].add(changed, group)

    def diff(self, bounded: list[str], notes: list[str], requests: int, people: QuestionSpace) -> Diff:
        """Return all changes, with the synthetic targets and principals of their examples."""
        changes = [
            change
            for key in sorted(self._found)
            for _, collected in sorted(self._found[key].items(), key=lambda item: item[0])
            if not self._follows(key, collected) and (change := self._change(key[-1], collected)) is not None
        ]
        approvers = {requester for change in changes for requester in change.example.approvals}
        made_up = [one for one in people.principals or () if one.id in approvers]
        no_files = self._question_space.targets is None, self._question_space.principals is None
        return Diff(
            changes=changes,
            bounded=bounded,
            notes=notes,
            compared=requests,
            targets=list(self._targets.values()) if no_files[0] else [],
            principals=[*self._principals.values(), *made_up] if no_files[1] else [],
        )

    def _follows(self, key: _Key, change: _Collected) -> bool:
        """Return whether single roles show the same change by these rules. Always false for existing principals."""
        if self._question_space.principals is not None or len(key[2]) < 2:
            return False
        return bool(change.changed) and change.changed <= self._alone(key, frozenset(change.kinds))

    def _alone(self, key: _Key, kinds: frozenset[str]) -> set[str]:
        """Return the rules by which single ones of the roles show the change, for all these kinds of principals."""
        known = self._of_single_roles.get((key, kinds))
        if known is None:
            operation, role, roles, kind_of_change = key
            alone = (self._found.get((operation, role, (one,), kind_of_change), {}).values() for one in roles)
            shown = (one.changed for of_rules in alone for one in of_rules if kinds <= one.kinds)
            known = self._of_single_roles[key, kinds] = set[str]().union(*shown)
        return known

    def _change(self, kind_of_change: ChangeKind, collected: _Collected) -> Change | None:
        evidence = collected.evidence()
        if evidence is None:
            return None
        request, facts, before, after = evidence
        self._targets[json.encode(request.target)] = request.target
        self._principals[json.encode(request.principal)] = request.principal
        return Change(
            kind=kind_of_change[0],
            terms=list(kind_of_change[1]),
            operation=request.operation.name,
            role=request.target.role,
            principal_kinds=sorted(collected.kinds),
            principal_roles=sorted(request.principal.roles),
            targets=sorted(collected.targets),
            principals=sorted(collected.principals),
            before=before.effect,
            after=after.effect,
            before_rules=before.rules,
            after_rules=after.rules,
            before_reason=before.reason,
            after_reason=after.reason,
            example=example(request, facts),
            changed=sorted(collected.changed),
        )

"""Changes between two policies, collected while they are found; those of the same roles, kind and rules are merged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct, field, json, structs

from writ_contracts.decisions import Effect
from writ_contracts.inventory import Principal, Target
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
    """Targets that both policies treat alike, and such principals, all of one kind and with the same roles."""

    operation: str
    targets: Sequence[Target]
    principals: Sequence[Principal]

    def key(self, kind_of_change: ChangeKind) -> _Key:
        roles = tuple(sorted(self.principals[0].roles))
        return self.operation, self.targets[0].role, roles, kind_of_change


class _Collected:
    """One change with everything it concerns so far."""

    def __init__(self, first: Change) -> None:
        self._first = first
        self._changed, self._kinds = set[str](), set[str]()
        self._targets, self._principals = set[str](), set[str]()

    def add(self, changed: Iterable[str], group: ConcernedGroup) -> None:
        self._changed.update(changed)
        self._kinds.add(group.principals[0].kind)
        self._targets.update(target.id for target in group.targets)
        self._principals.update(principal.id for principal in group.principals)

    def change(self) -> Change:
        return structs.replace(
            self._first,
            changed=sorted(self._changed),
            principal_kinds=sorted(self._kinds),
            targets=sorted(self._targets),
            principals=sorted(self._principals),
        )


class ChangeCollection:
    """Collected changes; those of the same roles that are caused by the same rules are merged."""

    def __init__(self, question_space: QuestionSpace) -> None:
        self._question_space = question_space
        self._found: dict[_Key, dict[tuple[str, ...], _Collected]] = {}
        self._targets: dict[bytes, Target] = {}
        self._principals: dict[bytes, Principal] = {}

    def extend(self, kind_of_change: ChangeKind, changed: Sequence[str], group: ConcernedGroup) -> bool:
        """Add the group to a change with evidence. Return false if there is none yet of this kind, roles and rules."""
        known = self._of(kind_of_change, changed, group)
        if known is None:
            return False
        known.add(changed, group)
        return True

    def note(
        self,
        kind_of_change: ChangeKind,
        request: DecisionRequest,
        facts: Facts,
        before: Ruling,
        after: Ruling,
        *,
        changed: list[str],
        group: ConcernedGroup,
    ) -> None:
        """Add a change, with a request as evidence."""
        if self.extend(kind_of_change, changed, group):
            return
        self._targets[json.encode(request.target)] = request.target
        self._principals[json.encode(request.principal)] = request.principal
        of_rules = self._found.setdefault(group.key(kind_of_change), {})
        made = _Collected(_change(kind_of_change, example(request, facts), request, before, after))
        made.add(changed, group)
        of_rules[tuple(changed) if len(of_rules) < MOST_APART else ()] = made

    def _of(self, kind_of_change: ChangeKind, changed: Sequence[str], group: ConcernedGroup) -> _Collected | None:
        of_rules = self._found.get(group.key(kind_of_change), {})
        known = of_rules.get(tuple(changed))
        return known if known is not None or len(of_rules) < MOST_APART else of_rules.get(())

    def diff(self, bounded: list[str], notes: list[str], requests: int, people: QuestionSpace) -> Diff:
        """Return all changes, with the synthetic targets and principals of their examples."""
        found = {
            key: {changed: one.change() for changed, one in of_rules.items()} for key, of_rules in self._found.items()
        }
        changes = [
            change
            for key in sorted(found)
            for _, change in sorted(found[key].items())
            if not self._follows(key, change, found)
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

    def _follows(self, key: _Key, change: Change, found: Mapping[_Key, Mapping[tuple[str, ...], Change]]) -> bool:
        """Return whether single roles show the same change by these rules. Always false for existing principals."""
        operation, role, roles, kind_of_change = key
        if self._question_space.principals is not None or len(roles) < 2:
            return False
        alone = (found.get((operation, role, (one,), kind_of_change), {}).values() for one in roles)
        shown = [
            one for of_rules in alone for one in of_rules if set(change.principal_kinds) <= set(one.principal_kinds)
        ]
        return bool(shown) and set(change.changed) <= {name for one in shown for name in one.changed}


def _change(
    kind_of_change: ChangeKind,
    shown: Example,
    request: DecisionRequest,
    before: Ruling,
    after: Ruling,
) -> Change:
    return Change(
        kind=kind_of_change[0],
        terms=list(kind_of_change[1]),
        operation=request.operation.name,
        role=request.target.role,
        principal_kinds=[],
        principal_roles=sorted(request.principal.roles),
        targets=[],
        principals=[],
        before=before.effect,
        after=after.effect,
        before_rules=before.rules,
        after_rules=after.rules,
        before_reason=before.reason,
        after_reason=after.reason,
        example=shown,
    )

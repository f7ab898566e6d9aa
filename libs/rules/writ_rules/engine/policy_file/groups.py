"""Groups of operations and targets in a policy: named once, expanded where rules name them.

An expanded list has its own items at their old places and the members of groups behind them, so that a finding keeps
its position: an item of a group has that of the list.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, islice

from msgspec import structs

from writ_rules.engine.policy_file.findings import Keys, LintFinding, Severity
from writ_rules.engine.policy_file.format import GroupsEntry, PlacedRule, PolicyEntry, RuleEntry, present, written
from writ_rules.engine.policy_file.nearest import NearestNames

PREFIX = "group:"
KINDS = ("operations", "targets")
MOST_GROUPS, MOST_MEMBERS = 200, 1_000
"""Groups of one kind, and names in one with those of its groups."""
DEEPEST = 20
MOST_EXPANDED = 500_000
"""Names that groups add to all rules of a file."""
Members = Mapping[str, list[str] | None]
"""The names of each group, expanded; None for a group that can't be used."""


def placed(policy: PolicyEntry) -> list[PlacedRule]:
    """Return all rules of a policy in the order of the file's sections, with the members of groups in place of their
    names.
    """
    rules = written(policy)
    return rules if policy.groups is None else _Expansion(policy.groups).of(rules)


def findings(policy: PolicyEntry) -> Iterator[LintFinding]:
    """Yield the mistakes in groups and in their names: unknown ones, cycles, and too many members."""
    expansion = _Expansion(policy.groups or GroupsEntry())
    for kind in KINDS:
        for name, members in (getattr(policy.groups, kind, None) or {}).items():
            keys: Keys = ("policies", "groups", kind, name)
            yield from _unknown(keys, members, expansion.groups[kind])
            if why := expansion.wrong.get((kind, name)):
                yield LintFinding(Severity.ERROR, keys, why)
        if len(getattr(policy.groups, kind, None) or ()) > MOST_GROUPS:
            yield LintFinding(Severity.ERROR, ("policies", "groups", kind), f"more than {MOST_GROUPS} groups of {kind}")
    for rule in written(policy):
        for kind in KINDS:
            yield from _unknown((*rule.keys, kind), getattr(rule.entry, kind), expansion.groups[kind])
    yield from _unused(policy)
    expansion.of(written(policy))
    if expansion.left < 0:
        text = f"groups add more than {MOST_EXPANDED} names to the rules of this file"
        yield LintFinding(Severity.ERROR, ("policies", "groups"), text)


def _unused(policy: PolicyEntry) -> Iterator[LintFinding]:
    """Yield a warning for each group that neither a rule nor another group refers to."""
    for kind in KINDS:
        of_kind = getattr(policy.groups, kind, None) or {}
        lists = chain((getattr(rule.entry, kind) for rule in written(policy)) if of_kind else (), of_kind.values())
        used = {item for listed in lists for item in listed or ()}
        for name in of_kind:
            if PREFIX + name not in used:
                keys: Keys = ("policies", "groups", kind, name)
                text = f"nothing refers to the group '{name}': write {PREFIX}{name} in {kind} of a rule"
                yield LintFinding(Severity.WARNING, keys, text, at_key=True)


def _unknown(keys: Keys, items: list[str | None] | None, groups: Members) -> Iterator[LintFinding]:
    for at, item in enumerate(items or ()):
        if item is not None and item.startswith(PREFIX) and item.removeprefix(PREFIX) not in groups:
            name = item.removeprefix(PREFIX)
            text = f"there is no group '{name}' of {keys[-1] if keys[-1] in KINDS else keys[-2]}"
            yield LintFinding(Severity.ERROR, (*keys, at), text + NearestNames().hint(name, groups))


class _Expansion:
    """The groups of one file, expanded. `wrong`: why a group can't be used, by kind and name; `left`: the names that
    rules may still get.
    """

    def __init__(self, entry: GroupsEntry) -> None:
        self.wrong: dict[tuple[str, str], str] = {}
        self.left = MOST_EXPANDED
        self.groups: dict[str, dict[str, list[str] | None]] = {}
        for kind in KINDS:
            listed = islice((getattr(entry, kind) or {}).items(), MOST_GROUPS)
            source = {name: list(dict.fromkeys(present(members))) for name, members in listed}
            self.groups[kind] = {}
            for name in source:
                self._expand(kind, name, source, ())

    def _expand(self, kind: str, name: str, source: Mapping[str, list[str]], within: tuple[str, ...]) -> None:
        """Expand a group and those that it names. A cycle is a mistake of each group in it."""
        known = self.groups[kind]
        if name in known:
            return
        if name in within:
            self._refuse(kind, within[within.index(name) :], "contains itself")
            return
        if len(within) >= DEEPEST:
            self._refuse(kind, within, f"is nested deeper than {DEEPEST}")
            return
        members: dict[str, None] = {}
        for item in source[name]:
            inner = item.removeprefix(PREFIX)
            if not item.startswith(PREFIX):
                members[item] = None
            elif inner in source:
                self._expand(kind, inner, source, (*within, name))
                members.update(dict.fromkeys(known.get(inner) or ()))
            if len(members) > MOST_MEMBERS:
                break
        if name not in known:
            many = len(members) > MOST_MEMBERS
            known[name] = None if many else list(members)
            if many:
                self.wrong[kind, name] = f"the group has more than {MOST_MEMBERS} members"

    def _refuse(self, kind: str, names: tuple[str, ...], why: str) -> None:
        for name in names:
            self.groups[kind][name] = None
            self.wrong[kind, name] = f"the group '{name}' {why}: {', '.join(names)}"

    def of(self, rules: list[PlacedRule]) -> list[PlacedRule]:
        """Return the rules with the members of groups, up to the limit."""
        return [self._rule(rule) for rule in rules]

    def _rule(self, rule: PlacedRule) -> PlacedRule:
        changed = {kind: items for kind in KINDS if (items := self._items(kind, getattr(rule.entry, kind))) is not None}
        return structs.replace(rule, entry=_replaced(rule.entry, changed)) if changed else rule

    def _items(self, kind: str, items: list[str | None] | None) -> list[str | None] | None:
        """Return the expanded list; None where it names no group."""
        named = [item for item in items or () if item is not None and item.startswith(PREFIX)]
        if not named:
            return None
        added = [self.groups[kind].get(item.removeprefix(PREFIX)) or [] for item in dict.fromkeys(named)]
        self.left -= sum(map(len, added))
        own = [None if item is not None and item.startswith(PREFIX) else item for item in items or ()]
        return own if self.left < 0 else [*own, *(name for members in added for name in members)]


def _replaced(entry: RuleEntry, changed: Mapping[str, list[str | None]]) -> RuleEntry:
    return structs.replace(entry, **changed)

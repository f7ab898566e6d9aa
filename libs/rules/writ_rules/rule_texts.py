"""The text of what two policies write differently: unified diffs of canonical YAML, by rule.

Rules are compared by name and key. Comments, the order of rules, the style of YAML and default values make no
difference, as they make none to decisions.
"""

from bisect import bisect_right
from collections.abc import Container
from difflib import unified_diff
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any

from msgspec import NODEFAULT, Struct, structs

from writ_contracts.plural import plural
from writ_contracts.policy.access import PolicyTextChange
from writ_documents import yaml_file
from writ_rules.engine.policy_file.format import PolicyEntry, written

MOST_TEXTS, MOST_LINES, MOST_CHARACTERS = 100, 100, 4_000
"""Of a reply, and of one text. All of them are a quarter of the largest reply."""
LONGEST_LINE = 400
"""Characters of each line of a text that has more than `MOST_CHARACTERS`."""
OWN_KEYS = ""
"""Stands for the policy's own keys where others have the name of a rule."""
_SECTIONS = {"global_policies", "role_policies", "emergency_policies"}


def changed_texts(old: PolicyEntry, new: PolicyEntry) -> tuple[list[PolicyTextChange], int]:
    """Return the differing texts, those of the policy's own keys first, and the number of further ones."""
    before, after = _by_rule(old), _by_rule(new)
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    shown = [
        PolicyTextChange(rule=name, diff=_diff(*(_plain(side.get(name)) for side in (before, after))))
        for name in differing[:MOST_TEXTS]
    ]
    return shown, len(differing) - len(shown)


def _by_rule(policy: PolicyEntry) -> dict[str, dict[str, Any]]:
    rules = {rule.entry.name: {rule.section: [rule.entry]} for rule in written(policy)}
    return {OWN_KEYS: _plain(policy, _SECTIONS), **rules}


def _diff(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    old, new = (yaml_file.dump(text).splitlines() if text else [] for text in (before, after))
    lines = list(islice(unified_diff(old, new, lineterm=""), 2, None))  # without the names of two files
    shown = lines[:MOST_LINES]
    if len("\n".join(shown)) >= MOST_CHARACTERS:
        shown = [_cut(line) for line in shown]
        shown = shown[: bisect_right(list(accumulate(len(line) + 1 for line in shown)), MOST_CHARACTERS)]
    left = len(lines) - len(shown)
    return "\n".join([*shown, *([f"({plural(left, 'more line')})"] if left else [])])


def _cut(line: str) -> str:
    more = len(line) - LONGEST_LINE
    return line if more <= 0 else f"{line[:LONGEST_LINE]}… ({plural(more, 'more character')})"


def _plain(value: Any, omitted: Container[str] = ()) -> Any:
    """Return plain data, the keys in the order of the format, without those that have their default."""
    if isinstance(value, Struct):
        fields = (field for field in _fields(type(value)) if field[1] not in omitted)
        pairs = ((key, getattr(value, name), default) for name, key, default in fields)
        return {key: _plain(held) for key, held, default in pairs if held != default}
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=64)
def _fields(kind: type[Struct]) -> tuple[tuple[str, str, Any], ...]:
    return tuple((field.name, field.encode_name, _default(field)) for field in structs.fields(kind))


def _default(field: structs.FieldInfo) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()

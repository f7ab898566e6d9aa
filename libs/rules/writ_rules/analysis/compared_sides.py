"""The two policies of a comparison, with the texts of their rules: by these, rules are recognised as unchanged, or as
alike.
"""

from collections import Counter

from msgspec import json, structs

from writ_rules.analysis.classes import every_rule, rules_of
from writ_rules.engine.compile import Policy
from writ_rules.engine.policy_file.format import ApprovalWindowsEntry, EmergenciesEntry, RuleEntry, SessionsEntry
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.rules.rule import Rule

_SECTIONS = {"groups", "global_policies", "role_policies", "emergency_policies"}
_BOUNDS = {"emergencies": EmergenciesEntry, "approval_windows": ApprovalWindowsEntry, "sessions": SessionsEntry}
"""Sections whose values change no decision, but bound what people may declare, approve or open."""
_WORDS = {"name", "description", "version", "created_at", "created_by", "audit_all_operations"}


class Side:
    """One of the two policies.

    `texts`: by the name of a rule, its text without name and description. `forms`: the same without its scope: what a
    rule does where it applies. Conditions on attributes of targets are not in it either.
    """

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
        self.texts: dict[str, bytes] = {}
        self.forms: dict[str, bytes] = {}
        for item in placed(file.policies):
            nameless = structs.replace(item.entry, name="-", description="")
            self.texts[item.entry.name] = json.encode([item.section, nameless])
            self.forms[item.entry.name] = json.encode([item.section, _without_scope(nameless)])

    def rules_text(self, operation: str) -> Counter[bytes]:
        """Return the texts of the rules about an operation, without their order."""
        return Counter(self.texts[rule.name] for rule in rules_of([self.policy], operation))


def _without_scope(entry: RuleEntry) -> RuleEntry:
    return structs.replace(
        entry,
        operations=[],
        targets=None,
        target_roles=None,
        target_tags=None,
        target_attributes=None,
        users=None,
        user_roles=None,
        principal_kinds=None,
    )


def differing_rules(old: Side, new: Side) -> set[Rule]:
    """Return the rules of either side whose text the other side lacks."""
    texts = set(old.texts.values()) ^ set(new.texts.values())
    counts = Counter(old.texts.values()), Counter(new.texts.values())
    texts |= {text for text in counts[0] if counts[0][text] != counts[1][text]}
    return {rule for side in (old, new) for rule in side.rules.values() if side.texts[rule.name] in texts}


def rule_forms(old: Side, new: Side, differing: set[Rule]) -> dict[str, int]:
    """Return a number for each name, the same one for rules that do the same in each policy and differ in the same
    one.
    """
    numbers: dict[object, int] = {}
    forms: dict[str, int] = {}
    for name in {**old.texts, **new.texts}:
        form = (
            old.texts.get(name) == new.texts.get(name),
            *((side.forms.get(name), side.rules.get(name) in differing) for side in (old, new)),
        )
        forms[name] = numbers.setdefault(form, len(numbers))
    return forms

"""The denial of a control operation that rules allow, by a check that rules cannot express."""

from msgspec import structs

from writ_rules.engine.decide import Ruling


def denied_control(ruling: Ruling, code: str, reason: str) -> Ruling:
    """Return the denial in place of the ruling. No rule decided it, and no approval lifts it."""
    return structs.replace(ruling, effect="deny", code=code, reason=reason, rules=[], demands=[])

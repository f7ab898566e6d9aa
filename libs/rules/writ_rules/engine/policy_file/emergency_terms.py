"""A policy's bounds for emergencies: their length, and the time within which another person confirms one."""

from collections.abc import Callable

from msgspec import Struct

from writ_contracts.people.credentials import KEY, Presence
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.findings import Keys
from writ_rules.engine.policy_file.format import EmergenciesEntry

Attempt = Callable[..., float]


class EmergencyTerms(Struct, frozen=True):
    """Times in seconds. `presence`: demanded of those who declare and confirm."""

    longest: float
    confirm_within: float
    presence: Presence = KEY


def terms_of(entry: EmergenciesEntry | None, attempt: Attempt) -> EmergencyTerms:
    """Return the terms; `attempt` notes a text which is no duration as an error of the file."""
    keys: Keys = ("policies", "emergencies")
    settings = entry or EmergenciesEntry()
    return EmergencyTerms(
        longest=attempt((*keys, "longest"), 0, times.duration, settings.longest),
        confirm_within=attempt((*keys, "confirm_within"), 0, times.duration, settings.confirm_within),
        presence=Presence(settings.proof),
    )

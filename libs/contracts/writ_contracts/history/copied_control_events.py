"""Control events stored again, byte for byte, before their range of the journal went into an archive."""

from collections.abc import Mapping

from writ_contracts.errors import Invalid

CARRIED_FROM = "Writ-Carried-From"
"""Header of a copy: its original sequence."""


def origin(headers: Mapping[str, str], sequence: int) -> int:
    """Return the original sequence of a control event. Raises Invalid."""
    carried = headers.get(CARRIED_FROM)
    if carried is None:
        return sequence
    if not (carried.isascii() and carried.isdigit()) or int(carried) >= sequence:
        raise Invalid(f"event {sequence} has an invalid original sequence: {carried[:40]!r}")
    return int(carried)

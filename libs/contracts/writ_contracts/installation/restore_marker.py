"""The marker of a restored `$WRIT_HOME` (`restored.json`): `writ restore` writes it, executors read it."""

from msgspec import Struct

from writ_contracts.journal import ControlEvent

FILE = "restored.json"
JOURNAL_RESTORED = "journal_restored"
"""The control event of the first start from a backup."""
ENDS_ACCESS = "ends_access"
"""The field of its body that ends emergencies, approval windows and sessions: somebody may have ended them after the
backup, and the restored journal does not know it. Earlier releases wrote events without it, and went on with these.
"""


class RestoreMarker(Struct, frozen=True, kw_only=True):
    """Everything in the journal up to `last` is from the backup with this id. Times are Unix seconds."""

    backup: str
    made_at: float
    restored_at: float
    last: int


def ends_access(event: ControlEvent) -> bool:
    """Return whether emergencies, approval windows and sessions end with the event, as by a restore."""
    return event.kind == JOURNAL_RESTORED and event.body.get(ENDS_ACCESS) is True

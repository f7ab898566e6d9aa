"""The marker of a restored `$WRIT_HOME` (`restored.json`): `writ restore` writes it, executors read it."""

from msgspec import Struct

FILE = "restored.json"
JOURNAL_RESTORED = "journal_restored"
"""The control event of the first start from a backup. Emergencies, approval windows and sessions end with it: somebody
may have ended them after the backup, and the restored journal does not know it.
"""


class RestoreMarker(Struct, frozen=True, kw_only=True):
    """Everything in the journal up to `last` is from the backup with this id. Times are Unix seconds."""

    backup: str
    made_at: float
    restored_at: float
    last: int

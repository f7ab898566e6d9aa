"""The marker of a restored `$WRIT_HOME` (`restored.json`): `writ restore` writes it, executors read it."""

from msgspec import Struct

FILE = "restored.json"


class RestoreMarker(Struct, frozen=True, kw_only=True):
    """Everything in the journal up to `last` is from the backup with this id. Times are Unix seconds."""

    backup: str
    made_at: float
    restored_at: float
    last: int

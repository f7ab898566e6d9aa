"""Configuration of the audit service, from its environment."""

from pathlib import Path
from typing import Annotated

from writ_runtime.config import SignerConfig, env


class Config(SignerConfig, frozen=True, kw_only=True):
    """The index in `state_dir` may be deleted at any time: it is rebuilt from the journal. `journal.json` beside it
    may not: it identifies the known journal.
    """

    policy_key: Annotated[
        str,
        env("WRIT_POLICY_KEY", "public key of the policy service, U…; a comma between several, the one in use first"),
    ]
    state_dir: Annotated[Path, env("WRIT_STATE_DIR", "folder of the index, audit.sqlite")]
    journal_lost: Annotated[
        int, env("WRIT_JOURNAL_LOST", "the journal up to this event was lost or restored: another one is no alarm")
    ] = 0
    notifications: Annotated[
        Path | None, env("WRIT_NOTIFICATIONS", "notifications.yaml, with the destinations of notifications")
    ] = None

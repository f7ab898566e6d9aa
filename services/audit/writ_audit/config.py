"""Configuration of the audit service, from its environment."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from writ_runtime.config import JournalLost, SignerConfig, env


class AuditConfig(SignerConfig, frozen=True, kw_only=True):
    """The audit service's settings.

    The index in `state_dir` may be deleted at any time: it is rebuilt from the journal. Do not delete `journal.json`
    beside it: it identifies the journal that this replica knows, so that a replaced one is noticed.
    """

    policy_key: Annotated[
        str,
        env("WRIT_POLICY_KEY", "public key of the policy service, U…; a comma between several, the one in use first"),
    ]
    state_dir: Annotated[Path, env("WRIT_STATE_DIR", "folder of the index, audit.sqlite")]
    journal_lost: JournalLost = 0
    notifications: Annotated[
        Path | None, env("WRIT_NOTIFICATIONS", "notifications.yaml, with the destinations of notifications")
    ] = None
    inventory: Annotated[Path | None, env("WRIT_INVENTORY", "inventory.yaml, for making decisions a second time")] = (
        None
    )
    principals: Annotated[
        Path | None, env("WRIT_PRINCIPALS", "principals.yaml, for making decisions a second time")
    ] = None
    people: Annotated[
        Path | None, env("WRIT_PEOPLE", "people.json: the signed directory of people's credentials; may be absent")
    ] = None
    people_key: Annotated[
        str,
        env(
            "WRIT_PEOPLE_KEY",
            "public key that signs the directory of people's credentials; a comma between several. Without one the"
            " directory is read as it is",
        ),
    ] = ""
    agents: Annotated[Path | None, env("WRIT_AGENTS", "agents.yaml, to name the owners of keys that NATS refuses")] = (
        None
    )
    nats_log: Annotated[
        Path | None,
        env(
            "WRIT_NATS_LOG",
            "log of the NATS server, or a folder with the logs (*.log) of several, whose refusals are recorded. Without"
            " it they are not",
        ),
    ] = None
    nats_config: Annotated[
        Path | None,
        env("WRIT_NATS_CONFIG", "the NATS server's configuration: a key that was just added there is no stranger's"),
    ] = None
    journal_share: Annotated[
        Annotated[float, Meta(gt=0, le=1)],
        env(
            "WRIT_JOURNAL_SHARE",
            "share of the journal's free part that the recorded reads of one principal may take in an hour, once it is"
            " half full",
        ),
    ] = 0.1
    recheck_one_in: Annotated[
        int, env("WRIT_RECHECK_ONE_IN", "one of this many recorded decisions is made a second time; 0: none")
    ] = 50
    recheck_rate: Annotated[
        float, env("WRIT_RECHECK_RATE", "at most this many decisions a second are made a second time")
    ] = 2.0

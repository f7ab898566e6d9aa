"""Configuration of the executor, from its environment."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from writ_executor.journal.audit_level import AuditLevel
from writ_runtime.config import JournalLost, SignerConfig, env

Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]


class ExecutorConfig(SignerConfig, frozen=True, kw_only=True):
    """Replicas of one installation share `params_key_file` and the journal, nothing else."""

    policy_key: Annotated[str, env("WRIT_POLICY_KEY", "public key of the policy service, U…; a comma between several")]
    params_key_file: Annotated[
        Path, env("WRIT_PARAMS_KEY_FILE", "64 hex digits, mode 0600: encrypts parameters and outputs, keys digests")
    ]
    inventory: Annotated[Path, env("WRIT_INVENTORY", "inventory.yaml")]
    agents: Annotated[Path, env("WRIT_AGENTS", "agents.yaml: which keys may claim for which pool")]
    dry_run_only: Annotated[
        bool, env("SYSTEMMANAGER_ENABLE_DRY_RUN", "true: no target is changed; accepted operations end as previews")
    ] = False
    audit_level: Annotated[
        AuditLevel,
        env(
            "SYSTEMMANAGER_AUDIT_LEVEL",
            "minimal, standard or full: how much of parameters, trace and output is kept; every event always is",
        ),
    ] = "standard"
    start_window: Annotated[Seconds, env("WRIT_START_WINDOW", "seconds that agents have to claim an operation")] = 60.0
    dispatch_at_once: Annotated[
        bool,
        env(
            "WRIT_DISPATCH_AT_ONCE",
            "false: agents never see the request of an operation, with policy's decision and its trace;"
            " reads then take one more event",
        ),
    ] = True
    queue_window: Annotated[Seconds, env("WRIT_QUEUE_WINDOW", "seconds an operation may wait for its target")] = 3600.0
    lease: Annotated[Seconds, env("WRIT_LEASE", "seconds of silence after which an agent counts as gone")] = 15.0
    agent_processes: Annotated[
        int,
        Meta(ge=0),
        env(
            "WRIT_AGENT_PROCESSES",
            "processes of agents that may use one key at once, beyond which the key counts as copied; 0: any number."
            " A key enrolled for a host has one",
        ),
    ] = 0
    sweep: Annotated[Seconds, env("WRIT_SWEEP", "seconds between sweeps of overdue operations")] = 1.0
    rate: Annotated[Seconds, env("WRIT_RATE", "requests a second of one principal")] = 100.0
    burst: Annotated[
        int, Meta(ge=1), env("WRIT_BURST", "requests that one principal may send at once, above that rate")
    ] = 500
    session_rate: Annotated[
        Seconds, env("WRIT_SESSION_RATE", "sessions a second that one principal may open: NATS is reloaded for each")
    ] = 0.1
    session_burst: Annotated[
        int, Meta(ge=1), env("WRIT_SESSION_BURST", "sessions that one principal may open at once, above that rate")
    ] = 30
    refusal_rate: Annotated[
        Seconds, env("WRIT_REFUSAL_RATE", "refusals a second of one principal that are recorded")
    ] = 5.0
    refusal_burst: Annotated[
        int,
        Meta(ge=1),
        env("WRIT_REFUSAL_BURST", "refusals of one principal that are recorded at once, above that rate"),
    ] = 100
    most_open: Annotated[int, Meta(ge=1), env("WRIT_MOST_OPEN", "operations of one principal that have not ended")] = (
        1000
    )
    most_open_pool: Annotated[
        int, Meta(ge=1), env("WRIT_MOST_OPEN_POOL", "operations for targets of one pool that have not ended")
    ] = 100_000
    most_hidden: Annotated[
        int, Meta(ge=1), env("WRIT_MOST_HIDDEN", "bytes of parameters kept for one principal's open operations")
    ] = 16 << 20
    most_hidden_pool: Annotated[
        int, Meta(ge=1), env("WRIT_MOST_HIDDEN_POOL", "bytes of parameters kept for one pool's open operations")
    ] = 128 << 20
    journal_share: Annotated[
        Share,
        env("WRIT_JOURNAL_SHARE", "share of the journal that one principal may write in an hour, once it is half full"),
    ] = 0.1
    journal_share_pool: Annotated[
        Share, env("WRIT_JOURNAL_SHARE_POOL", "share of the journal that one pool's operations may write in that time")
    ] = 0.25
    full_at: Annotated[
        Share, env("WRIT_JOURNAL_FULL_AT", "share of the journal from which new requests are refused")
    ] = 0.85
    journal_keep: Annotated[
        Seconds, env("WRIT_JOURNAL_KEEP", "seconds that an event stays in the journal before it can be archived")
    ] = 3600.0
    journal_lost: JournalLost = 0
    restored: Annotated[
        Path | None, env("WRIT_RESTORED", "file that `writ restore` wrote: operations open in the backup end `unknown`")
    ] = None
    remember: Annotated[
        Seconds, env("WRIT_REMEMBER", "days for which a repeated idempotency key finds its archived operation")
    ] = 90.0

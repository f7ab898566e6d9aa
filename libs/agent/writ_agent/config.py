"""Environment variables common to all agents. Each kind of agent adds its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from writ_contracts.ids import TOKEN_PATTERN
from writ_documents.host_identity import MACHINE_ID
from writ_runtime.config import SignerConfig, env

Seconds = Annotated[float, Meta(gt=0)]


class AgentConfig(SignerConfig, frozen=True, kw_only=True):
    """One process of one pool. Its state folder is its alone: no other process may use it."""

    pool: Annotated[str, Meta(pattern=TOKEN_PATTERN), env("WRIT_POOL", "the pool that this agent serves")]
    policy_key: Annotated[str, env("WRIT_POLICY_KEY", "public key of the policy service, U…; a comma between several")]
    people_key: Annotated[
        str, env("WRIT_PEOPLE_KEY", "public key of the directory of people's credentials; a comma between several")
    ] = ""
    state_dir: Annotated[Path, env("WRIT_STATE_DIR", "folder of its spool, mode 0700, on a persistent disk")]
    ceiling: Annotated[
        Path | None,
        env("WRIT_CEILING", "file of the host's root that narrows what this agent does, whatever policy signs"),
    ] = None
    host_bound: Annotated[bool, env("WRIT_HOST_BOUND", "true: the key was enrolled for this host; claims name it")] = (
        False
    )
    machine_id: Annotated[Path, env("WRIT_MACHINE_ID", "file with this host's id, for a key that is bound to it")] = (
        MACHINE_ID
    )
    slots: Annotated[int, Meta(ge=1, le=1024), env("WRIT_SLOTS", "operations that may run at once")] = 8
    heartbeat: Annotated[Seconds, env("WRIT_HEARTBEAT", "seconds between heartbeats; a third of a lease")] = 5.0
    kill_grace: Annotated[Seconds, env("WRIT_KILL_GRACE", "seconds between SIGTERM and SIGKILL")] = 3.0
    stop_grace: Annotated[
        Seconds,
        env("WRIT_STOP_GRACE", "when the agent stops: seconds in which running operations may end by themselves"),
    ] = 10.0
    stall: Annotated[
        Seconds,
        env("WRIT_STALL", "seconds after which an agent whose event loop is blocked, by a plugin say, ends itself"),
    ] = 30.0

    def own(self) -> Iterable[Path]:
        """Return the paths forbidden to every operation: a writer of these could grant themselves anything."""
        return [self.home, self.state_dir, self.key_file, *filter(None, (self.ceiling, self.tls_key, self.run_file))]


class PluginConfig(AgentConfig, frozen=True, kw_only=True):
    """The configuration of an agent with a plugin's backend."""

    backend: Annotated[str, env("WRIT_BACKEND", "name of an installed backend, as the inventory has it")]

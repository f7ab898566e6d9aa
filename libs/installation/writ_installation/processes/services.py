"""The processes of an installation: their commands and environments. Services are named by module here and never
imported.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, structs

from writ_contracts.installation.restore_marker import FILE
from writ_contracts.inventory import GATEWAY
from writ_installation.backends import AGENT_KINDS, MODULE, AgentKind, Argv
from writ_installation.files.former_keys import refuse_former_keys
from writ_installation.files.home import Home
from writ_installation.files.lost_policy_key import VARIABLE, kept_former_keys
from writ_installation.processes.report import STOP_SECONDS
from writ_installation.processes.served_targets import credential_folder
from writ_installation.server_access.server_tls import is_on

AGENT_GRACES = {"WRIT_STOP_GRACE": 10.0, "WRIT_KILL_GRACE": 3.0}
"""The variables by which an agent's stop takes longer, with their defaults (`writ_agent.config`)."""
AGENT_LAST_SECONDS = 15.0
"""For its last receipts and the end of its connection (`writ_agent.service`)."""


class ServiceProcess(Struct, frozen=True, kw_only=True):
    """One process: its command, and the environment that is its own. Lower `stop_at` is stopped first.

    `stop_seconds`: the time that its orderly stop may take.
    """

    name: str
    argv: Argv
    env: Mapping[str, str]
    stop_at: int
    key: str = ""
    """Its public key: the process is replaced when it is rotated."""
    stop_seconds: float = STOP_SECONDS


class Replicas(Struct, frozen=True, kw_only=True):
    """The number of processes of each service. `agents`: of each pool served here."""

    policies: int = 1
    executors: int = 1
    audits: int = 1
    agents: int = 1
    gateways: int = 0
    """MCP gateways over HTTP: none or one, since it has a port of its own."""


class ProcessTable(Struct, frozen=True, kw_only=True):
    """The command of each kind of service; tests replace them with tiny ones."""

    policy: Argv = (*MODULE, "writ_policy")
    executor: Argv = (*MODULE, "writ_executor")
    audit: Argv = (*MODULE, "writ_audit")
    gateway: Argv = (*MODULE, "writ_gateway.http")
    agents: Mapping[str, AgentKind] = AGENT_KINDS

    @property
    def core(self) -> tuple[Argv, ...]:
        """Return the commands started by every installation."""
        return self.policy, self.executor, self.audit, *(kind.argv for kind in self.agents.values() if kind.everywhere)


_OURS = ("WRIT_", "SYSTEMMANAGER_", "LC_", "OTEL_")
_NEEDED = frozenset(
    {
        "PATH",
        "PYTHONPATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    }
    | {"GOGC", "GOMAXPROCS", "GOMEMLIMIT"}
)


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that our processes need. The rest of the environment may hold secrets of other programs."""
    return {name: value for name, value in environ.items() if name in _NEEDED or name.startswith(_OURS)}


def core(
    table: ProcessTable,
    home: Home,
    url: str,
    replicas: Replicas,
    environ: Mapping[str, str],
    nats_log: Path | None = None,
) -> list[ServiceProcess]:
    """Return policy, audit, the executors, and the gateway if there is to be one. `nats_log`: of the bundled server."""
    of_policy = {"SYSTEMMANAGER_POLICY_CONFIG": str(policy_file(home, environ)), **_former_policy_keys(home, environ)}
    kinds = [
        (_names("policy", replicas.policies), "policy", table.policy, 3, of_policy),
        (_names("audit", replicas.audits), "audit", table.audit, 2, {}),
        (_executors(replicas.executors), "executor", table.executor, 1, _agent_processes(replicas, environ)),
    ]
    found = [_service(home, url, name, key, argv, at, more) for names, key, argv, at, more in kinds for name in names]
    if nats_log is not None:  # one audit service alone records what the server refuses, so that it is recorded once
        followed = {"WRIT_NATS_LOG": str(nats_log), "WRIT_NATS_CONFIG": str(home.server_config)}
        found = [structs.replace(one, env={**one.env, **followed}) if one.name == "audit" else one for one in found]
    if replicas.gateways:
        tokens = {"WRIT_MCP_TOKENS": str(home.gateway_tokens), "WRIT_MCP_GATEWAY": GATEWAY}
        found.append(_service(home, url, GATEWAY, f"principal-{GATEWAY}", table.gateway, 0, tokens))
    return found


def policy_file(home: Home, environ: Mapping[str, str]) -> Path:
    """Return the policy file that the environment names, otherwise that of the installation."""
    return Path(environ.get("SYSTEMMANAGER_POLICY_CONFIG") or home.policy).absolute()


def _former_policy_keys(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the former keys of policy that an earlier start named, unless this one names some."""
    kept = "" if environ.get(VARIABLE) else kept_former_keys(home)
    return {VARIABLE: kept} if kept else {}


def _agent_processes(replicas: Replicas, environ: Mapping[str, str]) -> dict[str, str]:
    """Return how many processes may use one agent's key: those started here, unless others are configured."""
    name = "WRIT_AGENT_PROCESSES"
    return {name: environ.get(name, str(replicas.agents))}


def agents(
    table: ProcessTable, home: Home, url: str, pools: Mapping[str, str], environ: Mapping[str, str], each: int = 1
) -> list[ServiceProcess]:
    """Return `each` agents for each of these pools, of the backend the pool is for."""
    found = []
    for pool, backend in sorted(pools.items()):
        kind = table.agents[backend]
        more = {"WRIT_POOL": pool}
        if kind.credentials:
            more[kind.credentials] = str(credential_folder(kind, backend, home, environ))
        names = _names(f"agent-{pool}", each)
        found += [_service(home, url, name, f"agent-{pool}", kind.argv, 0, more) for name in names]
    return [structs.replace(one, stop_seconds=_agent_stop_seconds(environ)) for one in found]


def _agent_stop_seconds(environ: Mapping[str, str]) -> float:
    """Return the longest time of an agent's stop: it lets operations end, ends the rest, and sends their receipts.

    A variable that is no finite number has no effect here: the agent names it and does not start.
    """
    with suppress(ValueError):
        stop, kill = (float(environ.get(name) or usual) for name, usual in AGENT_GRACES.items())
        seconds = stop + 2 * kill + AGENT_LAST_SECONDS
        if math.isfinite(seconds):
            return max(STOP_SECONDS, seconds)
    return STOP_SECONDS


def agent_elsewhere(
    pool: str,
    url: str,
    *,
    key_file: str,
    policy_key: str,
    people_key: str,
    installation: str,
    state_dir: str,
    ca: str = "",
) -> dict[str, str]:
    """Return the environment of a pool's agent on another host, with its paths there. `ca`: of a server with TLS."""
    return {
        "NATS_URL": url,
        **({"WRIT_TLS_CA": ca} if ca else {}),
        "WRIT_POOL": pool,
        "WRIT_KEY_FILE": key_file,
        "WRIT_POLICY_KEY": policy_key,
        "WRIT_PEOPLE_KEY": people_key,
        "WRIT_INSTALLATION": installation,
        "WRIT_STATE_DIR": state_dir,
    }


def _names(first: str, count: int) -> list[str]:
    """Return the names of replicas. The first keeps its name and state folder when others come; no pool has a dot in
    its name.
    """
    return [first, *(f"{first}.{number}" for number in range(2, count + 1))]


def _executors(count: int) -> list[str]:
    return ["executor"] if count == 1 else [f"executor-{number}" for number in range(1, count + 1)]


def environment(home: Home, url: str) -> dict[str, str]:
    """Return the common environment of an installation's services, without secrets."""
    return {
        "WRIT_HOME": str(home.root),
        "NATS_URL": url,
        **({"WRIT_TLS_CA": str(home.ca_file)} if is_on(home) else {}),
        "WRIT_POLICY_KEY": ",".join(home.keys_of("policy")),
        "WRIT_KEYRING": str(home.keyring_file),
        "WRIT_INSTALLATION": home.installation,
        "WRIT_INVENTORY": str(home.inventory),
        "WRIT_PRINCIPALS": str(home.principals),
        "WRIT_AGENTS": str(home.agents),
        "WRIT_PEOPLE": str(home.people_file),
        "WRIT_PEOPLE_KEY": home.people_key(),
    }


def _service(
    home: Home, url: str, name: str, key: str, argv: Argv, stop_at: int, more: Mapping[str, str]
) -> ServiceProcess:
    refuse_former_keys(home, key)
    restored = home.root / FILE
    env = {
        **environment(home, url),
        "WRIT_KEY_FILE": str(home.seed_file(key)),
        "WRIT_STATE_DIR": str(_state(home, name)),
        "WRIT_RUN_FILE": str(home.run / f"{name}.json"),
        "WRIT_HEALTH_PORT": "0",
        **({"WRIT_PARAMS_KEY_FILE": str(home.params_key)} if key == "executor" else {}),
        **({"WRIT_NOTIFICATIONS": str(home.notifications)} if name == "audit" and home.notifications.exists() else {}),
        **({"WRIT_RESTORED": str(restored)} if key == "executor" and restored.exists() else {}),
    }
    return ServiceProcess(name=name, argv=argv, env={**env, **more}, stop_at=stop_at, key=home.key(key).public)


def _state(home: Home, name: str) -> Path:
    folder = home.state / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder

"""The processes of a house: what each is started with. Services are named by module here and never imported."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from writ_client.house.home import Home

Argv = tuple[str, ...]


class Service(Struct, frozen=True, kw_only=True):
    """One process: its command, and the environment that is its own. Lower `stop_at` is stopped first."""

    name: str
    argv: Argv
    env: Mapping[str, str]
    stop_at: int


MODULE = (sys.executable, "-P", "-m")
"""Runs an installed module; without -P it would be looked for in the current directory first, whoever writes there."""


class Table(Struct, frozen=True, kw_only=True):
    """The command of each kind of service; tests put tiny ones in their place."""

    policy: Argv = (*MODULE, "writ_policy")
    executor: Argv = (*MODULE, "writ_executor")
    audit: Argv = (*MODULE, "writ_audit")
    agent: Argv = (*MODULE, "writ_agent_local")


_OURS = ("WRIT_", "SYSTEMMANAGER_", "LC_")
_NEEDED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"GOMAXPROCS", "GOMEMLIMIT"}
)


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment a process of the house gets: other programs' secrets are in there too."""
    return {name: value for name, value in environ.items() if name in _NEEDED or name.startswith(_OURS)}


def core(table: Table, home: Home, url: str, executors: int, environ: Mapping[str, str]) -> list[Service]:
    """Policy, audit and the executors."""
    rules = environ.get("SYSTEMMANAGER_POLICY_CONFIG") or str(home.policy)
    policy = _service(home, url, "policy", "policy", table.policy, 3, {"SYSTEMMANAGER_POLICY_CONFIG": rules})
    audit = _service(home, url, "audit", "audit", table.audit, 2, {})
    names = ["executor"] if executors == 1 else [f"executor-{number}" for number in range(1, executors + 1)]
    replicas = [_service(home, url, name, "executor", table.executor, 1, {}) for name in names]
    return [policy, audit, *replicas]


def agents(table: Table, home: Home, url: str, pools: Iterable[str]) -> list[Service]:
    """One agent for each of these pools."""
    return [
        _service(home, url, f"agent-{pool}", f"agent-{pool}", table.agent, 0, {"WRIT_POOL": pool}) for pool in pools
    ]


def _service(home: Home, url: str, name: str, key: str, argv: Argv, stop_at: int, more: Mapping[str, str]) -> Service:
    env = {
        "WRIT_HOME": str(home.root),
        "NATS_URL": url,
        "WRIT_KEY_FILE": str(home.seed_file(key)),
        "WRIT_POLICY_KEY": home.key("policy").public,
        "WRIT_INVENTORY": str(home.inventory),
        "WRIT_PRINCIPALS": str(home.principals),
        "WRIT_AGENTS": str(home.agents),
        "WRIT_STATE_DIR": str(_state(home, name)),
        "WRIT_RUN_FILE": str(home.run / f"{name}.json"),
        "WRIT_HEALTH_PORT": "0",
        **({"WRIT_PARAMS_KEY_FILE": str(home.params_key)} if key == "executor" else {}),
    }
    return Service(name=name, argv=argv, env={**env, **more}, stop_at=stop_at)


def _state(home: Home, name: str) -> Path:
    folder = home.state / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder

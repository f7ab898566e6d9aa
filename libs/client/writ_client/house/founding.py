"""The first files of an installation: keys, a policy to begin with, this machine as a target, and who may ask.

What is already there is never touched: an operator's file outlives every `writ up`.
"""

import secrets
from importlib import resources
from typing import Any

from writ_client.house import lists
from writ_client.house.home import Home, host_token
from writ_runtime.files import read_agents, read_inventory
from writ_runtime.service import write_atomically

OPERATOR = "operator"
SERVICES = ("bootstrap", "sys", "status", "policy", "executor", "audit")
SYSTEM_FOLDERS = ("/etc", "/proc", "/sys", "/dev", "/boot", "/root")


def found(home: Home) -> bool:
    """Makes whatever is missing; True where this is a new installation."""
    new = not home.principals.exists()
    home.make_folders()
    for name in SERVICES:
        home.make_key(name)
    if not home.params_key.exists():
        write_atomically(home.params_key, secrets.token_hex(32).encode() + b"\n")
    if not home.policy.exists():
        write_atomically(home.policy, default_policy())
    if not home.inventory.exists():
        home.sandbox.mkdir(mode=0o700, exist_ok=True)
        lists.write(home.inventory, INVENTORY_HEAD, {"targets": [this_machine(home)]})
    if not home.principals.exists():
        key = home.make_key(f"principal-{OPERATOR}").public
        first = {"id": OPERATOR, "kind": "human", "roles": ["operator", "admin"], "key": key}
        lists.write(home.principals, PRINCIPALS_HEAD, {"principals": [first]})
    if not home.agents.exists():
        lists.write(home.agents, AGENTS_HEAD, {"agents": []})
    add_missing_pools(home)
    return new


INVENTORY_HEAD = "# What Writ may act on. Read again whenever it changes.\n"
PRINCIPALS_HEAD = "# Who may ask, each known by one key: `writ principal add NAME` adds to it.\n"
AGENTS_HEAD = "# Which keys may work for which pool of targets. `writ up` adds what the inventory needs.\n"


def this_machine(home: Home) -> dict[str, Any]:
    """The target that stands for this machine, with one folder that file operations may use."""
    root: str | dict[str, Any] = str(home.sandbox)
    if any(home.sandbox.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
        root = {"path": root, "allow_system_root": True}
    host = host_token()
    return {
        "id": host,
        "role": "development",
        "backend": "local",
        "connection": {"host": host},
        "file_roots": [root],
    }


def default_policy() -> bytes:
    """The policy that a new installation begins with."""
    return (resources.files("writ_client.house") / "policy.yaml").read_bytes()


def add_missing_pools(home: Home) -> list[str]:
    """Gives each pool of the inventory a key that agents.yaml doesn't have yet; the pools that got one."""
    known = {agent.pool for agent in read_agents(home.agents).agents}
    missing = sorted({target.pool for target in read_inventory(home.inventory).targets} - known)
    for pool in missing:
        key = home.make_key(f"agent-{pool}").public
        lists.append(home.agents, "agents", {"pool": pool, "key": key}, unique="key")
    return missing

"""The lab's targets, as an operator declares them: the same host operations, by the local agent and over SSH."""

from typing import Any

from tests.lab import vault
from tests.lab.hosts import SHELLS, VOLUME, Host

from writ_testing.peers.tailscale_local_api import node_key

ROOT = "/srv/data"
NARROW, TIGHT = "/srv/narrow", "/run/tight"
"""A file system of a few blocks, for files; and one for Writ's own folder."""
PEER = "far"
"""The name of `host2` in the tailnet."""
ALLOWED = {"file_roots": [ROOT, VOLUME, NARROW], "backup": vault.DECLARED, "scan_networks": ["127.0.0.0/8"]}
LISTED = {
    "service_name": ("list_services", ["service_restart"]),
    "package_name": ("list_packages", ["package_remove"]),
    "backup_id": ("list_backups", ["backup_restore"]),
    "snapshot_name": ("list_snapshots", ["snapshot_restore"]),
    "port": ("list_ports", ["network_test"]),
}
"""What of the targets `listed-…` may be named: only what the host itself lists."""


def local(host: Host) -> dict[str, Any]:
    """The host as a target of the agent on it."""
    return target(host.name, backend="local", connection={"host": host.name})


def by_ssh(name: str, at: Host, user: str = "root", **connection: Any) -> dict[str, Any]:
    """Return the host as a target of the remote agent."""
    return target(
        name, backend="ssh", connection={"host": at.address, "user": user, "connect_timeout": 5, **connection}
    )


def target(name: str, **how: Any) -> dict[str, Any]:
    """Return a target with all declarations for the operations."""
    return {"id": name, "role": "development", **ALLOWED, **how}


def inventory(near: Host, far: Host) -> list[dict[str, Any]]:
    """`near` by its own agent, `far` over SSH: straight, by way of `near`, as a peer of a tailnet, as several users."""
    pinned: dict[str, Any] = {"tailscale_node_key": node_key(PEER), "tailscale_tags": ["tag:lab"]}
    straight = by_ssh(far.name, far)
    return [
        local(near),
        straight,
        {**local(near), "id": f"listed-{near.name}", "role": "testing"},
        {**straight, "id": f"listed-{far.name}", "role": "testing"},
        by_ssh("jump", far, jump=[{"host": near.address, "user": "root"}]),
        by_ssh("peer", far, host=PEER, via="tailscale", host_key_alias=far.address, **pinned),
        by_ssh("tight", far, folder=f"{TIGHT}/writ"),
        by_ssh("by-rule", far, "login-sh", become="sudo") | {"file_roots": [home("sh")]},
        by_ssh("by-password", far, "login-bash", become={"operations": ["service_restart", "file_*"]}),
        *(by_ssh(f"login-{shell}", far, f"login-{shell}") | {"file_roots": [home(shell)]} for shell in SHELLS),
    ]


def home(shell: str) -> str:
    """Return the home of the user with that login shell."""
    return f"/home/login-{shell}"


def policy() -> dict[str, Any]:
    """Return a policy: the operator works on everything, but on targets `listed-…` only with existing things."""
    listed = [
        {
            "name": f"what_{source}_has",
            "operations": operations,
            "allowed": True,
            "parameter_constraints": {parameter: {"allowlist_source": source}},
        }
        for parameter, (source, operations) in LISTED.items()
    ]
    tests = {"name": "operators_test_targets", "operations": ["backend_test"], "allowed": True}
    guarded = [
        {
            "name": f"{unit}_is_left_alone",
            "operations": ["service_status", "service_start", "service_stop", "service_restart"],
            "allowed": False,
            "parameter_constraints": {"service_name": {"allowed_values": [unit]}},
        }
        for unit in GUARDED
    ]
    everything = {"name": "operators_work_on_the_lab", "operations": HOST_OPERATIONS, "allowed": True}
    return {
        "policies": {
            "version": "v1",
            "name": "lab",
            "deny_by_default": True,
            "require_approval_for_admin": False,
            "role_policies": {"gateway": [tests], "development": [everything, *guarded], "testing": listed},
        }
    }


GUARDED = ("guarded-unit", "guarded-alias")
"""Names of units that nobody may touch."""
HOST_OPERATIONS = sorted(
    f"{kind}_{verb}"
    for kind, verbs in {
        "service": "status start stop restart",
        "file": "read write copy delete",
        "network": "status test scan",
        "package": "list install update remove",
        "backup": "create list restore delete",
        "snapshot": "create list restore delete",
    }.items()
    for verb in verbs.split()
)

"""The commands to grant missing rights are complete, on effective paths."""

import pytest

from writ_agent_proxmox.connection.credentials import parse_token
from writ_agent_proxmox.operations.table import OPERATIONS
from writ_agent_proxmox.rights import granting, held, lacking
from writ_agent_proxmox.settings import ProxmoxConnection
from writ_testing.each_case import each_case

TOKEN = parse_token("writ@pve!agent=0badc0de-cafe-4bad-8f00-d0d0cacac0de", "here")
POOL, ALL = ProxmoxConnection(host="pve", pool="prod"), ProxmoxConnection(host="pve")


def granted(commands: str) -> dict[str, dict[str, int]]:
    """Return the rights in `/access/permissions` after these commands."""
    roles: dict[str, list[str]] = {}
    permissions: dict[str, dict[str, int]] = {}
    for words in (command.split("'") for command in commands.split("; ")):
        verb, *rest = words[0].split()[1:]
        if verb == "role":
            roles[rest[1]] = words[1].split()
        else:
            permissions.setdefault(rest[1], {}).update(dict.fromkeys(roles[words[2].split()[1]], 1))
    return permissions


@each_case("operation", OPERATIONS)
@each_case("connection", [POOL, ALL], ids=["pool", "cluster"])
def test_the_commands_grant_all_that_is_missing_for_an_operation(operation: str, connection: ProxmoxConnection) -> None:
    missing = lacking(OPERATIONS, ())[operation]
    commands = granting(operation, missing, TOKEN, connection)
    assert (
        commands.count("--users 'writ@pve'")
        == commands.count("--tokens 'writ@pve!agent'")
        == commands.count("role add")
    )
    assert operation not in lacking(OPERATIONS, held(granted(commands), connection))


def test_no_two_operations_add_a_role_of_one_name() -> None:
    commands = [granting(name, missing, TOKEN, POOL) for name, missing in lacking(OPERATIONS, ()).items()]
    names = [part.split()[3] for text in commands for part in text.split("; ") if part.startswith("pveum role add")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("path", "propagates", "holds"),
    [
        ("/", 1, True),
        ("/", 0, False),
        ("/vms", 0, False),
        ("/vms", 1, True),
        ("/vms/100", 0, True),
        ("/nodes", 1, False),
    ],
)
def test_a_right_that_does_not_propagate_holds_for_its_own_path_alone(path: str, propagates: int, holds: bool) -> None:
    assert ("VM.Audit" in held({path: {"VM.Audit": propagates}}, ALL)) is holds

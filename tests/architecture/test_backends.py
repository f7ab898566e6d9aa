"""Backends are data: their names are in one table, and code compares a backend with that table's constants."""

import ast
from pathlib import Path

from tests.architecture.tree import ROOT, packages, parsed

from writ_contracts.backends import EVERY, TARGET_KINDS
from writ_installation.backends import AGENT_KINDS

OTHER_MEANINGS = {
    "libs/contracts/writ_contracts/backends.py": "the table itself",
    "libs/contracts/writ_contracts/people/attestations.py": "a kind of evidence: the signature of an SSH key",
    "libs/contracts/writ_contracts/people/credentials.py": "a method of signing, and a kind of evidence",
    "libs/trust/writ_trust/presence/proofs.py": "a method of signing",
    "libs/client/writ_client/people/ssh_keygen.py": "a method of signing",
    "libs/cli/writ_cli/installation/targets/entry_checks.py": "a key of an entry: the engine of a host",
    "libs/cli/writ_cli/installation/targets/target_add.py": "a key of an entry: the engine of a host",
    "libs/containers/writ_containers/compose/types.py": "a driver of logs and of volumes in a Compose file",
    "libs/containers/writ_containers/stacks/compose_command.py": "the program `docker`",
    "services/agent_proxmox/writ_agent_proxmox/__main__.py": "a folder of the agent's state",
    "services/agent_proxmox/writ_agent_proxmox/target_test.py": "the software whose version is reported",
}
APART = {"writ_hostops", "writ_testing"}
"""The one stands alone; the other has fakes and fixtures, each for a certain backend."""


def typed(path: Path) -> list[str]:
    """Return the names of backends that a module has as literals."""
    nodes = ast.walk(parsed(path))
    return [str(node.value) for node in nodes if isinstance(node, ast.Constant) and node.value in EVERY]


def test_backends_are_named_in_one_table_only() -> None:
    modules = (path for package in packages() if package.code.name not in APART for path in package.modules())
    found = {str(path.relative_to(ROOT)) for path in modules if typed(path)}
    assert found == set(OTHER_MEANINGS)


def test_backends_have_agents_and_targets() -> None:
    assert AGENT_KINDS.keys() == TARGET_KINDS.keys()

"""Sections of `writ --help`: the subcommands by purpose, each with a line within 80 columns."""

from collections.abc import Iterable

SECTIONS: dict[str, dict[str, str]] = {
    "Operations": {
        "run": "request an operation and wait for its outcome",
        "simulate": "show the decision on a request, and do nothing",
        "operations": "list the operations, or show one",
        "op": "show, list, watch or cancel operations",
        "trace": "show the record of an operation",
        "audit": "search the record",
    },
    "People": {
        "approvals": "show, approve or reject pending requests",
        "window": "request, show or end approval windows",
        "stop": "stop changes, or lift a stop",
        "emergency": "declare, confirm or end an emergency",
    },
    "Policy": {
        "policy": "check, explain, compare and publish policies",
        "schema": "print the JSON Schema of a document, for editors",
        "scan": "report the findings of a scanner",
    },
    "Targets and agents": {
        "target": "list targets and their agents; test, add, change them",
        "agent": "enrol agents on other hosts, or print their settings",
        "leaf": "link sites behind NAT",
        "plugin": "list, check or create plugins",
    },
    "Principals and keys": {
        "login": "create a key that acts as you for some hours",
        "logout": "end that session",
        "sessions": "list or end sessions",
        "principal": "add, change and remove humans, AI agents, services",
        "keys": "list all keys, and rotate them",
        "credential": "enrol security keys and passkeys for approvals",
        "context": "show, save, list and choose settings of clients",
        "token": "create or revoke tokens of the MCP gateway",
        "mcp": "serve tools to an AI agent, or configure it",
    },
    "Installation": {
        "up": "start Writ on this machine",
        "down": "stop it",
        "restart": "restart its processes, one after the other",
        "status": "show its processes and failing checks",
        "init": "create an installation and start nothing",
        "tls": "show or rotate the certificates of NATS",
        "keep": "provision NATS servers of your own",
        "backup": "write the installation into a file",
        "restore": "restore it from a backup",
        "uninstall": "list and remove all of it on this machine",
        "journal": "show the size of the journal, or archive it",
    },
    "Help": {
        "help": "show the help of a command",
        "version": "show the version",
        "completion": "print the completion script of a shell",
    },
}
OTHER = "Other"


def sections(names: Iterable[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the sections with their commands and lines; commands without a section come last."""
    left = list(names)
    found = [(title, [(name, line) for name, line in rows.items() if name in left]) for title, rows in SECTIONS.items()]
    placed = {name for _, rows in found for name, _ in rows}
    other = [(name, "") for name in left if name not in placed]
    return [(title, rows) for title, rows in [*found, (OTHER, other)] if rows]


def lines() -> dict[str, str]:
    """Return the line of each subcommand."""
    return {name: line for rows in SECTIONS.values() for name, line in rows.items()}

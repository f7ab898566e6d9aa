"""Names that other programs give to commands like ours, such as `lint`, `whoami` and `delete`. Pure."""

from collections.abc import Collection

import click
from click.exceptions import NoSuchCommand

VERBS = {
    "create": "add",
    "delete": "remove",
    "describe": "show",
    "edit": "set",
    "get": "show",
    "info": "show",
    "ls": "list",
    "new": "add",
    "rm": "remove",
}
"""Verbs of subcommands, by those of others."""
_COMMANDS = {
    "writ": {
        "approvals list": "requests",
        "approvals reject": "deny",
        "audit search": "events history log logs",
        "backends test": "ping",
        "context": "config whoami",
        "down": "shutdown",
        "init": "install setup",
        "journal archive": "export",
        "journal verify": "proof",
        "op cancel": "kill",
        "op list": "ps",
        "policy publish": "apply",
        "policy validate": "check lint",
        "principal": "user",
        "principal list": "users",
        "run": "exec shell ssh",
        "simulate": "plan",
        "status": "doctor health",
        "targets": "hosts inventory",
        "up": "start",
    },
    "writ agent": {"agent revoke": "delete remove rm", "agent token": "add create invite new"},
    "writ approvals": {
        "approvals approve": "accept allow confirm grant sign",
        "approvals list": "pending",
        "approvals reject": "decline deny refuse",
        "op cancel": "cancel withdraw",
        "policy who-can": "who",
    },
    "writ audit": {
        "audit search": "events history list log logs ls query",
        "journal archive": "archive backup export",
        "journal verify": "check proof prove verify",
        "trace": "get show trace",
    },
    "writ emergency": {"emergency declare": "begin open start", "emergency end": "close lift stop"},
    "writ journal": {
        "audit search": "events list log ls search show",
        "backup": "backup",
        "journal archive": "export prune",
        "journal status": "info size",
        "journal verify": "check proof prove",
    },
    "writ keys": {"credential enroll": "enroll", "keys rotate": "create new renew", "principal add": "add"},
    "writ mcp": {"mcp config": "install setup", "mcp stdio": "run serve start", "token create": "token"},
    "writ op": {
        "audit search": "history search",
        "op cancel": "abort kill remove rm stop",
        "op show": "status",
        "op watch": "follow tail wait",
        "trace": "events logs trace",
    },
    "writ policy": {
        "policy history": "list log ls versions",
        "policy publish": "apply edit load push set update upload",
        "policy rollback": "revert undo",
        "policy validate": "check lint",
        "policy who-can": "who",
        "simulate": "dry-run",
    },
    "writ sessions": {"login": "add create new", "sessions revoke": "delete end remove rm"},
    "writ stop": {"stop lift": "clear delete end off remove rm", "stop set": "add all create new on start"},
    "writ target": {"agent-env": "agent", "target test": "check ping"},
    "writ token": {"token create": "add new", "token revoke": "delete remove rm"},
    "writ window": {"window end": "close delete remove revoke rm", "window request": "add create new open start"},
}
ELSEWHERE = {
    path: {name: command for command, names in commands.items() for name in names.split()}
    for path, commands in _COMMANDS.items()
}
"""Commands by other names for them, by the path of the group in which somebody looks for them."""


class MeantCommand(NoSuchCommand):
    """Raised for an unknown subcommand that other programs have; its message names ours."""


def meant(context: click.Context, name: str, known: Collection[str]) -> MeantCommand | None:
    """Return the error that names our command for a name of another program; None if there is none."""
    path = context.command_path
    command = ELSEWHERE.get(path, {}).get(name)
    ours = f"writ {command}" if command else f"{path} {VERBS[name]}" if VERBS.get(name) in known else ""
    return MeantCommand(name, f"No such command {name!r}; did you mean `{ours}`?", ctx=context) if ours else None

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
ELSEWHERE = {
    "writ": {
        "apply": "policy publish",
        "check": "policy validate",
        "doctor": "status",
        "exec": "run",
        "hosts": "targets",
        "inventory": "targets",
        "kill": "op cancel",
        "lint": "policy validate",
        "log": "audit search",
        "logs": "audit search",
        "ping": "backends test",
        "plan": "simulate",
        "ps": "op list",
        "requests": "approvals list",
        "user": "principal",
        "users": "principal list",
        "whoami": "context",
    },
    "writ policy": {"apply": "policy publish", "check": "policy validate", "lint": "policy validate"},
    "writ op": {"logs": "trace", "status": "op show", "trace": "trace"},
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

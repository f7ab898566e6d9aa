"""Names that other programs give to commands and operations like ours, such as `lint`, `delete` and `ping`. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence

import click
from click.exceptions import MissingParameter, NoSuchCommand

from writ_contracts.nearest_name import did_you_mean, near, nearest

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
        "agent env": "agent-env",
        "approvals list": "requests",
        "approvals reject": "deny",
        "audit search": "events history log logs",
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
        "target list": "hosts inventory",
        "target test": "backends ping",
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
    "writ keys": {"credential enrol": "enrol enroll", "keys rotate": "create new renew", "principal add": "add"},
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
    "writ principal": {
        "principal disable": "block lock suspend",
        "principal enable": "unblock unlock",
        "principal roles": "change edit grant role set update",
        "principal rotate": "key",
    },
    "writ sessions": {"login": "add create new", "sessions revoke": "delete end remove rm"},
    "writ stop": {"stop lift": "clear delete end off remove rm", "stop set": "add all create new on start"},
    "writ target": {"agent env": "agent", "target test": "check ping"},
    "writ token": {"token create": "add new", "token revoke": "delete remove rm"},
    "writ window": {"window end": "close delete remove revoke rm", "window request": "add create new open start"},
}
ELSEWHERE = {
    path: {name: command for command, names in commands.items() for name in names.split()}
    for path, commands in _COMMANDS.items()
}
"""Commands by other names for them, by the path of the group in which somebody looks for them."""
_SEVERAL = {
    "writ policy simulate": "`writ simulate` (one request of your own) or `writ policy matrix` (combinations of "
    "targets, principals and instants)",
}
"""Names that stand for several commands, from which the user has to choose."""
_OPERATIONS = {
    "container_list": "docker podman",
    "file_copy": "cp",
    "file_delete": "rm unlink",
    "file_read": "cat download get head less more tail",
    "file_write": "edit put tee upload",
    "network_scan": "nmap",
    "network_status": "ifconfig ip ip_addr netstat ports ss",
    "network_test": "connect curl ping reachable traceroute",
    "package_install": "apt apt-get apt_install dnf yum",
    "package_list": "dpkg rpm",
    "package_remove": "apt_remove purge uninstall",
    "package_update": "apt_upgrade patch upgrade",
    "service_status": "is-active systemctl",
    "stack_deploy": "compose docker-compose",
}
OPERATIONS = {name: operation for operation, names in _OPERATIONS.items() for name in names.split()}
"""Operations by the names of programs that do the same."""
LISTS: Mapping[str, str] = {
    "agent revoke": "agent list",
    "approvals": "approvals list",
    "context use": "context list",
    "credential remove": "credential list",
    "emergency": "emergency list",
    "keys rotate": "keys list",
    "op": "op list",
    "plugin check": "plugin list",
    "policy can-i": "operations",
    "policy explain": "operations",
    "policy matrix": "operations",
    "policy rollback": "policy history",
    "policy show": "policy history",
    "policy who-can": "operations",
    "principal": "principal list",
    "run": "operations",
    "scan run": "plugin list",
    "sessions revoke": "sessions list",
    "simulate": "operations",
    "stop lift": "stop list",
    "target": "target list",
    "token revoke": "token list",
    "trace": "audit search",
    "window": "window list",
}
"""The command that lists what a command, or each of a group, takes as its first argument."""
PLURALS: Mapping[str, Mapping[str, str]] = {
    "operations": {"show": "writ operations NAME"},
}
"""What is meant by the first word after the name of a list."""
SHOWN = {
    "writ": "trace",
    "writ approvals": "approvals show",
    "writ audit": "trace",
    "writ op": "op show",
}
"""The command that shows the operation whose id somebody puts in place of a subcommand."""
_ID = re.compile(r"(?=.*[2-7])[a-z2-7]{6,26}")


class PluralCommand(click.Command):
    """`writ operations`, which lists, and after which people put what a group has: `operations show`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as a command does. Raises UsageError, with the command that is meant by the first word."""
        if not ctx.resilient_parsing:  # else a shell completes
            self.refuse_first(ctx, args)
        return super().parse_args(ctx, args)

    def refuse_first(self, ctx: click.Context, args: Sequence[str]) -> None:
        """Raises UsageError for a first word that a group has."""
        group = PLURALS[str(self.name)]
        if not args or args[0].startswith("-"):
            return
        if args[0] in ("list", "ls"):
            raise click.UsageError(f"`{ctx.command_path}` itself lists them: leave out {args[0]!r}", ctx)
        if (verb := VERBS.get(args[0], args[0])) in group:
            raise click.UsageError(f"No such command {args[0]!r}; did you mean `{group[verb]}`?", ctx)


class MeantCommand(NoSuchCommand):
    """Raised for an unknown subcommand that other programs have; its message names ours."""


def meant(context: click.Context, words: Sequence[str], known: Collection[str]) -> MeantCommand | None:
    """Return the error that names our command for words of another program; None if there is none."""
    path, name = context.command_path, words[0]
    command = ELSEWHERE.get(path, {}).get(name)
    ours = f"writ {command}" if command else f"{path} {VERBS[name]}" if VERBS.get(name) in known else ""
    if path in SHOWN and _ID.fullmatch(name) and not nearest(name, known):
        ours = f"writ {SHOWN[path]} {name}"
    ours = ours or _other_number(context, words)
    chosen = _SEVERAL.get(f"{path} {name}") or (f"`{ours}`" if ours else "")
    return MeantCommand(name, f"No such command {name!r}; did you mean {chosen}?", ctx=context) if chosen else None


def _other_number(context: click.Context, words: Sequence[str]) -> str:
    """Return the command of the group whose name is the singular or plural of the first word; "" if there is none."""
    name, verb = words[0], words[1] if len(words) > 1 else "list"
    for other in (name.removesuffix("s"), f"{name}s"):
        group = context.command.get_command(context, other) if isinstance(context.command, click.Group) else None
        if isinstance(group, click.Group):
            has = group.list_commands(context)
            elsewhere = ELSEWHERE.get(f"{context.command_path} {other}", {}).get(verb)
            if elsewhere and verb not in has:
                return f"writ {elsewhere}"
            found = next((one for one in (verb, VERBS.get(verb), "list") if one in has), "")
            return f"{context.command_path} {other} {found}".rstrip()
    return ""


def usual_operation(name: str, known: Collection[str]) -> str:
    """Return `; did you mean '…'?` for a misspelt operation, or one by the name of a program that does the same."""
    ours = OPERATIONS.get(name, "")
    return did_you_mean([ours]) if ours in known else near(name, known)


def with_listing(error: BaseException) -> BaseException:
    """Return the error about a missing argument with the command that lists its values; any other error as it is."""
    if not isinstance(error, MissingParameter) or error.ctx is None:
        return error
    first = next((one for one in error.ctx.command.params if isinstance(one, click.Argument)), None)
    listed = _listing_of(error.ctx.command_path) if error.param is first else ""
    return click.UsageError(f"{error.format_message().removesuffix('.')}; {listed}", error.ctx) if listed else error


def _listing_of(path: str) -> str:
    """Return the command that lists what the command of this path takes; "" where its first argument is a new name."""
    name = path.removeprefix("writ ")
    makes = name.rpartition(" ")[2] in ("add", "new", "request", "declare")
    listed = LISTS.get(name) or ("" if makes else LISTS.get(name.partition(" ")[0], ""))
    return f"`writ {listed}` lists them" if listed else ""

"""The entry point of `writ`: its subcommands, and the one place where an error becomes a line and an exit status."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand, NoSuchOption
from click.shell_completion import CompletionItem

from writ_cli.arguments.help_sections import lines, sections
from writ_cli.arguments.lazy_group import LazyGroup
from writ_cli.arguments.misplaced_options import misplaced
from writ_cli.arguments.repeated_options import refuse_lost_options
from writ_cli.arguments.usual_names import MeantCommand, with_listing
from writ_cli.arguments.usual_options import usual_option
from writ_cli.terminal import standard_streams
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output_option import form_of
from writ_contracts.version import VERSION

_INSTALLATION, _OPERATIONS = "writ_cli.installation", "writ_cli.operations"
COMPLETE = "_WRIT_COMPLETE"
"""Set by the script of a shell."""
MOST_GROUPS = 3
"""More groups than these are listed without the subcommand."""
PLACES = {
    "init": f"{_INSTALLATION}.processes.init:init",
    "keep": f"{_INSTALLATION}.processes.provision:run_provisioner",
    "up": f"{_INSTALLATION}.processes.up:up",
    "down": f"{_INSTALLATION}.processes.down_and_restart:down",
    "restart": f"{_INSTALLATION}.processes.down_and_restart:restart",
    "status": f"{_INSTALLATION}.processes.status:status",
    "uninstall": f"{_INSTALLATION}.processes.uninstall:uninstall",
    "agent": f"{_INSTALLATION}.access.agents:agent",
    "help": "writ_cli.main:show_help",
    "version": "writ_cli.main:show_version",
    "completion": "writ_cli.arguments.completion:completion",
    "run": f"{_OPERATIONS}.running.requests:run",
    "simulate": f"{_OPERATIONS}.running.simulation:simulate",
    "op": f"{_OPERATIONS}.running.own_operations:op",
    "stop": f"{_OPERATIONS}.controls.stops:stop",
    "emergency": f"{_OPERATIONS}.controls.emergencies:emergency",
    "window": f"{_OPERATIONS}.controls.windows:window",
    "login": f"{_OPERATIONS}.controls.sessions:login",
    "logout": f"{_OPERATIONS}.controls.sessions:logout",
    "sessions": f"{_OPERATIONS}.controls.sessions:sessions",
    "trace": f"{_OPERATIONS}.records.audit:trace",
    "audit": f"{_OPERATIONS}.records.audit:audit",
    "backup": f"{_INSTALLATION}.record.backup:backup",
    "restore": f"{_INSTALLATION}.record.backup:restored",
    "journal": f"{_INSTALLATION}.record.journal:journal",
    "operations": f"{_OPERATIONS}.catalogue.operations_list:operations",
    "target": f"{_INSTALLATION}.targets.target_group:target",
    "leaf": f"{_INSTALLATION}.access.leaf:leaf",
    "tls": f"{_INSTALLATION}.access.server_tls:tls",
    "principal": f"{_INSTALLATION}.access.principals:principal",
    "keys": f"{_INSTALLATION}.access.keys:keys",
    "context": f"{_INSTALLATION}.access.client_context:context",
    "scan": f"{_OPERATIONS}.catalogue.scan:scan",
    "schema": "writ_cli.schema:schema",
    "token": f"{_INSTALLATION}.access.tokens:token",
    "mcp": f"{_OPERATIONS}.mcp:mcp",
    "credential": "writ_cli.credentials.group:credential",
    "approvals": "writ_cli.approvals.group:approvals",
    "plugin": "writ_cli.plugins.group:plugin",
    "policy": "writ_cli.policy.group:policy",
}
"""Where each subcommand is, by its name."""


class WritGroup(LazyGroup):
    """A group whose errors are readable lines on standard error, never a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, and exit with a status of `exit_status`."""
        form = form_of(sys.argv[1:] if args is None else args)
        if COMPLETE in os.environ:
            from writ_cli.arguments.shell_scripts import register  # noqa: PLC0415 - only a shell that completes needs it

            register()
        try:
            status = super().main(args, prog_name or "writ", complete_var, False, **extra)
            sys.stdout.flush()
        except NoArgsIsHelpError as shown:
            click.echo(shown.ctx.get_help())
            status = Exit.DONE
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would fail again
            status = Exit.FAILED
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last frame: nobody should see a traceback
            from writ_cli.terminal.error_output import refuse  # noqa: PLC0415 - most commands have no error to format

            status = refuse(with_listing(error), form)
        sys.exit(int(status or 0))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands by purpose."""
        for title, rows in sections(self.list_commands(ctx)):
            with formatter.section(title):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete subcommands with their lines, and load none."""
        named = [CompletionItem(name, help=line) for name, line in lines().items() if name.startswith(incomplete)]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as a group does. Raises NoSuchCommand, also with the group that has a subcommand of this name."""
        try:
            return super().resolve_command(ctx, args)
        except MeantCommand:
            raise
        except NoSuchCommand as error:
            if _is_operation(error.command_name):
                raise MeantCommand(error.command_name, _of_operation(error.command_name), ctx=ctx) from None
            found = [group for group in self.list_commands(ctx) if self._has(ctx, group, error.command_name)]
            if not found:
                raise
            raise NoSuchCommand(error.command_name, _named_in_groups(error, found), ctx=ctx) from None

    def _has(self, ctx: click.Context, group: str, name: str) -> bool:
        command = self.get_command(ctx, group)
        return isinstance(command, click.Group) and name in command.list_commands(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse options that would be lost, of all subcommands, then parse."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        try:
            refuse_lost_options(self, ctx.info_name or "writ", args, None)
            return super().parse_args(ctx, args)
        except NoSuchOption as error:
            raise misplaced(usual_option(error, ctx, args), ctx, args) from None


def _is_operation(name: str) -> bool:
    from writ_runtime.plugins.entry_points import load_catalogue  # noqa: PLC0415 - few commands need the catalogue

    return name in load_catalogue()


def _of_operation(name: str) -> str:
    return f"{name} is an operation: `writ run {name}` requests it, `writ operations {name}` shows its parameters"


def _named_in_groups(error: NoSuchCommand, groups: Sequence[str]) -> str:
    """Return the message of click, with the groups that have a subcommand of this name."""
    message = error.message.removesuffix(".")
    if len(groups) > MOST_GROUPS:
        return f"{message}; these have one: {', '.join(f'`writ {group}`' for group in groups)}"
    return f"{message}; did you mean {' or '.join(f'`writ {group} {error.command_name}`' for group in groups)}?"


@click.group(
    cls=WritGroup,
    places=PLACES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(VERSION, message="writ %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Typed operations instead of free-text commands: checked by policy, carried out by agents, on record.

    Exit status: 0 done, 1 failed, 2 usage or invalid, 3 denied, 4 pending or timed out waiting, 5 rejected, expired,
    cancelled or stale, 6 unreachable or unauthorised, 7 unknown.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # logs of libraries are not for the terminal
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _completed_words(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    from writ_cli.arguments.completed_names import commands  # noqa: PLC0415 - only a shell that completes needs it

    return commands(context, parameter, word)


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...", shell_complete=_completed_words)
@click.pass_context
def show_help(context: click.Context, words: tuple[str, ...]) -> int:
    """Show the help of a command, as `--help` after it does, or the parameters of an operation."""
    named = words[1:] if words[:1] in (("run",), ("simulate",)) else words
    if len(named) == 1 and named[0] not in PLACES and _is_operation(named[0]):
        cli.main(["operations", named[0]], prog_name="writ")
    cli.main([*words, "--help"], prog_name="writ")
    return Exit.DONE


@click.command("version")
def show_version() -> int:
    """Show the version, as --version does."""
    click.echo(f"writ {VERSION}")
    return Exit.DONE


def main() -> None:
    """Run `writ`."""
    standard_streams.prepare()
    cli.main()

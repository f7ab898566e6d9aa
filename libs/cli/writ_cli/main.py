"""The entry point of `writ`: its subcommands, and the one place where an error becomes a line and an exit status."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from writ_cli import completion, schema
from writ_cli.error_output import form_of, refuse
from writ_cli.exit_status import Exit
from writ_cli.help_sections import sections
from writ_cli.installation import (
    agents,
    backup,
    client_context,
    init,
    keys,
    leaf,
    lifecycle,
    principals,
    provision,
    target_edits,
    targets,
    uninstall,
)
from writ_cli.lazy_group import LazyGroup
from writ_cli.operations import (
    audit,
    backends,
    catalogue,
    emergencies,
    own_operations,
    requests,
    scan,
    sessions,
    stops,
    windows,
)
from writ_cli.repeated_options import refuse_repeated
from writ_contracts.version import VERSION


class WritGroup(click.Group):
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
        try:
            status = super().main(args, prog_name or "writ", complete_var, False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would fail again
            status = Exit.FAILED
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last frame: nobody should see a traceback
            status = refuse(error, form)
        sys.exit(int(status or 0))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands by purpose."""
        for title, rows in sections(self.list_commands(ctx)):
            with formatter.section(title):
                formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse repeated options of all subcommands, then parse."""
        if not ctx.resilient_parsing:
            refuse_repeated(self, ctx.info_name or "writ", args, None)
        return super().parse_args(ctx, args)


@click.group(
    cls=WritGroup,
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


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def show_help(context: click.Context, words: tuple[str, ...]) -> int:
    """Show the help of a command, as `--help` after it does."""
    cli.main([*words, "--help"], prog_name="writ")
    return Exit.DONE


@click.command("version")
def show_version() -> int:
    """Show the version, as --version does."""
    click.echo(f"writ {VERSION}")
    return Exit.DONE


for command in (
    init.init,
    provision.run_provisioner,
    lifecycle.up,
    lifecycle.down,
    lifecycle.restart,
    lifecycle.status,
    uninstall.uninstall,
    lifecycle.agent_env,
    agents.agent,
    show_help,
    show_version,
    completion.completion,
    requests.run,
    requests.simulate,
    own_operations.op,
    stops.stop,
    emergencies.emergency,
    windows.window,
    sessions.login,
    sessions.logout,
    sessions.sessions,
    audit.trace,
    audit.audit,
    backup.backup,
    backup.restored,
    LazyGroup(
        "journal",
        "writ_cli.installation.journal:journal",
        "The journal: its size, and archives of it.",
    ),
    catalogue.operations,
    catalogue.targets,
    targets.target,
    leaf.leaf,
    LazyGroup("tls", "writ_cli.installation.server_tls:tls", "TLS of NATS: its certificate, and the CA."),
    backends.backends,
    principals.principal,
    keys.keys,
    client_context.context,
    scan.scan,
    schema.schema,
    LazyGroup("token", "writ_cli.installation.tokens:token", "Bearer tokens of the MCP gateway."),
    LazyGroup("mcp", "writ_cli.operations.mcp:mcp", "Tools for AI agents (Model Context Protocol)."),
    LazyGroup(
        "credential",
        "writ_cli.credentials.group:credential",
        "Security keys of people, as proof of a person's approval.",
    ),
    LazyGroup(
        "approvals",
        "writ_cli.approvals.group:approvals",
        "Requests waiting for a person: show, approve or reject them.",
    ),
    LazyGroup(
        "plugin",
        "writ_cli.plugins.group:plugin",
        "Operations, backends and conditions of other packages: list, check or create them.",
    ),
    LazyGroup(
        "policy",
        "writ_cli.policy.group:policy",
        "What the policy says: validate, test, explain and compare it, and publish it.",
    ),
):
    cli.add_command(command)
for name, of_target in {"list": catalogue.targets, "test": backends.test, **target_edits.COMMANDS}.items():
    targets.target.add_command(of_target, name)


def main() -> None:
    """Run `writ`."""
    cli.main()

"""`writ stop`: stop changes, list the stops, and lift them."""

import time
from typing import get_args

import click
from msgspec import structs
from rich.text import Text

from writ_cli.arguments import completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, listing, principal_option, target_option
from writ_cli.arguments.suggestions import suggestion
from writ_cli.context.settings import Settings
from writ_cli.operations.running.operation_check import refuse_unknown, warn_of_globs_without_targets
from writ_cli.operations.running.requests import show_view
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit, of_outcome
from writ_cli.terminal.output import Screen, outcome
from writ_client.client import Writ
from writ_client.whole_ids import stop_of
from writ_contracts.inventory import Role
from writ_contracts.plural import plural
from writ_contracts.policy.versions import StopView
from writ_contracts.requests import OperationView

REASON = click.option("--reason", "-r", required=True, help="Why, for the record.")
SPAN = click.option("--for", "span", metavar="SPAN", help="Duration (15m, 2h).")


@click.group(cls=CommandGroup)
def stop() -> None:
    """Stop changes, of all targets or a part; reads, the record and the lifting of stops continue."""


@stop.command("set")
@REASON
@target_option("Only these targets (web-*).", "targets", metavar="GLOB", multiple=True)
@click.option("--role", "roles", multiple=True, type=click.Choice(get_args(Role)), help="Only targets of this role.")
@principal_option("Only requests of this principal.", "principals", metavar="NAME", multiple=True)
@click.option(
    "--operation",
    "operations",
    multiple=True,
    metavar="NAME",
    help="Only this operation.",
    shell_complete=completion.operations,
)
@SPAN
@click.option("--cancel-running", is_flag=True, help="Cancel the operations within its reach that already run.")
@asking
async def set_stop(
    settings: Settings,
    reason: str,
    targets: tuple[str, ...],
    roles: tuple[str, ...],
    principals: tuple[str, ...],
    operations: tuple[str, ...],
    span: str | None,
    cancel_running: bool,
) -> int:
    """Stop changes until somebody lifts the stop.

    It applies as soon as it is stored, also to accepted operations that have not started. Running ones continue, unless
    --cancel-running is given: each cancel is an operation of its own, decided by the policy.
    """
    until = None if span is None else time.time() + times.lifetime("--for", span)
    async with await settings.connect() as writ:
        for operation in operations:
            await refuse_unknown(writ, operation)
        view = await writ.stop_set(
            list(targets) or ["*"],
            reason=reason,
            until=until,
            roles=roles,
            principals=principals,
            operations=operations,
        )
        if view.outcome != "succeeded":
            hint = await suggestion(settings, view.code, view.message)
            return show_view(settings.screen, structs.replace(view, message=view.message + hint))
        await warn_of_globs_without_targets(writ, targets)
        running = list(view.output.get("running", []))
        cancels = await _cancelled(writ, running, view) if cancel_running else []
    if settings.screen.json:
        settings.screen.data({"stop": view, "cancels": cancels})
    else:
        _show(settings.screen, view, running, cancels, cancel=cancel_running)
    return next((of_outcome(one.outcome) for one in cancels if one.outcome != "succeeded"), int(Exit.DONE))


async def _cancelled(writ: Writ, running: list[str], stop: OperationView) -> list[OperationView]:
    return [await writ.cancel(one, reason=f"stop {stop.output.get('id')}") for one in running]


def _show(
    screen: Screen, view: OperationView, running: list[str], cancels: list[OperationView], *, cancel: bool
) -> None:
    stop_id = view.output.get("id", view.operation_id)
    screen.line(Text(f"stop {stop_id}", style="bold red"), " is in force")
    screen.line(f"  writ stop lift {stop_id}    lets changes start again")
    for number, one in zip(running, cancels, strict=False):
        text = one.message or str(one.output.get("result", ""))
        screen.line(f"  {number}: cancel ", outcome(one.outcome or one.state), f" {text}")
    if running and not cancel:
        number = plural(len(running), "operation")
        screen.line(f"  still running within its reach: {number}: writ op cancel {' '.join(running[:3])} …")
    if more := view.output.get("more"):
        screen.line(f"  {more} more run, which are not listed: writ audit search")
    if view.message:
        screen.line(Text(f"  {view.message}", style="yellow"))


@stop.command("lift")
@click.argument("stop_id", metavar="STOP", shell_complete=completion.stops)
@click.option("--reason", "-r", default="", help="Why, for the record.")
@asking
async def lift(settings: Settings, stop_id: str, reason: str) -> int:
    """Let changes start again. Only people lift stops."""
    async with await settings.connect() as writ:
        stop_id = await stop_of(writ, stop_id)
        view = await writ.stop_lift(stop_id, reason=reason)
    if settings.screen.json or view.outcome != "succeeded":
        return show_view(settings.screen, view)
    settings.screen.line(f"stop {stop_id} is lifted")
    return Exit.DONE


@stop.command("list")
@listing(asking)
async def list_all(settings: Settings) -> int:
    """List the stops in force. Everybody may see them."""
    async with await settings.connect() as writ:
        status = await writ.policy_status()
    found = status.stops
    columns = ("stop", "by", "since", "until", "reach", "reason")
    drop = ("since", ("stop", "by"), ("reach", "until"))
    settings.screen.listing(found, columns, map(_row, found), empty="no stop is in force", drop=drop)
    return Exit.DONE


def _row(one: StopView) -> tuple[object, ...]:
    until = times.date(one.until) if one.until else "it is lifted"
    return one.id, one.by, times.date(one.since), until, reach(one), one.reason


def reach(one: StopView) -> str:
    """Return the reach for people."""
    narrowed = [("role", one.roles), ("of", one.principals), ("operation", one.operations)]
    parts = [f"{name} {', '.join(globs)}" for name, globs in narrowed if globs]
    targets = "everything" if one.targets == ["*"] and not parts else ", ".join(one.targets)
    return "; ".join([targets, *parts])

"""`writ window`: request approval ahead for several uses of operations, list open windows, end them."""

import click

from writ_cli.arguments import completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, listing, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.running.operation_check import refuse_misspelt_target, refuse_unknown
from writ_cli.operations.running.requests import show_requested
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_cli.terminal.quoted_text import QuotedText
from writ_client.whole_ids import one_of, window_of
from writ_contracts.errors import Invalid
from writ_contracts.policy.versions import WindowView


@click.group(cls=CommandGroup)
def window() -> None:
    """Approval windows: approvals in advance, for a number of operations on targets within a time."""


@window.command("request")
@click.argument("operations", nargs=-1, required=True, metavar="OPERATION...", shell_complete=completion.operations)
@target_option("A target; repeatable.", "targets", multiple=True, required=True)
@click.option("--uses", type=click.IntRange(1, 1000), default=1, show_default=True, help="Number of operations.")
@click.option("--for", "span", default="1h", show_default=True, metavar="SPAN", help="Duration, from the approval.")
@click.option("--reason", "-r", required=True, help="The purpose, which approvers see.")
@asking
async def request(
    settings: Settings, operations: tuple[str, ...], targets: tuple[str, ...], uses: int, span: str, reason: str
) -> int:
    """Request a window for OPERATION... on the targets.

    Once it is approved, this number of these operations starts without further approvals, if you request them. Rules,
    stops and limits still apply. It covers operations of risk admin only where a rule says `approval: {windows: true}`.
    """
    seconds = int(times.lifetime("--for", span))
    async with await settings.connect() as writ:
        for operation in operations:
            await refuse_unknown(writ, operation)
        for target in targets:
            await refuse_misspelt_target(settings, writ, target)
        window = await writ.windows.request(operations, targets, uses=uses, seconds=seconds, reason=reason)
    status = show_requested(settings.screen, window)
    if status in (Exit.DONE, Exit.PENDING) and not settings.screen.json:
        settings.screen.line(f"  writ window show {window.operation_id}    once it is open")
    return status


@window.command("end")
@click.argument("window_id", metavar="WINDOW", shell_complete=completion.windows)
@click.option("--reason", "-r", default="", help="Why, for the record.")
@asking
async def end(settings: Settings, window_id: str, reason: str) -> int:
    """End WINDOW before its time. Its requester and its approvers may, and others by the policy."""
    async with await settings.connect() as writ:
        window_id = await window_of(writ, window_id)
        return show_requested(settings.screen, await writ.windows.end(window_id, reason=reason))


@window.command("list")
@listing(asking)
async def list_all(settings: Settings) -> int:
    """List the open windows. Everybody may see them."""
    async with await settings.connect() as writ:
        status = await writ.policy_status()
    found = status.windows
    columns = ("window", "of", "until", "used", "operations", "targets")
    drop = ("used", ("window", "until"), ("of", "targets"))
    settings.screen.listing(found, columns, map(_row, found), empty="no approval window is open", drop=drop)
    return Exit.DONE


def _row(one: WindowView) -> tuple[object, ...]:
    used = f"{len(one.used)} of {one.uses}"
    return one.id, one.by, times.date(one.until), used, ", ".join(one.operations), ", ".join(one.targets)


@window.command("show")
@click.argument("window_id", metavar="WINDOW", shell_complete=completion.windows)
@asking
async def show(settings: Settings, window_id: str) -> int:
    """Show the open WINDOW with the operations that used it."""
    async with await settings.connect() as writ:
        found = (await writ.policy_status()).windows
    window_id = one_of(window_id, [one.id for one in found], "window")
    one = next((one for one in found if one.id == window_id), None)
    if one is None:
        raise Invalid(
            f"no approval window {window_id[:80]!r} is open: `writ trace` shows one that is over", code="not_found"
        )
    if settings.screen.json:
        settings.screen.data(one)
    else:
        _show(settings.screen, one)
    return Exit.DONE


def _show(screen: Screen, one: WindowView) -> None:
    screen.fields(
        [
            ("window", one.id),
            ("of", one.by),
            ("reason", QuotedText(one.reason)),
            ("approved by", ", ".join(one.approved_by)),
            ("since", times.date(one.since)),
            ("until", times.date(one.until)),
            ("operations", ", ".join(one.operations)),
            ("targets", ", ".join(one.targets)),
            ("uses", f"{len(one.used)} of {one.uses}"),
            ("used by", ", ".join(one.used)),
        ],
        indent=0,
    )

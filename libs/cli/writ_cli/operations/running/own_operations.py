"""`writ op`: the state, events and cancellation of one's own operations."""

import time

import click

from writ_cli.arguments import completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, listing
from writ_cli.context.settings import Settings
from writ_cli.operations.running.progress_line import event_text
from writ_cli.operations.running.requests import show_view
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit, of_outcome
from writ_cli.terminal.output import Screen, outcome
from writ_client.client import Writ
from writ_client.operations.operation_events import Event
from writ_client.whole_ids import operation_of
from writ_contracts.agents import Progress
from writ_contracts.errors import Invalid
from writ_contracts.requests import OperationView


@click.group(cls=CommandGroup)
def op() -> None:
    """Your own operations."""


@op.command("show")
@click.argument("operation", shell_complete=completion.recorded_operations)
@asking
async def show(settings: Settings, operation: str) -> int:
    """Show the state of one operation, with its output while that is stored."""
    async with await settings.connect() as writ:
        recorded = await _own(writ, await operation_of(writ, operation))
        view = await writ.with_output(recorded)
    return show_view(settings.screen, view, on_record=view is recorded)


async def _own(writ: Writ, operation: str) -> OperationView:
    """Return one of the caller's operations. Raises Invalid for those of others, with the command that shows them."""
    try:
        return await writ.get(operation)
    except Invalid as error:
        if error.code != "not_found":
            raise
        advice = (
            f"`writ approvals show {operation}` shows it to its approvers, and `writ trace {operation}` shows those of "
            "others, where the policy allows it"
        )
        raise Invalid(f"{error}; {advice}", code=error.code) from None


@op.command("list")
@listing(asking)
async def list_open(settings: Settings) -> int:
    """List the open operations."""
    async with await settings.connect() as writ:
        views = await writ.open_operations()
    if settings.screen.json:
        settings.screen.data(views)
    elif not views:
        settings.screen.line("no operation is open")
    else:
        _table(settings.screen, views)
    return Exit.DONE


def _table(screen: Screen, views: list[OperationView]) -> None:
    now = time.time()
    rows = [
        (
            view.operation_id,
            view.operation,
            view.target,
            outcome(view.state),
            times.span(now - view.requested_at),
            view.waiting.text.removeprefix("waits for ") if view.waiting else "",
        )
        for view in views
    ]
    screen.table(
        ("operation", "what", "target", "state", "since", "waits for"),
        rows,
        drop=("since", ("what", "target")),
        spill=True,
    )


@op.command("watch")
@click.argument("operation", shell_complete=completion.open_operations)
@asking
async def watch(settings: Settings, operation: str) -> int:
    """Show past and coming events of an operation, to its outcome."""
    settings.screen.refuse_field()
    async with await settings.waiting().connect() as writ:
        identifier = await operation_of(writ, operation)
        began = False
        async for event in writ.events(identifier):
            if not (began or settings.screen.json or isinstance(event, Progress)):
                settings.screen.fields([("begins", times.date(event.at))])  # the lines below have the time of day alone
                began = True
            _show_event(settings.screen, event)
        view = await writ.wait(identifier)
    return of_outcome(view.outcome)


def _show_event(screen: Screen, event: Event) -> None:
    if screen.json:
        screen.item(event)
        return
    at = "" if isinstance(event, Progress) else times.clock(event.at)
    screen.line(f"{at:12}  {event.__struct_config__.tag or 'progress'!s:18} {event_text(event)}")


@op.command("cancel")
@click.argument("operation", shell_complete=completion.open_operations)
@click.option("--reason", "-r", default="", help="Why, for the record.")
@click.option("--timeout", metavar="SPAN", default="60s", show_default=True, help="Longest time to wait.")
@asking
async def cancel(settings: Settings, operation: str, reason: str, timeout: str) -> int:
    """Cancel an operation; exit status 7 if its stop is not confirmed."""
    patience = times.seconds(timeout)
    async with await settings.waiting().connect() as writ:
        view = await writ.cancel(await operation_of(writ, operation), reason=reason, timeout=patience)
    return show_view(settings.screen, view)

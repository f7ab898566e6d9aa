"""`writ audit security` and `writ audit reads`: events of the record that may belong to no operation."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

import click
import msgspec
from msgspec import structs

from writ_cli.arguments.options import asking_rows, listing, listing_once, principal_option
from writ_cli.context.settings import Settings
from writ_cli.operations.records.search_rows import csv_of
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_contracts.agents import SecurityKind
from writ_contracts.history.audit import SecurityFilter, TraceEvent, TraceReply
from writ_contracts.ids import PrincipalId
from writ_contracts.plural import plural

SECURITY_COLUMNS = ("sequence", "when", "kind", "who", "operation", "detail")
READ_COLUMNS = ("sequence", "who", "when", "parameters", "read")
Row = Callable[[TraceEvent], tuple[object, ...]]
SINCE = click.option("--since", metavar="WHEN", help="2h, 7d, or 2026-11-25T14:30.")
LIMIT = click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
BEFORE = click.option(
    "--before", type=click.IntRange(1), metavar="N", help="The next page: the sequence of the last row of this one."
)


@click.command()
@click.option("--kind", type=click.Choice(get_args(SecurityKind)), metavar="KIND", help="One kind, as in an alert.")
@principal_option("The principal that an event names.", "named", metavar="NAME")
@SINCE
@LIMIT
@BEFORE
@listing(asking_rows)
async def security(
    settings: Settings, kind: str | None, named: str | None, since: str | None, limit: int, before: int | None
) -> int:
    """List security events, newest first: forgeries, refusals of NATS, floods. Needs `audit_read`.

    docs/runbooks.md has the next step for each kind.
    """
    answer = await _found(settings, SecurityFilter(kind=kind, limit=limit, before=before), named, since)
    drop = (("when", "operation"), ("kind", "who"))
    if not _shown(settings.screen, answer, SECURITY_COLUMNS, _security_row):
        settings.screen.table(SECURITY_COLUMNS, map(_security_row, answer.events), drop=drop, spill=True)
        _say_more(settings.screen, answer)
    return Exit.DONE


@click.command()
@principal_option("The reader.", "named", metavar="NAME")
@SINCE
@LIMIT
@BEFORE
@listing_once(asking_rows)
async def reads(settings: Settings, named: str | None, since: str | None, limit: int, before: int | None) -> int:
    """List who read records of others, newest first. Needs `audit_read`.

    The same query of the same reader counts once a minute.
    """
    answer = await _found(settings, SecurityFilter(reads=True, limit=limit, before=before), named, since)
    if not _shown(settings.screen, answer, READ_COLUMNS, _read_row):
        rows = map(_read_row, answer.events)
        settings.screen.table(READ_COLUMNS, rows, drop=("parameters", ("who", "when")), spill=True)
        _say_more(settings.screen, answer)
    return Exit.DONE


async def _found(settings: Settings, query: SecurityFilter, named: str | None, since: str | None) -> TraceReply:
    if named is not None:
        check_names("--principal", PrincipalId, [named])
    begin = None if since is None else times.instant(since, now=time.time())
    query = structs.replace(query, principal=named, since=begin)
    async with await settings.connect() as writ:
        answer = await writ.security_events(query)
    report_missing(answer.behind)
    return answer


def _shown(screen: Screen, answer: TraceReply, columns: Sequence[str], row: Row) -> bool:
    """Show the events to programs, or that there is none; return False where a table is left to show."""
    if screen.form == "csv":
        click.echo(csv_of(columns, map(row, answer.events)), nl=False)
    elif screen.form == "jsonl":
        for event in answer.events:
            screen.item(event)
    elif screen.json:
        screen.data(answer)
    elif not answer.events:
        screen.line("no such event is on record")
    else:
        return False
    return True


def _say_more(screen: Screen, answer: TraceReply) -> None:
    if answer.more:
        screen.line(f"older ones: --before {answer.events[-1].sequence}")


def _security_row(event: TraceEvent) -> tuple[object, ...]:
    body = event.body
    pool = f"pool {body['pool']}" if body.get("pool") else ""
    who = body.get("principal") or pool
    about = (who, body.get("operation_id") or "", body.get("detail", ""))
    return str(event.sequence), times.date(event.at), body.get("kind", ""), *about


def _read_row(event: TraceEvent) -> tuple[object, ...]:
    query = dict(event.body.get("query", {}))
    read = str(query.pop("query", ""))
    filters = " ".join(f"{name}={value}" for name, value in query.items())
    reader, searched = event.body.get("principal", ""), ", ".join(event.body.get("sought", []))
    return str(event.sequence), reader, times.date(event.at), searched, f"{read} {filters}".strip()


def report_missing(behind: int) -> None:
    if behind:
        text = f"audit is {plural(behind, 'event')} behind the journal: what they record is missing here"
        click.echo(f"writ: {text}", err=True)


def check_names(option: str, kind: Any, names: Iterable[str]) -> None:
    """Raises UsageError for what can be no name: a search takes no globs."""
    for name in names:
        try:
            msgspec.convert(name, kind)
        except msgspec.ValidationError:
            raise click.UsageError(
                f"{option} {name[:80]!r}: names have letters, digits, - and _, and no globs"
            ) from None

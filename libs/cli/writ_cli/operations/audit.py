"""`writ trace` and `writ audit search`: queries of the journal."""

import time
from pathlib import Path
from typing import get_args

import click
import msgspec
from rich.text import Text

from writ_cli import times
from writ_cli.exit_status import Exit
from writ_cli.operations import timeline
from writ_cli.operations.own import operation_id
from writ_cli.options import asking
from writ_cli.output import Screen, outcome
from writ_cli.settings import Settings
from writ_contracts.audit import SearchAnswer, SearchQuery, SearchRow, TraceAnswer
from writ_contracts.errors import Invalid
from writ_contracts.journal import Outcome


@click.command()
@click.argument("number", metavar="OPERATION_OR_CORRELATION_ID")
@click.option(
    "--archive",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Read it in this archive instead.",
)
@click.option(
    "--policy-key",
    "policy_keys",
    multiple=True,
    metavar="U…",
    help="Policy's public key, of now or before (else of the context, WRIT_POLICY_KEY, or public.yaml).",
)
@asking
async def trace(settings: Settings, number: str, archive: Path | None, policy_keys: tuple[str, ...]) -> int:
    """Show all events of an operation, or of all operations of a correlation id.

    Signatures are verified here, by policy's public key; what does not hold is marked, and the exit status is 1.
    """
    answer = await _query(settings, number) if archive is None else _archived(archive, number)
    keys = settings.policy_keys(*policy_keys)
    problems = timeline.wrong_signatures(answer.events, keys)
    if settings.screen.json:
        found = [{"sequence": sequence, "what": what} for sequence, what in problems.items()]
        settings.screen.data({**msgspec.to_builtins(answer), "verified": bool(keys), "problems": found})
    elif answer.events:
        timeline.show(settings.screen, answer, problems, verified=bool(keys))
    if not answer.events:
        raise Invalid(f"nothing is on record of {number}, or nothing that is yours to read", code="not_found")
    return Exit.FAILED if problems else Exit.DONE


def _archived(archive: Path, number: str) -> TraceAnswer:
    from writ_proof.archive import read  # noqa: PLC0415 - wanted once in a blue moon

    return read.trace(archive, number)


async def _query(settings: Settings, number: str) -> TraceAnswer:
    async with await settings.connect() as writ:
        try:
            answer = await writ.trace(operation_id=operation_id(number))
        except Invalid:
            answer = await writ.trace(correlation_id=number)
        else:
            if not answer.events:
                answer = await writ.trace(correlation_id=number)
    return answer


@click.group()
def audit() -> None:
    """Audit: searches in the journal."""


@audit.command("search")
@click.option("--principal", "asked_by", metavar="NAME", help="The requester.")
@click.option("--target", "-t", metavar="TARGET", help="What was acted on.")
@click.option("--operation", metavar="OP", help="Which operation.")
@click.option("--outcome", "ended", type=click.Choice(get_args(Outcome)), help="How it ended.")
@click.option("--correlation-id", metavar="ID", help="What it belonged to.")
@click.option("--since", metavar="WHEN", help="2h, 7d, or 2026-11-25T14:30.")
@click.option("--until", metavar="WHEN", help="Likewise.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--before", type=click.IntRange(1), metavar="N", help="Page on: the sequence of the last row seen.")
@asking
async def search(
    settings: Settings,
    asked_by: str | None,
    target: str | None,
    operation: str | None,
    ended: Outcome | None,
    correlation_id: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    before: int | None,
) -> int:
    """Search operations, newest first; other principals' where the policy allows `audit_read`."""
    now = time.time()
    query = SearchQuery(
        principal=asked_by,
        target=target,
        operation=operation,
        outcome=ended,
        correlation_id=correlation_id,
        since=None if since is None else times.instant(since, now=now),
        until=None if until is None else times.instant(until, now=now),
        limit=limit,
        before=before,
    )
    async with await settings.connect() as writ:
        answer = await writ.search(query)
    if settings.screen.json:
        settings.screen.data(answer)
    else:
        _show_rows(settings.screen, answer)
    return Exit.DONE


def _show_rows(screen: Screen, answer: SearchAnswer) -> None:
    if not answer.rows:
        screen.line("nothing on record fits")
    else:
        columns = ("when", "operation", "who", "what", "target", "outcome", "code", "security")
        screen.table(columns, map(_row, answer.rows))
        if reported := [row.operation_id for row in answer.rows if row.security_events]:
            screen.line(
                Text(f"security events about {len(reported)} of these: writ trace {reported[0]}", style="bold red")
            )
        if answer.more:
            screen.line(f"there are more: --before {answer.rows[-1].first_sequence}")


def _row(row: SearchRow) -> tuple[object, ...]:
    return (
        times.date(row.requested_at),
        row.operation_id,
        row.principal,
        row.operation,
        row.target,
        outcome(row.outcome or row.state),
        row.code,
        row.security_events or "",
    )

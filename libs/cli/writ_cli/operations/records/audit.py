"""`writ trace`, `writ audit search` and `writ audit redecide`: queries of the journal."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import msgspec
from msgspec import Struct

from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.correlation_option import checked_correlation
from writ_cli.arguments.options import INPUT_FILE, asking, asking_rows, listing, packed, principal_option, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.records import timeline
from writ_cli.operations.records.prefix_lookups import search_by_prefix, trace_by_prefix
from writ_cli.operations.records.record_events import check_names, reads, report_missing, security
from writ_cli.operations.records.search_advice import hidden_advice, unknown_name
from writ_cli.operations.records.search_rows import COLUMNS, chosen_columns, show_rows
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import visible
from writ_client.whole_ids import is_prefix
from writ_contracts.errors import Invalid
from writ_contracts.history.audit import SearchQuery, TraceReply
from writ_contracts.ids import WHOLE_ID, PrincipalId, TargetId
from writ_contracts.journal import Outcome

if TYPE_CHECKING:
    from writ_installation.administration.second_decisions import SecondDecisions


@click.command()
@click.argument(
    "number",
    metavar="OPERATION_OR_CORRELATION_ID",
    callback=checked_correlation,
    shell_complete=completion.recorded_operations,
)
@click.option(
    "--archive",
    type=INPUT_FILE,
    metavar="FILE",
    help="Read the record from this archive.",
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

    Signatures are verified here, by policy's public key; an invalid one is marked, and then the exit status is 1. An
    archive is refused unless policy's key sealed it.
    """
    keys = settings.policy_keys(*policy_keys)
    answer = await _query(settings, number) if archive is None else _archived(archive, number, keys)
    problems = timeline.wrong_signatures(answer.events, keys)
    if settings.screen.json:
        found = [{"sequence": sequence, "what": what} for sequence, what in problems.items()]
        settings.screen.data({**msgspec.to_builtins(answer), "verified": bool(keys), "problems": found})
    elif answer.events:
        timeline.show(settings.screen, answer, problems, verified=bool(keys))
    if not answer.events:
        raise Invalid(f"nothing is on record of {number}, or you may not read it", code="not_found")
    return Exit.FAILED if problems else Exit.DONE


def _archived(archive: Path, number: str, policy_keys: Collection[str]) -> TraceReply:
    from writ_proof.archive import read  # noqa: PLC0415 - seldom needed

    return read.trace(archive, number, policy_keys)


async def _query(settings: Settings, number: str) -> TraceReply:
    async with await settings.connect() as writ:
        if is_prefix(number) and len(number) == WHOLE_ID:
            answer = await writ.trace(operation_id=number)
            return answer if answer.events else await writ.trace(correlation_id=number)
        try:
            answer = await writ.trace(correlation_id=number)
        except Invalid as error:
            if error.code != "not_found":
                raise
            answer = TraceReply()
        return answer if answer.events else await trace_by_prefix(writ, number)


class SearchOptions(Struct, frozen=True, kw_only=True):
    """The filters of a search, as given on the command line."""

    asked_by: tuple[str, ...]
    target: tuple[str, ...]
    operation: tuple[str, ...]
    ended: tuple[Outcome, ...]
    words: tuple[str, ...]
    approver: tuple[str, ...]
    rule: tuple[str, ...]
    reason: str | None
    text: str | None
    correlation_id: str | None
    client: str | None
    session: str | None
    since: str | None
    until: str | None
    limit: int
    before: int | None

    def parameter_filters(self) -> dict[str, list[str]]:
        """Return the values of each parameter, any of which counts. Raises UsageError."""
        found: dict[str, list[str]] = {}
        for name, value in map(_term, self.words):
            found.setdefault(name, []).append(value)
        return found

    def query(self, now: float) -> SearchQuery:
        """Return the query. `now`: Unix seconds. Raises Invalid.

        Single values go in the fields that every audit service knows.
        """
        parameters = self.parameter_filters()
        since, until = (None if one is None else times.instant(one, now=now) for one in (self.since, self.until))
        if since is not None and until is not None and until < since:
            raise click.UsageError("--until is before --since: no operation can match")
        for option, kind, names in (
            ("--target", TargetId, self.target),
            ("--principal", PrincipalId, self.asked_by),
            ("--approver", PrincipalId, self.approver),
        ):
            check_names(option, kind, names)
        return SearchQuery(
            principals=list(self.asked_by),
            targets=list(self.target),
            operations=list(self.operation),
            outcomes=list(self.ended),
            parameters={name: values[0] for name, values in parameters.items() if len(values) == 1},
            parameter_values={name: values for name, values in parameters.items() if len(values) > 1},
            approvers=list(self.approver),
            rule=self.rule[0] if len(self.rule) == 1 else None,
            rules=list(self.rule) if len(self.rule) > 1 else [],
            reason=self.reason,
            text=self.text,
            correlation_id=self.correlation_id,
            client=self.client,
            session=self.session,
            since=since,
            until=until,
            limit=self.limit,
            before=self.before,
        )


@click.group(cls=CommandGroup)
def audit() -> None:
    """Search the record, list security events and reads of it, repeat decisions."""


@audit.command("search")
@principal_option("The requester.", "asked_by", metavar="NAME", multiple=True)
@target_option("The target.", multiple=True)
@click.option("--operation", multiple=True, metavar="OP", help="Which operation.", shell_complete=completion.operations)
@click.option(
    "--outcome",
    "ended",
    type=click.Choice(get_args(Outcome)),
    metavar="OUTCOME",
    multiple=True,
    help=f"The outcome: {', '.join(get_args(Outcome))}.",
)
@click.option(
    "--param",
    "-p",
    "words",
    metavar="KEY=VALUE",
    multiple=True,
    help="The value of a parameter, also where the journal does not have it. Secret ones cannot be searched.",
    shell_complete=completion.parameter_filters,
)
@click.option(
    "--approver",
    metavar="NAME",
    multiple=True,
    help="Who approved or rejected it.",
    shell_complete=completion.principals,
)
@click.option(
    "--rule", multiple=True, metavar="RULE", help="A rule that decided.", shell_complete=completed_names.rules
)
@click.option("--reason", metavar="TEXT", help="A part of the request's reason.")
@click.option("--text", metavar="TEXT", help="A part of reason, message, code or parameters.")
@click.option(
    "--correlation-id",
    metavar="ID",
    callback=checked_correlation,
    help="The correlation id.",
    shell_complete=completion.runs,
)
@click.option("--client", metavar="NAME", help="The name that the requesting program gave itself.")
@click.option("--session", metavar="ID", help="One run of that program, or the token that it used.")
@click.option("--since", metavar="WHEN", help="2h, 7d, or 2026-11-25T14:30.")
@click.option("--until", metavar="WHEN", help="Likewise.")
@click.option(
    "--columns",
    metavar="A,B,…",
    help=f"Of {', '.join(COLUMNS)}.",
    shell_complete=completed_names.comma_list(COLUMNS),
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option(
    "--before", type=click.IntRange(1), metavar="N", help="The next page: the sequence of the last row of this one."
)
@listing(asking_rows)
@packed(SearchOptions, "filters")
async def search(settings: Settings, filters: SearchOptions, columns: str | None) -> int:
    """Search operations, newest first; other principals' where the policy allows `audit_read`.

    A repeated filter matches any of its values; a repeated --param any value of one parameter. Who restarted nginx in
    the last hour:
    `writ audit search --operation service_restart -p service_name=nginx --since 1h`.
    """
    query, chosen = filters.query(now=time.time()), chosen_columns(columns)
    async with await settings.connect() as writ:
        answer = await search_by_prefix(writ, query)
    for one in answer.unknown:
        click.echo(visible(f"writ: {unknown_name(one)}"), err=True)
    for advice in hidden_advice(answer, filters.parameter_filters()):
        click.echo(visible(f"writ: {advice}"), err=True)
    report_missing(answer.behind)
    show_rows(settings.screen, answer, chosen)
    return Exit.DONE


audit.add_command(security)
audit.add_command(reads)


@audit.command("redecide")
@click.option("--after", type=click.IntRange(0), default=0, metavar="N", help="Events after this sequence.")
@click.option("--until", type=click.IntRange(1), metavar="N", help="Events up to this sequence.")
@click.option("--since", metavar="WHEN", help="2h, 7d, or 2026-11-25T14:30.")
@asking
async def redecide(settings: Settings, after: int, until: int | None, since: str | None) -> int:
    """Repeat recorded decisions, by the policy, files and control events of their time.

    Works in $WRIT_HOME, with audit's key. Exit status 1 if the policy does not give one of the decisions.
    """
    from writ_installation.administration import second_decisions  # noqa: PLC0415 - the engine of rules is large

    begin = None if since is None else times.instant(since, now=time.time())
    found = await second_decisions.redecide(settings.home, settings.where().url, after=after, until=until, since=begin)
    if settings.screen.json:
        settings.screen.data(found)
    else:
        _show_decided(settings, found)
    return Exit.FAILED if found.differs else Exit.DONE


def _show_decided(settings: Settings, found: "SecondDecisions") -> None:
    screen = settings.screen
    for one in found.decisions:
        screen.line(f"event {one.sequence}, operation {one.operation_id} of {one.principal}: {one.text}")
    for why, count in found.open.items():
        screen.line(f"open, {count}: {why}")
    total = (
        "every decision that could be made a second time had the same result" if not found.differs else "SOME DIFFER"
    )
    screen.line(f"events {found.first} to {found.last}: {total} ({found.same} same, {found.differs} different)")


def _term(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--param {word}: write KEY=VALUE")
    return name, value

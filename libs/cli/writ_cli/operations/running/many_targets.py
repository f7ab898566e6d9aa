"""`writ run` on many targets: each result as it comes, and one recap. Programs get JSON lines."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from msgspec import structs
from rich.text import Text

from writ_cli.context.settings import Settings
from writ_cli.operations.running.operation_check import refuse_unknown
from writ_cli.operations.running.run_diff import CHANGES
from writ_cli.operations.running.silence_lines import FOR_APPROVAL, SilenceLines
from writ_cli.operations.running.target_choice import TargetChoice, offered
from writ_cli.terminal import times
from writ_cli.terminal.diff_text import show_diff
from writ_cli.terminal.exit_status import Exit, of_error, of_outcome
from writ_cli.terminal.output import Screen, outcome, visible
from writ_cli.terminal.quoted_values import quoted
from writ_client.client import Writ
from writ_client.operations.operation_events import Event
from writ_client.operations.target_runs import (
    ERROR,
    OK,
    PENDING,
    SKIPPED,
    EachRequest,
    ManyTargets,
    RunRecap,
    TargetResult,
    key_of,
)
from writ_contracts.agents import Progress
from writ_contracts.errors import Invalid
from writ_contracts.failures import error_of
from writ_contracts.history.audit import SearchQuery
from writ_contracts.ids import operation_id
from writ_contracts.plural import plural
from writ_contracts.requests import Failure, RequestReply
from writ_runtime.signals import cancelled_by_signals

PAGE = 1000
PREVIEW_LINES, PREVIEW_WIDTH = 20, 200
"""Lines or items, and characters of each, of the preview of one of many targets."""
NOT_AGAIN = OK | {PENDING, "unknown"}
"""Outcomes of targets that a retry leaves out: they are well, or may still run."""
_STATUS = {PENDING: Exit.PENDING, SKIPPED: Exit.FAILED}


async def run_many(settings: Settings, each: EachRequest, choice: TargetChoice) -> int:
    """Choose the targets, run on all of them, and show the recap; its status."""
    settings.screen.refuse_field()
    async with await settings.waiting().connect() as writ:
        await refuse_unknown(writ, each.operation)
        if choice.retry is not None:
            run = await _whole(writ, choice.retry)
            again = run if each.correlation_id == choice.retry else each.correlation_id
            each, choice = structs.replace(each, correlation_id=again), structs.replace(choice, retry=run)
        targets = await _chosen(writ, each, choice)
        choice.confirm(each.operation, targets)
        shown = RunResults(settings.screen, choice, len(targets))
        many = ManyTargets(
            writ,
            each,
            targets,
            serial=choice.batch(len(targets)),
            max_failures=choice.max_failures,
            on_result=shown.add,
            on_accepted=shown.accepted,
            on_event=shown.event,
            outputs=settings.screen.json or each.dry_run,  # nothing else shows them
            keeps_outputs=False,  # each is shown as it comes; those of thousands of hosts would fill the memory
        )
        with shown, cancelled_by_signals():
            try:
                await many.run()
            except asyncio.CancelledError:
                shown.interrupted = True
        shown.recap(many.recap)
    return Exit.PENDING if shown.interrupted else status_of(many.recap, wait=each.wait)


async def _whole(writ: Writ, run: str) -> str:
    """Return the id of the run that begins so; an unknown one as it is. Raises Invalid where several begin so."""
    if (await writ.search(SearchQuery(principal=writ.principal, correlation_id=run, limit=1))).rows:
        return run
    try:
        return await writ.find_correlation(run)
    except Invalid as error:
        if error.code != "not_found":
            raise
        return run


async def _chosen(writ: Writ, each: EachRequest, choice: TargetChoice) -> list[str]:
    known = offered(await writ.targets())
    if choice.retry is None:
        return choice.selector.of(known)
    before, recorded = await _outcomes(writ, each, choice.retry)
    unselected = not (choice.targets or choice.roles or choice.tags or choice.everything)
    among = sorted(before) if unselected else choice.selector.of(known)
    left = [target for target in among if _again(before.get(target, SKIPPED), choice)]
    if not left:
        raise Invalid(f"no target of run {choice.retry} needs to be tried again", code="not_found")
    if any(operation_id(writ.principal, key_of(each.key, target)) in recorded for target in left):
        raise Invalid("--idempotency-key names operations of this run, which have ended: leave it out, or give another")
    return left


def _again(before: str | None, choice: TargetChoice) -> bool:
    """Return true if the target is to be tried again. An unknown one may have run, so it needs an explicit request."""
    if choice.only:
        # A target without a record was skipped, or its request was an error.
        return (before or PENDING) in choice.only or (before == SKIPPED and "error" in choice.only)
    return (before or PENDING) not in NOT_AGAIN


async def _outcomes(writ: Writ, each: EachRequest, run: str) -> tuple[dict[str, str | None], set[str]]:
    """Return the latest outcome on each target of a run, None while it goes on, and the ids of its operations.

    A preview changed nothing, so it counts for another dry run alone. Raises Invalid (`not_found`).
    """
    query = SearchQuery(principal=writ.principal, operation=each.operation, correlation_id=run, limit=PAGE)
    found: dict[str, str | None] = {}
    recorded, previews = set[str](), 0
    while True:
        answer = await writ.search(query)
        recorded |= {row.operation_id for row in answer.rows}
        for row in answer.rows:
            if row.outcome == "previewed" and not each.dry_run:
                previews += 1
            else:
                found.setdefault(row.target, row.outcome)
        if not answer.more:
            break
        query = structs.replace(query, before=answer.rows[-1].first_sequence)
    if not found:
        why = "was a dry run: leave out --retry" if previews else f"has no {each.operation} of yours"
        raise Invalid(f"run {run} {why}", code="not_found")
    return found, recorded


def status_of(recap: RunRecap, *, wait: bool = True) -> Exit:
    """Return the exit status: 0 where all are well; the status of those that are not, if it is one; 7 if one is
    unknown; else 1. Without `wait` an accepted one is well.
    """
    bad = [one for one in recap.results if one.outcome not in (OK if wait else OK | {PENDING})]
    if any(one.outcome == PENDING for one in bad):
        bad = [one for one in bad if one.outcome != SKIPPED]  # they were not begun because it goes on
    statuses = {_status(one) for one in bad}
    if Exit.UNKNOWN in statuses:
        return Exit.UNKNOWN
    return statuses.pop() if len(statuses) == 1 else Exit.FAILED if statuses else Exit.DONE


def _status(result: TargetResult) -> Exit:
    """Return the exit status of one target. A request that left no record has that of its error, as one of `run -t`."""
    if result.outcome == ERROR:
        return of_error(error_of(Failure(code=result.code, message=result.message)))
    return _STATUS.get(result.outcome) or of_outcome(result.outcome)


def show_preview(screen: Screen, result: TargetResult) -> None:
    """Show what would change on one of many targets, in the first `PREVIEW_LINES` items, and lines of a diff."""
    changes = {name: result.output[name] for name in CHANGES if name in result.output}
    shown = {name: _brief(value) for name, value in changes.items()}
    screen.fields(((name, quoted(value)) for name, value in shown.items()), indent=4)
    lines = str(result.output.get("diff", "")).splitlines()
    first = [_cut(line) for line in lines[:PREVIEW_LINES]]
    if "diff" in result.output:
        show_diff(screen, "\n".join(first))
    left = len(lines) - PREVIEW_LINES
    if left > 0 or shown != changes or first != lines:
        what = plural(left, "more line") if left > 0 else "the whole"
        screen.line(f"    {what}: writ op show {result.operation_id}")


def _brief(value: Any) -> Any:
    """Return the first items of a value, and the beginnings of its texts."""
    if isinstance(value, list):
        return [_brief(item) for item in value[:PREVIEW_LINES]]
    if isinstance(value, dict):
        return {name: _brief(item) for name, item in list(value.items())[:PREVIEW_LINES]}
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text if len(text) <= PREVIEW_WIDTH else f"{text[:PREVIEW_WIDTH]}…"


class RunResults:
    """Shows a line for each target when it ends, on a terminal also the progress, and the recap."""

    def __init__(self, screen: Screen, choice: TargetChoice, count: int) -> None:
        self._screen = screen
        self._choice = choice
        self._count = count
        self._ended: set[str] = set()
        self._bad = self._pending = 0
        self._waits: dict[str, str] = {}
        self._approvals = 0
        self._silence = SilenceLines(screen)
        self.interrupted = False
        self._status = screen.err.status(self.progress(), spinner="dots") if screen.live else None

    def __enter__(self) -> "RunResults":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def progress(self) -> Text:
        """Return the line about all targets."""
        pending = f", {self._pending} pending" if self._pending else ""
        bad = f"{self._bad} without success"
        return Text(visible(f"{len(self._ended)} of {self._count} targets, {bad}{pending}{self._waiting()}"))

    def _waiting(self) -> str:
        if not self._waits:
            return ""
        latest = next(reversed(self._waits.values()))
        if len(self._waits) == 1:
            return f"; one {latest}"
        return f"; {len(self._waits)} wait, one {latest.removeprefix('waits ')}"

    def _update(self) -> None:
        if self._status is not None:
            self._status.update(self.progress())

    def accepted(self, target: str, answer: RequestReply) -> None:
        """Report a wait for approvers on standard error, also without a terminal: somebody has to inform them."""
        if answer.state != "awaiting_approval" or answer.verdict is None or self._screen.json:
            return
        click.echo(visible(f"writ: {target} waits for an approval: {answer.verdict.reason}"), err=True)
        if not self._approvals:
            click.echo("writ: approvers use `writ approvals list`", err=True)
        self._approvals += 1

    def event(self, event: Event) -> None:
        """Show what operations wait for, until their next event. `accepted` has shown who can approve."""
        self._waits.pop(event.operation_id, None)
        if isinstance(event, Progress) and event.message.startswith("waits for "):
            of_approval = event.message.startswith(FOR_APPROVAL)
            self._waits[event.operation_id] = FOR_APPROVAL if of_approval else visible(event.message)
        self._silence.show(event)
        self._update()

    def add(self, result: TargetResult) -> None:
        """Add the result of a target that has ended, or that is not waited for."""
        self._ended.add(result.target)
        self._waits.pop(result.operation_id, None)
        self._bad += not result.ok and result.outcome != PENDING
        self._pending += result.outcome == PENDING
        if self._choice.shows(result.outcome, ok=result.ok):
            self._show(result)
        self._update()

    def _show(self, result: TargetResult) -> None:
        if self._screen.json:
            self._screen.item(result)
            return
        took = f" in {times.span(result.seconds)}" if result.seconds else ""
        why = "" if result.ok else f"  {result.code}: {result.message}" if result.code else f"  {result.message}"
        with self._progress_removed():
            self._screen.line(f"{result.target}  ", outcome(result.outcome), took, why)
            if result.outcome == "previewed":
                show_preview(self._screen, result)

    @contextmanager
    def _progress_removed(self) -> Iterator[None]:
        """Remove the line of the progress meanwhile: it stands in the terminal to which standard output goes, too."""
        if self._status is None:
            yield
            return
        self._status.stop()
        yield
        self._status.start()

    def recap(self, recap: RunRecap) -> None:
        """Show the totals, and the targets that go on or were not begun."""
        if self._screen.json:
            for result in recap.results:
                if result.target not in self._ended and self._choice.shows(result.outcome, ok=False):
                    self._screen.item(result)
            self._screen.item({"run": recap.correlation_id, "targets": self._count, "counts": recap.counts})
            return
        counts = ", ".join(f"{count} {word}" for word, count in recap.counts.items())
        self._screen.line(
            Text(f"{plural(self._count, 'target')}: ", style="bold"), counts, f"  (run {recap.correlation_id})"
        )
        self._by_outcome(recap.results)
        if not all(one.ok for one in recap.results):
            run = recap.correlation_id
            again = any(one.outcome not in NOT_AGAIN for one in recap.results)
            hint = f"; again: the same with --retry {run}" if again else ""
            self._screen.line(f"the record: writ audit search --correlation-id {run}{hint}")
        if self.interrupted or recap.counts.keys() >= {PENDING, SKIPPED}:
            self._say_what_goes_on(recap)

    def _by_outcome(self, results: Sequence[TargetResult]) -> None:
        by_outcome: dict[str, list[str]] = {}
        for one in results:
            if not one.ok and self._choice.shows(one.outcome, ok=False):
                by_outcome.setdefault(one.outcome, []).append(one.target)
        self._screen.fields((word, ", ".join(names)) for word, names in by_outcome.items())

    def _say_what_goes_on(self, recap: RunRecap) -> None:
        counts = recap.counts
        going, left = counts.get(PENDING, 0), counts.get(SKIPPED, 0)
        untouched = f"; nothing was started on {plural(left, 'target')}" if left else ""
        click.echo(f"writ: still running: {plural(going, 'operation')} (`writ op list`){untouched}", err=True)

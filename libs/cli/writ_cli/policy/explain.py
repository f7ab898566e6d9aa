"""`writ policy explain`: one decision, with every considered rule and the change that would make it pass."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import click
from msgspec import Struct
from rich.text import Text

from writ_cli.arguments import completion
from writ_cli.arguments.options import asking, packed, principal_option, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.running.requests import parameters_of, target_of
from writ_cli.policy.decision_text import decision, instant_option
from writ_cli.policy.files import PolicyFiles, answering, offline, whole_ids
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import of_decision
from writ_cli.terminal.output import Screen
from writ_client.whole_ids import is_prefix, operation_of
from writ_contracts.decisions import TraceEntry
from writ_contracts.errors import Invalid
from writ_contracts.policy.questions import ApprovalDemand, Explanation
from writ_rules.engine.matching.judge import INHERITED, RESTRICTS
from writ_runtime.plugins.entry_points import load_catalogue

LEAST_ID = 4
"""Letters of an id that stands in place of an operation."""


class Assumptions(Struct, frozen=True, kw_only=True):
    """The options that say under which circumstances the request is decided."""

    moment: str | None
    dry_run: bool
    emergency: bool | None
    approved_by: tuple[str, ...]


@click.command()
@click.argument("operation", shell_complete=completion.operations)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.parameters)
@target_option("The target; Writ itself for control operations.")
@principal_option("The requester; by default you.", "who")
@click.option(
    "--at", "moment", metavar="WHEN", help="The time: 2026-11-25T14:30, or 2h for two hours ago; by default now."
)
@click.option("--dry-run", is_flag=True, help="Decide it as a dry run.")
@click.option(
    "--emergency/--no-emergency", default=None, help="Assume an emergency, or none; by default the present state."
)
@click.option(
    "--approved-by",
    multiple=True,
    metavar="PRINCIPAL",
    help="Assume these approvals, in order.",
    shell_complete=completion.principals,
)
@offline
@asking
@packed(Assumptions, "assumed")
async def explain(
    settings: Settings,
    operation: str,
    words: tuple[str, ...],
    target: str | None,
    who: str | None,
    assumed: Assumptions,
    files: PolicyFiles | None,
) -> int:
    """Explain the decision on a request, or on a recorded one by its id in place of OPERATION.

    A recorded request is decided as if it came at its time, by the policy in force now, with the parameters on record.
    KEY=VALUE gives those that are not. If its target was renamed since, --target gives the present name.

    Shows the deciding rules, each other rule with its first failed clause (expected and actual), the nearest rule,
    possible approvers, the opening of a window or the end of a deny, and the decision in an emergency. Nothing is
    recorded or done. Requests of others need the right to read the policy (`audit_read`). Exit status 3: denied; 4:
    with an approval.
    """
    if not _is_id(operation):
        parameters = await whole_ids(settings, files, operation, parameters_of(operation, words))
        one = ExplainedRequest(operation, target_of(operation, target, words), parameters, who, None, False)
    elif who:
        raise click.UsageError("the record of an operation has its principal: leave it out")
    else:
        one = await _recorded(settings, operation, target, words)
    async with answering(settings, files) as source, _record_explained(one):
        found = await source.explain(
            one.operation,
            one.target,
            one.parameters,
            principal=one.principal,
            at=one.at if assumed.moment is None else instant_option(assumed.moment),
            dry_run=assumed.dry_run or one.dry_run,
            emergency=assumed.emergency,
            approvals=assumed.approved_by,
        )
    if settings.screen.json:
        settings.screen.data(found)
    else:
        _show(settings.screen, found)
    return of_decision(found.decision)


class ExplainedRequest(Struct, frozen=True):
    """The request whose decision is explained. `at`: Unix seconds, None for now. `absent`: parameters of a recorded
    request whose values the record does not have.
    """

    operation: str
    target: str
    parameters: dict[str, Any]
    principal: str | None
    at: float | None
    dry_run: bool
    target_recorded: bool = False
    absent: tuple[str, ...] = ()


@asynccontextmanager
async def _record_explained(one: ExplainedRequest) -> AsyncIterator[None]:
    """Say what the record does not have, or of an unknown target that it has it, and how to give the present one."""
    try:
        yield
    except Invalid as error:
        if error.code == "invalid_parameters" and one.absent:
            given = " ".join(f"{name}=VALUE" for name in one.absent)
            text = f"{error}; the record does not have {', '.join(one.absent)}: add {given}"
            raise Invalid(text, code=error.code) from error
        if error.code != "unknown_target" or not one.target_recorded:
            raise
        raise Invalid(
            f"the record has target {one.target!r}, which is not in the inventory now: it was renamed or removed. "
            "Give its present name by --target",
            code=error.code,
        ) from error


def _is_id(text: str) -> bool:
    return len(text) >= LEAST_ID and is_prefix(text) and text not in load_catalogue()


async def _recorded(settings: Settings, text: str, target: str | None, words: tuple[str, ...] = ()) -> ExplainedRequest:
    """Return the recorded request of an operation, on another target where one is named, with the values that `words`
    give of parameters which the record does not have. Raises Invalid.
    """
    async with await settings.connect() as writ:
        operation_id = await operation_of(writ, text)
        answer = await writ.trace(operation_id=operation_id)
    first = next((event.body for event in answer.events if event.kind in ("requested", "refused")), None)
    if first is None:
        raise Invalid(f"the record has no request of {operation_id} that may be read", code="not_found")
    sent, hidden = first.get("parameters") or {}, first.get("hidden") or []
    given = parameters_of(first["operation"], words)
    for name in given:
        if name not in hidden:
            raise click.UsageError(f"the record has {name}: leave it out" if name in sent else f"it had no {name}")
    known = {**(first.get("effective") or {}), **given}
    parameters = {**sent, **{name: known[name] for name in hidden if name in known}}
    return ExplainedRequest(
        first["operation"],
        target or first["target"],
        parameters,
        first["principal"],
        first["at"],
        bool(first.get("dry_run")),
        target_recorded=target is None,
        absent=tuple(name for name in hidden if name not in known),
    )


def _show(screen: Screen, found: Explanation) -> None:
    at = times.date(found.at)
    dry = " (dry run)" if found.dry_run else ""
    screen.line(decision(found.decision), f"  {found.operation} on {found.target} by {found.principal} at {at}{dry}")
    screen.fields(
        [
            ("because", found.reason),
            ("rules", ", ".join(found.rules)),
            ("code", found.code),
            ("policy", found.policy),
            ("parameters", found.parameters),
            ("not shown", ", ".join(found.hidden)),
            ("ends after", None if found.timeout is None else times.span(found.timeout)),
            ("at most", "; ".join(f"{limit.most} by {limit.kind} of '{limit.rule}'" for limit in found.limits)),
            ("turns on", ", ".join(found.needs)),
            ("emergency", found.emergency),
            ("denied until", None if found.ends_at is None else times.date(found.ends_at)),
            ("in an emergency", _in_emergency(found)),
        ]
    )
    for demand in found.approvals:
        screen.fields([("approval", line) for line in _approval(demand)])
    if found.trace:
        screen.line()
        screen.table(("rule", "effect", "matches", "why"), map(_step, found.trace))
    if found.trace_omitted:
        screen.line(f"and {found.trace_omitted} more rules that were considered")


def _in_emergency(found: Explanation) -> str | None:
    """Return the decision that an emergency would make; nothing where it would be the same."""
    then = found.in_emergency
    if then is None or (then.decision, then.rules) == (found.decision, found.rules):
        return None if then is None else "the same"
    return f"{decision(then.decision)}: {then.reason}"


def _approval(demand: ApprovalDemand) -> Iterator[str]:
    minutes = times.span(demand.seconds)
    for number, step in enumerate(demand.steps, 1):
        order = f"step {number}: " if len(demand.steps) > 1 else ""
        able = ", ".join(step.able) if step.able else "nobody"
        roles = " or ".join(step.approvers)
        yield f"{order}{step.quorum} of role {roles} within {minutes}, for '{demand.rule}'; could approve: {able}"


def _step(entry: TraceEntry) -> tuple[object, ...]:
    matched = Text("yes", style="bold") if entry.matched else Text("no")
    effect = "restricts" if entry.section == INHERITED and entry.effect != "deny" else entry.effect
    return entry.rule, effect, matched, "; ".join(_remarks(entry))


def _remarks(entry: TraceEntry) -> Iterator[str]:
    """Yield the first clause that fails with both values, and the notes of the trace."""
    if entry.clause:
        state = " cannot be judged:" if entry.erred else ": got"
        yield f"{entry.clause}{state} {entry.got}, expected {entry.expected}"
    if entry.note and not entry.note.startswith(RESTRICTS):
        yield entry.note

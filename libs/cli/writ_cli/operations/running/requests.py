"""`writ run`: request an operation."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import click
from msgspec import Struct, structs, to_builtins

from writ_cli.arguments import completion
from writ_cli.arguments.correlation_option import checked_correlation
from writ_cli.arguments.options import asking, packed
from writ_cli.arguments.suggestions import suggestion
from writ_cli.arguments.usual_names import usual_operation
from writ_cli.context.settings import Settings
from writ_cli.operations.catalogue import parameter_words
from writ_cli.operations.running.file_roots import roots_advice
from writ_cli.operations.running.many_targets import run_many
from writ_cli.operations.running.operation_check import (
    refuse_misspelt_target,
    refuse_unknown,
    refuse_wrong_parameters,
)
from writ_cli.operations.running.output_labels import recorded_label
from writ_cli.operations.running.progress_line import ProgressLine
from writ_cli.operations.running.run_diff import RunPreview, preview_of, problem_of, show_run_diff
from writ_cli.operations.running.target_choice import TargetChoice, choosing
from writ_cli.terminal import times
from writ_cli.terminal.diff_text import show_diff
from writ_cli.terminal.error_output import OperationGoesOn
from writ_cli.terminal.exit_status import Exit, of_outcome
from writ_cli.terminal.output import Screen, outcome, visible
from writ_cli.terminal.quoted_values import is_texts, quoted
from writ_client.client import Writ
from writ_client.operations import request_signing
from writ_client.operations.operation_wait import RecordedRequest
from writ_client.operations.target_runs import EachRequest, each_request
from writ_client.operations.time_left import TimeLeft, before_the_request
from writ_client.whole_ids import beginnings, with_whole_ids
from writ_contracts import errors
from writ_contracts.ids import WRIT_TARGET, operation_id
from writ_contracts.requests import OperationView, RequestReply, Verdict
from writ_runtime.plugins.entry_points import load_catalogue
from writ_runtime.signals import cancelled_by_signals


class RunArguments(Struct, frozen=True, kw_only=True):
    """The parsed command line of `writ run`."""

    operation: str
    target: str
    parameters: dict[str, Any]
    key: str
    reason: str
    dry_run: bool
    correlation_id: str | None
    sign: bool


class RunCommandOptions(Struct, frozen=True, kw_only=True):
    """The options of `writ run`, besides those that choose its targets."""

    dry_run: bool
    diff: bool
    reason: str
    no_wait: bool
    timeout: str | None
    idempotency_key: str | None
    correlation_id: str | None
    unsigned: bool

    def refuse_contradictions(self, choice: TargetChoice) -> None:
        """Raises UsageError for options that exclude each other."""
        if self.idempotency_key == "":  # an unset variable of a script; with a new key each repeat would do it again
            raise click.UsageError("--idempotency-key is empty: give a key, or leave the option out")
        if self.no_wait and self.timeout is not None:
            raise click.UsageError("--timeout has no effect with --no-wait: leave one of them out")
        if self.no_wait and choice.serial is not None:
            raise click.UsageError("--serial waits for each outcome: leave out --no-wait")
        if self.diff and (self.no_wait or choice.many):
            raise click.UsageError(
                "--diff waits for the outcome on one target: leave out --no-wait and further targets; "
                "--dry-run shows the diff of each"
            )


def parameters_of(operation: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Parse the parameters by the operation's schema; an operation that only the server knows gets text. Raises
    Invalid: for words that cannot be parsed after a misspelt operation, also with the operation that is meant.
    """
    definition = load_catalogue().get(operation)
    try:
        return parameter_words.parse(words, definition.parameters if definition else None)
    except errors.Invalid as error:
        if not (hint := _operation_hint(operation)):
            raise
        raise errors.Invalid(f"{hint} Also, {error}", code=error.code) from error


def _operation_hint(operation: str) -> str:
    """Return which operation is meant by one that the catalogue here lacks; "" without a similar one."""
    catalogue = load_catalogue()
    hint = "" if operation in catalogue else usual_operation(operation, catalogue)
    return f"operation {operation!r} is not known here{hint}" if hint else ""


def target_of(operation: str, target: str | None, words: Sequence[str]) -> str:
    """Return the target; control operations have only one. Raises UsageError, with what the words mean."""
    definition = load_catalogue().get(operation)
    if target is None and definition is not None and definition.control:
        return WRIT_TARGET
    if target is None:
        if hint := _operation_hint(operation):
            raise click.UsageError(f"{hint} Also, --target TARGET is missing")
        names = {"target", "host"}.difference(definition.parameters.__struct_fields__ if definition else ())
        raise click.UsageError(f"--target TARGET is missing: {_target_hint(words, names)}")
    return target


def _target_hint(words: Sequence[str], names: Collection[str]) -> str:
    """Return how to name the target: by the word that begins with one of the names, or that is no parameter."""
    if named := next((one for one in words if "=" in one and one.partition("=")[0] in names), ""):
        return f"write `-t {named.partition('=')[2]}` in place of {named}"
    bare = next((f"`-t {one}` if {one} is the target; " for one in words if "=" not in one), "")
    return f"{bare}`writ target list` lists them"


def refuse_control(operation: str) -> None:
    """Raises UsageError for an operation on Writ itself."""
    definition = load_catalogue().get(operation)
    if definition is not None and definition.control:
        raise click.UsageError(f"{operation} acts on Writ itself, not on targets")


@click.command()
@click.argument("operation", shell_complete=completion.operations)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.parameters)
@choosing
@click.option(
    "--dry-run", "--preview", "dry_run", is_flag=True, help="Show the effect that it would have, and do nothing."
)
@click.option("--diff", is_flag=True, help="Show the change of a file or of packages, by a preview just before.")
@click.option("--reason", "-r", default="", help="Why, for the record.")
@click.option("--no-wait", is_flag=True, help="Return once it is decided and recorded.")
@click.option("--timeout", metavar="SPAN", help="Longest time for the request and its outcome (90s, 15m).")
@click.option("--idempotency-key", metavar="KEY", help="A request with the same key is the same operation.")
@click.option(
    "--correlation-id", metavar="ID", callback=checked_correlation, help="An id that groups operations in the record."
)
@click.option("--unsigned", is_flag=True, help="Do not sign the request: only the NATS server identifies its sender.")
@asking
@packed(RunCommandOptions, "options")
async def run(
    settings: Settings, operation: str, words: tuple[str, ...], choice: TargetChoice, options: RunCommandOptions
) -> int:
    """Request an operation and wait for its outcome, on one target or on many.

    Several values of --target, --role or --tag are "or"; different options are "and". Each target has an operation and
    a decision of its own.

    \b
    key=value     text, number, yes/no, or a list (a,b,c; the key may be repeated)
    key=@FILE     the content of a file (encoding=base64 for bytes)
    key=-         the content of standard input
    key:=JSON     any value
    """
    options.refuse_contradictions(choice)
    patience = None if options.timeout is None else times.seconds(options.timeout)
    arguments = RunArguments(
        operation=operation,
        target="" if choice.many else target_of(operation, choice.single, words),
        parameters=parameters_of(operation, words),
        key=request_signing.new_key() if options.idempotency_key is None else options.idempotency_key,
        reason=options.reason,
        dry_run=options.dry_run,
        correlation_id=options.correlation_id or choice.retry,
        sign=not options.unsigned,
    )
    definition = load_catalogue().get(operation)
    if not beginnings(definition, arguments.parameters):  # else with the whole ids, which Writ knows
        refuse_wrong_parameters(operation, arguments.parameters)
    if choice.many:
        return await run_many(settings, _for_each(arguments, patience, wait=not options.no_wait), choice)
    within = TimeLeft(patience)
    async with await settings.waiting().connect() as writ:
        async with before_the_request(within):
            await refuse_unknown(writ, operation)
            await refuse_misspelt_target(settings, writ, arguments.target)
            arguments = await _with_whole_ids(writ, arguments)
        before = await _preview(writ, arguments, within) if options.diff and not options.dry_run else None
        if options.no_wait:
            return _show_answer(settings.screen, await _submit(writ, arguments, within))
        return await _wait(settings, writ, arguments, within, before)


async def _with_whole_ids(writ: Writ, arguments: RunArguments) -> RunArguments:
    definition = load_catalogue().get(arguments.operation)
    if not beginnings(definition, arguments.parameters):
        return arguments
    whole = await with_whole_ids(writ, definition, arguments.parameters, arguments.key)
    refuse_wrong_parameters(arguments.operation, whole)
    return structs.replace(arguments, parameters=whole)


async def _preview(writ: Writ, arguments: RunArguments, within: TimeLeft) -> RunPreview:
    try:
        return await preview_of(writ, arguments.operation, arguments.target, arguments.parameters, within)
    except errors.TimedOut as error:
        raise errors.TimedOut(f"{error}; that was the preview: nothing was changed", code=error.code) from error


def _for_each(arguments: RunArguments, patience: float | None, *, wait: bool) -> EachRequest:
    refuse_control(arguments.operation)
    return each_request(
        arguments.operation,
        arguments.parameters,
        reason=arguments.reason,
        dry_run=arguments.dry_run,
        key=arguments.key,
        correlation_id=arguments.correlation_id,
        sign=arguments.sign,
        timeout=patience,
        wait=wait,
    )


async def _submit(writ: Writ, arguments: RunArguments, within: TimeLeft) -> RequestReply:
    try:
        return await writ.submit(
            arguments.operation,
            arguments.target,
            arguments.parameters,
            reason=arguments.reason,
            dry_run=arguments.dry_run,
            idempotency_key=arguments.key,
            correlation_id=arguments.correlation_id,
            sign=arguments.sign,
            timeout=within.for_submission,
        )
    except errors.TimedOut as error:
        raise errors.TimedOut(
            f"{error}; it may have been accepted: repeat it with `--idempotency-key {arguments.key}`, which is safe"
        ) from error


async def _wait(
    settings: Settings, writ: Writ, arguments: RunArguments, within: TimeLeft, before: RunPreview | None = None
) -> int:
    number, screen = operation_id(writ.principal, arguments.key), settings.screen
    try:
        with ProgressLine(screen) as live, cancelled_by_signals():
            answer = await _submit(writ, arguments, within)
            live.reported(_tell_waiting(screen, answer))
            view = await writ.wait(answer.operation_id or number, timeout=within, on_event=live.show)
    except asyncio.CancelledError:
        raise OperationGoesOn(f"operation {number} goes on: `writ op watch {number}`", number) from None
    except errors.TimedOut as error:
        hint = "" if "`" in str(error) else f"; it goes on: `writ op watch {number}`"
        raise OperationGoesOn(f"{error}{hint}", number, code=error.code) from error
    whole = await writ.with_output(view)
    on_record = whole is view
    advice = await suggestion(settings, view.code, view.message) or roots_advice(settings, view)
    view = structs.replace(whole, message=view.message + advice)
    if before is None:
        return show_view(screen, view, answer.verdict, on_record=on_record)
    if screen.json:
        preview = {"problem": problem_of(view, before), **before.output}
        _show_data(screen, view, {**to_builtins(view), "preview": preview})
        return of_outcome(view.outcome)
    status = show_view(screen, view, answer.verdict, on_record=on_record)
    show_run_diff(screen, view, before)
    return status


def _tell_waiting(screen: Screen, answer: RequestReply) -> str:
    """Report it on standard error, also where nobody watches: it may take an hour, and others have to know. Return
    the reported reason, if any.
    """
    if answer.state != "awaiting_approval" or answer.verdict is None or screen.json:
        return ""
    click.echo(f"writ: it waits for an approval: {visible(answer.verdict.reason)}", err=True)
    click.echo(f"writ: they can use `writ approvals show {answer.operation_id}`", err=True)
    return answer.verdict.reason


def _show_answer(screen: Screen, answer: RequestReply) -> int:
    if screen.json:
        screen.data(answer)
    else:
        screen.line(outcome(answer.outcome or answer.state), f"  operation {answer.operation_id}")
        screen.fields(reasons(answer.verdict))
        screen.fields([(answer.error.code, answer.error.message)] if answer.error else [])
    return Exit.DONE if answer.outcome is None else of_outcome(answer.outcome)


def show_requested(screen: Screen, requested: RecordedRequest) -> int:
    """Show the present state of a request. Return its exit status; without an outcome, that of a pending one."""
    if requested.view is not None:
        return show_view(screen, requested.view, requested.answer.verdict)
    _tell_waiting(screen, requested.answer)
    status = _show_answer(screen, requested.answer)
    return Exit.PENDING if requested.answer.outcome is None else status


def show_view(screen: Screen, view: OperationView, verdict: Verdict | None = None, *, on_record: bool = False) -> int:
    """Show one operation; return the exit status of its outcome. `on_record`: its output is that of the journal."""
    if screen.json:
        _show_data(screen, view, view)
        return of_outcome(view.outcome)
    took = view.updated_at - view.requested_at
    after = f" in {times.span(took)}" if view.outcome and took else ""
    screen.line(outcome(view.outcome or view.state), f"  {view.operation} on {view.target}{after}")
    tried = "yes" if view.dry_run and view.outcome != "previewed" else ""
    screen.fields([("operation", view.operation_id), ("correlation", view.correlation_id), ("dry run", tried)])
    screen.fields(reasons(verdict) if verdict else [("rules", ", ".join(view.rules))])
    if not (verdict and verdict.reason == view.message):
        screen.fields([(view.code or "message", view.message)])
    screen.fields([("waiting", view.waiting.text if view.waiting else "")])
    if view.output:
        screen.line("  output:")
        shown = ((name, value) for name, value in view.output.items() if name != "diff")
        labelled = (
            (recorded_label(view.operation, name) if on_record else name, quoted(value) if is_texts(value) else value)
            for name, value in shown
        )
        screen.fields(labelled, indent=4)
    if "diff" in view.output:
        show_diff(screen, str(view.output["diff"]))
    return of_outcome(view.outcome)


def _show_data(screen: Screen, view: OperationView, data: Any) -> None:
    """Show it for a program. Raises Invalid for a `--field` that it lacks, with the operation: it was carried out."""
    try:
        screen.data(data)
    except errors.Invalid as error:
        raise errors.Invalid(f"{error}; operation {view.operation_id}: {view.outcome or view.state}") from None


def reasons(verdict: Verdict | None) -> list[tuple[str, object]]:
    """Return what was decided and why, as fields."""
    if verdict is None:
        return []
    return [
        ("decision", verdict.decision),
        ("code", verdict.code if verdict.code not in ("allow", "allowed", "denied", verdict.decision) else ""),
        ("rules", ", ".join(verdict.rules)),
        ("reason", verdict.reason),
        ("policy", verdict.policy),
    ]

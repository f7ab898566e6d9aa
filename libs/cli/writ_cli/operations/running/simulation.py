"""`writ simulate`: the decision about an operation, without requesting it."""

from typing import Any

import click

from writ_cli.arguments import completion
from writ_cli.arguments.options import asking, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.running.requests import parameters_of, reasons, target_of
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import of_simulation
from writ_cli.terminal.output import Screen
from writ_client.whole_ids import with_whole_ids
from writ_contracts.requests import ExpectedFailure, SimulateReply, WaitingReason
from writ_runtime.plugins.entry_points import load_catalogue


@click.command()
@click.argument("operation", shell_complete=completion.operations)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.parameters)
@target_option("The target.")
@click.option("--dry-run", is_flag=True, help="Decide it as a dry run.")
@asking
async def simulate(
    settings: Settings, operation: str, words: tuple[str, ...], target: str | None, dry_run: bool
) -> int:
    """Show the decision on a request, its rules and reasons; nothing is recorded or done.

    Exit status 0: allowed; 1: allowed, and it would fail; 2: invalid, or no agent of the target has it; 3: denied; 4:
    allowed with an approval.

    It would fail where the target's entry does not declare the path or network, or where the host lacked something in
    the last `writ target test`, up to an hour ago. `writ run` itself does not look at that test. All else that an agent
    checks on the host is not checked here.
    """
    target_id, parameters = target_of(operation, target, words), parameters_of(operation, words)
    async with await settings.connect() as writ:
        parameters = await with_whole_ids(writ, load_catalogue().get(operation), parameters)
        answer = await writ.simulate(operation, target_id, parameters, dry_run=dry_run)
    _show_simulation(settings.screen, answer, target_id)
    return of_simulation(answer.verdict.decision if answer.verdict else "deny", fails=answer.fails is not None)


def _show_simulation(screen: Screen, answer: SimulateReply, target: str) -> None:
    if screen.json:
        screen.data(answer)
        return
    screen.fields(reasons(answer.verdict), indent=0)
    screen.fields(notices(answer.waiting, answer.fails, target), indent=0)
    screen.fields([("parameters", answer.parameters), ("not shown", ", ".join(answer.hidden))], indent=0)
    if answer.trace:
        screen.table(("rule", "effect", "matches", "why"), map(_step, answer.trace), drop=("effect",))


def notices(waiting: WaitingReason | None, fails: ExpectedFailure | None, target: str) -> list[tuple[str, object]]:
    """Return what would become of an accepted operation, as fields."""
    return [("notice", waiting.text if waiting else ""), ("would fail", failure_text(fails, target) if fails else "")]


def failure_text(fails: ExpectedFailure, target: str) -> str:
    if fails.found_at is None:
        return f"{fails.code}: {fails.message}"
    seen = times.date(fails.found_at)
    return f"{fails.code}: {fails.message}; found at {seen}, `writ target test {target}` tests it again"


def _step(step: dict[str, Any]) -> tuple[object, ...]:
    return step.get("rule"), step.get("effect"), "yes" if step.get("matched") else "no", _clause(step)


def _clause(step: dict[str, Any]) -> str:
    if step.get("matched") or not step.get("clause"):
        return ""
    return f"{step['clause']}: got {step.get('got', '')}, expected {step.get('wanted', '')}"

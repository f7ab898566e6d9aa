"""`writ policy matrix`: one operation on many targets, by many principals, at many instants."""

from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import click

from writ_cli.arguments import completion
from writ_cli.arguments.options import asking, principal_option, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.running.requests import parameters_of
from writ_cli.policy.decision_text import decision, instant_option
from writ_cli.policy.files import PolicyFiles, offline, read
from writ_cli.policy.offline_policy import OfflinePolicy
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_client.queries.request_combinations import Decided
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.nearest_name import near_glob
from writ_contracts.policy.questions import EvalRequest, EvalResult
from writ_runtime.plugins.entry_points import load_catalogue


@click.command()
@click.argument("operation", shell_complete=completion.operations)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.parameters)
@target_option("On these targets; by default on all.", "targets", metavar="GLOB", multiple=True)
@principal_option("As these principals; by default as you.", "who", multiple=True)
@click.option("--at", "instants", multiple=True, metavar="WHEN", help="At these instants (2026-11-25T14:30).")
@click.option("--dry-run", is_flag=True, help="Decide them as dry runs.")
@click.option("--emergency", is_flag=True, help="Assume an emergency on them.")
@offline
@asking
async def matrix(
    settings: Settings,
    operation: str,
    words: tuple[str, ...],
    targets: tuple[str, ...],
    who: tuple[str, ...],
    instants: tuple[str, ...],
    dry_run: bool,
    emergency: bool,
    files: PolicyFiles | None,
) -> int:
    """Decide an operation for all combinations of targets, principals and instants.

    `writ simulate` shows whether the executor would accept one of your own requests now. This command queries the
    policy alone: emergencies count with --emergency only, and others' requests need `audit_read`.
    Exit status 3 when all of them are denied, 2 when all are invalid.
    """
    parameters_of_request: dict[str, Any] = {
        "parameters": parameters_of(operation, words),
        "principals": who or (_oneself(settings, files),),
        "at": [at for text in instants if (at := instant_option(text)) is not None],
        "dry_run": dry_run,
        "emergency": emergency,
    }
    if files is not None:
        source = OfflinePolicy(read(settings, files), None)
        decided = await source.matrix(
            operation, targets=_chosen(source.setting.targets, targets, operation), **parameters_of_request
        )
    else:
        async with await settings.connect() as writ:
            known = [target.id for target in await writ.targets()]
            decided = await writ.policy.matrix(
                operation, targets=_chosen(known, targets, operation), **parameters_of_request
            )
    _show(settings.screen, decided)
    decisions = {answer.decision for _, answer in decided}
    return Exit.INVALID if decisions == {"invalid"} else Exit.DENIED if decisions <= {"deny", "invalid"} else Exit.DONE


def _oneself(settings: Settings, files: PolicyFiles | None) -> str:
    """Return the principal that asks. Raises UsageError where files are judged outside of an installation."""
    try:
        return settings.who()
    except Invalid as error:
        if files is None:
            raise
        raise click.UsageError("name the principals by --principal: no installation here says who you are") from error


def _chosen(known: Iterable[str], globs: tuple[str, ...], operation: str) -> list[str]:
    """Return the targets the globs match. Raises Invalid for a glob without a match."""
    definition = load_catalogue().get(operation)
    if definition is not None and definition.control:
        return [WRIT_TARGET]
    names = sorted(set(known) - {WRIT_TARGET})
    if not globs:
        return names
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise Invalid(f"no target {glob!r}{near_glob(glob, names)}", code="unknown_target")
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


def _show(screen: Screen, decided: Decided) -> None:
    if screen.json:
        screen.data([_joined(request, answer) for request, answer in decided])
        return
    alike: dict[tuple[str, str, str, str, str], list[str]] = {}
    for request, answer in decided:
        at = "" if request.at is None else times.date(datetime.fromisoformat(request.at).timestamp())
        key = (request.principal, at, answer.decision, ", ".join(answer.rules), answer.reason)
        alike.setdefault(key, []).append(request.target)
    rows = [
        (who, ", ".join(targets), at, decision(word), rules, reason)
        for (who, at, word, rules, reason), targets in alike.items()
    ]
    columns = ("principal", "targets", "at", "decision", "rules", "why")
    if len({request.at for request, _ in decided}) > 1:  # the instant tells such rows apart
        screen.table(columns, rows, drop=("rules",))
    else:
        screen.table(columns, rows, drop=("rules", "at"))


def _joined(request: EvalRequest, answer: EvalResult) -> dict[str, Any]:
    return {
        "principal": request.principal,
        "operation": request.operation,
        "target": request.target,
        "at": request.at,
        "decision": answer.decision,
        "rules": answer.rules,
        "reason": answer.reason,
    }

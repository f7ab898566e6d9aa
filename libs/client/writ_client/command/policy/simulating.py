"""`writ policy simulate`: one operation on many targets, by many principals, at many instants."""

from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import click

from writ_client.command import moments
from writ_client.command.exits import Exit
from writ_client.command.options import asking
from writ_client.command.output import Screen
from writ_client.command.policy.files import Files, named, offline, read
from writ_client.command.policy.offline import OfflinePolicy
from writ_client.command.policy.words import decision, instant_option
from writ_client.command.requests import parameters_of
from writ_client.command.settings import Settings
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.policy_questions import MAX_REQUESTS, EvalRequest, EvalResult
from writ_rules.loading import Mode
from writ_runtime.plugins import load_catalogue


@click.command()
@click.argument("operation")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--target", "-t", "targets", multiple=True, metavar="GLOB", help="On these targets; by default on all.")
@click.option("--principal", "who", multiple=True, metavar="PRINCIPAL", help="By these; by default oneself.")
@click.option("--at", "instants", multiple=True, metavar="WHEN", help="At these instants (2026-11-25T14:30).")
@click.option("--dry-run", is_flag=True, help="Ask about the dry run.")
@click.option("--emergency", is_flag=True, help="As if an emergency were in force on them.")
@offline
@asking
async def simulate(
    settings: Settings,
    operation: str,
    words: tuple[str, ...],
    targets: tuple[str, ...],
    who: tuple[str, ...],
    instants: tuple[str, ...],
    dry_run: bool,
    emergency: bool,
    policy_file: Path | None,
    inventory: Path | None,
    principals: Path | None,
    mode: Mode,
) -> int:
    """Decide an operation on many targets.

    By many principals and at many instants, in all combinations.

    `writ simulate` asks the executor about one request of one's own, as it would take it now. This asks the policy
    alone about all combinations: emergencies count if --emergency says so, and others' requests need `audit_read`.
    Exit status 3 when all of them are denied.
    """
    files = named(policy_file, inventory, principals, mode)
    moments_asked = [instant_option(text) for text in instants] or [None]
    parameters = parameters_of(operation, words)
    asked_by = who or (settings.who(),)

    def requests(known: Iterable[str]) -> list[EvalRequest]:
        matrix = product(asked_by, _chosen(known, targets, operation), moments_asked)
        return [
            EvalRequest(
                principal=principal,
                operation=operation,
                target=target,
                parameters=parameters,
                at=None if at is None else datetime.fromtimestamp(at, UTC).isoformat(),
                dry_run=dry_run,
                emergency=emergency,
            )
            for principal, target, at in matrix
        ]

    asked, answers = await _decided(settings, files, requests)
    _show(settings.screen, asked, answers)
    return Exit.DENIED if all(answer.decision in ("deny", "invalid") for answer in answers) else Exit.DONE


async def _decided(
    settings: Settings, files: Files | None, requests: Any
) -> tuple[list[EvalRequest], list[EvalResult]]:
    if files is not None:
        source = OfflinePolicy(read(settings, files), None)
        asked = _bounded(requests(source.setting.targets))
        return asked, await source.eval(asked)
    async with await settings.connect() as writ:
        asked = _bounded(requests([target.id for target in await writ.targets()]))
        return asked, await writ.policy.eval(asked)


def _bounded(asked: list[EvalRequest]) -> list[EvalRequest]:
    if len(asked) > MAX_REQUESTS:
        raise Invalid(f"{len(asked)} combinations, at most {MAX_REQUESTS}: name fewer targets")
    return asked


def _chosen(known: Iterable[str], globs: tuple[str, ...], operation: str) -> list[str]:
    """The targets that the globs cover; one that covers none is a mistake."""
    definition = load_catalogue().get(operation)
    if definition is not None and definition.control:
        return [WRIT_TARGET]
    names = sorted(set(known) - {WRIT_TARGET})
    if not globs:
        return names
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise Invalid(f"no target {glob!r}", code="unknown_target")
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


def _show(screen: Screen, asked: list[EvalRequest], answers: list[EvalResult]) -> None:
    if screen.json:
        screen.data([_joined(*pair) for pair in zip(asked, answers, strict=True)])
        return
    rows = [
        (
            request.principal,
            request.target,
            "" if request.at is None else moments.date(datetime.fromisoformat(request.at).timestamp()),
            decision(answer.decision),
            answer.rules,
            answer.reason,
        )
        for request, answer in zip(asked, answers, strict=True)
    ]
    screen.table(("principal", "target", "at", "decision", "rules", "why"), rows)


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

"""`writ policy can-i`, `who-can` and `allowed`: access lists."""

from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import click
from msgspec import structs

from writ_cli.arguments import completion
from writ_cli.arguments.options import asking, principal_option, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.running.requests import parameters_of, target_of
from writ_cli.operations.running.simulation import notices
from writ_cli.policy.decision_text import AT, decision, instant_option, names
from writ_cli.policy.files import PolicyFiles, answering, offline, whole_ids
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit, of_simulation
from writ_cli.terminal.output import Screen, visible
from writ_contracts.errors import Denied
from writ_contracts.inventory import Role
from writ_contracts.policy.access import PolicyAccess, PolicyAllowedReply, PolicyGrant, PolicyWhoCanReply
from writ_rules.engine.matching.judge import INHERITED
from writ_rules.engine.rules.rule import EMERGENCY


@click.command("can-i")
@click.argument("operation", shell_complete=completion.operations)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.parameters)
@target_option("The target; Writ itself for control operations.")
@click.option("--dry-run", is_flag=True, help="Decide it as a dry run.")
@offline
@asking
async def can_i(
    settings: Settings,
    operation: str,
    words: tuple[str, ...],
    target: str | None,
    dry_run: bool,
    files: PolicyFiles | None,
) -> int:
    """Show the decision on one's own request, now.

    Exit status 0: yes; 1: yes, and it would fail; 4: with an approval; 3: no; 2: invalid, or no agent of the target has
    it.

    Without --policy, the decision is that of `writ run`, and it would fail where `writ simulate` says so. With it,
    agents and hosts are not considered.
    """
    target_id, parameters = target_of(operation, target, words), parameters_of(operation, words)
    parameters = await whole_ids(settings, files, operation, parameters)
    async with answering(settings, files) as source:
        answer = await source.can_i(operation, target_id, parameters, dry_run=dry_run)
    if settings.screen.json:
        settings.screen.data(answer)
    else:
        settings.screen.line(decision(answer.decision), f": {answer.reason}")
        settings.screen.fields(notices(answer.waiting, answer.fails, target_id), indent=0)
    return of_simulation(answer.decision, fails=answer.fails is not None)


@click.command("who-can")
@click.argument("operation", shell_complete=completion.operations)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.parameters)
@target_option("On this target; else on all.")
@click.option("--role", type=click.Choice(get_args(Role)), help="On targets of this role.")
@AT
@offline
@asking
async def who_can(
    settings: Settings,
    operation: str,
    words: tuple[str, ...],
    target: str | None,
    role: Role | None,
    moment: str | None,
    files: PolicyFiles | None,
) -> int:
    """List the principals that may request the operation, and on which targets.

    Without KEY=VALUE it lists those that may with some parameters, without --at those that may at some time.

    The list follows from the policy alone: a stop in force is ignored. Exit status 3 when nobody may.
    """
    parameters = parameters_of(operation, words) if words else None
    async with answering(settings, files) as source:
        answer = await source.who_can(operation, target, parameters, role=role, at=instant_option(moment))
    _show(settings.screen, answer, "nobody may request it")
    return Exit.DONE if answer.accesses else Exit.DENIED


@click.command()
@click.argument("operations", nargs=-1, metavar="[OPERATION]...", shell_complete=completion.operations)
@click.option("--role", type=click.Choice(get_args(Role)), help="On targets of this role.")
@target_option("On this target.")
@principal_option("To this principal.", "who")
@click.option("--principal-role", metavar="ROLE", help="To principals of this role.", shell_complete=completion.roles)
@click.option("--all", "everything", is_flag=True, help="To everybody.")
@click.option("--never", is_flag=True, help="Also list operations that are never allowed.")
@AT
@offline
@asking
async def allowed(
    settings: Settings,
    operations: tuple[str, ...],
    role: Role | None,
    target: str | None,
    who: str | None,
    principal_role: str | None,
    everything: bool,
    never: bool,
    moment: str | None,
    files: PolicyFiles | None,
) -> int:
    """List which principals may request which operations on which targets.

    Without a principal it lists that of all, without --at that of any time. Without any option, or without the right
    to read others' (`audit_read`), the running Writ lists one's own. Each row agrees with the decision on a single
    request, except that stops in force are ignored.
    """
    if everything and (who or principal_role):
        raise click.UsageError("--all is everybody: leave it out, or --principal and --principal-role")
    unnamed = files is None and not (who or principal_role or everything)
    if unnamed and not (role or target):
        who = settings.who()
    async with answering(settings, files) as source:
        ask = partial(
            source.allowed, operations=operations or None, role=role, target=target, at=instant_option(moment)
        )
        try:
            answer = await ask(principal=who, principal_role=principal_role)
        except Denied as error:
            if not unnamed or who is not None:
                raise
            who = settings.who()
            settings.screen.err.print(visible(f"of {who} alone, since others are not for {who} to see: {error}"))
            answer = await ask(principal=who)
    if not never:
        possible = [access for access in answer.accesses if access.allowed != "never"]
        answer = structs.replace(answer, accesses=possible)
    _show(settings.screen, answer, f"no rule allows this{f' to {who}' if who else ''}")
    return Exit.DONE


def _show(screen: Screen, answer: PolicyAllowedReply | PolicyWhoCanReply, nothing: str) -> None:
    if screen.json:
        screen.data(answer)
        return
    if answer.accesses:
        screen.table(("operations", "targets", "principals", "allowed", "by"), _rows(answer.accesses), drop=("by",))
    else:
        screen.line(nothing)
    for note in answer.bounded:
        screen.line("not everything was tried: ", note)
    if answer.since is not None and answer.accesses:
        screen.line(f"at any time from {times.date(answer.since)} on")


def _rows(accesses: list[PolicyAccess]) -> Iterator[tuple[Any, ...]]:
    """Yield rows, merging targets and then operations with equal access."""
    by_targets: dict[tuple[Any, ...], list[str]] = {}
    for access in accesses:
        row = (tuple(access.principals), _allowed(access), ", ".join(sorted(grant.rule for grant in access.grants)))
        by_targets.setdefault((access.operation, *row), []).extend(access.targets)
    by_operations: dict[tuple[Any, ...], list[str]] = {}
    for (operation, *rest), targets in by_targets.items():
        by_operations.setdefault((tuple(targets), *rest), []).append(operation)
    for (targets, principals, extent, rules), operations in by_operations.items():
        yield ", ".join(operations), names(targets), names(principals), extent, rules


def _allowed(access: PolicyAccess) -> str:
    """Return how often it is allowed, and under which conditions: `sometimes, with approval: …`."""
    words = "in an emergency" if access.emergency else str(access.allowed)
    if access.allowed != "never" and access.approval != "never":
        words += ", with approval" if access.approval == "always" else ", some with approval"
    return ": ".join([words, *([conditions] if (conditions := "; ".join(_conditions(access))) else [])])


def _conditions(access: PolicyAccess) -> Iterator[str]:
    """Yield the conditions of the rules: of one rule each, of several rules together, with its name."""
    named = len(access.grants) > 1
    found = [text for grant in access.grants if (text := _grant(grant, named=named, usual=not access.emergency))]
    yield from dict.fromkeys(found)
    if access.denies and access.allowed == "sometimes":
        yield f"not denied by {', '.join(access.denies)}"


def _grant(grant: PolicyGrant, *, named: bool, usual: bool) -> str:
    """Return the conditions of a rule. `usual`: the access is not for emergencies alone."""
    parts = [text for text in (*grant.parameters, grant.windows, *grant.other, grant.approval) if text]
    if usual and grant.section == EMERGENCY:
        parts.insert(0, "in an emergency")
    if not named:
        return "; ".join(parts)
    rule = f"within {grant.rule}" if grant.section == INHERITED else grant.rule
    return f"{rule} ({'; '.join(parts)})" if parts else rule

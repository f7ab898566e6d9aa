"""`writ target test`: each target's state by its own agents, with advice where it is not well."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import click
from msgspec import Struct, structs
from rich.text import Text

from writ_cli.arguments import completion
from writ_cli.arguments.options import asking, refuse_list
from writ_cli.arguments.suggestions import inventory_entries
from writ_cli.context.settings import Settings
from writ_cli.installation.targets.authorized_key import authorizing
from writ_cli.installation.targets.target_advice import advice
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_client.client import Writ
from writ_contracts.errors import Denied, Full, Invalid, WritError
from writ_contracts.nearest_name import near
from writ_contracts.requests import TargetView
from writ_contracts.target_tests import StepName, TargetReport

AT_ONCE = 16
UNHURRIED = 0.2
MOST_NAMED = 8
"""Targets in a line about what all of them lack."""
WITHOUT_PYTHON = "the host has no python3"
NOT_ROOT = " is not root, and "
PROGRAMS = ("python", "systemd", "apt", "restic", "btrfs", "zfs")
OF_ENGINE = ("engine", "api", "compose", "rootless", "swarm", "disk")
COLUMNS = ("target", "connection", "host key", "credentials", "versions", "operations", "what to do")


class TargetRow(Struct, frozen=True, kw_only=True):
    """One target. `visit` is None where no agent could report; code and message are empty where all is well."""

    target: str
    backend: str
    pool: str
    well: bool
    code: str = ""
    message: str = ""
    advice: str = ""
    visit: TargetReport | None = None


@click.command("test")
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=completion.targets)
@asking
async def test_targets(settings: Settings, targets: tuple[str, ...]) -> int:
    """Have the agents test these targets (all of them, if none is named), and show their reports.

    They test connection, host key, credentials, versions, and the operations that each target has in its present state.
    Nothing is carried out there. Policy decides the request (`backend_test`). Exit status: 0 where all is well, 1 where
    something is not, 3 where policy denies it.
    """
    for one in targets:
        refuse_list(one, "`writ target test {}`")
    async with await settings.connect() as writ:
        chosen = _chosen(await writ.targets(), targets)
        turns = asyncio.Semaphore(AT_ONCE)
        rows = await asyncio.gather(*(_row(writ, one, turns) for one in chosen))
    rows = _with_commands(settings, rows)
    if settings.screen.json:
        settings.screen.data(rows)
    else:
        _show(settings.screen, rows)
    ill = [row for row in rows if not row.well]
    denied = [row for row in ill if row.advice == advice("no_rule", row.pool)]
    return Exit.DONE if not ill else Exit.DENIED if len(denied) == len(rows) else Exit.FAILED


def _with_commands(settings: Settings, rows: Sequence[TargetRow]) -> list[TargetRow]:
    """Add the command to the advice on a key that the host does not accept, where the folder here has that key."""
    refused = {row.target for row in rows if row.code == "auth_failed"}
    entries = (inventory_entries(settings) or ()) if refused else ()
    commands = {one.id: authorizing(settings.home, one) for one in entries if one.id in refused}
    return [
        structs.replace(row, advice=f"{row.advice}: `{command}`") if (command := commands.get(row.target)) else row
        for row in rows
    ]


def _chosen(known: Sequence[TargetView], selected: Sequence[str]) -> list[TargetView]:
    """Return the selected targets. Raises Invalid for an unknown one."""
    by_id = {one.id: one for one in known}
    if unknown := sorted(set(selected) - by_id.keys()):
        hint = near(unknown[0], by_id)
        raise Invalid(f"there is no target {', '.join(unknown)} in the inventory{hint}", code="unknown_target")
    return [by_id[name] for name in dict.fromkeys(selected)] if selected else list(known)


async def _row(writ: Writ, view: TargetView, turns: asyncio.Semaphore) -> TargetRow:
    async with turns:
        try:
            visit = await _patiently(writ, view.id)
        except WritError as error:
            todo = advice("no_rule" if isinstance(error, Denied) else error.code, view.pool, view.backend)
            return _ill(view, error.code, str(error), todo)
    return _row_of(view, visit)


def _row_of(view: TargetView, visit: TargetReport) -> TargetRow:
    if visit.code:
        return _ill(view, visit.code, visit.message, advice(_trouble(visit), view.pool, view.backend), visit)
    todo = advice(_lack(visit.lacking.values()), view.pool, target=view.id)
    return TargetRow(target=view.id, backend=view.backend, pool=view.pool, well=True, advice=todo, visit=visit)


def _lack(reasons: Iterable[str]) -> str:
    """Return the code for the advice where operations lack something; "" where there is none."""
    by_start = {why.partition(":")[0] for why in reasons}
    codes = sorted(code for code in by_start if code.startswith("become_"))
    if any(start.startswith(WITHOUT_PYTHON) for start in by_start):
        codes.append("no_python")
    if any(NOT_ROOT in start for start in by_start):
        codes.append("not_root")
    return codes[0] if codes else ""


def _trouble(visit: TargetReport) -> str:
    """Return the code for the advice. An sshd that accepted our login and started nothing in time counts as a
    timeout.
    """
    let_in = any(step.name == "credentials" and step.well for step in visit.steps)
    return "timeout" if let_in and visit.code == "unreachable" else visit.code


async def _patiently(writ: Writ, target: str) -> TargetReport:
    while True:
        try:
            return await writ.backend_test(target)
        except Full:  # more questions a second than are answered
            await asyncio.sleep(UNHURRIED)


def _ill(view: TargetView, code: str, message: str, todo: str, visit: TargetReport | None = None) -> TargetRow:
    return TargetRow(
        target=view.id,
        backend=view.backend,
        pool=view.pool,
        well=False,
        code=code,
        message=message,
        advice=todo,
        visit=visit,
    )


def _show(screen: Screen, rows: Sequence[TargetRow]) -> None:
    drop = ("host key", "versions", "credentials", ("target", "connection"))
    screen.table(COLUMNS, [list(_cells(row)) for row in rows], drop=drop, spill=True)
    for row in rows:
        if row.message:
            screen.line(Text(f"{row.target}: {row.message}", style="red"))
        if engine := _engine(row.visit):
            screen.line(f"{row.target} has an engine: {engine}")
    for (why, names), targets in _lacking(rows).items():
        more = len(targets) - MOST_NAMED
        named = f"{', '.join(targets[:MOST_NAMED])} and {more} more" if more > 0 else ", ".join(targets)
        screen.line(f"{named} {'have' if len(targets) > 1 else 'has'} no {', '.join(names)}: {why}")


def _cells(row: TargetRow) -> Iterator[object]:
    name = Text(row.target, style="green" if row.well else "red")
    steps = {step.name: step for step in row.visit.steps} if row.visit else {}

    def cell(step: StepName) -> Text:
        if step not in steps:
            return Text("–", style="dim")
        found = steps[step]
        shown = "ok" if step == "host_key" else found.detail or "ok"
        return Text(shown) if found.well else Text(row.code, style="red")

    yield name
    failed = any(not step.well for step in steps.values())
    yield cell("connection") if row.well or failed else Text(row.code, style="red")
    yield cell("host_key")
    yield cell("credentials")
    yield Text(", ".join(_versions(row.visit))) if row.well else cell("host") if "host" in steps else Text("–", "dim")
    yield _count(row.visit) if row.well else Text("–", "dim")
    yield row.advice


def _versions(visit: TargetReport | None) -> Iterable[str]:
    versions = visit.versions if visit else {}
    return (f"{name} {versions[name]}" for name in PROGRAMS if name in versions)


def _engine(visit: TargetReport | None) -> str:
    """Return what is known of the target's container engine; empty where it has none."""
    versions = visit.versions if visit else {}
    known = (f"{name} {versions[name]}" for name in OF_ENGINE if name in versions)
    return ", ".join(known) if "engine" in versions else ""


def _count(visit: TargetReport | None) -> str:
    if visit is None:
        return ""
    own, lacking = len(visit.operations), len(visit.lacking)
    return f"{own} of {own + lacking}" if lacking else f"all {own}"


def _lacking(rows: Sequence[TargetRow]) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Return the targets that lack the same operations for the same reason, by reason and operations."""
    targets: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for row in rows:
        by_reason: dict[str, list[str]] = defaultdict(list)
        for name, why in (row.visit.lacking if row.visit and row.well else {}).items():
            by_reason[why].append(name)
        for why, names in by_reason.items():
            targets[why, tuple(names)].append(row.target)
    return targets

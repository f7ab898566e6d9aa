"""`writ policy diff`: differences in decisions by another policy, each with a request as an example."""

import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from msgspec import structs
from rich.text import Text

from writ_cli.arguments.options import asking
from writ_cli.context.settings import Settings
from writ_cli.policy.added_warnings import added_warnings
from writ_cli.policy.files import INVENTORY, PRINCIPALS, found_among, text_of
from writ_cli.policy.problems import of_files, show_problems
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_client.client import Writ
from writ_contracts.policy.access import PolicyChange, PolicyDiffReply
from writ_contracts.policy.questions import PolicyProblem
from writ_documents import yaml_file
from writ_documents.document import Document
from writ_rules.loading import checked_document
from writ_rules.replies import compared
from writ_rules.setting import Setting, read_setting
from writ_runtime.plugins.entry_points import load_catalogue

_WORDS = {
    "newly_allowed": ("newly allowed", "green"),
    "newly_allowed_with_approval": ("newly allowed, with approval", "green"),
    "newly_denied": ("newly denied", "red"),
    "newly_needs_approval": ("newly needs approval", "yellow"),
    "no_longer_needs_approval": ("no longer needs approval", "magenta"),
    "other_terms": ("allowed with other terms", "cyan"),
}
Side = int | Path


@click.command()
@click.argument("old", metavar="[OLD]")
@click.argument("new", required=False, metavar="NEW")
@INVENTORY
@PRINCIPALS
@click.option("--exit-code", is_flag=True, help="Exit status 1 when something changes.")
@asking
async def diff(
    settings: Settings, old: str, new: str | None, inventory: Path | None, principals: Path | None, exit_code: bool
) -> int:
    """Show the changes by another policy.

    These are requests that would be newly allowed, newly denied, or newly need an approval.

    OLD and NEW are files or numbers of published versions; with one alone, the policy in force is the old one. Two
    files are compared without a server. Each change comes with one concrete request that shows it. Without an inventory
    and principals, synthetic ones are derived from the policies.
    """
    warnings = list[PolicyProblem]()
    before, after = (None, _side(old)) if new is None else (_side(old), _side(new))
    if isinstance(before, Path) and isinstance(after, Path):
        answer = _offline(settings, before, after, inventory, principals)
    else:
        if inventory is not None or principals is not None:
            raise click.UsageError("--inventory and --principals go with two files; else the running Writ has them")
        async with await settings.connect() as writ:
            answer = await writ.policy.diff(_sent(after), None if before is None else _sent(before))
            if not settings.screen.json and not answer.problems:
                warnings = await added_warnings(writ, await _document(writ, before), await _document(writ, after))
        names = {"old": _name(before), "new": _name(after)}
        answer = structs.replace(answer, problems=of_files(answer.problems, names))
    if settings.screen.json:
        settings.screen.data(answer)
    else:
        _show(settings.screen, answer)
        show_problems(settings.screen, of_files(warnings, {"policy": _name(after)}))
    if answer.problems:
        return Exit.INVALID
    return Exit.FAILED if exit_code and answer.changes else Exit.DONE


def _side(text: str) -> Side:
    return int(text) if text.isascii() and text.isdigit() else Path(text)


def _sent(side: Side) -> int | str:
    return side if isinstance(side, int) else text_of(side)


async def _document(writ: Writ, side: Side | None) -> str:
    """Return the text of a side; None is the policy in force."""
    return text_of(side) if isinstance(side, Path) else (await writ.policy_show(side)).document


def _name(side: Side | None) -> str:
    if side is None:
        return "the policy in force"
    return f"version {side}" if isinstance(side, int) else str(side)


def _offline(
    settings: Settings, old: Path, new: Path, inventory: Path | None, principals: Path | None
) -> PolicyDiffReply:
    documents = yaml_file.read(old), yaml_file.read(new)
    catalogue = load_catalogue(evaluators=True)
    lists = found_among(settings, inventory, principals)

    def among(document: Document) -> Setting | None:
        if lists is None:
            return None
        return read_setting(checked_document(document, catalogue), catalogue, *lists)

    return compared(*documents, catalogue, among(documents[1]), now=time.time())


def _show(screen: Screen, answer: PolicyDiffReply) -> None:
    show_problems(screen, answer.problems)
    for changed, alike in _by_rule(answer.changes):
        screen.line(Text(changed, style="bold"))
        for change in alike:
            _show_change(screen, change)
    for note in answer.notes:
        screen.line(note)
    for note in answer.bounded:
        screen.line("not everything was tried: ", note)
    if not answer.problems:
        many = len(answer.changes)
        what = "no decision changes" if not many else f"{many} {'changes' if many > 1 else 'change'}"
        since = "" if answer.since is None else f", of {times.date(answer.since)} and later"
        screen.line(f"{what}; {answer.compared} requests were put to both{since}")


def _by_rule(changes: list[PolicyChange]) -> Iterator[tuple[str, list[PolicyChange]]]:
    """Group the changes by the rules that cause them."""
    found: dict[str, list[PolicyChange]] = {}
    for change in changes:
        found.setdefault(", ".join(change.changed) or "by no rule of its own", []).append(change)
    yield from found.items()


def _show_change(screen: Screen, change: PolicyChange) -> None:
    word, colour = _WORDS.get(change.kind, (change.kind, ""))
    who = ", ".join(change.principal_roles) or "no role"
    kinds = ", ".join(change.principal_kinds)
    screen.line(Text(word, style=colour), f": {change.operation} on {change.role} for {who} ({kinds})")
    screen.fields(
        [
            ("targets", ", ".join(change.targets)),
            ("principals", ", ".join(change.principals)),
            ("terms", "; ".join(change.terms)),
            ("before", "; ".join(_side_of(change.before, change.before_rules, change.before_reason))),
            ("after", "; ".join(_side_of(change.after, change.after_rules, change.after_reason))),
            ("for example", msgspec.json.encode(change.example).decode()),
        ]
    )


def _side_of(decision: str, rules: list[str], reason: str) -> Iterator[str]:
    yield f"{decision} by {', '.join(rules)}" if rules else decision
    yield reason

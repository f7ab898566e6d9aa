"""`writ policy diff`: differences in decisions by another policy, each with a request as an example."""

import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec import structs
from rich.text import Text

from writ_cli.arguments import completed_names
from writ_cli.arguments.options import asking
from writ_cli.context.settings import Settings
from writ_cli.policy.added_warnings import added_warnings
from writ_cli.policy.decision_text import names
from writ_cli.policy.files import INVENTORY, PRINCIPALS, found_among, text_of
from writ_cli.policy.problems import of_files, show_problems
from writ_cli.rare_collections import rare_collections
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_cli.terminal.quoted_text import QuotedText
from writ_contracts.plural import plural
from writ_contracts.policy.access import PolicyChange, PolicyDiffReply
from writ_contracts.policy.questions import PolicyProblem
from writ_documents import yaml_file
from writ_documents.document import Document
from writ_rules.loading import checked_document
from writ_rules.replies import compared
from writ_rules.rule_texts import OWN_KEYS
from writ_rules.setting import Setting, read_setting
from writ_runtime.plugins.entry_points import load_catalogue

if TYPE_CHECKING:
    from writ_client.client import Writ

_WORDS = {
    "newly_allowed": ("newly allowed", "green"),
    "newly_allowed_with_approval": ("newly allowed, with approval", "green"),
    "newly_denied": ("newly denied", "red"),
    "newly_needs_approval": ("newly needs approval", "yellow"),
    "no_longer_needs_approval": ("no longer needs approval", "magenta"),
    "other_terms": ("allowed with other terms", "cyan"),
}
_WITH_APPROVALS = {
    "newly_needs_approval": ("needs more or other approvals", "yellow"),
    "no_longer_needs_approval": ("needs fewer or other approvals", "magenta"),
}
"""Where the example has approvals already: they are enough for one of the two policies alone."""
Side = int | Path


@click.command()
@click.argument("old", metavar="[OLD]", shell_complete=completed_names.version_or_file)
@click.argument("new", required=False, metavar="NEW", shell_complete=completed_names.version_or_file)
@INVENTORY
@PRINCIPALS
@click.option("--exit-code", is_flag=True, help="Exit status 1 when something changes, or may.")
@asking
async def diff(
    settings: Settings, old: str, new: str | None, inventory: Path | None, principals: Path | None, exit_code: bool
) -> int:
    """Show what another policy decides differently.

    These are requests that would then be allowed, be denied, or need an approval, and did not before.

    OLD and NEW are files or numbers of published versions; with one alone, the policy in force is the old one. Two
    files are compared without a server. Each change comes with one concrete request that shows it. Without an inventory
    and principals, synthetic ones are derived from the policies.
    """
    before, after = (None, _side(old)) if new is None else (_side(old), _side(new))
    if isinstance(before, Path) and isinstance(after, Path):
        with rare_collections(at_end=True):
            answer = _offline(settings, before, after, inventory, principals)
            return _status(settings, answer, [], exit_code=exit_code)
    if inventory is not None or principals is not None:
        raise click.UsageError("--inventory and --principals go with two files; else the running Writ has them")
    warnings = list[PolicyProblem]()
    async with await settings.connect() as writ:
        answer = await writ.policy.diff(_sent(after), None if before is None else _sent(before))
        if not settings.screen.json and not answer.problems:
            warnings = await added_warnings(writ, await _document(writ, before), await _document(writ, after))
    titles = {"old": _name(before), "new": _name(after)}
    answer = structs.replace(answer, problems=of_files(answer.problems, titles))
    return _status(settings, answer, of_files(warnings, {"policy": _name(after)}), exit_code=exit_code)


def _status(settings: Settings, answer: PolicyDiffReply, warnings: list[PolicyProblem], *, exit_code: bool) -> int:
    """Show the answer, and return the exit status."""
    if settings.screen.json:
        settings.screen.data(answer)
    else:
        _show(settings.screen, answer)
        show_problems(settings.screen, warnings)
    if answer.problems:
        return Exit.INVALID
    differs = answer.changes or answer.notes or answer.bounded
    return Exit.FAILED if exit_code and differs else Exit.DONE


def _side(text: str) -> Side:
    return int(text) if text.isascii() and text.isdigit() else Path(text)


def _sent(side: Side) -> int | str:
    return side if isinstance(side, int) else text_of(side)


async def _document(writ: "Writ", side: Side | None) -> str:
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
    texts = {text.rule: text.diff for text in answer.texts}
    groups = list(_alike(answer.changes))
    for changed, kinds in groupby(groups, lambda alike: alike[0].changed):
        screen.line(Text(", ".join(changed) or "by no rule of its own", style="bold"))
        _show_texts(screen, texts, changed)
        for alike in kinds:
            _show_alike(screen, alike)
    if OWN_KEYS in texts:
        screen.line(Text("the policy's own keys", style="bold"))
        _show_texts(screen, texts, [OWN_KEYS])
    for note in answer.notes:
        screen.line(note)
    for note in answer.bounded:
        screen.line("not everything was tried: ", note)
    _show_others(screen, answer, texts)
    if not answer.problems:
        screen.line(_summary(answer, len(groups)))


def _show_others(screen: Screen, answer: PolicyDiffReply, texts: dict[str, str]) -> None:
    """Show the rules that differ and change no decision, or none of those listed."""
    if answer.unreached:
        screen.line(
            Text(names(answer.unreached), style="bold"),
            ": changed, but applies to nobody at present: none of the principals and targets is in scope",
        )
        _show_texts(screen, texts, answer.unreached)
    named = {name for change in answer.changes for name in change.changed}
    if alike := [name for name in texts if name not in named]:
        unknown = ": changed; not everything was compared, so the effect on decisions is not known"
        known = ": changed, but nothing is decided differently"
        screen.line(Text(names(alike), style="bold"), unknown if answer.bounded else known)
        _show_texts(screen, texts, alike)
    if answer.more_texts:
        screen.line(f"{plural(answer.more_texts, 'more changed text')}: not shown")


def _show_texts(screen: Screen, texts: dict[str, str], rules: Iterable[str]) -> None:
    """Show the texts of these rules, each at the first place that names it."""
    for rule in rules:
        if text := texts.pop(rule, ""):
            screen.fields([("text", QuotedText(text))])


def _summary(answer: PolicyDiffReply, many: int) -> str:
    if many:
        what = f"{many} {'changes' if many > 1 else 'change'}"
    else:
        what = "no change was found" if answer.bounded else "no decision changes"
    if not answer.compared:
        differ = answer.texts or answer.unreached  # a former service sends no texts
        return f"{what}; no request had to be compared" if differ else f"{what}; no rule differs"
    since = "" if answer.since is None else f" of {times.date(answer.since)} and later"
    return f"{what}; both policies decided {answer.compared} requests{since}"


def _alike(changes: list[PolicyChange]) -> Iterator[list[PolicyChange]]:
    """Yield the changes that differ only in operation, targets and principals, those of the same rules one after the
    other.
    """
    found: dict[tuple[str, ...], dict[tuple[object, ...], list[PolicyChange]]] = {}
    for change in changes:
        sides = (change.before, *change.before_rules, "", change.after, *change.after_rules)
        of_rules = found.setdefault(tuple(change.changed), {})
        kind = change.kind, bool(change.example.approvals), tuple(change.terms)
        of_rules.setdefault((*kind, sides), []).append(change)
    for of_rules in found.values():
        yield from of_rules.values()


def _show_alike(screen: Screen, alike: list[PolicyChange]) -> None:
    first = alike[0]
    words = _WORDS | _WITH_APPROVALS if first.example.approvals else _WORDS
    word, colour = words.get(first.kind, (first.kind, ""))
    operations, roles = _each(one.operation for one in alike), _each(one.role for one in alike)
    screen.line(Text(word, style=colour), f": {', '.join(operations)} on {', '.join(roles)}")
    callers = _each(f"{_who(one)} ({', '.join(one.principal_kinds)})" for one in alike)
    before = "; ".join(_side_of(first.before, first.before_rules, first.before_reason))
    after = "; ".join(_side_of(first.after, first.after_rules, first.after_reason))
    screen.fields(
        [
            ("roles", "; ".join(callers)),
            ("targets", names(_each(target for one in alike for target in one.targets))),
            ("principals", names(_each(principal for one in alike for principal in one.principals))),
            ("terms", "; ".join(first.terms)),
            *([("before and after", after)] if before == after else [("before", before), ("after", after)]),
            ("for example", msgspec.json.encode(first.example).decode()),
        ]
    )


def _each(items: Iterable[str]) -> list[str]:
    """Return the items, each once."""
    return list(dict.fromkeys(items))


def _who(change: PolicyChange) -> str:
    return ", ".join(change.principal_roles) or "no role"


def _side_of(decision: str, rules: list[str], reason: str) -> Iterator[str]:
    yield f"{decision} by {', '.join(rules)}" if rules else decision
    yield reason

"""`writ policy validate`: all problems of policy files and their suites, each with its position."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from msgspec import structs
from rich.text import Text

from writ_cli.arguments.options import asking
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.policy.files import INVENTORY, MODE, PRINCIPALS, RUNNING, STDIN, text_of, text_of_stdin
from writ_cli.policy.problems import counted, of_files, show_problems
from writ_cli.policy.validation_formats import ValidatedFile, github, sarif
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen, visible
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_contracts.plural import plural
from writ_contracts.policy.questions import PolicyValidateReply
from writ_documents import shapes, yaml_file
from writ_documents.document import FileErrors
from writ_documents.readers import read_inventory, read_people
from writ_installation.files.create import default_policy
from writ_installation.files.home import Home
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.loading import Mode
from writ_rules.replies import problems_of, validated
from writ_rules.suite_runs import read_suite
from writ_rules.suites import is_suite
from writ_rules.validation import ValidationContext, validate_file, validate_text
from writ_runtime.plugins.entry_points import load_catalogue

Content = TypeVar("Content")
LISTS = ("inventory", "principals", "mode")
FORMATS = {"text": "table", "json": "json", "github": "", "sarif": "json"}
"""The values of `--format`, each with the one of `--output` that means the same or contains it."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@INVENTORY
@PRINCIPALS
@MODE
@RUNNING
@click.option(
    "--format",
    "layout",
    type=click.Choice(list(FORMATS)),
    help="json as `-o json`; github and sarif for CI; text by default.",
)
@click.option("--fail-on", type=click.Choice(["refused", "warning"]), default="refused", show_default=True)
@asking
async def validate(
    settings: Settings,
    files: tuple[Path, ...],
    inventory: Path | None,
    principals: Path | None,
    mode: Mode,
    running: bool,
    layout: str | None,
    fail_on: str,
) -> int:
    """Show all problems of policies.

    FILE is a policy, a suite (*_test.yaml), a folder with both, or - for standard input. Each problem comes with
    file:line:column, the line itself and the nearest known key. Names that inventory or principals lack are warnings,
    as for the running Writ. Rules that `writ up` or `writ init` wrote may name people and targets to come as long as
    they are unchanged, no listed name is similar, and neither list is named. A suite is checked with the files it
    names. Exit status 2 when a service in this mode would refuse one of them, or with --fail-on warning when there
    is any problem, or a file of WRIT_HOME to compare with has a mistake.
    """
    if running:
        refuse_typed(LISTS, "the running Writ has its own: leave them out, or --running")
    layout, unread = _layout(settings.screen, layout), False
    named = [path for file in files for path in _policy_files(file)]
    catalogue = load_catalogue(evaluators=True)
    if running:
        async with await settings.connect() as writ:
            found = [
                _checked(path, catalogue, mode, ValidationContext())
                if is_suite(path)
                else _validated(path, await writ.policy.validate(_text(path)))
                for path in named
            ]
    else:
        lists = _Lists(settings.home, inventory, principals)
        found = [*lists.wrong, *(_checked(path, catalogue, mode, lists.content) for path in named)]
        unread = lists.unread
    _show_all(settings.screen, found, layout)
    failed = any(not each.valid or (fail_on == "warning" and each.problems) for each in found)
    failed = failed or (fail_on == "warning" and unread)
    return Exit.INVALID if failed else Exit.DONE


def _layout(screen: Screen, layout: str | None) -> str:
    """Return the format of the output. Raises UsageError where `--format`, `--output` and `--field` contradict."""
    if layout is None:
        return "json" if screen.json else "text"
    same = FORMATS[layout] == screen.form
    refuse_typed(
        [*([] if same else ["form"]), *([] if FORMATS[layout] == "json" else ["field"])],
        f"--format is {layout}: leave one out",
    )
    return layout


def _policy_files(file: Path) -> list[Path]:
    """Return the file, or of a folder the suites and the documents with the key `policies`. Raises Invalid."""
    if not file.is_dir():
        return [file]
    below = sorted(path for path in file.rglob("*") if path.suffix in (".yaml", ".yml", ".json") and path.is_file())
    found = [path for path in below if is_suite(path) or _is_policy(path)]
    if not found:
        raise Invalid(f"{file}: there is no policy below this folder: no YAML or JSON file with the key 'policies'")
    return found


_JSON_POLICY = re.compile(r'\s*\{?\s*"policies"\s*:\s*(\{|$)').match


def _is_policy(path: Path) -> bool:
    return any(line.startswith("policies:") or _JSON_POLICY(line) for line in _lines(path))


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()


def _text(path: Path) -> str:
    return text_of_stdin() if path == STDIN else text_of(path)


def _show_all(screen: Screen, found: list[ValidatedFile], layout: str) -> None:
    if layout == "text":
        for each in found:
            _show(screen, each)
    elif layout == "github":
        for line in github(found):
            click.echo(line)
    else:
        screen.data(sarif(found) if layout == "sarif" else found)


class _Lists:
    """The content of the named files, else of those of WRIT_HOME, and the problems of the named ones. `unread`: one of
    WRIT_HOME has a mistake, so names are not compared with it.
    """

    def __init__(self, home: Home, inventory: Path | None, principals: Path | None) -> None:
        self.wrong: list[ValidatedFile] = []
        self.unread = False
        targets = self._read(inventory, home.inventory, read_inventory)
        people = self._read(principals, home.principals, read_people)
        self.content = ValidationContext(
            targets=None if targets is None else targets.targets,
            principals=None if people is None else people.principals,
            only_warn=True,
            now=time.time(),
            prepared=_initial_policy() if inventory is None and principals is None else None,
        )

    def _read(self, named: Path | None, usual: Path, read: Callable[[Path], Content]) -> Content | None:
        """Return the content of the file, None without one. A mistake in the usual file is no problem of what is
        checked, and standard error says it.
        """
        if named is None and not usual.exists():
            return None
        try:
            return read(named or usual)
        except FileErrors as errors:
            if named is None:
                self.unread = True
                text = f"writ: names are not compared with {usual}, which has a mistake: {errors.explained()}"
                click.echo(visible(text, newlines=True), err=True)
            else:
                self.wrong.append(_of(named, PolicyValidateReply(problems=problems_of(errors))))
            return None


def _initial_policy() -> PolicyDocument:
    """Return the policy of a new installation, which is for people and targets that come later, too."""
    return shapes.convert(yaml_file.parse(default_policy(), "policy.yaml"), PolicyDocument)


def _checked(path: Path, catalogue: Catalogue, mode: Mode, among: ValidationContext) -> ValidatedFile:
    if path == STDIN:
        return _of(path, validated(validate_text(_text(path), "-", catalogue, mode, among)))
    if not is_suite(path):
        return _of(path, validated(validate_file(path, catalogue, mode, among)))
    try:
        suite = read_suite(path, catalogue, mode)
    except FileErrors as errors:
        return _of(path, PolicyValidateReply(problems=problems_of(errors)))
    return _of(path, PolicyValidateReply(valid=True, name=suite.source.policy.name))


def _validated(path: Path, answer: PolicyValidateReply) -> ValidatedFile:
    return _of(path, structs.replace(answer, problems=of_files(answer.problems, {"policy": str(path)})))


def _of(path: Path, answer: PolicyValidateReply) -> ValidatedFile:
    return ValidatedFile(
        file=str(path), valid=answer.valid, name=answer.name, rules=answer.rules, problems=answer.problems
    )


def _show(screen: Screen, found: ValidatedFile) -> None:
    show_problems(screen, found.problems, found.file)
    verdict = Text("valid", style="green") if found.valid else Text("refused", style="red")
    policy = f", policy '{found.name}' with {plural(found.rules, 'rule')}" if found.rules else ""
    many = counted(found.problems)
    screen.line(f"{found.file}: ", verdict, policy, f", {many}" if many else "")

"""`writ policy validate`: all problems of policy files and their suites, each with its position."""

import time
from pathlib import Path

import click
from msgspec import Struct, structs
from rich.text import Text

from writ_cli.exit_status import Exit
from writ_cli.options import asking
from writ_cli.output import Screen
from writ_cli.policy.files import INVENTORY, MODE, PRINCIPALS, RUNNING, text_of
from writ_cli.policy.problems import counted, of_files, show_problems
from writ_cli.settings import Settings
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_contracts.policy_questions import PolicyProblem, PolicyValidateAnswer
from writ_documents.document import FileErrors
from writ_documents.readers import read_inventory, read_people
from writ_rules.answers import problems_of, validated
from writ_rules.loading import Mode
from writ_rules.suite_runs import read_suite
from writ_rules.suites import is_suite
from writ_rules.validating import ValidationContext, validate_file
from writ_runtime.plugins import load_catalogue


class ValidatedFile(Struct, frozen=True, kw_only=True):
    """One file as `-o json` has it. Stable: fields may be added."""

    file: str
    valid: bool
    name: str
    rules: int
    problems: list[PolicyProblem]


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@INVENTORY
@PRINCIPALS
@MODE
@RUNNING
@asking
async def validate(
    settings: Settings,
    files: tuple[Path, ...],
    inventory: Path | None,
    principals: Path | None,
    mode: Mode,
    running: bool,
) -> int:
    """Show all problems of policies.

    Each problem comes with file:line:column, the line itself and the nearest known key. With an inventory or principals
    named, missing names in them are shown too. A suite (*_test.yaml) is checked with the files it names. Exit status 2
    when a service in this mode would refuse one of them.
    """
    if running:
        async with await settings.connect() as writ:
            found = [_validated(path, await writ.policy.validate(text_of(path))) for path in files]
    else:
        catalogue = load_catalogue(evaluators=True)
        among, found = _lists(inventory, principals)
        found += [_checked(path, catalogue, mode, among) for path in files]
    if settings.screen.json:
        settings.screen.data(found)
    else:
        for each in found:
            _show(settings.screen, each)
    return Exit.DONE if all(each.valid for each in found) else Exit.INVALID


def _lists(inventory: Path | None, principals: Path | None) -> tuple[ValidationContext, list[ValidatedFile]]:
    """Return the content of the named files, and their problems."""
    targets: list[Target] | None = None
    people: list[Principal] | None = None
    wrong: list[ValidatedFile] = []
    try:
        targets = None if inventory is None else read_inventory(inventory).targets
    except FileErrors as errors:
        wrong.append(_of(Path(inventory or ""), PolicyValidateAnswer(problems=problems_of(errors))))
    try:
        people = None if principals is None else read_people(principals).principals
    except FileErrors as errors:
        wrong.append(_of(Path(principals or ""), PolicyValidateAnswer(problems=problems_of(errors))))
    return ValidationContext(targets=targets, principals=people, now=time.time()), wrong


def _checked(path: Path, catalogue: Catalogue, mode: Mode, among: ValidationContext) -> ValidatedFile:
    if not is_suite(path):
        return _of(path, validated(validate_file(path, catalogue, mode, among)))
    try:
        suite = read_suite(path, catalogue, mode)
    except FileErrors as errors:
        return _of(path, PolicyValidateAnswer(problems=problems_of(errors)))
    return _of(path, PolicyValidateAnswer(valid=True, name=suite.source.policy.name))


def _validated(path: Path, answer: PolicyValidateAnswer) -> ValidatedFile:
    return _of(path, structs.replace(answer, problems=of_files(answer.problems, {"policy": str(path)})))


def _of(path: Path, answer: PolicyValidateAnswer) -> ValidatedFile:
    return ValidatedFile(
        file=str(path), valid=answer.valid, name=answer.name, rules=answer.rules, problems=answer.problems
    )


def _show(screen: Screen, found: ValidatedFile) -> None:
    show_problems(screen, found.problems, found.file)
    verdict = Text("valid", style="green") if found.valid else Text("refused", style="red")
    policy = f", policy '{found.name}' with {found.rules} rules" if found.rules else ""
    many = counted(found.problems)
    screen.line(f"{found.file}: ", verdict, policy, f", {many}" if many else "")

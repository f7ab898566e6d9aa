"""`writ policy convert`: a policy of an older format in this one."""

from pathlib import Path

import click
from msgspec import Struct

from writ_cli.arguments.options import local
from writ_cli.context.settings import Settings
from writ_cli.policy.files import FILE
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import visible
from writ_contracts.errors import Invalid
from writ_documents import atomic_files, yaml_file
from writ_rules.conversion import ConvertedPolicy
from writ_rules.conversion import converted as convert_data
from writ_rules.loading import REFUSED
from writ_rules.validation import FileFinding, validate_text
from writ_runtime.plugins.entry_points import load_catalogue


class ConversionResult(Struct, frozen=True, kw_only=True):
    """The conversion as `-o json` has it. Stable: fields may be added."""

    policy: str
    notes: list[str]
    problems: list[str]


@click.command()
@click.argument("file", type=FILE)
@click.argument("new", type=FILE, required=False)
@local
async def convert(settings: Settings, file: Path, new: Path | None) -> int:
    """Convert a policy of the older format (`rules:` with `target_pattern`) to this one.

    The result goes to the new file NEW, or to standard output. Parts without an equivalent are left out and named, so
    the result allows nothing more. Comments are not kept. Exit status 2: the result needs work before a
    service would load it.
    """
    catalogue = load_catalogue(evaluators=True)
    try:
        found = convert_data(yaml_file.read(file).data, catalogue, file.stem)
    except ValueError as error:
        raise Invalid(f"{file}: {error}") from error
    text = _text(file, found)
    problems = [one for one in validate_text(text, str(new or file), catalogue, "strict").found if _refuses(one)]
    if new is not None:
        _write(new, text)
    elif not settings.screen.json:
        click.echo(text, nl=False)
    if settings.screen.json:
        settings.screen.data(
            ConversionResult(policy=text, notes=found.notes, problems=[str(one.problem) for one in problems])
        )
    else:
        for line in (*found.notes, *(str(one.problem) for one in problems)):
            click.echo(f"writ: {visible(line)}", err=True)
    return Exit.INVALID if problems else Exit.DONE


def _refuses(finding: FileFinding) -> bool:
    return finding.severity in REFUSED["strict"]


def _write(path: Path, text: str) -> None:
    try:
        atomic_files.create(path, text.encode())
    except FileExistsError:
        raise Invalid(f"{path} exists already; nothing is overwritten", code="exists") from None


def _text(file: Path, found: ConvertedPolicy) -> str:
    notes = "".join(f"# - {visible(note)}\n" for note in found.notes)
    return f"# Converted from {visible(file.name)}.\n{notes}" + yaml_file.dump(found.policies)

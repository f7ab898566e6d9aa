"""`writ policy format`: policies and suites in one style, with their comments."""

from pathlib import Path

import click
from msgspec import Struct

from writ_cli.arguments.options import local
from writ_cli.context.settings import Settings
from writ_cli.policy.files import FILE, STDIN, text_of_stdin
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_documents import atomic_files, yaml_file
from writ_documents.formatting import formatted

STDIN_NAME = "standard input"


class FormattedFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file as `-o json` has it. Stable: fields may be added. `text`: that of standard input in this style."""

    file: str
    changed: bool
    text: str | None = None


@click.command(name="format")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)
@click.option("--check", is_flag=True, help="Change nothing; exit status 1 where a file is not in this style.")
@local
async def format_command(settings: Settings, files: tuple[Path, ...], check: bool) -> int:
    """Write YAML files in one style: indents, spaces and blank lines. Comments, keys and their order stay.

    A file is left as it is if formatting would change its meaning (exit status 2). - is standard input, which is
    written to standard output in this style.
    """
    if STDIN in files:
        return _standard(settings, files, check)
    found = [(path, text, _formatted(path, text)) for path in files for text in [_text(path)]]
    for path, text, made in found:
        if made != text and not check:
            atomic_files.write_atomically(path.resolve(), made.encode(), path.stat().st_mode & 0o777)
    changed = [path for path, text, made in found if made != text]
    if settings.screen.json:
        settings.screen.data([FormattedFile(file=str(path), changed=path in changed) for path in files])
    else:
        for path in changed:
            settings.screen.line(f"{path}: {'is not in this style' if check else 'formatted'}")
    return Exit.FAILED if check and changed else Exit.DONE


def _standard(settings: Settings, files: tuple[Path, ...], check: bool) -> int:
    if len(files) > 1:
        raise click.UsageError("- stands alone: files are changed in place, standard input is not")
    text = text_of_stdin()
    made = formatted(text, STDIN_NAME)
    if settings.screen.json:
        settings.screen.data([FormattedFile(file=STDIN_NAME, changed=made != text, text=None if check else made)])
    elif not check:
        click.echo(made, nl=False)
    elif made != text:
        settings.screen.line(f"{STDIN_NAME}: is not in this style")
    return Exit.FAILED if check and made != text else Exit.DONE


def _text(path: Path) -> str:
    try:
        return yaml_file.content(path).decode()
    except UnicodeDecodeError:
        raise Invalid(f"{path}: is not UTF-8") from None


def _formatted(path: Path, text: str) -> str:
    if path.suffix == ".json":
        raise Invalid(f"{path}: JSON has no comments and a style of its own; this is for YAML")
    return formatted(text, str(path))

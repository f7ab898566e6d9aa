"""Common options of the subcommands, and their execution: arguments and `Settings` in, an exit status out."""

import functools
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from msgspec import Struct

from writ_cli.arguments import completion
from writ_cli.arguments.suggestions import with_suggestion
from writ_cli.context.current_context import ContextFolder, check_readable, found_home, present_folder
from writ_cli.context.settings import Settings
from writ_cli.terminal.output import Screen
from writ_cli.terminal.watching import watched
from writ_installation.files.home import Home
from writ_runtime import spans
from writ_runtime.signals import run_command

Body = Callable[..., Coroutine[Any, Any, int | None]]
Command = Callable[..., Any]

INPUT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file to read: a missing one is a mistake of usage, before anything is done."""


class _OutputFile(click.Path):
    """A file to write. A missing folder is a mistake of usage, before anything is done."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}", param, ctx)
        return path


OUTPUT_FILE = _OutputFile(dir_okay=False, path_type=Path)

_FORMS = click.Choice(["table", "json", "yaml"])
_OUTPUT = click.option(
    "-o",
    "--output",
    "form",
    type=_FORMS,
    default="table",
    help="Output format: a table for people, the others for programs.",
)
_LONG_OUTPUT = click.option(
    "--output", "form", type=_FORMS, default="table", help="Output format: a table for people, the others for programs."
)
_FIELD = click.option(
    "--field",
    metavar="PATH",
    help="Print only this part of the JSON, such as rows.0.target, or rows.*.target for each row; *.id of a list.",
)
_HOME = click.option(
    "--home",
    envvar="WRIT_HOME",
    default=".writ",
    show_default=True,
    type=click.Path(file_okay=False, readable=False, path_type=Path),  # `check_readable` names the owner
    help="The installation's folder (WRIT_HOME); `.writ` is searched upwards.",
)
_AS = click.option(
    "--as",
    "principal",
    envvar="WRIT_PRINCIPAL",
    metavar="PRINCIPAL",
    help="The principal that requests (WRIT_PRINCIPAL).",
    shell_complete=completion.principals,
)
_CONTEXT = click.option(
    "--context",
    envvar="WRIT_CONTEXT",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A saved context, or a file of `writ context -o json` (WRIT_CONTEXT).",
    shell_complete=completion.context_or_file,
)


_ROWS = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "yaml", "jsonl", "csv"]),
    default="table",
    help="For people; for programs as one document, a line for each row, or a spreadsheet.",
)


_QUIET = click.option("--quiet", "-q", is_flag=True, help="Print only the first column, one value a line.")
_WATCH = click.option("--watch", is_flag=True, help="Show it again after each change, until interrupted.")


def target_option(
    help: str, name: str = "target", *, metavar: str = "TARGET", multiple: bool = False, required: bool = False
) -> Callable[[Any], Any]:
    """Return the option `--target`, whose values a shell completes."""
    return click.option(
        *("--target", "-t", name),
        metavar=metavar,
        help=help,
        multiple=multiple,
        required=required,
        callback=_refuse_lists,
        shell_complete=completion.targets,
    )


def _refuse_lists(context: click.Context, option: click.Parameter, value: Any) -> Any:
    if not context.resilient_parsing:  # else a shell completes
        for one in value if option.multiple else (value or "",):
            refuse_list(one, "one for each option, `-t {}`" if option.multiple else "one target only", " -t ")
    return value


def refuse_list(value: str, how: str, between: str = " ") -> None:
    """Raises UsageError for several targets in one value: no name has a comma. `how`: with {} for each name."""
    if "," in value:
        names = [one for one in value.split(",") if one]
        hint = how.format(between.join(names)) if names else "`writ target list` lists them"
        raise click.UsageError(f"no target {value!r}: {hint}")


def principal_option(
    help: str, name: str = "principal", *, metavar: str = "PRINCIPAL", multiple: bool = False
) -> Callable[[Any], Any]:
    """Return the option `--principal`, whose values a shell completes."""
    completes = completion.principals
    return click.option("--principal", name, metavar=metavar, help=help, multiple=multiple, shell_complete=completes)


def listing(command: Callable[[Body], Command]) -> Callable[[Body], Command]:
    """Make a subcommand a list: with `-q` and `--watch`, which `_runs` carries out."""
    return lambda body: command(_QUIET(_WATCH(body)))


def listing_once(command: Callable[[Body], Command]) -> Callable[[Body], Command]:
    """Make a subcommand a list with `-q` that is not watched: each look would add a row to it."""
    return lambda body: command(_QUIET(body))


def asking_rows(body: Body) -> Command:
    """Make a subcommand of a principal with rows as output, also as `csv` and `jsonl`."""
    return _with(body, _CONTEXT, _HOME, _AS, _FIELD, _ROWS, traced=True)


def asking(body: Body) -> Command:
    """Make a subcommand of a principal: `body(settings, …)`."""
    return _with(body, _CONTEXT, _HOME, _AS, _FIELD, _OUTPUT, traced=True)


def local(body: Body) -> Command:
    """Make a subcommand on `$WRIT_HOME`: `body(settings, …)`."""
    return _with(body, _HOME, _FIELD, _OUTPUT)


def in_installation(body: Body) -> Command:
    """Make a subcommand on the installation in `$WRIT_HOME`; it is refused where there is none."""

    @functools.wraps(body)
    async def checked(settings: Settings, *arguments: Any, **options: Any) -> int | None:
        settings.check_installation()
        return await body(settings, *arguments, **options)

    return local(checked)


def local_status(body: Body) -> Command:
    """Add the options of `local`, with the output form `prometheus`: scrape targets for `file_sd_configs`."""
    forms = click.Choice(["table", "json", "yaml", "prometheus"])
    output = click.option(
        "-o", "--output", "form", type=forms, default="table", help="For people, for programs, or for file_sd_configs."
    )
    return _with(body, _HOME, _FIELD, output)


def dashed(body: Body) -> Command:
    """Add the options of `local` where arguments may begin with a dash (`-old`): no option has one letter."""
    return _with(body, _HOME, _FIELD, _LONG_OUTPUT)


def packed(kind: type[Struct], name: str) -> Callable[[Body], Body]:
    """Give a subcommand the options for which `kind` has fields as one argument, `name`."""

    def pack(body: Body) -> Body:
        @functools.wraps(body)
        def with_one(*arguments: Any, **options: Any) -> Coroutine[Any, Any, int | None]:
            values = {field: options.pop(field) for field in kind.__struct_fields__}
            return body(*arguments, **{name: kind(**values)}, **options)

        return with_one

    return pack


DASHED: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""The `context_settings` of a subcommand with `dashed`."""


def _refuse_contradictions(form: str, field: str | None, *, quiet: bool) -> None:
    """Raises UsageError for options of the output that exclude each other."""
    if quiet and (field is not None or form != "table"):
        raise click.UsageError("--quiet is for lists, without --output and --field: leave one of them out")
    if field is not None and form not in ("table", "json"):
        raise click.UsageError(f"--field prints values as they are, not as {form}: leave one of them out")


def _with(body: Body, *options: Callable[[Body], Body], traced: bool = False) -> Command:
    """Make a subcommand of `body(settings, …)` with these options, the last of which its help shows first."""
    for option in options:
        body = option(body)
    return _runs(body, traced=traced)


def _runs(body: Body, *, traced: bool) -> Command:
    @functools.wraps(body)
    def run(
        *,
        home: Path,
        form: str,
        field: str | None,
        principal: str | None = None,
        context: Path | None = None,
        quiet: bool = False,
        watch: bool = False,
        **arguments: Any,
    ) -> int | None:
        _refuse_contradictions(form, field, quiet=quiet)
        source = click.get_current_context().get_parameter_source
        typed_context = source("context") is ParameterSource.COMMANDLINE
        if source("home") is ParameterSource.DEFAULT:
            found = found_home(present_folder())
            home = found or home
            if found is None and context is None and traced and not os.environ.get("NATS_URL"):
                context = ContextFolder(os.environ).current_file()
        check_readable(home)
        settings = Settings(
            screen=Screen(form, field, quiet=quiet),
            home=Home(home),
            home_given=source("home") is not ParameterSource.DEFAULT,
            home_typed=source("home") is ParameterSource.COMMANDLINE,
            environ=os.environ,
            principal=None if typed_context and source("principal") is ParameterSource.ENVIRONMENT else principal,
            context=None if context is None else ContextFolder(os.environ).named(context),
            waits=watch,
        )
        traces = traced and spans.is_configured(os.environ) and spans.installed()

        def work() -> Coroutine[Any, Any, int | None]:
            return with_suggestion(body(settings, **arguments), settings)

        return run_command(watched(work, form=form) if watch else _exported(work()) if traces else work())

    return run


async def _exported(work: Coroutine[Any, Any, int | None]) -> int | None:
    """Run with spans of its own, where a collector is configured: traces begin here."""
    async with spans.exporting("client"):
        return await work

"""`writ plugin`: which plugins are installed here, and a new one to begin with."""

import keyword
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from writ_cli.arguments import completed_names
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import listing, local
from writ_cli.context.settings import Settings
from writ_cli.plugins.checks import declared_problems, in_source_tree, suite_problems
from writ_cli.plugins.skeleton import files_of
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import visible
from writ_contracts.errors import Conflict, Invalid
from writ_contracts.plugins import BACKENDS, EVALUATORS, NOTIFIERS, SCANNERS, InstalledPlugin, Prefix
from writ_runtime.plugins.descriptors import RESERVED, installed_plugins
from writ_runtime.plugins.entry_points import load_catalogue


@click.group(cls=CommandGroup)
def plugin() -> None:
    """Operations, backends and conditions by other packages (docs/plugins.md)."""


class PluginRow(Struct, frozen=True, kw_only=True):
    """One plugin, as `-o json` has it. Stable: fields may be added."""

    name: str
    version: str
    api: int
    digest: str
    summary: str
    operations: dict[str, str]
    backends: list[str]
    serves: dict[str, list[str]]
    evaluators: list[str]
    notifiers: list[str]
    scanners: list[str]
    configuration: dict[str, str]


@plugin.command("list")
@listing(local)
async def list_(settings: Settings) -> int:
    """List the installed plugins. None of their handlers is imported."""
    found = [_row(one) for one in installed_plugins()]
    settings.screen.listing(
        found,
        ("plugin", "operations", "backends", "digest"),
        (
            (f"{one.name} {one.version}", ", ".join(one.operations), ", ".join(one.backends), one.digest[:12])
            for one in found
        ),
        empty="no plugin is installed here; `writ plugin new NAME` creates one",
        drop=("digest", "backends"),
    )
    return Exit.DONE


@plugin.command()
@click.argument("name", required=False, shell_complete=completed_names.plugins)
@click.option("--declared-only", is_flag=True, help="Do not run the suite of backends.")
@local
async def check(settings: Settings, name: str | None, declared_only: bool) -> int:
    """Compare the installed plugins, or NAME, with their declarations, and run the suite that every backend passes.

    The suite tries each backend on the host of its package's entry point writ.conformance, never on a target.
    """
    found = declared_problems(name)
    if name is not None and name not in found:
        raise Invalid(f"no plugin {name} is installed here: writ plugin list")
    for one in installed_plugins():
        if one.name in found and not declared_only:
            problems, notes = suite_problems(one)
            found[one.name] += problems
            for note in notes:
                settings.screen.err.print(f"{one.name}: {visible(note)}", soft_wrap=True)
    if settings.screen.json:
        settings.screen.data(found)
    else:
        rows = [(plugin, text) for plugin, texts in found.items() for text in (texts or ["as declared"])]
        settings.screen.table(("plugin", "finding"), rows)
    return Exit.FAILED if any(found.values()) else Exit.DONE


@plugin.command()
@click.argument("name")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="The folder of the new package; by default ./writ-NAME."
)
@local
async def new(settings: Settings, name: str, folder: Path | None) -> int:
    """Write a package with a backend NAME, two operations, and passing tests. Nothing is overwritten."""
    _refuse_bad(name)
    place = folder or Path(f"writ-{name}")
    write_skeleton(place, name)
    screen = settings.screen
    if screen.json:
        screen.data({"folder": str(place), "name": name})
    else:
        screen.line(f"{place} has a working package; its README has the first steps")
        install = "--no-deps" if in_source_tree() else "--no-index --find-links wheels"
        screen.line(f"  pytest {place}    run the suite that every backend passes (needs a source tree of Writ)")
        screen.line(f"  pip install {install} -e {place}    beside every service and command, and beside the agent")
        screen.line(f"  writ plugin check writ-{name}    compare it with what it declares, and run the suite on it")
    return Exit.DONE


def write_skeleton(place: Path, name: str) -> None:
    """Write the files of a new plugin. Raises Conflict where there is something."""
    if place.exists() and any(place.iterdir()):
        raise Conflict(f"{place} is there, and not empty: name another folder with --folder")
    for path, text in files_of(name).items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)


def _refuse_bad(name: str) -> None:
    try:
        msgspec.convert(name, Prefix)
    except msgspec.ValidationError:
        raise Invalid(f"{name[:80]!r} cannot name a plugin: small letters and digits, 2 to 32") from None
    taken = RESERVED | {backend for one in load_catalogue().values() for backend in one.backends}
    if name in taken or keyword.iskeyword(name):
        raise Invalid(f"{name} is taken: choose another name")


def _row(one: InstalledPlugin) -> PluginRow:
    known = load_catalogue()
    return PluginRow(
        name=one.name,
        version=one.version,
        api=one.plugin.api,
        digest=one.digest,
        summary=one.plugin.summary,
        operations={name: known[name].risk.value for name in sorted(known) if one.plugin.owns(name)},
        backends=list(one.parts.get(BACKENDS, ())),
        serves={backend: list(names) for backend, names in one.plugin.serves.items()},
        evaluators=list(one.parts.get(EVALUATORS, ())),
        notifiers=list(one.parts.get(NOTIFIERS, ())),
        scanners=list(one.parts.get(SCANNERS, ())),
        configuration=dict(one.plugin.configuration),
    )

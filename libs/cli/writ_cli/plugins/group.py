"""`writ plugin`: which plugins are installed here, and a new one to begin with."""

import keyword
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from writ_cli.exit_status import Exit
from writ_cli.options import local
from writ_cli.plugins.skeleton import files_of
from writ_cli.settings import Settings
from writ_contracts.errors import Conflict, Invalid, Unreachable
from writ_contracts.plugins import InstalledPlugin, Prefix
from writ_runtime.plugin_descriptors import installed_plugins
from writ_runtime.plugins import load_catalogue

CHECK = (sys.executable, "-P", "-m", "writ_agent.plugin_check")
CHECK_SECONDS = 60.0


@click.group()
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
    configuration: dict[str, str]


@plugin.command("list")
@local
async def list_(settings: Settings) -> int:
    """List the plugins that are installed here. Nothing that carries anything out is imported."""
    rows = [_row(one) for one in installed_plugins()]
    if settings.screen.json:
        settings.screen.data(rows)
    elif not rows:
        settings.screen.line("no plugin is installed here; `writ plugin new NAME` writes one to begin with")
    else:
        lines = (
            (f"{one.name} {one.version}", ", ".join(one.operations), ", ".join(one.backends), one.digest[:12])
            for one in rows
        )
        settings.screen.table(("plugin", "operations", "backends", "digest"), lines)
    return Exit.DONE


@plugin.command()
@click.argument("name", required=False)
@local
async def check(settings: Settings, name: str | None) -> int:
    """Compare the installed plugins, or NAME, with what they declare. Imports them, and carries out nothing."""
    found = _checked(name)
    if name is not None and name not in found:
        raise Invalid(f"no plugin {name} is installed here: writ plugin list")
    if settings.screen.json:
        settings.screen.data(found)
    else:
        rows = [(plugin, text) for plugin, texts in found.items() for text in (texts or ["as declared"])]
        settings.screen.table(("plugin", "finding"), rows)
    return Exit.FAILED if any(found.values()) else Exit.DONE


def _checked(name: str | None) -> dict[str, list[str]]:
    """The problems by plugin, found in a process of its own, as an agent is one. Raises Unreachable, Invalid."""
    done = subprocess.run([*CHECK, *([name] if name else [])], capture_output=True, timeout=CHECK_SECONDS, check=False)
    try:
        answer = msgspec.json.decode(done.stdout, type=dict[str, Any])
    except msgspec.DecodeError:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise Unreachable(f"the check gives: {last}; it needs `writops[server]` here") from None
    if "error" in answer:
        raise Invalid(answer["error"])
    return dict(answer["plugins"])


@plugin.command()
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="Where it is written; by default ./writ-NAME.")
@local
async def new(settings: Settings, name: str, folder: Path | None) -> int:
    """Write a package with a backend NAME, two operations, and tests that pass. Nothing is overwritten."""
    _refuse_bad(name)
    place = folder or Path(f"writ-{name}")
    write_skeleton(place, name)
    screen = settings.screen
    if screen.json:
        screen.data({"folder": str(place), "name": name})
    else:
        screen.line(f"{place} has a package that works; its README says where to begin")
        screen.line(f"  pip install --no-deps -e {place}        beside every service and command of this installation")
        screen.line(f"  pytest {place}                its tests, by the suite that every backend passes")
        screen.line(f"  writ plugin check writ-{name}   whether it is as it declares")
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
    taken = {backend for one in load_catalogue().values() for backend in one.backends}
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
        backends=list(one.parts.get("writ.backends", ())),
        serves={backend: list(names) for backend, names in one.plugin.serves.items()},
        evaluators=list(one.parts.get("writ.evaluators", ())),
        configuration=dict(one.plugin.configuration),
    )

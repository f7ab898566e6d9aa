"""`writ backup` and `writ restore`: a whole installation in one file."""

import os
from pathlib import Path

import click

from writ_cli.arguments.options import INPUT_FILE, OUTPUT_FILE, in_installation, local
from writ_cli.context.settings import Settings
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_installation.archives.backup import BackupManifest, back_up, restore


@click.command()
@click.argument("file", type=OUTPUT_FILE)
@in_installation
async def backup(settings: Settings, file: Path) -> int:
    """Write $WRIT_HOME into FILE, also while Writ runs: keys, lists, the journal. The file then holds private keys."""
    manifest = await back_up(settings.home, file, os.environ.get("NATS_URL") or None, _show_line)
    _show_manifest(
        settings, f"{file}: {settings.home.root} up to event {manifest.last}; it holds private keys", manifest
    )
    return Exit.DONE


@click.command("restore")
@click.argument("file", type=INPUT_FILE)
@local
async def restored(settings: Settings, file: Path) -> int:
    """Restore $WRIT_HOME, which must be empty, from FILE. Stop every service and agent of the old one first.

    Unfinished operations become `unknown`: they may have run after the backup.
    """
    manifest = await restore(settings.home, file, os.environ.get("NATS_URL") or None, _show_line)
    when = times.date(manifest.made_at)
    _show_manifest(
        settings, f"{settings.home.root} is as it was on {when}, up to event {manifest.last}: `writ up`", manifest
    )
    return Exit.DONE


def _show_manifest(settings: Settings, line: str, manifest: BackupManifest) -> None:
    if settings.screen.json:
        summary = {
            "id": manifest.id,
            "made_at": manifest.made_at,
            "last": manifest.last,
            "files": len(manifest.members),
        }
        settings.screen.data(summary)
    else:
        settings.screen.line(line)


def _show_line(text: str) -> None:
    click.echo(f"writ: {text}", err=True)

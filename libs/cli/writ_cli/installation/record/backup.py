"""`writ backup` and `writ restore`: a whole installation in one file."""

import asyncio
import os
from pathlib import Path

import click

from writ_cli.arguments.options import INPUT_FILE, OUTPUT_FILE, in_installation, local
from writ_cli.context.settings import Settings
from writ_cli.installation.processes.init import MONITOR_PORT
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_documents.atomic_files import write_atomically
from writ_installation.archives.backup import BackupManifest, back_up, configuration_of, restore
from writ_installation.server_access.server_address import LOOPBACK, ServerAddress

PORT = 4222
AGAIN = (
    "what was removed, revoked or rotated after that has access again: principals, agents, sites, credentials, gateway "
    "tokens, keys. Remove it before `writ up`. Sessions, emergencies and approval windows end at the first start"
)


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
@click.option(
    "--write-server-config",
    "config_file",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Only write the configuration for the NATS servers that NATS_URL will name.",
)
@local
async def restored(settings: Settings, file: Path, config_file: Path | None) -> int:
    """Restore $WRIT_HOME, which must be empty, from FILE. Stop every service and agent of the old one first.

    Unfinished operations become `unknown`: they may have run after the backup. NATS servers of your own need the file
    of --write-server-config first.
    """
    if config_file is not None:
        return await _write_server_config(settings, file, config_file)
    manifest = await restore(settings.home, file, os.environ.get("NATS_URL") or None, _show_line)
    when = times.date(manifest.made_at)
    _show_manifest(
        settings, f"{settings.home.root} is as it was on {when}, up to event {manifest.last}: `writ up`", manifest
    )
    _show_line(AGAIN)
    return Exit.DONE


async def _write_server_config(settings: Settings, file: Path, config_file: Path) -> int:
    address = ServerAddress(host=LOOPBACK, port=PORT, monitor_port=MONITOR_PORT)
    text = await configuration_of(settings.home, file, address)
    await asyncio.to_thread(write_atomically, config_file, text.encode())
    settings.screen.line(f"{config_file}: start the NATS servers with it, then NATS_URL=… writ restore {file}")
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

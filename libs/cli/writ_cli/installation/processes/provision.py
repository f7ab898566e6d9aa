"""`writ keep`: the provisioner of an installation whose processes others start: containers, or the system."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import click

from writ_bus import tasks
from writ_contracts.errors import Conflict
from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.provisioner.provisioner import Provisioner
from writ_installation.provisioner.reply_frame import ENDPOINTS
from writ_installation.status.server_url import running_url
from writ_runtime.config import ServiceConfig, env
from writ_runtime.metrics import Metrics
from writ_runtime.service import ended, run, running
from writ_runtime.signals import StopSignal

PROVISIONER_SEED = "keeper.seed"


class ProvisionerConfig(ServiceConfig, frozen=True, kw_only=True):
    """The provisioner's configuration from its environment; `writ keep` adds the values of the installation's
    folder.
    """

    keys: Annotated[
        Path | None,
        env(
            "WRIT_KEYS",
            "folder with its keys, where that is not WRIT_HOME/keys: the seeds of bootstrap, sys and its own",
        ),
    ] = None


@click.command("keep")
@click.option(
    "--home",
    envvar="WRIT_HOME",
    default=".writ",
    type=click.Path(file_okay=False, path_type=Path),
    help="The installation's folder (WRIT_HOME).",
)
def run_provisioner(home: Path) -> None:
    """Keep external NATS servers in step with the files (users, accounts, streams), and let agents enrol.

    It is a process like the services, with the same configuration.
    """
    if (pid := holder(Home(home).lock)) is not None:
        raise Conflict(f"`writ up` (process {pid}) runs on {home} and does the work of `writ keep` itself")
    key_folder = os.environ.get("WRIT_KEYS")
    at, keys = running_url(Home(home)), Path(key_folder) if key_folder else home / "keys"
    os.environ.update({"WRIT_HOME": str(home), "WRIT_KEY_FILE": str(keys / PROVISIONER_SEED)})
    if at is not None:
        os.environ.setdefault("NATS_URL", at)
    run("keeper", ProvisionerConfig, _run)


async def _run(config: ProvisionerConfig) -> None:
    metrics = Metrics(ENDPOINTS)
    provisioner = Provisioner(Home(config.home, keys=config.keys), config.nats_url, os.environ, metrics)
    async with running("keeper", config, metrics) as process:
        following = tasks.start(tasks.unending("provisioner", provisioner.follow()), "provisioner")
        process.needs(following, "files are not followed any more")
        try:
            await _first(provisioner.settled, process.stop)
            await process.serve_until_stopped(provisioner.checks)
        finally:
            await ended(following)
            await provisioner.close()


async def _first(settled: asyncio.Event, stop: StopSignal) -> None:
    """Wait until the streams exist, so that processes which start after the provisioner find them; or until a stop is
    requested.
    """
    waiting = [tasks.start(settled.wait(), "settled"), tasks.start(stop.wait(), "stop")]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

"""Additional agents of an installation: processes of the same pool, each with a state folder of its own."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count

from writ_client.client import Writ
from writ_installation.files.home import host_token
from writ_installation.processes import services
from writ_testing.eventually import eventually
from writ_testing.installations.commands import start_service
from writ_testing.installations.forked_process import ForkedProcess
from writ_testing.installations.installation import RunningInstallation

POOL = f"local-{host_token()}"
_numbers = count(1)


@asynccontextmanager
async def more_agents(
    installation: RunningInstallation,
    number: int = 1,
    environ: Mapping[str, str] | None = None,
    *,
    known: bool = True,
) -> AsyncIterator[list[Process | ForkedProcess]]:
    """Run more agents within the block. `known`: wait until executors know them, by a query that needs policy."""
    processes: list[Process | ForkedProcess] = []
    try:
        async with await installation.client() as writ:
            before = await _heard(writ) if known else 0
            processes += [await _start(installation, environ or {}) for _ in range(number)]

            async def all_there() -> bool:
                return not known or await _heard(writ) >= before + number

            await eventually(all_there, within=60, what=f"{number} more agents")
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        await asyncio.gather(*(asyncio.wait_for(process.wait(), 30) for process in processes))


async def _heard(writ: Writ) -> int:
    return next(target.agents for target in await writ.targets() if target.pool == POOL)


async def _start(installation: RunningInstallation, environ: Mapping[str, str]) -> Process | ForkedProcess:
    [service] = services.agents(services.ProcessTable(), installation.home, installation.url, {POOL: "local"}, {})
    name = f"more-{next(_numbers)}"
    state = installation.home.state / name
    own = {"WRIT_STATE_DIR": str(state), "WRIT_RUN_FILE": str(installation.home.run / f"{name}.json")}
    with (installation.home.log / f"{name}.log").open("ab") as output:
        given = {**services.passed_on(os.environ), **service.env, **own, **environ}
        return await start_service(service.argv[-1], given, output)

"""`writ up` with stand-ins for the services: `standin_up.py HOME OPTIONS`, the options as JSON.

It cannot read the journal while the file `run/no-journal` is there.
"""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from writ_bus.errors import TimedOut
from writ_cli.terminal.error_output import refuse
from writ_installation.backends import AgentKind
from writ_installation.files.home import Home
from writ_installation.processes.services import ProcessTable
from writ_installation.provisioner.principal_changes import PrincipalChangeEndpoint
from writ_installation.supervisor.options import SupervisorOptions
from writ_installation.supervisor.supervisor import Supervisor
from writ_runtime.signals import StopSignal

STANDIN = Path(__file__).with_name("standin.py")
"""A program of its own: it loads a third of what this one needs."""


_read = PrincipalChangeEndpoint.read


async def read(self: PrincipalChangeEndpoint, url: str) -> None:
    """Read the journal, unless the test prevents it."""
    if (Path(sys.argv[1]) / "run" / "no-journal").exists():
        raise TimedOut("no reply from the journal")
    await _read(self, url)


def table() -> ProcessTable:
    """Every service a stand-in."""
    command = (sys.executable, str(STANDIN))
    services = {kind: (*command, kind) for kind in ("policy", "executor", "audit")}
    return ProcessTable(**services, agents={"local": AgentKind(argv=(*command, "agent"), extra="server")})


async def up(home: Path, options: SupervisorOptions) -> None:
    """Run as `writ up` does."""
    async with StopSignal() as stop:
        made = Supervisor(Home(home), options, os.environ, lambda text: print(text, flush=True), table())
        await made.run(stop, lambda report: print("READY", report.url, flush=True))


def main() -> int:
    PrincipalChangeEndpoint.read = read  # type: ignore[method-assign]
    values = msgspec.json.decode(sys.argv[2])
    options = msgspec.convert({"nats_port": 0, "check_seconds": 0.05, **values}, SupervisorOptions)
    try:
        asyncio.run(up(Path(sys.argv[1]), options))
    except Exception as error:  # noqa: BLE001 - as the command does
        return refuse(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

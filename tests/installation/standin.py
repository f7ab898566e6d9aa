"""Tiny services in the place of the real ones, and an installation of them, for tests of the supervisor.

`standin.py service NAME` is one: a health port, a run file, an end at SIGTERM. `WRIT_STANDIN_<NAME>` makes it `die`
at its start, `sulk` (never ready), `stay` (deaf to SIGTERM), or `outgrow` the permissions of NATS at its restart.
`standin.py up HOME [JSON OF OPTIONS]` is `writ up`.
"""

import asyncio
import json
import os
import signal
import sys
import time
from http import HTTPStatus
from pathlib import Path

import msgspec

from writ_cli.terminal.error_output import refuse
from writ_documents.atomic_files import write_atomically
from writ_installation.backends import AgentKind
from writ_installation.files.home import Home
from writ_installation.processes.services import ProcessTable
from writ_installation.supervisor.supervisor import Supervisor, SupervisorOptions
from writ_runtime.files.run_file import RunFile
from writ_runtime.health import Health, listening
from writ_runtime.metrics import Metrics
from writ_runtime.signals import StopSignal


async def service(name: str) -> None:
    """Serve until SIGTERM."""
    mood = os.environ.get(f"WRIT_STANDIN_{name.upper()}", "")
    print(f"{name} says hello", flush=True)
    if mood == "die":
        sys.exit(f"{name} cannot go on")
    if mood == "outgrow" and (Path(os.environ["WRIT_RUN_FILE"]).parent / "order").exists():
        sys.exit(f"Forbidden: the server does not permit {name} to subscription writ.new")
    health = Health(Metrics())
    async with (
        listening(health, "127.0.0.1", int(os.environ.get("WRIT_HEALTH_PORT", "0"))) as port,
        StopSignal() as stop,
    ):
        health.watch({"mood": _sulking if mood == "sulk" else _well})
        file = Path(os.environ["WRIT_RUN_FILE"])
        write_atomically(file, msgspec.json.encode(RunFile(pid=os.getpid(), health_port=port, name=name)))
        if mood == "stay":
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
        await stop.wait()
        with (file.parent / "order").open("a") as order:
            order.write(f"{name} {time.monotonic()}\n")


async def _well() -> str | None:
    return None


async def _sulking() -> str | None:
    return f"will not ({HTTPStatus.IM_A_TEAPOT.phrase})"


def table() -> ProcessTable:
    """Every service a stand-in."""
    command = (sys.executable, __file__, "service")
    services = {kind: (*command, kind) for kind in ("policy", "executor", "audit")}
    return ProcessTable(**services, agents={"local": AgentKind(argv=(*command, "agent"), extra="server")})


async def up(home: Path, options: SupervisorOptions) -> None:
    """Run as `writ up` does."""
    async with StopSignal() as stop:
        made = Supervisor(Home(home), options, os.environ, lambda text: print(text, flush=True), table())
        await made.run(stop, lambda report: print("READY", report.url, flush=True))


def main() -> int:
    if sys.argv[1] == "service":
        asyncio.run(service(sys.argv[2]))
        return 0
    options = msgspec.convert({"nats_port": 0, "check_seconds": 0.05, **json.loads(sys.argv[3])}, SupervisorOptions)
    try:
        asyncio.run(up(Path(sys.argv[2]), options))
    except Exception as error:  # noqa: BLE001 - as the command does
        return refuse(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

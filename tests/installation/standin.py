"""A tiny service in the place of a real one, for tests of the supervisor: `standin.py NAME`.

It has a health port, a run file and an end at SIGTERM. `WRIT_STANDIN_<NAME>` makes it `die` at its start, `sulk` (never
ready), `wait` (ready once the file `go` is there), `stay` (deaf to SIGTERM), or `outgrow` the permissions of NATS at
its restart. It loads little: a test starts four of them, and some again.
"""

import asyncio
import os
import signal
import sys
import time
from functools import partial
from http import HTTPStatus
from pathlib import Path

import msgspec

from writ_documents.atomic_files import write_atomically
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
        sys.exit(f"Forbidden: the server does not permit {name} to subscribe to writ.new")
    health = Health(Metrics())
    async with (
        listening(health, "127.0.0.1", int(os.environ.get("WRIT_HEALTH_PORT", "0"))) as port,
        StopSignal() as stop,
    ):
        file = Path(os.environ["WRIT_RUN_FILE"])
        check = partial(_waiting, file.with_name("go")) if mood == "wait" else _sulking if mood == "sulk" else _well
        health.watch({"mood": check})
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


async def _waiting(file: Path) -> str | None:
    return None if file.exists() else f"waits for {file.name}"


async def _sulking() -> str | None:
    return f"will not ({HTTPStatus.IM_A_TEAPOT.phrase})"


if __name__ == "__main__":
    asyncio.run(service(sys.argv[1]))

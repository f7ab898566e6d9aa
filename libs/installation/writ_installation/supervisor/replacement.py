"""Replacement of a process by one with another key. Where replicas are possible, one works meanwhile."""

import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack

from msgspec import structs

from writ_installation.files.home import Home
from writ_installation.processes.child import Child
from writ_installation.processes.services import ServiceProcess

COPIED = ("policy", "executor")
"""Services whose state a second replica may begin with: marks that are only ever raised."""
Make = Callable[[ServiceProcess], Child]


async def replace_process(home: Home, old: Child, service: ServiceProcess, make: Make) -> Child:
    """Start the process again as `wanted`; return it once it is ready. Raises Unreachable, with the old one stopped or
    as it was; it can be called again then.
    """
    async with AsyncExitStack() as stack:
        if old.state != "stopped":
            if has_replicas(service):
                replica = make(_replica(home, service))
                stack.push_async_callback(replica.stop)
                await replica.start()
            await old.stop()
        child = make(service)
        try:
            await child.start()
        except BaseException:
            await child.stop()
            raise
    return child


def has_replicas(service: ServiceProcess) -> bool:
    """Return whether a second process can work beside this one without a large state of its own."""
    return service.name.partition("-")[0].partition(".")[0] in (*COPIED, "agent")


def _replica(home: Home, service: ServiceProcess) -> ServiceProcess:
    """Return the service under another name, with a state folder of its own."""
    name = f"{service.name}.meanwhile"
    state = home.state / name
    if service.name.startswith(COPIED):
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(home.state / service.name, state)
    state.mkdir(mode=0o700, exist_ok=True)
    own = {
        "WRIT_STATE_DIR": str(state),
        "WRIT_RUN_FILE": str(home.run / f"{name}.json"),
        "WRIT_HEALTH_PORT": "0",
    }
    return structs.replace(service, name=name, env={**service.env, **own})

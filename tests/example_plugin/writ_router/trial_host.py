"""A host on which the suite of backends tries this one: a simulated router. It needs a source tree of Writ."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from writ_agent.backends.port import Backend, Task, TaskResult
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import Target
from writ_router.backend import RouterBackend
from writ_router.operations import OPERATIONS
from writ_router.simulator import CAMERA, RouterState, router
from writ_testing.suites.backend import task
from writ_testing.suites.host_cases import HostCase

DEVICES, BLOCK, INSTALL = OPERATIONS
STATUS, RESTART = (next(one for one in BUILT_IN if one.name == name) for name in ("service_status", "service_restart"))
TOKEN, KEY = "token", "correct horse"
SLOW_SECONDS = 60.0


class TrialHost:
    """The backend, and a router to try it on."""

    def __init__(self, url: str, state: RouterState) -> None:
        self.backend: Backend = RouterBackend(TOKEN)
        self.url, self.state = url, state
        self.target = Target(id="router-1", role="testing", backend="router", connection={"url": url})

    def change(self, operation_id: str) -> Task:
        return task(BLOCK, self.target, operation_id, mac=CAMERA)

    def slow(self, operation_id: str) -> Task:
        return task(INSTALL, self.target, operation_id, version="2.0", key=KEY)

    def refused(self, operation_id: str) -> Task:
        return task(INSTALL, self.target, operation_id, version="2.0", key="wrong")

    async def changed(self, operation_id: str) -> bool:
        return self.state.devices[CAMERA]

    async def busy(self, operation_id: str) -> bool:
        work = self.state.installing
        return work is not None and work["id"] == operation_id

    def host_cases(self) -> Iterator[HostCase]:
        state = self.state
        state.seconds = 0.3

        async def blocked(done: TaskResult | None) -> bool:
            return state.devices[CAMERA]

        async def installed(done: TaskResult | None) -> bool:
            return state.version == "2.0"

        async def restarted(done: TaskResult | None) -> bool:
            return state.starts["dnsmasq"] == 2

        async def listed(done: TaskResult | None) -> bool:
            return done is not None and done.output["devices"] == state.devices

        async def running(done: TaskResult | None) -> bool:
            return done is not None and done.output["active_state"] == "active"

        yield HostCase(self.change("block"), blocked)
        yield HostCase(task(DEVICES, self.target, "devices"), listed)
        yield HostCase(self.slow("install"), installed)
        yield HostCase(task(STATUS, self.target, "status", service_name="dnsmasq"), running)
        yield HostCase(task(RESTART, self.target, "restart", service_name="dnsmasq"), restarted)

    @property
    def elsewhere(self) -> set[str]:
        return set()


@contextmanager
def trial_host(folder: Path) -> Iterator[TrialHost]:
    """Yield the host; the folder is empty, and removed afterwards."""
    with router(TOKEN, SLOW_SECONDS) as (url, state):
        yield TrialHost(url, state)

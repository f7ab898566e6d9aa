"""The backend. It trusts the task from the agent, and must report the effect truthfully."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from writ_agent.backends.coroutine import CoroutineHandler
from writ_agent.backends.port import ProbeResult, Progress, TargetTestResult, Task, TaskResult
from writ_agent.backends.target_health import TargetHealth
from writ_contracts.errors import ConfigError, Invalid, TimedOut, WritError
from writ_contracts.inventory import Target
from writ_contracts.target_tests import TargetTestStep
from writ_router.api import RouterApi
from writ_router.descriptor import PLUGIN
from writ_router.operations import OPERATIONS

POLL_SECONDS = 0.2
SERVED = PLUGIN.serves["router"]


class RouterBackend(CoroutineHandler):
    """Routers, each at the `url` in its target's `connection`. A cancel ends the coroutine of an operation."""

    name = "router"

    def __init__(self, token: str) -> None:
        super().__init__(self._carry_out)
        self.operations = frozenset({*(one.name for one in OPERATIONS), *SERVED})
        self.target_health = TargetHealth()
        self._token = token

    async def check(self) -> str | None:
        """Needs nothing of its own host."""
        return None

    async def baseline(self, task: Task) -> dict[str, Any]:
        """Return the state for a probe to compare with."""
        return await _read(self._api(task.target), task)

    async def preview(self, task: Task) -> dict[str, Any]:
        """Return the present state and the intended changes; change nothing."""
        shown = {name: task.parameters[name] for name in ("mac", "blocked", "version") if name in task.parameters}
        return {"would": task.operation.summary, **shown, "now": await _read(self._api(task.target), task)}

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        """Compare with the baseline; secret parameters are not known here."""
        observed = await _read(self._api(task.target), task)
        if "installing" in observed:
            return ProbeResult(verdict="unknown", seen=observed)
        return ProbeResult(verdict="no_effect" if observed == dict(baseline) else "took_effect", seen=observed)

    async def test_target(self, target: Target) -> TargetTestResult:
        """Connect, and read the firmware's version."""
        try:
            status = await self._api(target).call("GET", "status")
            found = TargetTestResult(
                steps=[TargetTestStep(name="connection", well=True)],
                versions={"firmware": str(status["version"])},
                operations=sorted(self.operations),
            )
        except WritError as error:
            found = TargetTestResult(code=error.code, message=str(error))
        self.target_health.record(target.id, found.code)
        return found

    async def _carry_out(self, task: Task, progress: Progress) -> TaskResult:
        """Carry out one operation. Raises WritError for refusals before any effect."""
        carry = CARRIERS.get(task.operation.name)
        if carry is None:
            raise Invalid(f"backend router has no {task.operation.name}", code="unsupported")
        try:
            return await carry(self._api(task.target), task, progress)
        except TimedOut as error:
            if task.operation.read_only:
                return TaskResult(outcome="failed", code=error.code, message=str(error))
            return TaskResult(outcome="unknown", code=error.code, message=str(error), effect="maybe")

    def _api(self, target: Target) -> RouterApi:
        return RouterApi(str(target.connection.get("url", "")), self._token)


async def _devices(api: RouterApi, task: Task, progress: Progress) -> TaskResult:
    return TaskResult(outcome="succeeded", output={"devices": await api.call("GET", "devices")})


async def _block(api: RouterApi, task: Task, progress: Progress) -> TaskResult:
    mac, blocked = task.parameters["mac"], task.parameters["blocked"]
    await api.call("PUT", "devices", mac, body={"blocked": blocked})
    devices = await api.call("GET", "devices")  # `succeeded` is only for what was seen
    if devices.get(mac) is not blocked:
        return TaskResult(outcome="unknown", code="unconfirmed", message=f"{mac} does not show it", effect="maybe")
    return TaskResult(outcome="succeeded", output={"mac": mac, "blocked": blocked}, effect="done")


async def _install(api: RouterApi, task: Task, progress: Progress) -> TaskResult:
    request = {"id": task.operation_id, "version": task.parameters["version"], "key": task.parameters["key"]}
    begun = asyncio.create_task(api.call("POST", "firmware", body=request))
    try:
        await asyncio.shield(begun)
        while (status := await api.call("GET", "status"))["installing"] == task.operation_id:
            progress(f"{status['percent']} %")
            await asyncio.sleep(POLL_SECONDS)
    except asyncio.CancelledError:
        await begun  # a request that is under way cannot be taken back
        if (await api.call("DELETE", "firmware", task.operation_id))["stopped"]:
            return TaskResult(outcome="cancelled", code="cancelled", message="nothing was installed")
        return TaskResult(outcome="unknown", code="cancelled", message="it was at its end", effect="maybe")
    if status["version"] != request["version"]:
        return TaskResult(outcome="unknown", code="unconfirmed", message=f"it has {status['version']}", effect="maybe")
    return TaskResult(outcome="succeeded", output={"version": status["version"]}, effect="done")


async def _status(api: RouterApi, task: Task, progress: Progress) -> TaskResult:
    return TaskResult(outcome="succeeded", output=_state(task, await _service(api, task)))


async def _restart(api: RouterApi, task: Task, progress: Progress) -> TaskResult:
    before = await _service(api, task)
    await api.call("POST", "services", task.parameters["service_name"], "restart")
    now = await _service(api, task)
    if not now["running"] or now["starts"] == before["starts"]:
        return TaskResult(outcome="unknown", code="unconfirmed", message="it shows no new start", effect="maybe")
    return TaskResult(outcome="succeeded", output={**_state(task, now), "changed": True}, effect="done")


async def _service(api: RouterApi, task: Task) -> dict[str, Any]:
    return dict(await api.call("GET", "services", task.parameters["service_name"]))


def _state(task: Task, service: Mapping[str, Any]) -> dict[str, Any]:
    active = "active" if service["running"] else "inactive"
    return {"service_name": task.parameters["service_name"], "load_state": "loaded", "active_state": active}


async def _read(api: RouterApi, task: Task) -> dict[str, Any]:
    """Return the part of the router's state within reach of the operation."""
    match task.operation.name:
        case "router_block":
            devices = await api.call("GET", "devices")
            return {"blocked": devices.get(task.parameters["mac"])}
        case "router_install":
            status = await api.call("GET", "status")
            going_on = {"installing": True} if status["installing"] == task.operation_id else {}
            return {"version": status["version"], **going_on}
        case _:
            service = await _service(api, task)
            return {"starts": service["starts"], "names": []}  # a router's service has one name


CARRIERS: Mapping[str, Callable[[RouterApi, Task, Progress], Awaitable[TaskResult]]] = {
    "router_devices": _devices,
    "router_block": _block,
    "router_install": _install,
    "service_status": _status,
    "service_restart": _restart,
}


def backend() -> RouterBackend:
    """Make the backend from its environment. Raises ConfigError."""
    name = os.environ.get("WRIT_ROUTER_TOKEN_FILE")
    if not name:
        raise ConfigError("WRIT_ROUTER_TOKEN_FILE is not set: the file with the token of the routers' API")
    try:
        return RouterBackend(Path(name).read_text().strip())
    except OSError as error:
        raise ConfigError(f"WRIT_ROUTER_TOKEN_FILE {name!r} cannot be read: {error.strerror}") from error

"""A test of a target: its engine over a connection of its own, and what of the catalogue it has."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from writ_agent.backends.port import TargetTestResult
from writ_agent_docker.engines import Engines
from writ_containers import stack_operations
from writ_containers.compose import command
from writ_containers.engine import API_VERSION, Engine
from writ_contracts.backends import StepName, TargetTestStep
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target

NO_COMPOSE = "docker compose is not installed where the agent runs"
UNTRIED = frozenset({"no_credentials", "invalid_connection"})


async def find(engines: Engines, target: Target, operations: Collection[str]) -> TargetTestResult:
    """Return how the engine is; never raises WritError."""
    try:
        connection = engines.connection(target)
        engine = Engine(connection)
        try:
            version, info = await engine.version(), await engine.info()
            compose = await command.version(connection.socket)
        finally:
            await engine.close()
    except WritError as error:
        name: StepName = "credentials" if error.code in UNTRIED else "connection"
        step = TargetTestStep(name=name, well=False, detail=str(error))
        return TargetTestResult(steps=[step], code=error.code, message=str(error))
    steps = [
        TargetTestStep(name="connection", well=True, detail=connection.socket),
        TargetTestStep(name="host", well=True, detail=str(info.get("OperatingSystem", ""))),
    ]
    problem = _too_old(version)
    if problem:
        return TargetTestResult(steps=steps, code="engine_too_old", message=problem, versions=_versions(version, info))
    lacking = {} if compose else dict.fromkeys(stack_operations.APPLY, NO_COMPOSE)
    versions = _versions(version, info) | ({"compose": compose} if compose else {})
    return TargetTestResult(
        steps=steps, versions=versions, operations=sorted(set(operations) - lacking.keys()), lacking=lacking
    )


def _versions(version: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "engine": version.get("Version"),
        "api": version.get("ApiVersion"),
        "os": info.get("OperatingSystem"),
        "storage": info.get("Driver"),
        "rootless": "yes" if any("rootless" in str(one) for one in info.get("SecurityOptions") or ()) else "no",
        "swarm": (info.get("Swarm") or {}).get("LocalNodeState"),
    }
    return {name: str(value)[:100] for name, value in found.items() if value}


def _too_old(version: Mapping[str, Any]) -> str:
    """Why its API cannot be used; empty where it can."""
    ours = tuple(_numbers(API_VERSION))
    if tuple(_numbers(str(version.get("ApiVersion", "0")))) < ours:
        return f"its API is {version.get('ApiVersion')}, and {API_VERSION} is needed: Docker Engine 25 or newer"
    return ""


def _numbers(text: str) -> Iterator[int]:
    return (int(part) for part in text.lstrip("v").split(".") if part.isdigit())

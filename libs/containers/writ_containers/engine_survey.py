"""A survey of an engine for target tests: its versions, and its missing operations."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from writ_containers import stack_operations
from writ_containers.compose import command
from writ_containers.engine import API_VERSION, Engine

PODMAN, OLD_PODMAN = (5,), "Podman 5 or newer is needed"
NO_COMPOSE = "docker compose is not installed where the agent runs"


class EngineSurvey(Struct, frozen=True, kw_only=True):
    """`problem`: why it cannot be used at all; empty where it can. `lacking`: operations, with the reason."""

    os: str
    versions: dict[str, str]
    problem: str = ""
    lacking: dict[str, str] = field(default_factory=dict)


async def survey(engine: Engine) -> EngineSurvey:
    """Return the engine's versions and features. Raises WritError."""
    version, info = await engine.version(), await engine.info()
    compose = await command.version()
    versions = _versions(version, info) | ({"compose": compose} if compose else {})
    lacking = {} if compose else dict.fromkeys(stack_operations.APPLY, NO_COMPOSE)
    os = str(info.get("OperatingSystem", ""))
    return EngineSurvey(os=os, versions=versions, problem=_too_old(version), lacking=lacking)


def is_podman(version: Mapping[str, Any]) -> bool:
    """Return whether it is Podman's compatible socket."""
    return any(one.get("Name") == "Podman Engine" for one in version.get("Components") or ())


def _versions(version: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "engine": f"{'Podman ' if is_podman(version) else ''}{version.get('Version', '')}",
        "api": version.get("ApiVersion"),
        "os": info.get("OperatingSystem"),
        "storage": info.get("Driver"),
        "rootless": "yes" if any("rootless" in str(one) for one in info.get("SecurityOptions") or ()) else "no",
        "swarm": (info.get("Swarm") or {}).get("LocalNodeState"),
    }
    return {name: str(value)[:100] for name, value in found.items() if value}


def _too_old(version: Mapping[str, Any]) -> str:
    """Why its API cannot be used; empty where it can. Podman says 1.41, and takes requests of later versions."""
    if is_podman(version):
        return "" if tuple(_numbers(str(version.get("Version", "0"))))[:1] >= PODMAN else OLD_PODMAN
    ours = tuple(_numbers(API_VERSION))
    if tuple(_numbers(str(version.get("ApiVersion", "0")))) < ours:
        return f"its API is {version.get('ApiVersion')}, and {API_VERSION} is needed: Docker Engine 25 or newer"
    return ""


def _numbers(text: str) -> Iterator[int]:
    return (int(part) for part in text.lstrip("v").split(".") if part.isdigit())

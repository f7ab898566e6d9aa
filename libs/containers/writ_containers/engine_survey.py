"""A survey of an engine for target tests: its versions, and its missing operations."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from writ_agent.backends.port import Failing
from writ_containers.backups import operations as backups
from writ_containers.engine.api import API_VERSION, Engine
from writ_containers.engine.endpoint import SocketEndpoint
from writ_containers.engine.engine_errors import one_line
from writ_containers.engine.podman import NO_BACKUPS, is_podman
from writ_containers.engine.stack_files import DiskSpace
from writ_containers.stacks import compose_command, stack_operations
from writ_containers.stacks.compose_command import NO_COMPOSE
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target

MOST_TEXT = 100
PODMAN, OLD_PODMAN = (5,), "Podman 5 or newer is needed"
LOW_SHARE, LOW_BYTES = 0.05, 2**30
"""Below either the test says how to free space."""


class EngineSurvey(Struct, frozen=True, kw_only=True):
    """`problem`: why it cannot be used at all; empty where it can. `lacking`: operations, with the reason. `fails`:
    those of them that cannot succeed, with code and message.
    """

    os: str
    versions: dict[str, str]
    problem: str = ""
    lacking: dict[str, str] = field(default_factory=dict)
    fails: dict[str, Failing] = field(default_factory=dict)


async def survey(engine: Engine, target: Target) -> EngineSurvey:
    """Return the engine's versions, features and disk. Raises WritError."""
    version, info = await engine.version(), await engine.info()
    compose = await compose_command.version()
    versions = _versions(version, info) | ({"compose": compose} if compose else {})
    versions["disk"] = await _disk(engine, target, str(info.get("DockerRootDir") or ""))
    lacking = {} if compose else dict.fromkeys(stack_operations.APPLY, NO_COMPOSE)
    fails = (
        {}
        if versions.get("swarm") == "active"
        else {name: Failing("tool_missing", why) for name, why in lacking.items()}
    )
    if is_podman(version):
        lacking |= dict.fromkeys(backups.READ_OR_FILLED, NO_BACKUPS)
        fails |= dict.fromkeys(backups.READ_OR_FILLED, Failing("unsupported", NO_BACKUPS))
    os = str(info.get("OperatingSystem", ""))
    versions = {name: one_line(text) for name, text in versions.items()}
    return EngineSurvey(os=os, versions=versions, problem=_too_old(version), lacking=lacking, fails=fails)


async def _disk(engine: Engine, target: Target, folder: str) -> str:
    """Return the free space where the engine has its data; without a view of its host the size of that data."""
    if folder.startswith("/") and isinstance(engine.endpoint, SocketEndpoint):
        space = await engine.stack_files.space(target, folder)
        if space is not None:
            return disk_text(space, folder)
    try:
        usage = await engine.disk_usage()
    except WritError as error:
        return f"not known: {error}"[:MOST_TEXT]
    return f"images {size(usage.images)}, containers {size(usage.containers)}; free space is not seen from here"


def disk_text(space: DiskSpace, folder: str) -> str:
    """Return the free space in words, and how to get more where it is low."""
    text = f"{size(space.free)} free of {size(space.total)} at {folder}"[:MOST_TEXT]
    if space.free < LOW_BYTES or space.free < LOW_SHARE * space.total:
        text += ": low, `docker system df` shows what takes it, `docker system prune` frees what nothing uses"
    return text


def size(number: float) -> str:
    """Return a number of bytes with a unit, as `docker system df` has it."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _versions(version: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "engine": f"{'Podman ' if is_podman(version) else ''}{version.get('Version', '')}",
        "api": version.get("ApiVersion"),
        "os": info.get("OperatingSystem"),
        "storage": info.get("Driver"),
        "rootless": "yes" if any("rootless" in str(one) for one in info.get("SecurityOptions") or ()) else "no",
        "swarm": (info.get("Swarm") or {}).get("LocalNodeState"),
    }
    return {name: str(value)[:MOST_TEXT] for name, value in found.items() if value}


def _too_old(version: Mapping[str, Any]) -> str:
    """Return the reason for which its API cannot be used; empty where it can. Podman says 1.41, and takes requests of
    later versions.
    """
    if is_podman(version):
        return "" if tuple(_numbers(str(version.get("Version", "0"))))[:1] >= PODMAN else OLD_PODMAN
    ours = tuple(_numbers(API_VERSION))
    if tuple(_numbers(str(version.get("ApiVersion", "0")))) < ours:
        return f"its API is {version.get('ApiVersion')}, and {API_VERSION} is needed: Docker Engine 25 or newer"
    return ""


def _numbers(text: str) -> Iterator[int]:
    return (int(part) for part in text.lstrip("v").split(".") if part.isdigit())

"""The engine's inspect documents as outputs of the catalogue and as baselines; pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Raw = Mapping[str, Any]
OPERATION_LABEL = "io.writops.operation"
"""On what an operation created: its id, by which an agent finds it again when nobody saw the outcome."""
PROJECT_LABEL = "com.docker.compose.project"
"""On all that belongs to a stack: its name."""
STACK_OPERATION_LABEL = "com.docker.compose.project.working_dir"
"""On each container that Compose has created: its folder, for which a stack gets `stack_mark`. A label of ours would be
a setting, by which Compose would make every container again."""
NEVER = "0001-01-01T00:00:00Z"


def state(raw: Raw) -> dict[str, Any]:
    """Return the fields of ContainerState."""
    raw_state, config = raw.get("State", {}), raw.get("Config", {})
    return {
        "container_name": str(raw.get("Name", "")).removeprefix("/"),
        "container_id": str(raw.get("Id", "")),
        "image": str(config.get("Image", "")),
        "image_digest": str(raw.get("Image", "")),
        "state": str(raw_state.get("Status", "")),
        "health": health(raw),
        "started_at": unix_time(str(raw_state.get("StartedAt", ""))),
        "exit_code": None if is_running(raw) else raw_state.get("ExitCode"),
    }


def details(raw: Raw) -> dict[str, Any]:
    """Return the fields of ContainerDetails."""
    config, host = raw.get("Config", {}), raw.get("HostConfig", {})
    return {
        **state(raw),
        "ports": _ports(raw),
        "mounts": [_mount(one) for one in raw.get("Mounts") or ()],
        "networks": sorted((raw.get("NetworkSettings") or {}).get("Networks") or ()),
        "restart_policy": str((host.get("RestartPolicy") or {}).get("Name", "")),
        "created_at": unix_time(str(raw.get("Created", ""))),
        "env": dict(_pair(text) for text in config.get("Env") or ()),
        "command": [str(word) for word in config.get("Cmd") or ()],
        "labels": {str(name): str(value) for name, value in (config.get("Labels") or {}).items()},
    }


def listed(one: Raw) -> dict[str, str]:
    """Return the fields of ListedContainer, from an entry of GET /containers/json."""
    return {
        "container_name": next(iter(names(one)), ""),
        "container_id": str(one.get("Id", "")),
        "image": str(one.get("Image", "")),
        "state": str(one.get("State", "")),
        "status": str(one.get("Status", "")),
        "stack_name": str((one.get("Labels") or {}).get(PROJECT_LABEL, "")),
    }


def names(one: Raw) -> list[str]:
    """Return the container's own name. Legacy links add names below the linking container's."""
    return [name[1:] for name in one.get("Names") or () if name.startswith("/") and "/" not in name[1:]]


def baseline(raw: Raw) -> dict[str, Any]:
    """Return the state by which a later one shows the effect of an operation; public and small."""
    return {
        "container_id": str(raw.get("Id", "")),
        "created": str(raw.get("Created", "")),
        "started": str(raw.get("State", {}).get("StartedAt", "")),
        "state": str(raw.get("State", {}).get("Status", "")),
        "image_digest": str(raw.get("Image", "")),
    }


def is_running(raw: Raw) -> bool:
    """Return whether it runs, is paused, or is between two starts of its restart policy."""
    return bool(raw.get("State", {}).get("Running"))


def health(raw: Raw) -> str:
    """Return healthy, unhealthy or starting; empty where the container has no health check."""
    found = str((raw.get("State", {}).get("Health") or {}).get("Status", ""))
    return "" if found == "none" else found


def is_well(raw: Raw) -> bool:
    """Return whether it runs and is healthy, or was started and has ended without an error."""
    if is_running(raw):
        return not raw["State"].get("Restarting") and health(raw) in ("", "healthy")
    state = raw.get("State", {})
    return state.get("StartedAt") not in ("", NEVER, None) and state.get("ExitCode") == 0


def operation_of(raw: Raw | None) -> str | None:
    """Return the id of the operation which created it: empty if none did, None without a container."""
    if raw is None:
        return None
    return str((raw.get("Config", {}).get("Labels") or {}).get(OPERATION_LABEL, ""))


def stack_mark(operation_id: str) -> str:
    """Return the folder that names the operation: one that cannot exist, so nothing is read there."""
    return f"/dev/null/{operation_id}"


def stop_seconds(raw: Raw) -> int:
    """Return the seconds between a container's stop signal and SIGKILL (the engine's default is 10)."""
    seconds = raw.get("Config", {}).get("StopTimeout")
    return 10 if seconds is None else int(seconds)


def unix_time(text: str) -> float | None:
    """Return Unix seconds of an RFC 3339 time; None for the engine's zero time and for any other text."""
    if not text or text == NEVER:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _ports(raw: Raw) -> list[str]:
    bindings = (raw.get("HostConfig") or {}).get("PortBindings") or {}
    none: tuple[Raw, ...] = ({},)
    return sorted(_port(inner, one) for inner, outer in bindings.items() for one in outer or none)


def _port(inner: str, outer: Raw) -> str:
    """Return the port in the form of `ports` of container_create."""
    address, port = str(outer.get("HostIp", "")), str(outer.get("HostPort", ""))
    address = f"[{address}]" if ":" in address else address
    inner = inner.removesuffix("/tcp")
    return ":".join(part for part in (address, port, inner) if part)


def _mount(one: Raw) -> str:
    source = one.get("Name") if one.get("Type") == "volume" else one.get("Source")
    return f"{source}:{one.get('Destination')}{'' if one.get('RW') else ':ro'}"


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value

"""The containers of a stack as services: their states, and the changes by a file; pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from writ_containers.compose.canonical_stack import replicas
from writ_containers.compose.types import Stack
from writ_containers.containers.container_view import health, is_running

SERVICE = "com.docker.compose.service"
ONEOFF = "com.docker.compose.oneoff"
Raw = Mapping[str, Any]


class StackService(NamedTuple):
    """`up`: each of its containers runs and is healthy, or has ended with 0. `ended`: one ended with an error."""

    containers: int
    images: tuple[str, ...]
    text: str
    up: bool
    ended: bool


class StackEnd(NamedTuple):
    """The state of a stack. `final`: waiting changes nothing any more. `message`: services up and down; empty if all
    are up.
    """

    final: bool
    message: str


def services_of(found: Sequence[Raw]) -> dict[str, StackService]:
    """Return the services by name, without one-off containers."""
    by_name: dict[str, list[Raw]] = {}
    for raw in found:
        labels = raw["Config"].get("Labels") or {}
        if labels.get(ONEOFF) != "True" and SERVICE in labels:
            by_name.setdefault(str(labels[SERVICE]), []).append(raw)
    return {name: _service(of_it) for name, of_it in sorted(by_name.items())}


def judged(expected: Mapping[str, int], services: Mapping[str, StackService]) -> StackEnd:
    """Return whether the stack is in the expected state."""
    lacking = {name: count for name, count in expected.items() if count and not _is_up(services.get(name), count)}
    if not lacking:
        return StackEnd(True, "")
    is_over = any((one := services.get(name)) is not None and one.ended for name in lacking)
    down = ", ".join(f"{name} ({services[name].text if name in services else 'absent'})" for name in sorted(lacking))
    running = ", ".join(sorted(set(expected) - lacking.keys())) or "nothing"
    return StackEnd(is_over, f"up: {running}; not up: {down}")


def differences(stack: Stack, services: Mapping[str, StackService]) -> dict[str, str]:
    """Return the action of a deploy on each service, as far as images and numbers show it."""
    changes = {name: "is removed" for name in services if name not in stack.services}
    for name, service in stack.services.items():
        runs, count = services.get(name), replicas(service)
        if runs is None:
            changes[name] = f"is created: {count} of {service.image}"
        elif runs.images != (service.image,):
            changes[name] = f"goes from {', '.join(runs.images)} to {service.image}"
        elif runs.containers != count:
            changes[name] = f"goes from {runs.containers} to {count} containers"
        else:
            changes[name] = f"is recreated only if its settings differ: {service.image}"
    return changes


def _service(of_it: Sequence[Raw]) -> StackService:
    states = [_state(raw) for raw in of_it]
    return StackService(
        containers=len(of_it),
        images=tuple(sorted({str(raw["Config"].get("Image", "")) for raw in of_it})),
        text=", ".join(sorted(set(states))),
        up=all(_is_well(raw) for raw in of_it),
        ended=any(_has_failed(raw) for raw in of_it),
    )


def _state(raw: Raw) -> str:
    state, code = str(raw["State"].get("Status", "")), raw["State"].get("ExitCode")
    if not is_running(raw) and code:
        return f"{state} with {code}"
    return " ".join(filter(None, (state, health(raw))))


def _is_well(raw: Raw) -> bool:
    """Return True for a running container, and for one ended with status 0 unless its restart policy is `always`."""
    if is_running(raw):
        return not raw["State"].get("Restarting") and health(raw) in ("", "healthy")
    policy = (raw["HostConfig"].get("RestartPolicy") or {}).get("Name") or "no"
    return (
        raw["State"].get("Status") == "exited" and raw["State"].get("ExitCode") == 0 and policy in ("no", "on-failure")
    )


def _has_failed(raw: Raw) -> bool:
    return health(raw) == "unhealthy" or (not is_running(raw) and bool(raw["State"].get("ExitCode")))


def _is_up(service: StackService | None, count: int) -> bool:
    return service is not None and service.up and service.containers >= count

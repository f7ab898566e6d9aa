"""A Compose stack as the engine shows it, before an operation and when nobody saw its outcome."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from writ_agent.backends.port import ProbeResult, Task
from writ_agent.backends.processes import living
from writ_containers.containers.container_view import PROJECT_LABEL
from writ_containers.engine.api import Engine
from writ_containers.stacks.stack_judgement import judge_apply, judge_remove, snapshot
from writ_contracts.errors import Invalid

Raw = Mapping[str, Any]


class StackParts(NamedTuple):
    """All that has the label of a stack; volumes only where the operation is about them."""

    containers: list[Raw]
    networks: list[Raw]
    volumes: list[str]

    @property
    def is_empty(self) -> bool:
        return not (self.containers or self.networks or self.volumes)

    @property
    def names(self) -> list[str]:
        """Return the names of the stack's networks and volumes."""
        return [*(f"network {one.get('Name', '')}" for one in self.networks), *(f"volume {v}" for v in self.volumes)]


def kept_volumes(containers: Iterable[Raw], removed: Collection[str]) -> list[str]:
    """Return the volumes of these containers that stay: with `volumes`, those without the label of the stack. These
    are external ones, and anonymous ones, to which Compose gives no label.
    """
    mounts = (mount for one in containers for mount in one.get("Mounts") or ())
    mounted = {str(mount.get("Name", "")) for mount in mounts if mount.get("Type") == "volume"}
    return sorted(mounted - {"", *removed})


async def stack_parts(engine: Engine, task: Task) -> StackParts:
    """Return the parts of the stack. A removal that keeps volumes leaves them out. Raises WritError."""
    name = str(task.parameters["stack_name"])
    label = {PROJECT_LABEL: name}
    volumes = sorted(await engine.volumes(label)) if task.parameters.get("volumes", True) else []
    return StackParts(await stack_containers(engine, name), await engine.networks(label), volumes)


async def stack_containers(engine: Engine, name: str) -> list[Raw]:
    """Inspect all containers of the stack; one removed meanwhile is left out."""
    found = []
    for one in await engine.containers({PROJECT_LABEL: name}):
        try:
            found.append(await engine.inspect(str(one["Id"])))
        except Invalid as error:
            if error.code != "not_found":
                raise
    return found


async def baseline(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the state by which a later one shows a change. Raises WritError."""
    parts = await stack_parts(engine, task)
    return snapshot(parts.containers, parts.names)


async def probe(engine: Engine, task: Task, before: Raw) -> ProbeResult:
    """Return the effect of the operation; unknown while a process of it goes on. Raises WritError."""
    runs = await asyncio.to_thread(living, task.operation_id)
    parts = await stack_parts(engine, task)
    if task.operation.name == "stack_remove":
        verdict, reason = judge_remove(before, parts.containers, parts.names)
    else:
        verdict, reason = judge_apply(task.operation_id, before, parts.containers, parts.names)
    if runs:
        verdict, reason = "unknown", f"a process of the operation goes on; {reason}"
    return ProbeResult(verdict=verdict, observed={**snapshot(parts.containers, parts.names), "reason": reason})

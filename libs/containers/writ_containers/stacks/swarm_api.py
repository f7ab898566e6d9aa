"""The part of an engine's API about swarms: services, tasks and networks by the name of a stack."""

import json
import re
from collections.abc import Mapping
from typing import Any

from writ_containers.engine.api import Engine
from writ_containers.engine.reply_shapes import NetworkShape, ServiceShape, SwarmTaskShape
from writ_contracts.errors import Invalid, TimedOut, WritError

Raw = Mapping[str, Any]
NAMESPACE_LABEL = "com.docker.stack.namespace"
"""The label that `docker stack` puts on everything of a stack, with the name of the stack."""
NO_MANAGER = frozenset({404, 503})
"""Statuses of an engine that is no manager of a swarm, and of Podman, which knows none."""
_ID = re.compile(r"[0-9a-z]{25}|[0-9a-f]{64}").fullmatch


async def services(engine: Engine, stack: str | None = None) -> list[Raw] | None:
    """Return the services of a stack, or of all stacks; None where the engine is no swarm manager."""
    query = {"status": "true", "filters": _filters(stack)}
    found = await engine.get_json("/services", query, absent=NO_MANAGER, shape=list[ServiceShape] | None)
    return None if found is None else list(found)


async def tasks(engine: Engine, stack: str) -> list[Raw]:
    """Return the tasks of a stack, also those that have ended."""
    return list(await engine.get_json("/tasks", {"filters": _filters(stack)}, shape=list[SwarmTaskShape] | None) or ())


async def networks(engine: Engine, stack: str) -> list[Raw]:
    return list(await engine.get_json("/networks", {"filters": _filters(stack)}, shape=list[NetworkShape] | None) or ())


async def remove(engine: Engine, kind: str, item_id: str) -> None:
    """Remove a service or a network; one that does not exist is no error. Raises WritError."""
    if _ID(item_id) is None:
        raise TimedOut(f"the engine returned an invalid id of {kind}", code="garbled")
    try:
        await engine.delete(f"/{kind}/{item_id}")
    except Invalid as error:
        if error.code != "not_found":
            raise


async def remove_network(engine: Engine, network_id: str) -> bool:
    """Return False where tasks still use it."""
    try:
        await remove(engine, "networks", network_id)
    except WritError as error:
        if error.code in ("engine_refused", "engine_conflict", "engine_failed"):
            return False
        raise
    return True


def _filters(stack: str | None) -> str:
    return json.dumps({"label": [NAMESPACE_LABEL if stack is None else f"{NAMESPACE_LABEL}={stack}"]})

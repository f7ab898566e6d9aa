"""Stacks on a fake engine for the tests of crashes, by the real `docker compose`."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from msgspec.structs import replace
from tests.agent_docker.crash_cases import FORMER, OPERATION, state_of
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends.port import Task
from writ_containers.containers.container_view import STACK_OPERATION_LABEL, stack_mark
from writ_testing.fakes.docker_engine import FakeEngine

TWO = "services: {web: {image: 'box:1', volumes: ['data:/data']}, db: {image: 'box:1'}}\nvolumes: {data: }"
OTHER = TWO.replace("web: {image: 'box:1'", "web: {image: 'box:2'")
STACK = {"stack_name": "shop"}


class StackCase(NamedTuple):
    """`calls`: how many changing requests a run without a fault makes; `images`: of each remaining service."""

    operation: str
    parameters: dict[str, Any]
    prepare: Callable[[EngineHost], Awaitable[None]]
    images: dict[str, str]
    calls: int


async def _nothing(host: EngineHost) -> None:
    host.engine.add_image("box:2")


async def _deployed(host: EngineHost) -> None:
    host.engine.add_image("box:2")
    done = await host.run("stack_deploy", FORMER, compose=TWO, **STACK)
    assert done.outcome == "succeeded", done


BOTH = {"web": "box:1", "db": "box:1"}
CASES = {
    "deploy": StackCase("stack_deploy", {**STACK, "compose": TWO}, _nothing, BOTH, 6),
    "update": StackCase("stack_update", {**STACK, "compose": OTHER}, _deployed, {**BOTH, "web": "box:2"}, 5),
    "remove": StackCase("stack_remove", {**STACK, "volumes": True}, _deployed, {}, 6),
}


async def prepared(host: EngineHost, case: StackCase) -> Task:
    """Bring the engine into the state before the operation. Return the task with its baseline."""
    await case.prepare(host)
    host.engine.requests.clear()
    task = host.task(case.operation, OPERATION, timeout=9.0, **case.parameters)
    return replace(task, baseline=await host.backend.baseline(task))


def stack_state(engine: FakeEngine) -> dict[str, Any]:
    """Return the state within reach of an operation on a stack."""
    return {**state_of(engine), "networks": sorted(one["Name"] for one in engine.networks.values())}


def is_reached(case: StackCase, engine: FakeEngine, but: tuple[str, ...] = ()) -> bool:
    """Return true if the engine shows the whole effect and no containers except those and `but`."""
    observed = stack_state(engine)
    observed["containers"] = [one for one in observed["containers"] if one[0] not in but]
    expected = sorted((f"/shop-{name}-1", image, True, False) for name, image in case.images.items())
    parts = (["shop_default"], ["shop_data"]) if case.images else ([], [])
    return (observed["containers"], (observed["networks"], observed["volumes"])) == (expected, parts)


def made_by_stack(engine: FakeEngine, operation_id: str = OPERATION) -> list[str]:
    """Return the names of the operation's containers, as a person looks for them."""
    labels = ((one["Name"], one["Config"]["Labels"]) for one in engine.containers.values())
    return [name for name, own in labels if own.get(STACK_OPERATION_LABEL) == stack_mark(operation_id)]

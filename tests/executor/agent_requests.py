"""A scripted agent of the executor's test world: it sends heartbeats, answers reads and cancels."""

from typing import Any

from tests.executor.conftest import World

from writ_bus.port import Endpoint, Message, Service
from writ_contracts import subjects
from writ_contracts.agents import CancelReply, CancelRequest, Heartbeat, ReadReply, ReadRequest
from writ_contracts.wire import decode, encode


async def heartbeat(
    world: World,
    *running: str,
    skew: float | None = None,
    free: int = 1,
    plugins: dict[str, str] | None = None,
    level: int = 0,
    requests: bool = False,
    baseline_notices: bool = False,
    instance: str = "",
    leaving: bool = False,
    also: tuple[str, ...] = (),
) -> None:
    beat = Heartbeat(
        pool=world.hands.pool,
        instance=instance or world.hands.instance,
        requests=requests,
        baseline_notices=baseline_notices,
        leaving=leaving,
        running=list(running),
        free_slots=free,
        operations=["service_restart", "service_start", *also],
        version="0",
        skew=skew,
        plugins=plugins or {},
        level=level,
    )
    await world.bus.publish(subjects.heartbeat(world.hands.pool), encode(beat))


async def serve_agent(
    world: World, verdict: str = "took_effect", cancelled: str = "stopped", observed: dict[str, Any] | None = None
) -> list[CancelRequest]:
    """`observed`: the results of reads, by default their action."""
    cancels: list[CancelRequest] = []

    async def serve_read(message: Message) -> bytes:
        ask = decode(message.data, ReadRequest)
        return encode(ReadReply(observed=observed or {"action": ask.action}, verdict=verdict))  # type: ignore[arg-type]

    async def cancel(message: Message) -> bytes:
        cancels.append(decode(message.data, CancelRequest))
        return encode(CancelReply(result=cancelled))  # type: ignore[arg-type]

    pool, instance = world.hands.pool, world.hands.instance
    await world.bus.serve(
        Service(
            name="agent",
            version="0",
            description="",
            endpoints=[
                Endpoint(name="look", subject=subjects.host_read(pool), handler=serve_read),
                Endpoint(name="cancel", subject=subjects.cancel(pool, instance), handler=cancel),
            ],
        )
    )
    return cancels

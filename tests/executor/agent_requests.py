"""A scripted agent of the executor's test world: it sends heartbeats, answers reads and cancels."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.executor.conftest import World

from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.signed_replies import signed_reply, with_finding
from writ_bus.port import Endpoint, EndpointReply, Message, Service
from writ_contracts import subjects
from writ_contracts.agents import CancelReply, CancelRequest, Heartbeat, ReadReply, ReadRequest
from writ_contracts.decisions import ReadGrant
from writ_contracts.people.previews import Preview
from writ_contracts.wire import decode, encode
from writ_trust.keys import Key
from writ_trust.statements import digest, read, sign


async def heartbeat(
    world: World,
    *running: str,
    skew: float | None = None,
    free: int = 1,
    plugins: dict[str, str] | None = None,
    level: int = 0,
    instance: str = "",
    leaving: bool = False,
    also: tuple[str, ...] = (),
) -> None:
    beat = Heartbeat(
        pool=world.hands.pool,
        instance=instance or world.hands.instance,
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


def preview_of(ask: ReadRequest, shown: dict[str, Any]) -> Preview:
    grant = read(ask.look, ReadGrant)
    return Preview(
        operation_id=grant.operation_id,
        operation=grant.operation,
        target=grant.target.id,
        pool=grant.pool,
        instance="i-1",
        look_digest=digest(ask.look),
        taken_at=1.0,
        shown=shown,
    )


async def _nothing() -> None:
    """Do nothing before a reply."""


async def serve_agent(
    world: World,
    verdict: str = "took_effect",
    cancelled: str = "stopped",
    observed: dict[str, Any] | None = None,
    *,
    key: Key | None = None,
    instance: str = "",
    before_read: Callable[[], Awaitable[object]] | None = None,
    before_cancel: Callable[[], Awaitable[object]] = _nothing,
) -> list[CancelRequest]:
    """`observed`: the results of reads, by default their action. `key` and `instance`: by default those of claims."""
    cancels: list[CancelRequest] = []
    identity = AgentIdentity(
        key=key or world.hands.key, pool=world.hands.pool, instance=instance or world.hands.instance
    )

    async def serve_read(message: Message) -> EndpointReply:
        ask = decode(message.data, ReadRequest)
        found = observed or {"action": ask.action}
        if before_read is not None:
            await before_read()
        preview = sign(world.hands.key, preview_of(ask, found)) if ask.action == "preview" else None
        reply = ReadReply(observed=found, verdict=verdict, preview=preview)  # type: ignore[arg-type]
        if ask.action == "probe":
            reply = with_finding(identity, ask, read(ask.look, ReadGrant), reply)
        return signed_reply(identity, message, encode(reply))

    async def cancel(message: Message) -> EndpointReply:
        cancels.append(decode(message.data, CancelRequest))
        await before_cancel()
        return signed_reply(identity, message, encode(CancelReply(result=cancelled)))  # type: ignore[arg-type]

    pool = world.hands.pool
    endpoints = [
        Endpoint(name="look", subject=subjects.host_read(pool), handler=serve_read),
        Endpoint(name="cancel", subject=subjects.cancel(pool, world.hands.instance), handler=cancel),
    ]
    await world.bus.serve(Service(name="agent", version="0", description="", endpoints=endpoints))
    return cancels

"""Wait until every server of a cluster has applied the configuration of a stream.

NATS replies to STREAM.UPDATE once the stream's leader has applied it. The other servers apply it independently of the
stream's messages, so one of them may store new messages under the former configuration. All servers apply changes of
streams and consumers in the same order: a consumer that is created later exists on a server only once that server has
applied the earlier update.
"""

import asyncio
import secrets
from contextlib import suppress
from typing import Any

from writ_bus.backoff import backoff
from writ_bus.errors import BusError, BusRefused
from writ_bus.nats.jetstream import call
from writ_bus.nats.replies import Replies

CONSUMER_NOT_FOUND = 10014
APPLIED_WITHIN = 10.0
ANSWER = 2.0
REMOVED_AFTER = 30 * 1_000_000_000
"""Nanoseconds after which NATS removes the consumer itself, e.g. if this process has died."""


async def applied_by_all(replies: Replies, stream: str, replicas: int, *, within: float = APPLIED_WITHIN) -> bool:
    """Return whether each server with a copy has applied the stream's present configuration, after at most `within`
    seconds, plus those of a request under way. False means that some server does not reply, or that NATS makes no
    consumer, as at a limit on them: no error of it may keep a journal closed.
    """
    if replicas == 1:
        return True
    name = f"barrier-{secrets.token_hex(8)}"
    give_up = asyncio.get_running_loop().time() + within
    try:
        for pause in backoff():
            try:
                if _is_everywhere(await _created(replies, stream, name, replicas), replicas):
                    return True
            except BusError:
                pass  # a consumer without a leader has none on a majority of the servers
            if asyncio.get_running_loop().time() > give_up:
                return False
            await asyncio.sleep(pause)
    finally:
        await _removed(replies, stream, name)
    raise AssertionError("backoff never ends")


async def _created(replies: Replies, stream: str, name: str, replicas: int) -> dict[str, Any]:
    """Return the consumer's state. It is created unless it is there."""
    config = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "new",
        "num_replicas": replicas,
        "mem_storage": True,
        "inactive_threshold": REMOVED_AFTER,
    }
    try:
        return await call(replies, f"CONSUMER.INFO.{stream}.{name}", {}, timeout=ANSWER)
    except BusRefused as refused:
        if refused.number != CONSUMER_NOT_FOUND:
            raise
    request = {"stream_name": stream, "config": config, "action": ""}
    return await call(replies, f"CONSUMER.CREATE.{stream}.{name}", request, timeout=ANSWER)


def _is_everywhere(consumer: dict[str, Any], replicas: int) -> bool:
    """Return whether the consumer's leader has had replies from all its copies."""
    others = (consumer.get("cluster") or {}).get("replicas") or []
    return len(others) == replicas - 1 and all(one.get("current") for one in others)


async def _removed(replies: Replies, stream: str, name: str) -> None:
    with suppress(BusError):  # NATS removes it after REMOVED_AFTER
        await call(replies, f"CONSUMER.DELETE.{stream}.{name}", {}, timeout=ANSWER)

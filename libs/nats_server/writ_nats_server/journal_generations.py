"""Removal of archived events from the journal's stream: the stream drops all but its newest events.

The stream refuses all deletes and purges, so its own limit has to remove them. The stream is closed to writers,
who see the same errors as during a leader election and wait. Then it is limited to the number of remaining events, and
opened again. A crash in between leaves it closed, with or without the range; `restore_journal_configuration` opens it,
and so does every `provision`. The caller holds the installation's lock on streams, so nobody else changes the
configuration meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec import Struct, structs

from writ_bus.backoff import backoff
from writ_bus.errors import BusRefused, Conflict, Unreachable
from writ_bus.nats.jetstream import call, stored
from writ_bus.nats.replies import Replies
from writ_bus.port import Usage
from writ_contracts import subjects
from writ_contracts.plural import plural
from writ_nats_server.streams import Sizes, restore_journal_configuration

IN_STEP_WITHIN = 10.0
ANSWER = 10.0
NEVER = {"Nats-Expected-Last-Sequence": str(2**63 - 1)}
_STREAM = subjects.JOURNAL_STREAM
Step = Callable[[str], None]


class JournalStreamState(Struct, frozen=True):
    """The state of the journal's stream. `open`: it accepts events; `in_step`: every replica has all of it. `applied`:
    each server had applied the former configuration when the journal was opened again, so no copy lacks events.
    """

    usage: Usage
    open: bool
    in_step: bool
    applied: bool = True


async def state(replies: Replies) -> JournalStreamState:
    info = await call(replies, f"STREAM.INFO.{_STREAM}", {})
    has, config = info["state"], info["config"]
    usage = Usage(has["bytes"], config["max_bytes"], has["last_seq"], has["messages"], max(has["first_seq"], 1))
    replicas = (info.get("cluster") or {}).get("replicas") or []
    in_step = all(one.get("current") and not one.get("lag") for one in replicas)
    return JournalStreamState(usage, config["subjects"] == [subjects.JOURNAL], in_step)


async def take_out(
    replies: Replies, sizes: Sizes, first: int, last: int, step: Step = lambda _: None
) -> JournalStreamState:
    """Remove the events from `first` to `last`, and no others; repeat it after a crash.

    `step` gets each completed step. Raises Conflict where the journal is in another state (it has events before
    `first`, which would be removed too), BusRefused, TimedOut, and Unreachable while a replica is behind.
    """
    before = await _in_step(replies)
    if before.usage.first_sequence < first:
        raise Conflict(f"the journal begins at {before.usage.first_sequence}, before {first}: nothing is removed")
    applied = True
    if before.usage.first_sequence <= last:
        try:
            await _shortened(replies, last, step)
        finally:
            applied = await restore_journal_configuration(replies, sizes)
    elif not before.open:
        applied = await restore_journal_configuration(replies, sizes)
    return structs.replace(await state(replies), applied=applied)


async def _shortened(replies: Replies, last: int, step: Step) -> None:
    config = await _config(replies)
    closed = {**config, "subjects": [subjects.JOURNAL_CLOSED]}
    await call(replies, f"STREAM.UPDATE.{_STREAM}", closed)
    step("journal.closed")
    usage = (await _in_step(replies, await _reached(replies))).usage
    missing = await missing_events(replies)
    removed = last - usage.first_sequence + 1
    if usage.last_sequence <= last or any(sequence <= last for sequence in missing):
        raise Conflict(
            f"the journal has {plural(usage.messages, 'event')} from {usage.first_sequence} to {usage.last_sequence}"
        )
    # A limit of bytes below what the journal has, for example one that was lowered, would remove events, too.
    most = max(config["max_bytes"], usage.bytes)
    shorter = {**closed, "discard": "old", "max_msgs": usage.messages - removed, "max_bytes": most}
    await call(replies, f"STREAM.UPDATE.{_STREAM}", shorter)
    step("journal.shortened")
    after = (await _in_step(replies)).usage
    next_one = last + 1
    while next_one in missing:
        next_one += 1
    if after.first_sequence != next_one:
        raise BusRefused(f"the journal begins at {after.first_sequence} now, not at {next_one}")


async def missing_events(replies: Replies) -> frozenset[int]:
    """Return the sequences of the events that are missing within the journal.

    Raises Conflict if some are and the journal has replicas: a copy that has them would remove as many others.
    """
    info = await call(replies, f"STREAM.INFO.{_STREAM}", {})
    if not info["state"].get("num_deleted"):
        return frozenset()
    if (info.get("cluster") or {}).get("replicas"):
        raise Conflict(
            f"the copy of {info['cluster'].get('leader')} lacks events: another server must lead the journal"
        )
    detailed = await call(replies, f"STREAM.INFO.{_STREAM}", {"deleted_details": True})
    return frozenset(detailed["state"].get("deleted") or ())


async def _reached(replies: Replies) -> int:
    """Return the sequence of the last event stored before the server closed the journal.

    Some events may still wait for storage then, and a removal by count would remove as many more. A probe waits behind
    them, and is refused. A server of a cluster may learn a moment later than the others of the closed subject.
    """
    give_up = asyncio.get_running_loop().time() + IN_STEP_WITHIN
    for pause in backoff():
        try:
            answer = await replies.one(subjects.JOURNAL_CLOSED, b"", timeout=ANSWER, headers=NEVER)
            stored(answer, "the journal's end")
        except Unreachable:
            if asyncio.get_running_loop().time() > give_up:
                raise
        except Conflict as conflict:
            if conflict.last is not None:
                return conflict.last
            break
        else:
            break
        await asyncio.sleep(pause)
    raise BusRefused("the server does not report the last sequence of the journal")


async def make_room(replies: Replies, more: int) -> None:
    """Raise the limit of the journal by `more` bytes until its configuration is restored, for events that must be
    written before others are removed.

    Raises BusRefused if the server lacks the room.
    """
    config, has = await _config(replies), (await state(replies)).usage.bytes
    if has + more > config["max_bytes"]:
        await call(replies, f"STREAM.UPDATE.{_STREAM}", {**config, "max_bytes": has + more})


async def _config(replies: Replies) -> dict[str, Any]:
    config: dict[str, Any] = (await call(replies, f"STREAM.INFO.{_STREAM}", {}))["config"]
    return config


async def _in_step(replies: Replies, least: int = 0) -> JournalStreamState:
    """Return the state once every replica has all of it, up to `least` or later: a replica behind must not get a lower
    limit.
    """
    give_up = asyncio.get_running_loop().time() + IN_STEP_WITHIN
    for pause in backoff():
        state_now = await state(replies)
        if state_now.in_step and state_now.usage.last_sequence >= least:
            return state_now
        if asyncio.get_running_loop().time() > give_up:
            raise Unreachable("a replica of the journal is behind: nothing is removed until it has caught up")
        await asyncio.sleep(pause)
    raise AssertionError("backoff never ends")

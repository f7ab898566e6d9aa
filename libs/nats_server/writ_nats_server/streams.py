"""The streams and consumers of Writ. The bootstrap user makes them, and compares them with the server's reply.

An old server silently drops fields that it does not know, so its reply is checked field by field. Nothing else creates,
changes or deletes a stream or a consumer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from writ_bus.backoff import pause_after
from writ_bus.errors import BusRefused, TimedOut, Unreachable
from writ_bus.nats.bus import NatsBus
from writ_bus.nats.jetstream import STREAM_NOT_FOUND, call, direct_get_last
from writ_bus.nats.replies import Replies
from writ_contracts import subjects
from writ_nats_server.configuration_barrier import CONSUMER_NOT_FOUND, applied_by_all

API_LEVEL = 4
"""nats-server 2.14: stable atomic batches and the other features we need."""
ACK_WAIT = 2.0
"""Seconds. An agent confirms a delivery more often than that until it is settled (`writ_bus.nats.pull`)."""
_SECOND = 1_000_000_000
ELECTED_WITHIN = 30.0
"""Seconds for which attempts are repeated, for all streams and consumers together, unless the caller has less time."""
ANSWER = 5.0
LOOKUP_SECONDS = 1.0

_logger = logging.getLogger("writ.nats_server")
T = TypeVar("T")
Bytes = Annotated[int, Meta(ge=1_000_000)]
"""Limit of a stream: NATS takes 0, or a negative number, for no limit."""


class Sizes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the streams, in bytes; all together below the size of the disk."""

    journal: Bytes = 8 << 30
    params: Bytes = 256 << 20
    results: Bytes = 512 << 20
    policies: Bytes = 256 << 20
    scans: Bytes = 64 << 20
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1


def streams(sizes: Sizes) -> list[dict[str, Any]]:
    """Return the expected configurations."""
    journal = {
        "max_bytes": sizes.journal,
        "max_msgs": -1,  # except while its first events are removed: see `journal_generations`
        "allow_atomic": True,
        "republish": {"src": subjects.JOURNAL, "dest": subjects.REPUBLISHED},
    }
    # By these, NATS would remove events, or store what no writer sent.
    complete = {"max_age": 0, "max_msgs_per_subject": -1, "allow_msg_ttl": False}
    # A full store refuses new secrets and outputs; it must not delete those that are still needed.
    params = {"discard": "new", "max_bytes": sizes.params}
    results = {"discard": "old", "max_bytes": sizes.results}
    kept = {"discard": "new", "deny_delete": True, "deny_purge": True, **complete}
    for_a_while = {"max_msgs_per_subject": 1, "allow_msg_ttl": True}
    latest = {"max_msgs_per_subject": 1, "discard": "new", "max_bytes": sizes.scans}
    return [
        _stream(subjects.JOURNAL_STREAM, subjects.JOURNAL, sizes, {**kept, **journal}),
        _stream(subjects.POLICIES_STREAM, subjects.POLICIES, sizes, {**kept, "max_bytes": sizes.policies}),
        _stream(subjects.SCANS_STREAM, subjects.SCANS, sizes, latest),
        _stream(subjects.PARAMS_STREAM, subjects.PARAMS, sizes, {**for_a_while, **params}),
        _stream(subjects.RESULTS_STREAM, subjects.RESULTS, sizes, {**for_a_while, **results}),
    ]


def _stream(name: str, subject: str, sizes: Sizes, own: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": [subject],
        "storage": "file",
        "retention": "limits",
        "allow_direct": True,
        "num_replicas": sizes.replicas,
        "sources": None,
        "subject_transform": None,
        **own,
    }


def consumer(pool: str, *, ack_wait: float = ACK_WAIT) -> dict[str, Any]:
    """Return the durable consumer of a pool. No limit on deliveries: an operation ends when the journal says so."""
    return {
        "durable_name": subjects.consumer(pool),
        "filter_subject": subjects.dispatched_filter(pool),
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait * _SECOND),
        "deliver_policy": "all",
        "max_deliver": -1,
        "max_ack_pending": 10_000,
        "max_waiting": 512,
        "replay_policy": "instant",
    }


async def provision(
    bus: NatsBus,
    pools: Iterable[str],
    sizes: Sizes | None = None,
    *,
    ack_wait: float = ACK_WAIT,
    patience: float = ELECTED_WITHIN,
    may_create: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Make all streams and consumers equal to the expected ones, as the bootstrap user; call it again for a new pool.

    Returns once each stream answers reads. The servers of a new cluster elect a leader first, and then one for each
    stream; without one there is no reply, and attempts are repeated for `patience` seconds. `may_create` is called
    before a stream is created, and raises if it must not be. Raises BusRefused with the impossible part, e.g. on too
    old a server; TimedOut or Unreachable after that time.
    """
    replies, until = bus.replies, asyncio.get_running_loop().time() + patience
    info = await _patiently("JetStream's leader", until, lambda: call(replies, "INFO", {}, timeout=ANSWER))
    level = info.get("api", {}).get("level", 0)
    if level < API_LEVEL:
        raise BusRefused(f"the NATS server's JetStream API level is {level}, Writ needs {API_LEVEL} (nats-server 2.14)")
    for expected in streams(sizes or Sizes()):
        name = expected["name"]
        # A creation without a reply may have been done: the next attempt finds the stream.
        await _patiently(f"stream {name}", until, partial(_provision_stream, replies, expected, may_create))
        await _patiently(f"reads of stream {name}", until, partial(_read_once, replies, expected))
    for pool in pools:
        expected = consumer(pool, ack_wait=ack_wait)
        await _patiently(f"consumer {expected['durable_name']}", until, partial(_provision_consumer, replies, expected))


async def _patiently(what: str, until: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat a harmless attempt while no server of the cluster can carry it out. Raises the last error, with `what`."""
    for turn in count():
        try:
            return await attempt()
        except (TimedOut, Unreachable) as error:
            if asyncio.get_running_loop().time() >= until:
                raise type(error)(f"the NATS servers do not answer for {what}: {error}") from error
        await asyncio.sleep(pause_after(turn))
    raise AssertionError("nothing else ends this")


async def _read_once(replies: Replies, expected: Mapping[str, Any]) -> None:
    """Read from the stream, as services do. Raises Unreachable, TimedOut."""
    (subject,) = expected["subjects"]
    never_used = subject.replace(">", "provisioned").replace("*", "provisioned")
    await direct_get_last(replies, expected["name"], never_used, LOOKUP_SECONDS)


async def restore_journal_configuration(replies: Replies, sizes: Sizes) -> bool:
    """Restore the journal's own configuration, from any state. Return False if the journal was opened before each
    server had applied what came before: the copy of such a server may lack events. Raises BusRefused.
    """
    return await _provision_stream(
        replies, next(one for one in streams(sizes) if one["name"] == subjects.JOURNAL_STREAM)
    )


async def _provision_stream(
    replies: Replies, expected: Mapping[str, Any], may_create: Callable[[], Awaitable[None]] | None = None
) -> bool:
    name, applied = expected["name"], True
    try:
        there = (await call(replies, f"STREAM.INFO.{name}", {}))["config"]
    except BusRefused as refused:
        if refused.number != STREAM_NOT_FOUND:
            raise
        if may_create is not None:
            await may_create()
        there = (await call(replies, f"STREAM.CREATE.{name}", expected))["config"]
    # The subjects change last, and once no server limits a journal that was shortened: a server with the former limit
    # would remove an older event for each new one. A server that restarts has the former configuration for a moment.
    # An earlier attempt, whose reply was lost, may have lifted the limit: so each one waits for the servers.
    closed = {**expected, "subjects": there.get("subjects")}
    if differences(closed, there):
        there = await _updated(replies, there, closed)
    if differences(expected, there):
        applied = await applied_by_all(replies, name, expected["num_replicas"])
        if not applied:  # one server that is down must not stop all operations
            _logger.warning("stream.opened_early", extra={"stream": name, "effect": "a server's copy may lack events"})
        there = await _updated(replies, there, expected)
    if wrong := differences(expected, there):
        raise BusRefused(f"the NATS server has another configuration of stream {name}: {'; '.join(wrong)}")
    return applied


async def _updated(replies: Replies, there: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stream's new configuration. Fields that Writ does not know stay: an update replaces all of it."""
    updated = await call(replies, f"STREAM.UPDATE.{expected['name']}", {**there, **expected})
    config: dict[str, Any] = updated["config"]
    return config


async def _provision_consumer(replies: Replies, expected: Mapping[str, Any]) -> None:
    stream = subjects.JOURNAL_STREAM
    request = {"stream_name": stream, "config": expected, "action": ""}
    verb = f"CONSUMER.CREATE.{stream}.{expected['durable_name']}.{expected['filter_subject']}"
    query = f"CONSUMER.INFO.{stream}.{expected['durable_name']}"
    try:
        there = (await call(replies, query, {}))["config"]
    except BusRefused as refused:
        if refused.number != CONSUMER_NOT_FOUND:
            raise
        there = (await call(replies, verb, request))["config"]
    if differences(expected, there):
        await call(replies, verb, request)
        # After a restart of the server, its reply to the first update has the configuration from before the update.
        there = (await call(replies, query, {}))["config"]
    if wrong := differences(expected, there):
        raise BusRefused(
            f"the NATS server has another configuration of consumer {expected['durable_name']}: {'; '.join(wrong)}"
        )


def differences(expected: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return the fields of `there` which differ from the expected ones; additional fields are ignored."""
    return [
        f"{key} is {there.get(key)!r}, not {value!r}"
        for key, value in expected.items()
        if there.get(key, _absent(value)) != value
    ]


def _absent(value: Any) -> Any:
    """Return true for a value that the server leaves out of its reply: false and empty ones."""
    return type(value)() if isinstance(value, bool | int | str) else None

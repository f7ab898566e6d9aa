"""Limits of rules, enforced by policy at each start.

Executors dispatch operations under a limit in turn (ADR 14), but an attacker with an executor's key could dispatch any
number. So the latest event of each limit names its holders, and the next event is stored together with `granted`, at
the sequence that was read: of two starts for the last place, one is refused.
"""

import asyncio
from collections.abc import Iterable, Sequence

from writ_bus import tracing
from writ_bus.port import Entry, Journal
from writ_contracts.agents import Receipt
from writ_contracts.decisions import RuleLimit
from writ_contracts.errors import Invalid, Unreachable, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.journal import (
    MAX_EVENT_BYTES,
    Carried,
    Dispatched,
    Finished,
    Granted,
    JournalEvent,
    LimitCounted,
    LimitHolder,
    Resolved,
    Unknown,
)
from writ_contracts.plural import plural
from writ_contracts.subjects import limit_count, operation_filter
from writ_contracts.wire import decode_event, encode, event_of
from writ_trust.statements import digest, open_signed

LIMIT_REACHED = "limit_reached"
CROWDED = 64
"""With more holders than this, the ones that have ended are removed, even if the limit is higher."""


class LimitReached(Unreachable):
    """The limit is reached. The agent sends the claim again later."""

    default_code = LIMIT_REACHED


class RuleLimits:
    def __init__(self, journal: Journal, installation: str) -> None:
        self._journal = journal
        self._installation = installation

    async def take(self, limits: Iterable[RuleLimit], new: LimitHolder, now: float, correlation_id: str) -> list[Entry]:
        """Return the entries that add the new holder under all limits, to be stored with its start. Raises
        LimitReached.
        """
        strictest = {limit_count(one.rule, one.kind): one for one in sorted(limits, key=lambda one: -one.most)}
        entries = (self._take(line, one, new, now, correlation_id) for line, one in sorted(strictest.items()))
        return list(await asyncio.gather(*entries))

    async def _take(self, line: str, limit: RuleLimit, new: LimitHolder, now: float, correlation_id: str) -> Entry:
        last = await self._journal.last(line)
        holders = [one for one in holders_of(last) if one.operation_id != new.operation_id and one.until > now]
        if len(holders) >= CROWDED or not has_room(limit, holders, new):
            ended = await asyncio.gather(*map(self._has_ended, holders))
            holders = [one for one, over in zip(holders, ended, strict=True) if not over]
        if not has_room(limit, holders, new):
            raise LimitReached(f"{limit.kind} {limit.most} of rule {limit.rule!r} is reached")
        event = LimitCounted(
            **tracing.stamp(now, correlation_id),
            rule=limit.rule,
            kind=limit.kind,
            most=limit.most,
            holders=[*holders, new],
        )
        data = encode(event)
        if len(data) > MAX_EVENT_BYTES:
            raise LimitReached(
                f"rule {limit.rule!r} has {plural(len(holders), 'operation')} under way; more are not counted"
            )
        return Entry(subject=line, data=data, event_id=event.id, filter=line, expected=last.sequence if last else 0)

    async def _has_ended(self, holder: LimitHolder) -> bool:
        records = await self._journal.read(operation_filter(holder.principal, holder.operation_id))
        return has_ended(records, self._installation)


def holders_of(record: Record | None) -> Sequence[LimitHolder]:
    """Return the holders that the latest event of a limit names."""
    event = decode_event(record.data) if record else None
    return event.holders if isinstance(event, LimitCounted) else ()


def has_room(limit: RuleLimit, holders: Sequence[LimitHolder], new: LimitHolder) -> bool:
    """Return true if the limit admits one more holder.

    An unknown kind of limit (from a newer release) counts operations, since there are at least as many of them as of
    anything else.
    """
    if limit.kind != "max_targets":
        return len(holders) < limit.most
    return len({one.target for one in (*holders, new)}) <= limit.most


def has_ended(records: Sequence[Record], installation: str) -> bool:
    """Return true if the latest start has ended: its own agent signed so, or its events are archived.

    An executor's word alone does not free a place. Without the agent's signature, the place is free when the time of
    the start has passed.
    """
    events = [event_of(record.subject, record.data) for record in records]
    granted = next((event for event in reversed(events) if isinstance(event, Granted)), None)
    return granted is None or any(_is_end(event, granted, installation) for event in events)


def _is_end(event: JournalEvent | Carried, granted: Granted, installation: str) -> bool:
    match event:
        case Finished(receipt=signed) | Unknown(receipt=signed) | Resolved(receipt=signed) | Dispatched(over=signed):
            pass
        case _:
            return False
    if signed is None:
        return False
    try:
        receipt = open_signed(signed, Receipt, [granted.claim.key], installation)
    except (Untrusted, Invalid):
        return False
    return receipt.over and receipt.grant_digest == digest(granted.grant)

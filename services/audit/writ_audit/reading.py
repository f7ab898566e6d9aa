"""Serve traces and searches: the index finds events, and the journal has their content.

The events of an operation are read from the journal by a subject filter, so a trace directly after the end is complete
even if the index lags. Linked events wait, for a bounded time, until the index has caught up.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, ParamSpec, TypeVar

import msgspec
from msgspec import structs

from writ_audit.hidden_values import HiddenValueSearch, SoughtDigests
from writ_audit.index import MOST_NAMES, READERS, AuditIndex, LinkedEvent, OperationOwner
from writ_audit.index_follower import IndexFollower
from writ_audit.permission import QueryReader, ReadPermission
from writ_audit.projection import APPROVER, SECURITY, project
from writ_audit.search_conditions import sought_values
from writ_bus.port import Journal
from writ_contracts.errors import Denied, Invalid
from writ_contracts.history.audit import (
    HiddenValues,
    SearchQuery,
    SearchReply,
    SecurityFilter,
    TraceEvent,
    TraceQuery,
    TraceReply,
    UnknownName,
    names_of,
)
from writ_contracts.history.records import Record
from writ_contracts.nearest_name import nearest
from writ_contracts.subjects import JOURNAL, operation_filter
from writ_runtime.turns import Turns

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
CATCH_UP = 2.0
"""Seconds that a query waits for the index to catch up. `as_of` in the reply is the position of the index after that.
"""
MOST_BYTES = 1_500_000
"""The most bytes of events in one reply. A NATS message has at most 2 MB."""
MOST_EVENTS = 2_000
MOST_WAITING = 256
"""Reads of one principal that wait; no more queries are served at once."""
MOST_COMPARED = 10_000
"""Pairs of names that one search compares for suggestions, 0.03 ms each: twenty names would take seconds otherwise."""
NOT_FOUND = "no such operation, or you may not read it"


class AuditQueryEndpoint:
    """Serves queries of principals.

    The index is read for one query of a principal after the other: a principal without any right sent searches of a
    second each, and another one's search waited for 38 of them.
    """

    def __init__(
        self,
        journal: Journal,
        index: AuditIndex,
        follower: IndexFollower,
        permission: ReadPermission,
        hidden: HiddenValueSearch,
    ) -> None:
        self._journal = journal
        self._index = index
        self._follower = follower
        self._permission = permission
        self._hidden = hidden
        self._turns = Turns(1, MOST_WAITING)
        self._slots = asyncio.Semaphore(READERS - 1)  # the other one is for audit's own checks

    async def _read(
        self,
        reader: QueryReader,
        function: Callable[Arguments, Result],
        /,
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Return the result of this function, which reads the index."""
        async with self._turns.turn(reader.principal), self._slots:
            return await asyncio.to_thread(function, *arguments, **named)

    async def trace(self, reader: QueryReader, query: TraceQuery) -> TraceReply:
        """Return the events of an operation or of a correlation id, or security events. Raises WritError."""
        if query.security is not None:
            return await self._security(reader, query.security)
        if query.operation_id is not None:
            records = await self._operation(reader, query.operation_id)
            return self._trace_answer([record for record in records if record.sequence > query.after])
        return await self._correlation(reader, query.correlation_id or "", query.after)

    async def search(self, reader: QueryReader, query: SearchQuery) -> SearchReply:
        """Return operations, the newest first. Those of other principals need policy's permission. Raises WritError."""
        behind = await self._behind()
        only_of = await self._limited_to(reader, query)
        by_parameters = any(sought_values(query))
        sought = await self._hidden.digests(reader.principal, query) if by_parameters else SoughtDigests()
        rows = await self._read(reader, self._index.search, query, only_of, sought.digests)
        others = [name for name in names_of(query, "principal") if name != reader.principal]
        if not rows and only_of is not None and others:
            raise Denied(f"you may not read the record of {', '.join(others)}")
        more = len(rows) > query.limit
        unknown = [] if rows else await self._read(reader, self._unknown, query, only_of)
        hidden = await self._read(reader, self._hidden_values, sought, bool(rows)) if by_parameters else None
        as_of = self._follower.position
        return SearchReply(
            rows=rows[: query.limit], more=more, as_of=as_of, behind=behind, unknown=unknown, hidden=hidden
        )

    async def _behind(self) -> int:
        """Return how many events of the journal the index lacks after a wait."""
        return 0 if await self._follower.current(CATCH_UP) else max(self._follower.lag, 1)

    def _hidden_values(self, sought: SoughtDigests, found: bool) -> HiddenValues:
        since = None if found or sought.problem else self._index.searchable_since(sought.keys)
        return HiddenValues(since=since, problem=sought.problem)

    def _unknown(self, query: SearchQuery, only_of: str | None) -> list[UnknownName]:
        """Return names in the query that occur in no record."""
        sought = [(column, names_of(query, column)) for column in ("principal", "target", "operation", "rule")]
        sought += [(APPROVER, query.approvers)]
        sought += [(name, [value]) for name, value in (("client", query.client), ("session", query.session)) if value]
        unknown, left = list[UnknownName](), MOST_COMPARED
        for column, names in sought:
            by_term = column in ("rule", APPROVER)
            if not names or (by_term and only_of is not None):
                continue
            known = self._index.values(column) if by_term else self._index.names(column, only_of)
            for name in (one for one in names if one not in known):
                if len(known) >= MOST_NAMES and self._is_recorded(column, name, only_of):
                    continue
                left -= len(known)
                unknown.append(
                    UnknownName(filter=column, name=name, nearest=nearest(name, known, 3) if left >= 0 else [])
                )
        return unknown

    def _is_recorded(self, column: str, name: str, only_of: str | None) -> bool:
        """Return whether an operation has this name, also where there are more names than are read."""
        field = {"approvers": [name]} if column == APPROVER else {column: name}
        return bool(self._index.search(structs.replace(SearchQuery(limit=1), **field), only_of))

    async def _limited_to(self, reader: QueryReader, query: SearchQuery) -> str | None:
        """Return the reader's principal if the search is limited to its own operations, else None."""
        principals, targets = names_of(query, "principal"), names_of(query, "target")
        if principals == [reader.principal]:
            return None
        # One permission covers the whole search: with several names, the permission for all of them.
        owner = principals[0] if len(principals) == 1 else None
        target = targets[0] if len(targets) == 1 else None
        parameters = {"query": "search", "principal": owner, "target": target}
        chosen = {name: value for name, value in parameters.items() if value is not None}
        sought = sorted({name for name, _ in sought_values(query)})
        allowed = await self._permission.allows(reader, owner, chosen, sought, explicit=bool(principals))
        return None if allowed else reader.principal

    async def _operation(self, reader: QueryReader, operation_id: str) -> list[Record]:
        owner = reader.principal
        records = await self._journal.read(operation_filter(owner, operation_id))
        if not records:
            owner = (await self._others(reader, operation_id)).principal
            records = await self._journal.read(operation_filter(owner, operation_id))
        await self._follower.current(CATCH_UP)
        correlation_id = project(*_parts(records[0])).event.correlation_id if records else ""
        linked = await self._read(reader, self._index.linked, operation_id, correlation_id)
        return await self._with(records, linked)

    async def _others(self, reader: QueryReader, operation_id: str) -> OperationOwner:
        await self._follower.current(CATCH_UP)
        known = await self._read(reader, self._index.operation, operation_id)
        if known is None:
            raise Invalid(NOT_FOUND, code="not_found")
        if not reader.owns(known.principal, known.acts_for):
            parameters = {"query": "trace", "operation_id": operation_id}
            if not await self._permission.allows(reader, known.principal, parameters):
                raise Invalid(NOT_FOUND, code="not_found")
        return known

    async def _with(self, records: Sequence[Record], linked: Sequence[int]) -> list[Record]:
        have = {record.sequence for record in records}
        rest = await self._fetch([sequence for sequence in linked if sequence not in have])
        return sorted([*records, *rest], key=_sequence)

    async def _security(self, reader: QueryReader, query: SecurityFilter) -> TraceReply:
        """Return the newest first: `more` then means older ones. They name everybody, so one permission covers all.

        Where one is archived, all older ones are.
        """
        parameters: dict[str, Any] = {"query": "reads" if query.reads else "security"}
        if query.principal is not None:
            parameters["principal"] = query.principal
        if not await self._permission.allows(reader, None, parameters):
            raise Denied(f"you may not read {'who read the record' if query.reads else 'the security events'}")
        behind = await self._behind()
        found = await self._read(reader, self._index.security, query, query.limit + 1)
        records = await self._fetch(sorted(found[: query.limit]))
        more = len(found) > query.limit == len(records)
        return structs.replace(self._trace_answer(records[::-1], more=more), behind=behind)

    async def _correlation(self, reader: QueryReader, correlation_id: str, after: int) -> TraceReply:
        """Return the first events after this one that the journal has and the reader may read.

        Anybody may use a correlation id of others, any number of times: events that are withheld hide no later ones.
        """
        await self._follower.current(CATCH_UP)
        permitted = await self._permitted(reader, correlation_id)
        if not permitted:
            raise Invalid("no such correlation id, or you may not read it", code="not_found")
        archived = (await self._journal.usage()).first_sequence - 1
        place, withheld, readable, more = max(after, archived), list[int](), list[int](), True
        while more and not readable:
            linked = await self._read(reader, self._index.correlated, correlation_id, place, MOST_EVENTS + 1)
            page, more = linked[:MOST_EVENTS], len(linked) > MOST_EVENTS
            for one in page:
                (readable if one.principal in permitted or _nobodys(one) else withheld).append(one.sequence)
            place = page[-1].sequence if page else place
        answer = self._trace_answer(await self._fetch(readable), more=more)
        # The next page begins after the last event shown here, and counts what is withheld after it.
        last = answer.events[-1].sequence if answer.more and answer.events else place
        return structs.replace(answer, withheld=sum(sequence <= last for sequence in withheld))

    async def _permitted(self, reader: QueryReader, correlation_id: str) -> set[str]:
        """Return the principals with events of this id that the reader may read: those whose records are its own, and
        those that policy allows. If there are any, security events without a principal may be read as well.
        """
        owners = await self._read(reader, self._index.owners, correlation_id)
        permitted = {principal for principal, acts_for in owners if reader.owns(principal, acts_for)}
        for owner in sorted({principal for principal, _ in owners} - permitted):
            parameters = {"query": "trace", "correlation_id": correlation_id, "principal": owner}
            if await self._permission.allows(reader, owner, parameters, explicit=False):
                permitted.add(owner)
        return permitted

    async def _fetch(self, sequences: Sequence[int]) -> list[Record]:
        """Return the records at these ordered sequences, with one read for each run without a gap. Archived records are
        missing.
        """
        runs = [[sequence for _, sequence in run] for _, run in groupby(enumerate(sequences), key=_run)]
        reads = [await self._journal.read(JOURNAL, after=run[0] - 1, limit=len(run)) for run in runs]
        sought = set(sequences)
        return [record for records in reads for record in records if record.sequence in sought]

    def _trace_answer(self, records: Sequence[Record], *, more: bool = False) -> TraceReply:
        fitting, size = 0, 0
        for record in records:
            size += len(record.data) + len(record.subject) + 100
            if size > MOST_BYTES and fitting:
                break
            fitting += 1
        return TraceReply(
            events=[_event(record) for record in records[:fitting]],
            more=more or fitting < len(records),
            as_of=self._follower.position,
        )


def _event(record: Record) -> TraceEvent:
    row = project(*_parts(record)).event
    return TraceEvent(sequence=row.sequence, subject=row.subject, kind=row.kind, at=row.at, body=_body(record.data))


def _body(data: bytes) -> dict[str, Any]:
    """Return the event as plain data, or an empty mapping if it is unreadable.

    It is without search digests: its reader would compare them with those of own requests, and so confirm guesses of
    hidden values without the rate of searches and their record.
    """
    try:
        body = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {}
    body.pop("search_digests", None)
    return body


def _parts(record: Record) -> tuple[int, str, bytes, float]:
    return record.sequence, record.subject, record.data, record.time


def _sequence(record: Record) -> int:
    return record.sequence


def _run(pair: tuple[int, int]) -> int:
    """Return a key that is equal for all members of a run without a gap."""
    return pair[1] - pair[0]


def _nobodys(event: LinkedEvent) -> bool:
    return event.kind == SECURITY and not event.principal

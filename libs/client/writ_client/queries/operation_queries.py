"""Queries about operations, targets and the journal. Nothing here changes anything.

Raises the errors of `writ_contracts.errors`: Invalid (`not_found`, …), Denied, Unreachable, TimedOut.
"""

import asyncio
import string
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from writ_bus.port import Bus
from writ_client.queries.service_calls import Reply, further_pages, request_reply
from writ_contracts import errors, requests, subjects
from writ_contracts.failures import raise_for
from writ_contracts.history import audit
from writ_contracts.ids import WHOLE_ID
from writ_contracts.nearest_name import misspelt
from writ_contracts.policy import versions
from writ_contracts.target_tests import BackendTestQuery, BackendTestReply, TargetReport

QUERY_SECONDS = 20.0
TEST_SECONDS = 60.0
SHOWN_IDS = 4
_WITH_OUTPUT = ("succeeded", "failed", "previewed")
_LETTERS = sorted(string.ascii_letters + string.digits + "-_")
_LONGEST_NAME = 64


class Queries:
    """The reading half of `Writ`."""

    def __init__(self, bus: Bus, principal: str) -> None:
        """Use a bus connected as this principal."""
        self._bus = bus
        self.principal = principal

    async def get(self, operation_id: str) -> requests.OperationView:
        """Return the state of one operation."""
        question = requests.OperationQuery(operation_id=operation_id)
        answer = await self._query("operation", question, requests.OperationReply)
        if answer.operation is None:
            raise errors.Invalid(f"no operation {operation_id}, or you may not read it", code="not_found")
        return answer.operation

    async def open_operations(self) -> list[requests.OperationView]:
        """Return one's own open operations, in the order of their requests."""
        found: list[requests.OperationView] = []
        answer = requests.OperationsReply(more=True)
        while answer.more:
            answer = await self._query("operations", requests.OpenQuery(after=answer.last), requests.OperationsReply)
            found += answer.operations
        return found

    async def result(self, operation_id: str) -> dict[str, Any] | None:
        """Return the full output of one's own operation, secret fields included, while it is stored; else None."""
        question = requests.OperationQuery(operation_id=operation_id)
        return (await self._query("result", question, requests.ResultReply)).output

    async def with_output(self, view: requests.OperationView) -> requests.OperationView:
        """Return the view with the whole output, as long as it is kept; unchanged without an output."""
        if view.outcome not in _WITH_OUTPUT:
            return view
        try:
            full = await self.result(view.operation_id)
        except errors.WritError:
            return view
        return view if full is None else structs.replace(view, output=full)

    async def simulate(
        self, operation: str, target: str, parameters: Mapping[str, Any] | None = None, *, dry_run: bool = False
    ) -> requests.SimulateReply:
        """Return the decision on a request, with its reason."""
        question = requests.SimulateQuery(
            operation=operation, target=target, parameters=dict(parameters or {}), dry_run=dry_run
        )
        return await self._query("simulate", question, requests.SimulateReply)

    async def targets(self) -> list[requests.TargetView]:
        found: list[requests.TargetView] = []
        more = True
        while more:
            question = requests.TargetsQuery(after=found[-1].id if found else None)
            answer = await self._query("targets", question, requests.TargetsReply)
            found, more = found + answer.targets, answer.more and bool(answer.targets)
        return found

    async def lists_target(self, target: str) -> bool:
        """Return whether one's list of targets has this one; one page of the list answers it."""
        question = requests.TargetsQuery(after=_name_before(target))
        answer = await self._query("targets", question, requests.TargetsReply)
        return any(one.id == target for one in answer.targets)

    async def similar_target(self, target: str) -> str:
        """Return `; did you mean '…'?` for a target that is not in one's list of targets, but like one that is; nothing
        for any other.
        """
        if await self.lists_target(target):
            return ""
        names = [one.id for one in await self.targets()]
        return await asyncio.to_thread(misspelt, target, names)  # a second among 10,000 names that are alike

    async def journal(self, until: float | None = None) -> audit.JournalReply:
        """Return the journal's usage, and the last sequence which may be archived now, up to `until` (Unix seconds)."""
        return await self._query("journal", audit.JournalQuery(until=until), audit.JournalReply)

    async def backend_test(self, target: str) -> TargetReport:
        """Return a fresh report of one of the target's own agents, good or bad. Raises Denied."""
        question = BackendTestQuery(target=target)
        subject = subjects.query(self.principal, "backend_test")
        answer = await request_reply(
            self._bus, subject, question, BackendTestReply, timeout=TEST_SECONDS, attempt_seconds=TEST_SECONDS
        )
        raise_for(answer)
        if answer.visit is None:
            raise errors.WritError(f"a reply without a test of {target}")
        return answer.visit

    async def trace(
        self, *, operation_id: str | None = None, correlation_id: str | None = None, after: int = 0
    ) -> audit.TraceReply:
        """Return all events of an operation, or of all operations of a correlation id: give one of the two. `after`:
        only events behind this one of the journal.
        """
        question = audit.TraceQuery(operation_id=operation_id, correlation_id=correlation_id, after=after)
        answer = await self._query("trace", question, audit.TraceReply)
        events, withheld = answer.events, answer.withheld
        while answer.more and answer.events:
            question = structs.replace(question, after=events[-1].sequence)
            answer = await self._query("trace", question, audit.TraceReply)
            events, withheld = [*events, *answer.events], withheld + answer.withheld
        return structs.replace(answer, events=events, withheld=withheld)

    async def security_events(self, query: audit.SecurityFilter) -> audit.TraceReply:
        """Return security events, newest first. Raises Denied."""
        return await self._query("trace", audit.TraceQuery(security=query), audit.TraceReply)

    async def search(self, query: audit.SearchQuery) -> audit.SearchReply:
        """Return operations, newest first."""
        return await self._query("search", query, audit.SearchReply)

    async def whole_operation(self, text: str) -> str:
        """Return a whole operation id as it is, and for the beginning of one what `find_operation` returns."""
        return text if len(text) == WHOLE_ID else await self.find_operation(text)

    async def find_operation(self, prefix: str) -> str:
        """Return the one operation id that begins so: of one's own operations, or else of those that one may read.
        Raises Invalid (`not_found`), also where several ids begin so.
        """
        for principals in ([self.principal], []):
            query = audit.SearchQuery(principals=principals, operation_prefix=prefix, limit=SHOWN_IDS)
            rows = (await self.search(query)).rows
            if len(rows) == 1:
                return rows[0].operation_id
            if rows:
                shown = ", ".join(f"{row.operation_id} ({row.operation} on {row.target})" for row in rows)
                raise errors.Invalid(f"several operation ids begin with {prefix!r}: {shown}")
        raise errors.Invalid(f"no operation id begins with {prefix!r} among those that you may read", code="not_found")

    async def find_correlation(self, prefix: str) -> str:
        """Return the one correlation id that begins so among the operations that one may read. Raises Invalid
        (`not_found`), also where several ids begin so.
        """
        query, found = audit.SearchQuery(correlation_prefix=prefix, limit=1000), set[str]()
        while rows := (await self.search(query)).rows:
            found |= {row.correlation_id for row in rows}
            if prefix in found:
                return prefix
            if len(found) > 1:
                shown = ", ".join(sorted(found)[:SHOWN_IDS])
                raise errors.Invalid(f"several correlation ids begin with {prefix!r}: {shown}")
            query = structs.replace(query, before=rows[-1].first_sequence)
        if not found:
            text = f"no operation or correlation id begins with {prefix!r} among those that you may read"
            raise errors.Invalid(text, code="not_found")
        return found.pop()

    async def policy_status(self) -> versions.PolicyStatusReply:
        """Return the policy in force in the replying replica, the problems of its files, and all that is in force."""
        found = await self._policy_status("")
        async for page in further_pages(found, self._policy_status):
            found = structs.replace(
                found,
                stops=found.stops + page.stops,
                emergencies=found.emergencies + page.emergencies,
                windows=found.windows + page.windows,
            )
        return structs.replace(found, more=0, last="")

    async def _policy_status(self, after: str) -> versions.PolicyStatusReply:
        question = versions.PolicyStatusQuery(after=after)
        return await self._query("policy_status", question, versions.PolicyStatusReply)

    async def policy_history(self, *, limit: int = 20, before: int | None = None) -> versions.PolicyHistoryReply:
        """Return versions of the policy below `before`, newest first. Raises Denied."""
        question = versions.PolicyHistoryQuery(limit=limit, before=before)
        return await self._query("policy_history", question, versions.PolicyHistoryReply)

    async def policy_show(self, version: int | None = None) -> versions.PolicyShowReply:
        """Return one version with its document; without a number the one in force. Raises Denied, Invalid
        (`not_found`).
        """
        question = versions.PolicyShowQuery(version=version)
        answer = await self._query("policy_show", question, versions.PolicyShowReply)
        return structs.replace(answer, document=versions.document_in(answer.document))

    async def _query(self, kind: str, question: Any, answer_kind: type[Reply]) -> Reply:
        subject = subjects.query(self.principal, kind)
        answer = await request_reply(self._bus, subject, question, answer_kind, timeout=QUERY_SECONDS)
        raise_for(answer)
        return answer


def _name_before(name: str) -> str | None:
    """Return a name after which this one is the next, or nearly so; None where it is among the first."""
    head, last = name[:-1], name[-1:]
    lower = [letter for letter in _LETTERS if letter < last]
    return f"{head}{lower[-1]}".ljust(_LONGEST_NAME, _LETTERS[-1]) if lower else head or None

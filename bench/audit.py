"""Measure the audit index alone: indexed events a second, the start on a full index, and searches of 100,000
operations.

The journal is not included: `end_to_end` measures a journal with fsync.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Raw

from bench.timing import Sample, measure
from writ_audit.index import AuditIndex, IndexPosition
from writ_audit.index_follower import BATCH
from writ_audit.projection import RecordChange, project
from writ_audit.search_conditions import NO_DIGESTS, Digests
from writ_contracts import journal
from writ_contracts.history.audit import SearchQuery
from writ_contracts.ids import operation_id
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_contracts.subjects import operation_event
from writ_contracts.wire import encode

OPERATIONS = 100_000
EVENTS = 4 * OPERATIONS
SEARCHES = 100
SIGNED = Signed(payload=Raw(b'{"text":"' + b"x" * 600 + b'"}'), key="U" + "A" * 55, signature="x" * 86)
QUERIES = {
    "newest 50": SearchQuery(),
    "of one principal": SearchQuery(principal="principal-7"),
    "on one target": SearchQuery(target="target-77"),
    "a rare outcome": SearchQuery(outcome="failed"),
    "service_restart of nginx in the last hour": SearchQuery(
        operation="service_restart", parameters={"service_name": "nginx"}, since=OPERATIONS - 3_600.0
    ),
    "a rare parameter": SearchQuery(parameters={"service_name": "rare"}),
    "the last hour": SearchQuery(since=OPERATIONS - 3_600.0),
    "an hour long ago": SearchQuery(since=1_000.0, until=4_600.0),
    "an hour without any": SearchQuery(since=OPERATIONS + 10.0, until=OPERATIONS + 3_600.0),
    "by rule": SearchQuery(rule="r"),
    "text that nothing has": SearchQuery(text="canary"),
    "principal and target": SearchQuery(principal="principal-7", target="target-77"),
}
DIGESTS = {("service_name", "nginx"): ["digest of nginx", "the same by a former key"]}
"""Of a search by values that half of the requests have hidden."""
HIDDEN = {
    "nginx, in clear or hidden": SearchQuery(parameters={"service_name": "nginx"}),
    "nginx on one target, in clear or hidden": SearchQuery(parameters={"service_name": "nginx"}, target="target-77"),
}


def records() -> Iterator[tuple[int, str, bytes]]:
    """Yield operations of four events each, as an executor writes them."""
    for number in range(EVENTS // 4):
        for place, (subject, event) in enumerate(operation(number), 1):
            yield number * 4 + place, subject, encode(event)


def operation(number: int) -> Iterator[tuple[str, journal.OperationEvent]]:
    """Yield one operation from its request to its end, each event with its subject."""
    principal = f"principal-{number % 20}"
    made = operation_id(principal, str(number))
    for event in _events(number, principal, made):
        kind = str(event.__struct_config__.tag)
        where = {"pool": "local-a", "target": "t"} if kind == "dispatched" else {}
        yield operation_event(principal, made, kind, **where), event


def _events(number: int, principal: str, operation: str) -> Iterator[journal.OperationEvent]:
    stamp: dict[str, Any] = {"at": float(number), "correlation_id": f"c{number}"}
    target = f"target-{number % 1000}"
    yield journal.Requested(
        id=uuid.uuid4().hex, **stamp, operation_id=operation, principal=principal, operation="service_restart",
        target=target, pool="local-a", risk="change", idempotent=False, key=SIGNED.key, parameters=_parameters(number),
        effective=_parameters(number),
        hidden=[], parameters_digest="0" * 64, fingerprint="0" * 64, decision=SIGNED, timeout=60, start_by=0.0,
        verdict=Verdict(decision="allow", rules=["r"], reason="r", code="allowed"), parameter_key=SIGNED.key,
        search_digests=[f"digest of {_parameters(number)['service_name']}"] if number % 2 else [],
    )  # fmt: skip
    yield journal.Dispatched(
        id=uuid.uuid4().hex, **stamp, operation_id=operation, principal=principal, operation="service_restart",
        target=target, pool="local-a", attempt=1, parameters={}, start_by=0.0, timeout=60, look=SIGNED,
    )  # fmt: skip
    yield journal.Granted(
        id=uuid.uuid4().hex, **stamp, operation_id=operation, attempt=1, instance="i", deadline=0.0, grant=SIGNED,
        claim=SIGNED, decision=SIGNED,
    )  # fmt: skip
    outcome: journal.Outcome = "failed" if number % 5_000 == 0 else "succeeded"
    yield journal.Finished(id=uuid.uuid4().hex, **stamp, operation_id=operation, outcome=outcome, receipt=SIGNED)


def _parameters(number: int) -> dict[str, Any]:
    return {"service_name": "rare" if number % 50_000 == 7 else ("nginx", "sshd", "cron")[number % 3]}


async def run() -> dict[str, float | Sample]:
    """Return each figure by its name."""
    every = list(records())
    with TemporaryDirectory() as folder:
        path = Path(folder) / "audit.sqlite"
        index = AuditIndex(path)
        found: dict[str, float | Sample] = {"events taken in a second": EVENTS / _fill(index, every)}
        index.close()
        began = time.perf_counter()
        index = AuditIndex(path)
        found["start, ms"] = (time.perf_counter() - began) * 1000
        for name, query in QUERIES.items():
            found[name] = await measure(_searching(index, query), 1, SEARCHES)
        for name, query in HIDDEN.items():
            found[name] = await measure(_searching(index, query, DIGESTS), 1, SEARCHES)
        found["megabytes"] = path.stat().st_size / 1e6
        index.close()
    return found


def _searching(
    index: AuditIndex, query: SearchQuery, digests: Digests = NO_DIGESTS
) -> Callable[[int], Awaitable[object]]:
    return lambda _: asyncio.to_thread(index.search, query, None, digests)


def _fill(index: AuditIndex, every: list[tuple[int, str, bytes]]) -> float:
    began = time.perf_counter()
    for start in range(0, len(every), BATCH):
        changes: list[RecordChange] = [project(*record, 0.0) for record in every[start : start + BATCH]]
        index.apply(changes, IndexPosition(every[start][0] + len(changes) - 1, "o", "l"))
    return time.perf_counter() - began


def table(found: dict[str, float | Sample]) -> str:
    """Return the table as Markdown."""
    rows = ["| audit index, 100,000 operations | | p99 ms |", "|---|---|---|"]
    for name, value in found.items():
        if isinstance(value, Sample):
            rows.append(f"| search: {name} | p50 {value.p50} ms | {value.p99} |")
        else:
            rows.append(f"| {name} | {value:,.1f} | |")
    return "\n".join(rows)

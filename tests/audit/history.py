"""Journals to read: operations as executors write them, appended with their expected sequences."""

import itertools
import uuid
from typing import Any

from msgspec import Raw, structs
from tests.contracts.messages import sample

from writ_bus.port import Bus, Entry
from writ_contracts import journal, subjects
from writ_contracts.decisions import Decision
from writ_contracts.ids import operation_id
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

POLICY = Key(generate_seed())
SIGNED = Signed(payload=Raw(b'{"type":"writ.test.v1"}'), key="U" + "A" * 55, signature="x" * 86)
ALLOWED = Verdict(decision="allow", rules=["ops"], reason="ops may", code="allowed")


class History:
    """Writes events one after the other; `at` is the time of the next one and goes up by a second each."""

    def __init__(self, bus: Bus, policy: Bus | None = None) -> None:
        """`policy`: a bus of policy, where only its key may write starts."""
        self._bus = bus
        self._policy = policy or bus
        self._heads: dict[str, int] = {}
        self._clock = itertools.count(1_000)

    def stamp(self, correlation: str) -> dict[str, Any]:
        """Return the fields that every event has."""
        return {"id": uuid.uuid4().hex, "at": float(next(self._clock)), "correlation_id": correlation}

    async def append(self, principal: str, operation: str, event: journal.OperationEvent) -> int:
        """Store the event as the next of this operation."""
        kind = str(event.__struct_config__.tag)
        subject = subjects.operation_event(
            principal,
            operation,
            kind,
            pool="local-a" if kind == "dispatched" else "",
            target="web-1" if kind == "dispatched" else "",
        )
        entry = Entry(
            subject=subject,
            data=encode(event),
            event_id=event.id,
            filter=subjects.operation_filter(principal, operation),
            expected=self._heads.get(operation, 0),
        )
        self._heads[operation] = await (self._policy if kind == "granted" else self._bus).journal.append(entry)
        return self._heads[operation]

    async def requested(self, principal: str, key: str, **fields: Any) -> str:
        """A new operation; its id."""
        operation = operation_id(principal, key)
        known: dict[str, Any] = {
            "operation": "service_restart",
            "target": "web-1",
            "acts_for": None,
            "correlation": key,
            **fields,
        }
        values = {"parameters": {"service_name": "nginx"}, "effective": {"service_name": "nginx", "timeout": 60}}
        known = {**values, "hidden": [], **known}
        event = journal.Requested(
            **self.stamp(known.pop("correlation")),
            operation_id=operation,
            principal=principal,
            pool="local-a",
            risk="change",
            idempotent=False,
            key="U" + "A" * 55,
            parameters_digest="0" * 64,
            fingerprint="0" * 64,
            verdict=ALLOWED,
            decision=self._decision(operation, principal, known),
            timeout=60,
            start_by=2_000.0,
            **known,
        )
        await self.append(principal, operation, event)
        return operation

    def _decision(self, operation_id: str, principal: str, known: dict[str, Any]) -> Signed:
        about = {name: known[name] for name in ("operation", "target", "acts_for")}
        who = {"operation_id": operation_id, "principal": principal, "authenticated": "server", "session": ""}
        return sign(POLICY, structs.replace(sample(Decision), statement_digest=None, presence=None, **who, **about))

    async def refused(self, principal: str, key: str, correlation: str = "", message: str = "no rule") -> str:
        """Return the event of an attempt denied by policy."""
        operation = operation_id(principal, key)
        event = journal.Refused(
            **self.stamp(correlation or key),
            operation_id=operation,
            principal=principal,
            operation="file_delete",
            target="web-2",
            outcome="denied",
            code="no_rule",
            message=message,
        )
        await self.append(principal, operation, event)
        return operation

    async def carried_out(self, principal: str, key: str, **fields: Any) -> str:
        """requested, dispatched, started, finished."""
        operation = await self.requested(principal, key, **fields)
        stamp = self._stamps(fields.get("correlation", key))
        dispatched = journal.Dispatched(
            **next(stamp),
            operation_id=operation,
            principal=principal,
            operation="service_restart",
            target="web-1",
            pool="local-a",
            attempt=1,
            parameters={"service_name": "nginx"},
            start_by=2_000.0,
            timeout=60,
        )
        started = journal.Granted(
            **next(stamp),
            operation_id=operation,
            attempt=1,
            instance="i-1",
            deadline=2_060.0,
            claim=SIGNED,
            grant=SIGNED,
            decision=SIGNED,
        )
        await self.append(principal, operation, dispatched)
        await self.append(principal, operation, started)
        finished = journal.Finished(**next(stamp), operation_id=operation, outcome="succeeded", output={"ok": True})
        await self.append(principal, operation, finished)
        return operation

    def _stamps(self, correlation: str) -> Any:
        while True:
            yield self.stamp(correlation)

    async def security(
        self, *, operation: str | None = None, correlation: str = "", principal: str | None = None
    ) -> int:
        event = journal.SecurityEvent(
            **self.stamp(correlation),
            kind="forged_grant",
            detail="the grant was signed by somebody else",
            operation_id=operation,
            principal=principal,
        )
        return await self.raw(subjects.security_event("forged_grant"), encode(event), event.id)

    async def raw(self, subject: str, data: bytes, event_id: str) -> int:
        """Store any bytes on a subject limited to one line of events."""
        last = await self._bus.journal.last(subject)
        entry = Entry(
            subject=subject, data=data, event_id=event_id, filter=subject, expected=last.sequence if last else 0
        )
        return await self._bus.journal.append(entry)

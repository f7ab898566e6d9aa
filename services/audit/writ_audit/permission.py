"""Permission to read records.

A principal may always read its own records, and a human those of agents that act for it. Policy decides on all others,
by a decision on the control operation `audit_read`, which counts only if policy signed it for exactly this request.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec import Struct

from writ_audit.recorded_reads import RecordedReads
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.catalogue.control import AUDIT_READ
from writ_contracts.decisions import DecideReply, Decision, RecordReadRequest
from writ_contracts.errors import Denied, Unreachable, Untrusted
from writ_contracts.ids import WRIT_TARGET, encode_id
from writ_contracts.notices import Notice
from writ_contracts.wire import decode, encode
from writ_trust.digests import keyed_digest, same
from writ_trust.statements import open_signed

TIMEOUT = 5.0
BEHIND_DELAYS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)


class QueryReader(Struct, frozen=True):
    """The principal that queries, taken from the subject, and the key that the NATS server authenticated."""

    principal: str
    key: str

    def owns(self, principal: str, acts_for: str) -> bool:
        """Return true if a record of this principal is the reader's own."""
        return self.principal in (principal, acts_for)


class ReadPermission:
    """Checks whether a principal may read records, with policy's decision where one is needed."""

    def __init__(
        self,
        bus: Bus,
        policy_keys: Collection[str],
        installation: str,
        send_notice: Callable[[Notice], None],
        reads: RecordedReads,
    ) -> None:
        """Check permissions. `send_notice` reports a refusal to be recorded; `reads` records an allowed read."""
        self._send_notice = send_notice
        self._reads = reads
        self._bus = bus
        self._trusted = policy_keys
        self._installation = installation

    async def check(
        self, reader: QueryReader, owner: str | None, parameters: dict[str, Any], sought: Sequence[str] = ()
    ) -> None:
        """Raise Denied unless the reader may read the records of `owner` (None: everybody's).

        An allowed read is recorded first, with the names of the parameters by whose values it searches (`sought`).
        Raises the errors of that append.
        """
        last = await self._bus.journal.last(subjects.CONTROL)
        request = RecordReadRequest(
            operation_id=encode_id(os.urandom(16)),
            principal=reader.principal,
            key=reader.key,
            parameters=parameters,
            parameters_key=os.urandom(32).hex(),
            control_sequence=last.sequence if last else 0,
            owner=owner,
        )
        decided = await self._request_decision(request)
        decision = self._open(decided, request)
        if decision.effect != "allow" or decided.decision is None:
            raise Denied(decision.reason, code=decision.code or "denied")
        if owner != reader.principal:
            await self._reads.record(reader.principal, parameters, decided.decision, sought)

    async def allows(
        self,
        reader: QueryReader,
        owner: str | None,
        parameters: dict[str, Any],
        sought: Sequence[str] = (),
        *,
        explicit: bool = True,
    ) -> bool:
        """Return the decision of `check`. A refusal is recorded if the reader requested this very record (`explicit`),
        not if the record is only left out of a list.
        """
        try:
            await self.check(reader, owner, parameters, sought)
        except Denied as error:
            if explicit:
                about = ", ".join(f"{name} {value}" for name, value in sorted(parameters.items()))
                detail = f"{about}: {error.code}"[:1000]
                self._send_notice(Notice(kind="read_refused", detail=detail, principal=reader.principal))
            return False
        return True

    async def _request_decision(self, request: RecordReadRequest) -> DecideReply:
        """Repeat the request while the replying replica has not read the latest control events."""
        for delay in (*BEHIND_DELAYS, None):
            message = await self._bus.request(subjects.POLICY_RECORD_READ, encode(request), timeout=TIMEOUT)
            answer = decode(message.data, DecideReply)
            if answer.error is None or answer.error.code != "behind" or delay is None:
                return answer
            await asyncio.sleep(delay)
        raise AssertionError("the last delay is None")

    def _open(self, decided: DecideReply, request: RecordReadRequest) -> Decision:
        if decided.error is not None:
            failure = Unreachable if decided.error.retry else Denied
            raise failure(decided.error.message, code=decided.error.code)
        if decided.decision is None:
            raise Untrusted("policy's reply has no decision")
        decision = open_signed(decided.decision, Decision, self._trusted, self._installation)
        expected = (request.operation_id, request.principal, AUDIT_READ, WRIT_TARGET)
        if (decision.operation_id, decision.principal, decision.operation, decision.target) != expected:
            raise Untrusted("policy's decision is for another query")
        effective = {**decided.effective, **request.parameters}
        if not same(decision.parameters_digest, keyed_digest(request.parameters_key, effective)):
            raise Untrusted("policy's decision is for other parameters")
        return decision

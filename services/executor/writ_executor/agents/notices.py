"""What policy, audit and the keeper want on record: each its own kinds, from a closed list, and not without end.

Who sends is told by the subject, which NATS lets that service's key alone publish on.
"""

import time
from typing import cast

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.errors import Full, Invalid
from writ_contracts.journal import ControlEvent
from writ_contracts.notices import BY_AUDIT, BY_POLICY, BY_PROVISIONER, Noted, Notice
from writ_contracts.wire import decode
from writ_executor.journal.recorder import Recorder
from writ_runtime.buckets import Buckets

RATE, BURST = 1.0, 100.0
LARGEST = 4_096


class Notices:
    """Answers `writ.notice.policy`, `writ.notice.audit` and `writ.notice.keeper`."""

    def __init__(self, recorder: Recorder, rate: float = RATE, burst: float = BURST) -> None:
        """`rate`: notices of one service a second, on average."""
        self._recorder = recorder
        self._buckets = Buckets(rate, burst)

    async def of_policy(self, message: Message) -> Noted:
        """A file or version that cannot be used, or a file that became a version."""
        return await self._note("policy", BY_POLICY, message)

    async def of_audit(self, message: Message) -> Noted:
        """Who was not let read what."""
        return await self._note("audit", BY_AUDIT, message)

    async def of_provisioner(self, message: Message) -> Noted:
        """An agent's key that was let in, or not."""
        return await self._note("keeper", BY_PROVISIONER, message)

    async def _note(self, service: str, kinds: frozenset[str], message: Message) -> Noted:
        notice = decode(message.data, Notice, limit=LARGEST)
        if notice.kind not in kinds:
            raise Invalid(f"{service} has nothing of kind {notice.kind} recorded")
        if notice.kind == "file_version":
            return Noted(sequence=await self._became_version(notice))
        if notice.kind == "agent_enrolled":
            return Noted(sequence=await self._enrolled(notice))
        if not self._buckets.take(service, time.monotonic()):
            raise Full(f"{service} has more recorded than is: {notice.detail[:200]}", code="rate_limited")
        kind = cast(SecurityKind, notice.kind)
        return Noted(sequence=await self._recorder.security(kind, notice.detail, principal=notice.principal))

    async def _enrolled(self, notice: Notice) -> int:
        """A control event, like whatever else changes who may do what; once for each token and key."""
        if notice.pool is None or notice.key is None or notice.token is None:
            raise Invalid("an agent_enrolled names its pool, key and token")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"agent-enrolled-{notice.token}-{notice.key}"},
            kind="agent_enrolled",
            principal="keeper",
            operation_id="",
            body={"pool": notice.pool, "key": notice.key, "token": notice.token, "detail": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("agent_enrolled"), event, after=0)

    async def _became_version(self, notice: Notice) -> int:
        """A control event, since replicas on other hosts decide by it from now on; once, whoever tells of it."""
        if notice.version is None:
            raise Invalid("a file_version names its version")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"policy-file-{notice.version}"},
            kind="policy_file",
            principal="file",
            operation_id="",
            body={"version": notice.version, "digest": notice.digest, "reason": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("policy_file"), event, after=0)

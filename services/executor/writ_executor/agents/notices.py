"""Notices of policy, audit and the provisioner to be recorded: each service has its own closed list of kinds and a
rate.

The subject identifies the sender: NATS lets the service's key alone publish on it.
"""

import time
from typing import get_args

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import recorded_kind
from writ_contracts.errors import Full, Invalid
from writ_contracts.journal import ControlEvent
from writ_contracts.notices import BY_AUDIT, BY_POLICY, BY_PROVISIONER, Notice, NoticeKind, NoticeReply
from writ_contracts.wire import decode
from writ_executor.journal.recorder import Recorder
from writ_runtime.buckets import Buckets

RATE, BURST = 1.0, 100.0
LARGEST = 4_096


class NoticeEndpoint:
    """Answers `writ.notice.policy`, `writ.notice.audit` and `writ.notice.keeper`."""

    def __init__(self, recorder: Recorder, rate: float = RATE, burst: float = BURST) -> None:
        """`rate`: notices of one service a second, on average."""
        self._recorder = recorder
        self._buckets = Buckets(rate, burst)

    async def of_policy(self, message: Message) -> NoticeReply:
        """Record an unusable file or version, or a file published as a version."""
        return await self._note("policy", BY_POLICY, message)

    async def of_audit(self, message: Message) -> NoticeReply:
        """Record a refused read."""
        return await self._note("audit", BY_AUDIT, message)

    async def of_provisioner(self, message: Message) -> NoticeReply:
        """Record an accepted or refused key of an agent."""
        return await self._note("keeper", BY_PROVISIONER, message)

    async def _note(self, service: str, kinds: frozenset[str], message: Message) -> NoticeReply:
        notice = decode(message.data, Notice, limit=LARGEST)
        if notice.kind in get_args(NoticeKind) and notice.kind not in kinds:
            raise Invalid(f"{service} may not send notices of kind {notice.kind}")
        if notice.kind == "file_version":
            return NoticeReply(sequence=await self._became_version(notice))
        if notice.kind == "emergency_closed":
            return NoticeReply(sequence=await self._closed(notice))
        if notice.kind == "people_version":
            return NoticeReply(sequence=await self._credentials_changed(notice))
        if notice.kind == "keys_changed":
            return NoticeReply(sequence=await self._keys_changed(notice))
        if notice.kind == "session_idle":
            return NoticeReply(sequence=await self._idle(notice))
        if notice.kind == "agent_enrolled":
            return NoticeReply(sequence=await self._enrolled(notice))
        if not self._buckets.take(service, time.monotonic()):
            raise Full(
                f"{service} sends more notices than are recorded in this time: {notice.detail[:200]}",
                code="rate_limited",
            )
        kind, detail = recorded_kind(notice.kind, notice.detail)
        return NoticeReply(sequence=await self._recorder.security(kind, detail, principal=notice.principal))

    async def _enrolled(self, notice: Notice) -> int:
        """Record an enrolment as a control event, like every change of rights; once for each token and key."""
        if notice.pool is None or notice.key is None or notice.token is None:
            raise Invalid("a notice agent_enrolled needs pool, key and token")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"agent-enrolled-{notice.token}-{notice.key}"},
            kind="agent_enrolled",
            principal="keeper",
            operation_id="",
            body={"pool": notice.pool, "key": notice.key, "token": notice.token, "detail": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("agent_enrolled"), event, after=0)

    async def _idle(self, notice: Notice) -> int:
        """Record the end of an idle session as a control event, once."""
        if notice.session is None:
            raise Invalid("a notice session_idle needs session")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"session-idle-{notice.session}"},
            kind="session_idle",
            principal="keeper",
            operation_id="",
            body={"session_id": notice.session, "how": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("session_idle"), event, after=0)

    async def _credentials_changed(self, notice: Notice) -> int:
        """Record a version of the directory of people's credentials as a control event; once for all replicas."""
        if notice.version is None or notice.digest is None:
            raise Invalid("a notice people_version needs version and digest")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"people-{notice.version}-{notice.digest}"},
            kind="people_version",
            principal="policy",
            operation_id="",
            body={"version": notice.version, "digest": notice.digest, "changed": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("people_version"), event, after=0)

    async def _keys_changed(self, notice: Notice) -> int:
        """Record a change of the keyring as a control event; once for all replicas."""
        if notice.digest is None:
            raise Invalid("a notice keys_changed needs digest, that of the keyring")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"keys-{notice.digest}"},
            kind="keys_changed",
            principal="policy",
            operation_id="",
            body={"digest": notice.digest, "changed": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("keys_changed"), event, after=0)

    async def _closed(self, notice: Notice) -> int:
        """A control event, so that nobody has to infer when the emergency ended; once for each."""
        if notice.emergency is None:
            raise Invalid("a notice emergency_closed needs emergency")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"emergency-closed-{notice.emergency}"},
            kind="emergency_closed",
            principal="policy",
            operation_id="",
            body={"emergency_id": notice.emergency, "how": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("emergency_closed"), event, after=0)

    async def _became_version(self, notice: Notice) -> int:
        """Record the version as a control event, since replicas on other hosts decide by it from now on; once for
        all reporters.
        """
        if notice.version is None:
            raise Invalid("a notice file_version needs version")
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"policy-file-{notice.version}"},
            kind="policy_file",
            principal="file",
            operation_id="",
            body={"version": notice.version, "digest": notice.digest, "reason": notice.detail},
        )
        return await self._recorder.append_once(subjects.control_event("policy_file"), event, after=0)

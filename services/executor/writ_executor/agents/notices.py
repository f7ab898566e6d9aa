"""Notices of policy, audit and the provisioner to be recorded: each service has its own closed list of kinds and a
rate.

The subject identifies the sender: NATS lets the service's key alone publish on it.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

from msgspec import Struct

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
CONTROL_RATE, CONTROL_BURST = 1.0, 1_000.0
"""Of control events, which policy keeps in memory: as many hosts may enrol at once. A thief of the provisioner's key
wrote a thousand in a few seconds, and could go on until the journal was full.
"""
LARGEST = 4_096


class ControlEventRule(Struct, frozen=True, kw_only=True):
    """The control event that a kind of notice becomes. `body` names the notice's field of each of its values."""

    kind: str
    principal: str
    prefix: str
    identity: tuple[str, ...]
    """The fields that make its id, after `prefix`: a repeated notice is recorded once."""
    body: Mapping[str, str]
    optional: tuple[str, ...] = ()

    @property
    def needs(self) -> list[str]:
        """The fields without which the notice is refused."""
        return [name for name in self.body.values() if name not in self.optional]


CONTROL_EVENTS: Mapping[str, ControlEventRule] = MappingProxyType(
    {
        "file_version": ControlEventRule(  # replicas on other hosts decide by it from now on
            kind="policy_file",
            principal="file",
            prefix="policy-file",
            identity=("version",),
            body={"version": "version", "digest": "digest", "reason": "detail"},
            optional=("digest",),
        ),
        "emergency_closed": ControlEventRule(  # so that nobody has to infer when it ended
            kind="emergency_closed",
            principal="policy",
            prefix="emergency-closed",
            identity=("emergency",),
            body={"emergency_id": "emergency", "how": "detail"},
        ),
        "people_version": ControlEventRule(
            kind="people_version",
            principal="policy",
            prefix="people",
            identity=("version", "digest"),
            body={"version": "version", "digest": "digest", "changed": "detail"},
        ),
        "keys_changed": ControlEventRule(
            kind="keys_changed",
            principal="policy",
            prefix="keys",
            identity=("digest",),
            body={"digest": "digest", "changed": "detail"},
        ),
        "session_idle": ControlEventRule(
            kind="session_idle",
            principal="keeper",
            prefix="session-idle",
            identity=("session",),
            body={"session_id": "session", "how": "detail"},
        ),
        "agent_enrolled": ControlEventRule(
            kind="agent_enrolled",
            principal="keeper",
            prefix="agent-enrolled",
            identity=("token", "key"),
            body={"pool": "pool", "key": "key", "token": "token", "detail": "detail"},
        ),
    }
)
"""The kinds of notices that policy decides by, by name. The others become security events."""


class NoticeEndpoint:
    """Answers `writ.notice.policy`, `writ.notice.audit` and `writ.notice.keeper`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._buckets = Buckets(RATE, BURST)
        self._control_buckets = Buckets(CONTROL_RATE, CONTROL_BURST)

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
        is_control = notice.kind in CONTROL_EVENTS
        buckets = self._control_buckets if is_control else self._buckets
        if not buckets.take(service, time.monotonic()):
            raise Full(
                f"{service} sends more notices than are recorded in this time: {notice.detail[:200]}",
                code="rate_limited",
            )
        if is_control:
            return NoticeReply(sequence=await self._record_control_event(notice, CONTROL_EVENTS[notice.kind]))
        kind, detail = recorded_kind(notice.kind, notice.detail)
        return NoticeReply(sequence=await self._recorder.security(kind, detail, principal=notice.principal))

    async def _record_control_event(self, notice: Notice, rule: ControlEventRule) -> int:
        """Record the notice as a control event, like every change of rights; repeated reports change nothing."""
        missing = [name for name in rule.needs if getattr(notice, name) is None]
        if missing:
            raise Invalid(f"a notice {notice.kind} needs {' and '.join(missing)}")
        identity = "-".join(str(getattr(notice, name)) for name in rule.identity)
        event = ControlEvent(
            **{**self._recorder.stamp(), "id": f"{rule.prefix}-{identity}"},
            kind=rule.kind,
            principal=rule.principal,
            operation_id="",
            body={name: getattr(notice, source) for name, source in rule.body.items()},
        )
        return await self._recorder.append_once(subjects.control_event(rule.kind), event, after=0)

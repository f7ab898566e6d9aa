"""Security events that an agent found: signed, and sent like receipts until an executor has them in the journal."""

import os
from collections.abc import Mapping

from writ_agent.reporting.metrics import Meters
from writ_agent.reporting.outbox import Outbox
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.spool import Parcel
from writ_agent.verification import SecurityRefusal
from writ_contracts import subjects
from writ_contracts.agents import ReportMessage, SecurityKind, SecurityReport
from writ_contracts.wire import encode
from writ_runtime.logs import Log
from writ_trust.statements import sign

MOST_PENDING = 256
ALARMS: Mapping[str, SecurityKind] = {
    "outside_roots": "path_escape",
    "host_key_changed": "host_key_changed",
    "certificate_changed": "host_key_changed",
    "tailscale_wrong_node": "wrong_peer",
    "tailscale_wrong_tags": "wrong_peer",
    "set_aside": "host_set_aside",
}
"""Codes of refusals on a host, and the security events they are."""
_log = Log("writ.agent")


class SecurityReporter:
    """Reports refusals. In a flood, refusals beyond `MOST_PENDING` unsent reports go to the log alone."""

    def __init__(self, outbox: Outbox, identity: AgentIdentity, meters: Meters) -> None:
        self._outbox = outbox
        self._identity = identity
        self._meters = meters

    async def report(self, refused: SecurityRefusal, operation_id: str | None, principal: str | None = None) -> None:
        """Count the refusal, log it, and send it."""
        self._meters.refused.add(reason=refused.kind)
        _log.warning("agent.refused", kind=refused.kind, reason=str(refused), operation_id=operation_id)
        if len(self._outbox.pending) >= MOST_PENDING:
            return
        statement = SecurityReport(
            kind=refused.kind,
            pool=self._identity.pool,
            instance=self._identity.instance,
            detail=str(refused)[:1000],
            operation_id=operation_id,
            principal=principal,
        )
        body = encode(ReportMessage(report=sign(self._identity.key, statement)))
        parcel = Parcel(subject=subjects.report(self._identity.pool), body=body)
        await self._outbox.post(f"report.{os.urandom(8).hex()}", parcel)

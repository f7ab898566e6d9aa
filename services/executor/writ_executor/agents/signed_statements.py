"""What agents sign: claims, receipts, replies, findings of probes, security reports, previews. Each forgery is a
security event.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from writ_contracts.agents import Claim, ProbeFinding, Receipt, ReplyStatement, SecurityKind, SecurityReport
from writ_contracts.errors import Full, Invalid, Untrusted
from writ_contracts.journal import Requested
from writ_contracts.people.previews import Preview
from writ_contracts.signing import Signed
from writ_executor.agents.alarms import SecurityEventRecorder
from writ_executor.agents.keys import AgentKeys
from writ_runtime.logs import Log
from writ_trust.statements import open_signed

S = TypeVar("S", Claim, Receipt, ReplyStatement, ProbeFinding, SecurityReport, Preview)
FORGED: Mapping[type, tuple[SecurityKind, str]] = MappingProxyType(
    {
        Claim: ("forged_claim", "claim"),
        Receipt: ("forged_receipt", "receipt"),
        ReplyStatement: ("bad_signature", "reply"),
        ProbeFinding: ("bad_signature", "finding of a probe"),
        SecurityReport: ("bad_signature", "security report"),
        Preview: ("bad_signature", "preview"),
    }
)
"""The kind of the security event, which is also the code of the refusal, and the name of the statement."""
FORGED_LISTING: Final = "forged_listing"

_log = Log("writ.executor")


class AgentStatements:
    """Opens signed statements of the agents of a pool. The pool is named by a subject or by a recorded operation."""

    def __init__(self, installation: str, keys: AgentKeys, alarms: SecurityEventRecorder) -> None:
        self._installation, self._keys, self._alarms = installation, keys, alarms

    async def open(self, pool: str, signed: Signed, kind: type[S], requested: Requested | None = None) -> S:
        """Return the statement. Raises Untrusted for a forged one, which is recorded; Full where too many are.
        `requested`: the operation that the pool was asked about.
        """
        try:
            statement = open_signed(signed, kind, await self._keys.of(pool), self._installation)
            if statement.pool != pool:
                raise Untrusted(f"it names pool {statement.pool}")
        except Untrusted as error:
            raise await self.refused(pool, kind, str(error), requested) from error
        return statement

    async def refused(self, pool: str, kind: type[S], why: str, requested: Requested | None = None) -> Untrusted:
        """Record a statement as forged. Return the error for its sender. Raises Full where too many are recorded."""
        code, name = FORGED[kind]
        detail = f"a {name} of pool {pool}: {why}"
        await self._record(pool, code, detail, requested)
        return Untrusted(detail, code=code)

    async def listing_refused(self, requested: Requested, error: Invalid) -> None:
        """Record that policy refused the listings of the operation's pool as forged. Other errors are ignored."""
        if error.code != FORGED_LISTING:
            return
        try:
            await self._record(requested.pool, FORGED_LISTING, str(error), requested)
        except Full as full:  # the refusal itself stands
            _log.warning("security.not_recorded", kind=FORGED_LISTING, error=str(full))

    async def _record(self, pool: str, kind: SecurityKind, detail: str, requested: Requested | None) -> None:
        if requested is None:
            await self._alarms.raised(pool, kind, detail)
            return
        await self._alarms.raised(
            pool,
            kind,
            detail,
            operation_id=requested.operation_id,
            principal=requested.principal,
            correlation_id=requested.correlation_id,
        )

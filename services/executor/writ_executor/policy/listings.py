"""Listings for decisions: agents of the target list names under a read grant signed by policy.

Nothing is cached: every decision in need of a listing gets a fresh one. A missing reply never permits anything.
"""

from collections.abc import Collection

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.agents import ReadReply, ReadRequest
from writ_contracts.decisions import ReadGrant
from writ_contracts.errors import TimedOut, Unreachable, WritError
from writ_contracts.policy.facts import GatheredListings
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_executor.agents.presence import AgentPresence
from writ_executor.metrics import ExecutorMeasures
from writ_trust.statements import open_signed

LISTING_SECONDS = 4.0
"""Time for an agent. A claim that waits for it is sent again, and gets the result then."""


class ListingRequests:
    """Requests for listings to any agent of the pool."""

    def __init__(
        self,
        bus: Bus,
        policy_keys: Collection[str],
        installation: str,
        presence: AgentPresence,
        measures: ExecutorMeasures,
    ) -> None:
        self._bus = bus
        self._presence = presence
        self._trusted = policy_keys
        self._installation = installation
        self._measures = measures

    async def gather(self, signed: Signed, look_key: str) -> GatheredListings:
        """Return the listings permitted by the read grant, or the reason for their absence. Raises Untrusted for a
        grant not signed by policy.
        """
        grant = open_signed(signed, ReadGrant, self._trusted, self._installation)
        if not self._presence.new and not self._presence.agents(grant.pool):  # NATS would take 4 s to say so
            return self._failed("no_agent", signed, f"no agent of pool {grant.pool} replied")
        request = ReadRequest(look=signed, action="listing", parameters={}, look_key=look_key, timeout=LISTING_SECONDS)
        try:
            message = await self._bus.request(
                subjects.host_read(grant.pool), encode(request), timeout=LISTING_SECONDS + 0.5
            )
            reply = decode(message.data, ReadReply)
        except (Unreachable, TimedOut):
            return self._failed("no_agent", signed, f"no agent of pool {grant.pool} replied")
        except WritError as error:
            return self._failed("unusable", signed, f"the reply of pool {grant.pool} is not valid: {error}")
        if reply.error is not None:
            return self._failed("refused", signed, f"the agent of pool {grant.pool} reports: {reply.error.message}")
        self._measures.listed("listed")
        return GatheredListings(look=signed, listings=reply.listings[: len(grant.sources)])

    def _failed(self, result: str, signed: Signed, why: str) -> GatheredListings:
        self._measures.listed(result)
        return GatheredListings(look=signed, failure=why[:500])

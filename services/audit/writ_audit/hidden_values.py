"""Search digests of the values that a search seeks, which executors compute: audit has no key."""

import time
from collections.abc import Sequence

from msgspec import Struct

from writ_audit.search_conditions import NO_DIGESTS, Digests, sought_values
from writ_bus.errors import BusError, Forbidden
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.history.audit import SearchQuery, names_of
from writ_contracts.history.search_digests import SearchDigestsReply, SearchDigestsRequest, SoughtValue
from writ_contracts.wire import decode, encode

TIMEOUT = 2.0
FORBIDDEN = "NATS does not permit audit to request their digests; write the configuration of NATS again"
FORBIDDEN_SECONDS = 600.0
UNREADABLE = "the reply of an executor cannot be used"


class SoughtDigests(Struct, frozen=True, kw_only=True):
    """The digests of a search's values, and the names of the executors' keys. `problem`: why there are none."""

    digests: Digests = NO_DIGESTS
    keys: Sequence[str] = ()
    problem: str = ""


class HiddenValueSearch:
    """Requests digests from an executor."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._forbidden_until = float("-inf")

    async def digests(self, principal: str, query: SearchQuery) -> SoughtDigests:
        """Return the digests of the values that the principal's query seeks, or a problem: then the search goes on
        without hidden values. Raises Invalid for a secret parameter.
        """
        if time.monotonic() < self._forbidden_until:
            return SoughtDigests(problem=FORBIDDEN)
        values = list(dict.fromkeys((name, value) for name, each in sought_values(query) for value in each))
        request = SearchDigestsRequest(
            principal=principal,
            values=[SoughtValue(name=name, value=value) for name, value in values],
            operations=names_of(query, "operation"),
        )
        try:
            message = await self._bus.request(subjects.SEARCH_DIGESTS, encode(request), timeout=TIMEOUT)
        except Forbidden:
            # The server's configuration is older than this release. Each attempt is a violation in its log.
            self._forbidden_until = time.monotonic() + FORBIDDEN_SECONDS
            return SoughtDigests(problem=FORBIDDEN)
        except BusError as error:
            return SoughtDigests(problem=f"no executor replied ({error.code})")
        try:
            reply = decode(message.data, SearchDigestsReply)
        except Invalid:
            return SoughtDigests(problem=UNREADABLE)
        if reply.error is None:
            if len(reply.digests) != len(values):
                return SoughtDigests(problem=UNREADABLE)
            return SoughtDigests(digests=dict(zip(values, reply.digests, strict=True)), keys=reply.keys)
        if reply.error.code == "invalid":
            raise Invalid(reply.error.message)
        return SoughtDigests(problem=f"{reply.error.message} ({reply.error.code})")

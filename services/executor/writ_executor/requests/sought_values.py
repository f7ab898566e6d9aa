"""Serve audit with the search digests of sought values.

A digest confirms that an operation had this value. So rates limit the guesses of one principal and of audit as a whole,
and a parameter that is secret in all of the sought operations is refused.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from writ_bus.port import Message
from writ_contracts import parameters as params
from writ_contracts.errors import Full, Invalid
from writ_contracts.history.search_digests import SearchDigestsReply, SearchDigestsRequest
from writ_contracts.operations import Catalogue
from writ_contracts.wire import decode
from writ_executor.journal.search_digests import search_digest
from writ_runtime.buckets import Buckets

LARGEST = 65_536
RATE, BURST = 2.0, 60.0
"""Searches of one principal."""
TOTAL_RATE, TOTAL_BURST = 20.0, 200.0
"""Searches of all principals: a thief of audit's key can name any principal."""


class SoughtValuesEndpoint:
    """Answers `writ.search.digests`, on which NATS lets audit's key alone publish."""

    def __init__(self, catalogue: Catalogue, keys: Callable[[], Mapping[str, bytes]]) -> None:
        """`keys`: the present keys for search digests, by the name of the shared key."""
        self._catalogue = catalogue
        self._keys = keys
        self._buckets = Buckets(RATE, BURST)
        self._total = Buckets(TOTAL_RATE, TOTAL_BURST)

    async def digests(self, message: Message) -> SearchDigestsReply:
        """Return the digests. Raises Full (`rate_limited`), and Invalid for a secret parameter."""
        request = decode(message.data, SearchDigestsRequest, limit=LARGEST)
        now = time.monotonic()
        # A principal beyond its own rate takes nothing from the others.
        if not self._buckets.take(request.principal, now) or not self._total.take("audit", now):
            raise Full("too many searches by values of parameters: retry later", code="rate_limited")
        self._refuse_secrets(request)
        keys = self._keys()
        digests = [[search_digest(key, one.name, one.value) for key in keys.values()] for one in request.values]
        return SearchDigestsReply(digests=digests, keys=list(keys))

    def _refuse_secrets(self, request: SearchDigestsRequest) -> None:
        for name in sorted({one.name for one in request.values}):
            if self._is_secret(name, request.operations):
                raise Invalid(f"values of {name} cannot be searched: a search would confirm guesses of a secret")

    def _is_secret(self, name: str, operations: Iterable[str]) -> bool:
        """Return whether the parameter is secret in every operation that has it, among the named ones or all."""
        named = [self._catalogue[one] for one in operations if one in self._catalogue]
        having = [one for one in named or self._catalogue.values() if name in params.classes(one.parameters)]
        return bool(having) and not any(
            name == "timeout" or name in params.searchable(one.parameters) for one in having
        )

"""Parameters and outputs that must not be in the journal: encrypted under the executors' shared key, kept for a while.

Also the keys of an operation's digests, derived from that key: nobody else can guess a short secret from its digest.
"""

from typing import Any

import msgspec

from writ_bus.port import Bus
from writ_contracts.errors import Unreachable
from writ_contracts.journal import Requested
from writ_trust.digests import derive
from writ_trust.sealing import decrypt, encrypt

RESULT_SECONDS = 3600.0


class ParametersLost(Unreachable):
    """What was kept is not there any more, and never will be again."""

    default_code = "lost"
    retry = False


class Vault:
    """By operation id."""

    def __init__(self, bus: Bus, key: bytes) -> None:
        self._bus = bus
        self._key = key

    def digest_key(self, operation_id: str) -> str:
        """Keys the digests of an operation's effective parameters."""
        return derive(self._key, "parameters", operation_id)

    def fingerprint_key(self, operation_id: str) -> str:
        """Keys the digest that tells a repeated request from another with the same idempotency key."""
        return derive(self._key, "fingerprint", operation_id)

    def read_grant_key(self, operation_id: str) -> str:
        """Keys the digest in a look; it becomes known to agents, and opens nothing but that."""
        return derive(self._key, "look", operation_id)

    async def keep(self, requested: Requested, parameters: dict[str, Any], seconds: float) -> None:
        """Keep the caller's parameters until the operation's outcome, at the most for `seconds`."""
        await self._bus.params.put(_place(requested), encrypt(self._key, msgspec.json.encode(parameters)), ttl=seconds)

    async def parameters(self, requested: Requested) -> dict[str, Any]:
        """The caller's parameters, whole. Raises Gone."""
        if not requested.hidden:
            return dict(requested.parameters)
        data = await self._bus.params.get(_place(requested))
        if data is None:
            raise ParametersLost(f"the parameters of {requested.operation_id} are not kept any more")
        return dict(msgspec.json.decode(decrypt(self._key, data)))

    async def forget(self, requested: Requested) -> None:
        """Its outcome is there: the parameters go."""
        if requested.hidden:
            await self._bus.params.delete(_place(requested))

    async def keep_result(self, principal: str, operation_id: str, output: dict[str, Any]) -> None:
        """Keep a full output for its requester."""
        data = encrypt(self._key, msgspec.json.encode(output))
        await self._bus.results.put(f"{principal}.{operation_id}", data, ttl=RESULT_SECONDS)

    async def result(self, principal: str, operation_id: str) -> dict[str, Any] | None:
        """A full output, while it is kept."""
        data = await self._bus.results.get(f"{principal}.{operation_id}")
        return None if data is None else dict(msgspec.json.decode(decrypt(self._key, data)))


def _place(requested: Requested) -> str:
    """Not by the id alone: another request with the same idempotency key must not overwrite what is kept for this."""
    return f"{requested.operation_id}.{requested.fingerprint}"

"""Parameters and outputs kept out of the journal: encrypted under the executors' shared keys, for a limited time.

`WRIT_PARAMS` has parameters under `<operation id>.<fingerprint>`, and the details of a preview under `<operation
id>.<digest of the preview>`; `WRIT_RESULTS` has outputs under `<principal>.<operation id>`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from writ_bus.port import Bus
from writ_contracts.attached_bytes import attach, detach
from writ_contracts.bounds import check_values
from writ_contracts.errors import Invalid, Unreachable
from writ_contracts.journal import Requested
from writ_contracts.large_texts import LARGE, check_sizes, large_texts, texts_of_bytes, without_large_texts
from writ_contracts.people.previews import PreviewDetails
from writ_contracts.wire import decode
from writ_executor.journal.large_parameters import LargeParameters
from writ_executor.journal.shared_keys import OperationKeys, SharedKeys
from writ_executor.journal.stored_parameters import HiddenParameters, PreparedParameters, open_parameters
from writ_runtime.logs import Log
from writ_runtime.recent_values import RecentValues
from writ_trust.digests import keyed_digest, same

RESULT_SECONDS = 3600.0
PLACE = "writ.place"
"""The field of a result with the name under which it is stored, if the result is JSON alone. A result without it,
or with another name in it, is not shown: somebody who can write to the store without having the key could copy
another's result to a name of their own, and have an executor decrypt it.
"""
MOST_RESULT = 4 * 1024 * 1024
"""Bytes as JSON, more than a message of an agent may have."""
MOST_SHOWN = 1_800_000
"""Bytes as JSON of an output in a reply: the server takes messages of 2 MB."""
MOST_RECENT, RECENT_SECONDS = 16 * 1024 * 1024, 30.0
"""Parameters stored a moment ago, which need not be read back: most are claimed at once."""
NOT_KEPT = "the whole output is not kept: NATS did not store it, or has it no more"
EXPANSION = 40
"""Bytes of memory for each byte of JSON, at most: `{"":0},` takes 256."""


_log = Log("writ.executor")


class ParametersLost(Unreachable):
    """The stored parameters no longer exist."""

    default_code = "lost"
    retry = False


class StoredOutput(Struct, frozen=True, kw_only=True):
    """An output as it is stored if its large texts are attached. `values`: the others."""

    place: str
    values: dict[str, Any]
    texts: list[tuple[str, int]] = field(default_factory=list)


class Vault:
    """Hidden parameters and results by operation id."""

    def __init__(self, bus: Bus, keys: SharedKeys, all_read_attached: Callable[[], bool]) -> None:
        """`all_read_attached`: whether all executors read attached texts of outputs, and what is stored under AES."""
        self._bus = bus
        self._keys = keys
        self._recent: RecentValues[HiddenParameters] = RecentValues(MOST_RECENT, RECENT_SECONDS)
        self.all_read_attached = all_read_attached

    def new_keys(self, operation_id: str) -> OperationKeys:
        """Return the keys for the digests of an operation that is not recorded yet."""
        return self._keys.new(operation_id)

    def all_keys(self, operation_id: str) -> list[OperationKeys]:
        """Return the keys of an operation under each shared key, the one in use first."""
        return self._keys.each(operation_id)

    def search_keys(self) -> dict[str, bytes]:
        """Return the key for search digests under each shared key, by its name."""
        return self._keys.search_keys()

    def keys_of(self, requested: Requested) -> OperationKeys:
        """Return the keys under which the operation was recorded. Raises ParametersLost."""
        found = self._keys.find(requested.operation_id, requested.parameter_key)
        if found is None:
            raise ParametersLost(f"params.key does not hold the key of {requested.operation_id} any more")
        return found

    def prepared(self, parameters: dict[str, Any], texts: LargeParameters) -> PreparedParameters:
        """Return parameters that are perhaps stored later. `texts`: the large ones among them."""
        return PreparedParameters(self._encrypt, parameters, texts, self.all_read_attached)

    async def store(self, requested: Requested, prepared: PreparedParameters, seconds: float) -> None:
        """Keep the requester's parameters until the outcome, at most for `seconds`."""
        await self._store(_place(requested), prepared, seconds, only_new=False)

    async def store_new(self, operation_id: str, fingerprint: str, prepared: PreparedParameters, seconds: float) -> int:
        """Keep the parameters of an operation that is not recorded yet. Return the version for `discard`. Raises
        Conflict if its place is taken, Full.
        """
        return await self._store(_place_of(operation_id, fingerprint), prepared, seconds, only_new=True)

    async def _store(self, place: str, prepared: PreparedParameters, seconds: float, *, only_new: bool) -> int:
        stored = prepared.encrypt()
        version = await self._bus.params.put(place, stored.data, ttl=seconds, only_new=only_new)
        self._remember(place, HiddenParameters(values=prepared.parameters, texts=stored.texts))
        return version

    def _remember(self, place: str, hidden: HiddenParameters) -> None:
        self._recent.put(place, hidden, memory_of(hidden.values) + (len(hidden.texts.data) if hidden.texts else 0))

    async def discard(self, operation_id: str, fingerprint: str, version: int) -> None:
        """Delete one stored version of parameters. A later one is another request's, and stays."""
        place = _place_of(operation_id, fingerprint)
        self._recent.drop(place)
        await self._bus.params.delete(place, version=version)

    async def parameters(self, requested: Requested) -> dict[str, Any]:
        """Return the requester's whole parameters. Raises ParametersLost."""
        return (await self.hidden(requested)).values

    async def hidden(self, requested: Requested) -> HiddenParameters:
        """Return the same, with their large texts as they are stored. Raises ParametersLost."""
        if not requested.hidden:
            return HiddenParameters(values=dict(requested.parameters))
        recent = self._recent.get(_place(requested))
        if recent is not None:
            return HiddenParameters(values=dict(recent.values), texts=recent.texts)
        data = await self._bus.params.get(_place(requested))
        if data is None:
            raise ParametersLost(f"the parameters of {requested.operation_id} have been deleted")
        hidden = open_parameters(self._keys.decrypt, data)
        self._check_fingerprint(requested, hidden.values)
        return hidden

    def _check_fingerprint(self, requested: Requested, parameters: dict[str, Any]) -> None:
        """Raise ParametersLost for the parameters of another request, copied to this one's place in the store: with a
        key of an agent that may claim this one, the copier would read them.
        """
        keys = self.keys_of(requested)
        known = known_fingerprints(keys, requested.operation, requested.target, parameters, requested.dry_run)
        if not any(same(one, requested.fingerprint) for one in known):
            _log.error("parameters.misplaced", operation_id=requested.operation_id, effect="they are not used")
            raise ParametersLost(f"the stored parameters of {requested.operation_id} are those of another request")

    async def renew(self, requested: Requested, preview: str, seconds: float) -> None:
        """Keep the parameters, and the details of the preview with this digest if any, for `seconds` from now. What is
        deleted meanwhile, since the operation ended, stays deleted.
        """
        for key in (_place(requested), *([f"{requested.operation_id}.{preview}"] if preview else ())):
            await self._bus.params.renew(key, ttl=seconds)

    async def forget(self, requested: Requested) -> None:
        """Delete the parameters of an ended operation."""
        if requested.hidden:
            self._recent.drop(_place(requested))
            await self._bus.params.delete(_place(requested))

    async def keep_details(self, operation_id: str, preview: str, details: PreviewDetails, seconds: float) -> None:
        """Keep the details of the preview with this digest for `seconds`. Another replica's preview of the operation
        has other details.
        """
        data = self._keys.encrypt(msgspec.json.encode(details))
        await self._bus.params.put(f"{operation_id}.{preview}", data, ttl=seconds)

    async def details(self, operation_id: str, preview: str) -> PreviewDetails | None:
        """Return the details of a preview while they are kept."""
        data = await self._bus.params.get(f"{operation_id}.{preview}")
        return None if data is None else msgspec.json.decode(self._keys.decrypt(data), type=PreviewDetails)

    async def keep_result(self, principal: str, operation_id: str, output: dict[str, Any]) -> None:
        """Keep a full output for its requester."""
        place = f"{principal}.{operation_id}"
        await self._keep_result(place, msgspec.json.encode({**output, PLACE: place}))

    async def keep_large_result(self, principal: str, operation_id: str, output: bytes) -> None:
        """Keep a full output that is JSON, as an agent sent it. Raises Invalid if it is no object.

        The place is its last member: of members with one name a reader takes the last.
        """
        if not (output.startswith(b"{") and output.endswith(b"}")):
            raise Invalid("the full output is no object")
        place = f"{principal}.{operation_id}"
        member = msgspec.json.encode({PLACE: place})[1:]
        await self._keep_result(place, b"".join((memoryview(output)[:-1], b",", member)))

    async def keep_attached_result(
        self,
        principal: str,
        operation_id: str,
        values: dict[str, Any],
        texts: Sequence[tuple[str, int]],
        attached: bytes,
    ) -> None:
        """Keep a full output whose large texts an agent attached, as it sent them. Raises Invalid."""
        if not self.all_read_attached():  # any more
            await self.keep_result(principal, operation_id, _joined(values, texts, attached))
            return
        check_sizes(texts, attached, values)
        place = f"{principal}.{operation_id}"
        head = msgspec.json.encode(StoredOutput(place=place, values=values, texts=list(texts)))
        await self._keep_result(place, attach(head, attached))

    async def _keep_result(self, place: str, output: bytes) -> None:
        """Keep the output, unless NATS stores nothing: an operation that has run must end, and free its target."""
        try:
            await self._bus.results.put(place, self._encrypt(output), ttl=RESULT_SECONDS)
        except Unreachable as error:
            if error.code != "not_stored":
                raise
            _log.error("result.not_kept", place=place, error=str(error), effect="the operation ends without it")

    async def has_result(self, principal: str, operation_id: str) -> bool:
        """Return whether something is kept as the output of this operation, also what is not shown."""
        return await self._bus.results.get(f"{principal}.{operation_id}") is not None

    def _encrypt(self, plain: bytes) -> bytes:
        fast = len(plain) >= LARGE and self.all_read_attached()
        return self._keys.encrypt_large(plain) if fast else self._keys.encrypt(plain)

    async def result(self, principal: str, operation_id: str) -> dict[str, Any] | None:
        """Return a full output while it is kept."""
        place = f"{principal}.{operation_id}"
        data = await self._bus.results.get(place)
        if data is None:
            return None
        try:
            output, own = _stored_output(self._keys.decrypt(data))
            check_values(output)
        except Invalid as error:  # a large output of an agent
            _log.error("result.unreadable", place=place, error=str(error), effect="it is not shown")
            return None
        if own != place:
            _log.error("result.misplaced", place=place, own=str(own)[:300], effect="it is not shown")
            return None
        return output


def memory_of(parameters: Mapping[str, Any]) -> int:
    """Return the bytes of memory that parameters from JSON take, at most."""
    texts = [value for value in parameters.values() if isinstance(value, str)]
    others = {name: None if isinstance(value, str) else value for name, value in parameters.items()}
    return sum(map(sys.getsizeof, texts)) + EXPANSION * len(msgspec.json.encode(others))


def _stored_output(plain: bytes) -> tuple[dict[str, Any], str | None]:
    """Return a stored output and its own place. Raises Invalid."""
    head, attached = detach(plain)
    if attached:
        stored = decode(head, StoredOutput, limit=MOST_RESULT)
        return _joined(stored.values, stored.texts, attached), stored.place
    output = decode(plain, dict[str, Any], limit=MOST_RESULT)
    return output, output.pop(PLACE, None)


def _joined(values: dict[str, Any], texts: Sequence[tuple[str, int]], attached: bytes) -> dict[str, Any]:
    """Return an output with its large texts, or its size if it is too large as JSON. Raises Invalid."""
    output = {**values, **texts_of_bytes(texts, attached, values)}
    size = len(msgspec.json.encode(output))
    return output if size <= MOST_SHOWN else {"omitted_bytes": size}


def request_fingerprint(
    keys: OperationKeys,
    operation: str,
    target: str,
    parameters: Mapping[str, Any],
    dry_run: bool,
    digests: Mapping[str, str] | None = None,
) -> str:
    """Return the keyed digest of a request. `parameters`: the requester's own, all of them. `digests`: those of the
    large texts among them, which stand for the texts, where they are known.
    """
    texts = LargeParameters(keys.parameters, parameters).digests if digests is None else digests
    values = [without_large_texts(parameters), dict(texts)] if texts else parameters
    return keyed_digest(keys.fingerprint, [operation, target, values, dry_run])


def known_fingerprints(
    keys: OperationKeys, operation: str, target: str, parameters: Mapping[str, Any], dry_run: bool
) -> Iterator[str]:
    """Yield the fingerprint of a request, and with large texts the one that was recorded for it before they were
    digested apart.
    """
    yield request_fingerprint(keys, operation, target, parameters, dry_run)
    if large_texts(parameters):
        yield keyed_digest(keys.fingerprint, [operation, target, parameters, dry_run])


def _place(requested: Requested) -> str:
    """Return the storage key. The fingerprint is part of it: another request with the same idempotency key must not
    overwrite these parameters.
    """
    return _place_of(requested.operation_id, requested.fingerprint)


def _place_of(operation_id: str, fingerprint: str) -> str:
    return f"{operation_id}.{fingerprint}"

"""Snapshots of the open operations, encrypted, in the store of parameters. A large one has parts of its own.

A message holds some 40,000 operations. The head of a larger snapshot is stored after its parts, under a key unknown to
older replicas, which read no parts: they start from an earlier snapshot.
"""

from typing import TypeVar

import msgspec
from msgspec import Struct, structs

from writ_bus.port import Bus
from writ_contracts.errors import Untrusted, WritError
from writ_executor.journal.hidden_values import PLACE
from writ_executor.journal.shared_keys import SharedKeys
from writ_runtime.journal.journal_guard import JournalMark
from writ_runtime.logs import Log

SNAPSHOT_KEY, HEAD_KEY = "open-index", "open-index-head"
SNAPSHOT_TTL = 90 * 86400.0
PART = 20_000
"""Operations in one message."""

T = TypeVar("T")
_log = Log("writ.executor")


class IndexSnapshot(Struct, frozen=True, kw_only=True):
    """The operations open when the journal had been read up to `sequence`. `parts`: the number of messages with them
    all.
    """

    sequence: int
    control_sequence: int
    open: list[tuple[str, str]]
    mark: JournalMark = JournalMark()
    """The mark of its journal; absent in snapshots written before marks existed."""
    parts: int = 0
    last: str = ""
    """The digest of the event at `sequence`; absent in older snapshots. A journal with another event there is read as a
    whole: the snapshot has taken in what its journal never had.
    """


class IndexSnapshots:
    """Saves and loads them. An unreadable snapshot costs a replica time at its start, and nothing else."""

    def __init__(self, bus: Bus, keys: SharedKeys) -> None:
        self._bus = bus
        self._keys = keys
        self._parts: list[str] = []

    async def save(self, snapshot: IndexSnapshot) -> None:
        """Write a snapshot. A failure is logged and does no harm."""
        try:
            if len(snapshot.open) <= PART:
                await self._put(SNAPSHOT_KEY, snapshot)
            else:
                await self._save_parts(snapshot)
        except WritError as error:
            _log.warning("snapshot.not_saved", error=str(error))

    async def load(self) -> IndexSnapshot | None:
        """Return the latest complete snapshot."""
        heads = [head for key in (SNAPSHOT_KEY, HEAD_KEY) if (head := await self._get(key, IndexSnapshot)) is not None]
        for head in sorted(heads, key=lambda one: one.sequence, reverse=True):
            if (whole := await self._whole(head)) is not None:
                return whole
        return None

    async def _save_parts(self, snapshot: IndexSnapshot) -> None:
        parts = [snapshot.open[at : at + PART] for at in range(0, len(snapshot.open), PART)]
        keys = [_part_key(snapshot.sequence, number) for number in range(len(parts))]
        for key, part in zip(keys, parts, strict=True):
            await self._put(key, part)
        await self._put(HEAD_KEY, structs.replace(snapshot, open=[], parts=len(parts)))
        earlier, self._parts = self._parts, keys
        for key in set(earlier) - set(keys):
            await self._bus.params.delete(key)

    async def _whole(self, head: IndexSnapshot) -> IndexSnapshot | None:
        found = list(head.open)
        for number in range(head.parts):
            part = await self._get(_part_key(head.sequence, number), list[tuple[str, str]])
            if part is None:
                _log.warning("snapshot.unreadable", error=f"part {number} of {head.parts} is missing")
                return None
            found += part
        return structs.replace(head, open=found)

    async def _put(self, key: str, content: object) -> None:
        await self._bus.params.put(key, self._keys.encrypt(msgspec.json.encode(content)), ttl=SNAPSHOT_TTL)

    async def _get(self, key: str, kind: type[T]) -> T | None:
        data = await self._bus.params.get(key)
        if data is None:
            return None
        try:
            plain = self._keys.decrypt(data)
            if _is_result(plain):
                raise Untrusted("it is the output of an operation, which was copied here")
            return msgspec.json.decode(plain, type=kind)
        except (WritError, msgspec.DecodeError, RecursionError) as error:
            _log.warning("snapshot.unreadable", key=key, error=str(error), effect="more events are read")
            return None


def _is_result(plain: bytes) -> bool:
    """Return whether this is a full output. An agent chooses its other members: they could name any open operations."""
    decoded = msgspec.json.decode(plain)
    return isinstance(decoded, dict) and PLACE in decoded


def _part_key(sequence: int, number: int) -> str:
    return f"open-index-part.{sequence}.{number}"

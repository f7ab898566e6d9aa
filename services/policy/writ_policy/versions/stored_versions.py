"""Follow the stored versions of the policy: the last valid version decides.

`head` is the last valid one. A version with invalid signatures is refused with an error in the log, and changes
nothing. A valid version that does not load here blocks this replica, since deciding by an older one would contradict
the published policy.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping

from msgspec import Struct

from writ_bus.port import Entry, EventStore
from writ_contracts import subjects
from writ_contracts.errors import ConfigError, Conflict, Invalid, Unreachable, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.policy.versions import PolicyFile, StoredPolicy, packed
from writ_contracts.wire import encode
from writ_policy.highest_version import HighestVersion
from writ_rules.engine.compile import Policy
from writ_runtime.logs import Log
from writ_trust.digests import plain_digest
from writ_trust.keys import Key
from writ_trust.policy_versions import read_version
from writ_trust.statements import sign

CONFIRMED = 3
"""So many reads in a row must miss versions: in a cluster, a leader that was just deposed may still reply for a moment.
"""
PAGE = 4
"""The records in one read, of up to 2 MB each."""
ATTEMPTS = 8

_log = Log("writ.policy")


class VersionInForce(Struct, frozen=True, eq=False):
    """A version of the policy that is in force."""

    stored: StoredPolicy
    policy: Policy


class Versions:
    """The versions in the store.

    `current` decides. `stored`: the last sequence read. `problem`: why a later version is not used.
    """

    def __init__(
        self,
        stream: EventStore,
        key: Key,
        compile_text: Callable[[str, str], Policy],
        on_refusal: Callable[[int, str | None], None],
        keys: Mapping[str, int] | None = None,
        highest: HighestVersion | None = None,
    ) -> None:
        """Follow the versions in `stream`.

        `compile_text` receives a document and its name, and raises ConfigError; `on_refusal` receives a number and the
        reason, None for a valid version that does not load. `keys`: policy's keys, each with the last version that it
        may have signed; by default its own. `highest`: the versions enforced before, if they are stored.
        """
        self._highest = highest
        self._stream = stream
        self._key = key
        self._keys = keys or {key.public: sys.maxsize}
        self._compile = compile_text
        self._on_refusal = on_refusal
        self._reading = asyncio.Lock()
        self.head: StoredPolicy | None = None
        self.current: VersionInForce | None = None
        self.stored = 0
        self.problem: str | None = None
        self.blocked: str | None = None
        self._missing = 0
        self.taken_back: str | None = None
        """The reason why the store is not used: it lacks an enforced version, or has another document in its place.
        Then nothing is decided.

        If this is found at the start, it holds until the next start; otherwise until the store has the versions again.
        """
        self._started_behind = False
        self._opened: tuple[Record, list[str], tuple[StoredPolicy, int]] | None = None
        self.refused: dict[int, str] = {}

    async def start(self) -> None:
        """Find the version in force, reading from the newest back, so that a start does not take longer with each
        version.

        Raises ConfigError if it does not load, and errors of the bus.
        """
        last = await self._stream.last(subjects.POLICIES)
        self.stored = last.sequence if last else 0
        known: dict[int, StoredPolicy | None] = {}
        for number in range(self.stored, 0, -1):
            self.head = await self._believed(number, known)
            if self.head is not None:
                break
        self._check_highest()
        self._started_behind = self.taken_back is not None
        if self.taken_back is None and self.head is not None:
            await self._enforce(self.head)
        if self.blocked is not None:
            raise ConfigError(f"{self.blocked}; `writ policy recover FILE --reason …` stores a corrected one")
        if self.stored and self.head is None and self.taken_back is None:
            raise ConfigError(f"none of the {self.stored} stored versions of the policy is valid: {self.problem}")

    async def read(self) -> None:
        """Read the versions stored since the last read. Raises errors of the bus."""
        async with self._reading:
            while records := await self._stream.read(subjects.POLICIES, after=self.stored, limit=PAGE):
                for record in records:
                    await self._apply_record(record)

    def _check_highest(self) -> None:
        self.taken_back = self._highest.refusal(self.head, self.stored) if self._highest else None
        if self.taken_back is not None:
            self.taken_back += f" ({self.problem})" if self.problem else ""
            _log.error("policy.version_lost", error=self.taken_back, effect="nothing is decided")

    async def check_store(self) -> None:
        """Check whether the store lost versions that were read here, or has them again. Raises errors of the bus."""
        if self._started_behind:
            return
        lost = await self._lost()
        self._missing = self._missing + 1 if lost else 0
        if self._missing == CONFIRMED:
            self.taken_back = lost
            _log.error("policy.version_lost", error=lost, effect="nothing is decided")
        elif lost is None and self.taken_back is not None:
            self.taken_back = None
            _log.warning(
                "policy.version_found",
                effect="the store has the version that was read here again: policy decides by it",
            )

    async def _lost(self) -> str | None:
        head, stored = self.head, self.stored  # noted before the request to the store, which may grow meanwhile
        last = await self._stream.last(subjects.POLICIES)
        there = last.sequence if last else 0
        if there < stored:
            return f"version {stored} was read here, and the store now ends at {there}"
        version = await self.find(head.number) if head is not None else None
        if head is None or (version is not None and version.digest == head.digest):
            return None
        return f"version {head.number} was read here, and the store has another document under this number, or none"

    async def reach(self, number: int) -> bool:
        """Return true if all versions up to this one are read, after reading new ones if needed."""
        if self.stored < number:
            await self.read()
        return self.stored >= number

    async def find(self, number: int) -> StoredPolicy | None:
        """Return an earlier version if its signatures are valid, else None."""
        record = await self._record(number)
        if record is None:
            return None
        try:
            return (await self._open(record))[0]
        except (Invalid, Untrusted):
            return None

    async def page(self, before: int, limit: int) -> list[tuple[StoredPolicy | None, str, int]]:
        """Yield versions below `before`, the newest first, each with the reason if it is not valid."""
        versions: list[tuple[StoredPolicy | None, str, int]] = []
        for number in range(min(before - 1, self.stored), max(0, before - 1 - limit), -1):
            record = await self._record(number)
            try:
                version = None if record is None else (await self._open(record))[0]
                versions.append((version, self.refused.get(number, "") if version else "it is not there", number))
            except (Invalid, Untrusted) as error:
                versions.append((None, str(error), number))
        return versions

    async def add_file(self, text: str, at: float) -> bool:
        """Store the file's content as the next version, unless it equals the last one or somebody has published.

        Return true if it was stored. Raises errors of the bus.
        """
        digest = plain_digest(text.encode())
        for _ in range(ATTEMPTS):
            await self.read()
            head = self.head
            if head is not None and (head.origin != "file" or head.digest == digest):
                return False
            try:
                await self._stream.append(self._entry(text, digest, head.number if head else 0, at))
            except Conflict:
                continue
            await self.read()
            return True
        raise Conflict(f"{ATTEMPTS} others stored a version first")

    def _entry(self, text: str, digest: str, previous: int, at: float) -> Entry:
        number = self.stored + 1
        signed = sign(self._key, PolicyFile(number=number, previous=previous, digest=digest, at=at))
        version = StoredPolicy(
            number=number, packed=packed(text), digest=digest, author="file", origin="file", at=at, file=signed
        )
        return Entry(
            subject=subjects.POLICY_FILE,
            data=encode(version),
            event_id=os.urandom(16).hex(),
            filter=subjects.POLICIES,
            expected=self.stored,
        )

    async def _apply_record(self, record: Record) -> None:
        try:
            version, previous = await self._open(record)
            self._check_turn(previous)
        except (Invalid, Untrusted) as error:
            self._refuse(record.sequence, str(error))
        else:
            await self._enforce(version)
            self.head = version
        self.stored = record.sequence

    async def _enforce(self, version: StoredPolicy) -> None:
        """Store the version as the highest one, then decide by it.

        Raises Unreachable if it cannot be stored here; it is then read again.
        """
        try:
            if self._highest is not None:
                await asyncio.to_thread(self._highest.note, version)
        except OSError as error:
            raise Unreachable(f"version {version.number} of the policy cannot be stored here: {error}") from error
        await self._load(version)

    def _check_turn(self, previous: int) -> None:
        before = self.head.number if self.head else 0
        if previous != before:
            raise Untrusted(f"it was allowed under version {previous}, and version {before} precedes it: replayed")

    async def _load(self, version: StoredPolicy) -> None:
        name = f"version {version.number}"
        try:
            policy = await asyncio.to_thread(self._compile, version.document, name)
        except ConfigError as error:
            self.blocked = f"{name} of the policy does not load: {error}"
            _log.error("policy.version_unusable", version=version.number, error=str(error), effect="nothing is decided")
            self._on_refusal(version.number, None)
            return
        self.current, self.blocked, self.problem = VersionInForce(version, policy), None, None
        fields = {"version": version.number, "origin": version.origin, "author": version.author}
        _log.info("policy.in_force", **fields, name=policy.name, rules=policy.rules)

    async def _believed(self, number: int, known: dict[int, StoredPolicy | None]) -> StoredPolicy | None:
        """Return the version with this number if its signatures are valid and it skips no other valid one."""
        if number not in known:
            known[number] = None
            try:
                known[number] = await self._in_turn(number, known)
            except (Invalid, Untrusted) as error:
                self._refuse(number, str(error))
        return known[number]

    async def _in_turn(self, number: int, known: dict[int, StoredPolicy | None]) -> StoredPolicy:
        record = await self._record(number)
        if record is None:
            raise Untrusted("it is not there")
        version, previous = await self._open(record)
        for between in range(number - 1, previous, -1):
            if await self._believed(between, known) is not None:
                raise Untrusted(
                    f"it was allowed under version {previous}, and version {between} precedes it: replayed, or late"
                )
        return version

    def _refuse(self, number: int, why: str) -> None:
        self.problem = f"stored version {number} is not valid: {why}"
        _log.error("policy.version_refused", version=number, error=why, effect="the last valid version stays in force")
        self.refused[number] = why
        self._on_refusal(number, why)

    async def _open(self, record: Record) -> tuple[StoredPolicy, int]:
        """Return a version and the number of its predecessor. Raises Invalid and Untrusted. The last one is cached,
        since the one in force is read again and again: to verify its signatures, 4 MB are unpacked.
        """
        trusted = [key for key, number in self._keys.items() if record.sequence <= number]
        if self._opened is None or self._opened[:2] != (record, trusted):
            self._opened = record, trusted, await self._verified(record, trusted)
        return self._opened[2]

    async def _verified(self, record: Record, trusted: list[str]) -> tuple[StoredPolicy, int]:
        version, previous = read_version(record, trusted, self._key.installation)
        if version.origin == "rollback":
            restored = await self.find(version.restores or 0) if (version.restores or 0) < version.number else None
            if restored is None or restored.digest != version.digest:
                raise Untrusted(f"its document is not that of version {version.restores}")
        return version, previous

    async def _record(self, number: int) -> Record | None:
        records = await self._stream.read(subjects.POLICIES, after=number - 1, limit=1) if number > 0 else []
        return records[0] if records and records[0].sequence == number else None

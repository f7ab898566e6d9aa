"""The stored versions of the policy by number, with the time in which each was in force."""

import asyncio
from collections.abc import Callable, Mapping

from msgspec import Struct, structs

from writ_contracts import subjects
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.policy.versions import StoredPolicy
from writ_rules.engine.compile import Policy
from writ_rules.policy_reader import return_freed_memory
from writ_rules.second_decisions.control_states import EventReader
from writ_trust.policy_versions import read_version

MOST_POLICIES = 4
MOST_RULES = 10_000
"""Rules of the policies that are cached together, unless one alone has more: 10,000 take 30 MB."""

CompileText = Callable[[bytes, str], Policy]
"""Receives a document and its name. Raises ConfigError."""


class StoredVersion(Struct, frozen=True, eq=False):
    """A version, compiled. `replaced_at`: when the next valid version was stored."""

    policy: Policy
    digest: str
    stored_at: float
    replaced_at: float | None


class VersionHistory:
    """Reads versions, and caches the last few of them."""

    def __init__(
        self, policies: EventReader, compile_text: CompileText, keys: Mapping[str, int], installation: str
    ) -> None:
        """`keys`: policy's keys, with the last version for which each counts. `compile_text` is called in a thread."""
        self._policies, self._compile, self._keys, self._installation = policies, compile_text, keys, installation
        self._known: dict[int, StoredVersion] = {}

    async def of(self, number: int) -> StoredVersion:
        """Return the version. Raises Untrusted, Invalid or ConfigError where it is unusable."""
        known = self._known.get(number)
        if known is None:
            self._known[number] = known = await self._read(number)
            while len(self._known) > 1 and not self._is_small():
                self._known.pop(next(one for one in self._known if one != number))
        elif known.replaced_at is None:  # it was verified: to read 4 MB again at each decision would take memory
            self._known[number] = known = structs.replace(known, replaced_at=await self._replaced_at(number))
            if known.replaced_at is not None:
                await asyncio.to_thread(return_freed_memory)
        return known

    def _is_small(self) -> bool:
        return len(self._known) <= MOST_POLICIES and self._rules() <= MOST_RULES

    def _rules(self) -> int:
        return sum(each.policy.rules for each in self._known.values())

    async def _read(self, number: int) -> StoredVersion:
        records = await self._policies.read(subjects.POLICIES, after=max(number - 1, 0), limit=1)
        if not records or records[0].sequence != number:
            raise Untrusted(f"version {number} of the policy is not in the store")
        stored, _ = await asyncio.to_thread(self._verified, records[0])
        if self._rules() > MOST_RULES // 2:  # they would not be cached beside each other, and take memory meanwhile
            self._known.clear()
        policy = await asyncio.to_thread(self._compile, stored.document.encode(), f"version {number}")
        version = StoredVersion(policy, stored.digest, records[0].time, await self._replaced_at(number))
        await asyncio.to_thread(return_freed_memory)
        return version

    async def _replaced_at(self, number: int) -> float | None:
        after = number
        while records := await self._policies.read(subjects.POLICIES, after=after, limit=MOST_POLICIES):
            after = records[-1].sequence
            for record in records:
                if await asyncio.to_thread(self._follows, record, number):
                    return record.time
        return None

    def _follows(self, record: Record, number: int) -> bool:
        """Return true if it is a valid version after this one."""
        try:
            _, previous = self._verified(record)
        except (Invalid, Untrusted):
            return False
        return previous == number

    def _verified(self, record: Record) -> tuple[StoredPolicy, int]:
        trusted = [key for key, last in self._keys.items() if record.sequence <= last]
        return read_version(record, trusted, self._installation)

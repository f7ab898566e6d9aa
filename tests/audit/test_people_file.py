"""Audit takes the directory of people's credentials under the pinned people-key alone, and follows its successions."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from tests.trust.test_people import FIRST, OTHER, PEOPLE_KEY, SECOND
from tests.trust.test_people_key_succession import CHAIN, STRANGER, THIRD_KEY, link

from writ_audit.people_file import PeopleFile
from writ_bus.tasks import spawn
from writ_contracts import subjects
from writ_contracts.journal import SecurityEvent
from writ_contracts.people.directory import DirectoryEntry, PeopleDirectory
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event
from writ_runtime.journal.security_events import SecurityEvents
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key
from writ_trust.statements import sign


class Watched:
    def __init__(self, folder: Path, people_key: str) -> None:
        self.bus, self.path, self._folder, self._key = MemoryBus(), folder / "people.json", folder, people_key
        self.security = SecurityEvents(self.bus.journal, lambda: 1.0, lambda _: None)
        self.file = self.again()

    def again(self) -> PeopleFile:
        """Return the reader after a restart."""
        state = self._folder / "state"
        state.mkdir(exist_ok=True)
        return PeopleFile(self.path, self._key, state, "", self.security)

    async def number(self, by: Key, number: int, successions: list[Signed], *entries: DirectoryEntry) -> int:
        """Write this version; return the number of the one in force then."""
        made = PeopleDirectory(
            number=number, at=100.0 + number, posture="team", entries=list(entries), successions=successions
        )
        self.path.write_bytes(msgspec.json.encode(sign(by, made)))
        await self.file.refresh()
        value = self.file.value()
        return value.number if value is not None else 0

    async def refused(self) -> list[str]:
        events = [
            decode_event(one.data) for one in await self.bus.journal.read(subjects.security_event("people_refused"))
        ]
        return [one.detail for one in events if isinstance(one, SecurityEvent)]


@pytest_asyncio.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path, PEOPLE_KEY.public)
    recording = spawn(made.security.run(), "security events")
    yield made
    recording.cancel()


async def test_versions_under_the_pinned_key_and_its_successors_are_taken(watched: Watched) -> None:
    assert watched.file.value() is None
    assert await watched.number(PEOPLE_KEY, 1, [], FIRST, SECOND) == 1
    assert await watched.number(THIRD_KEY, 2, CHAIN, FIRST, SECOND) == 2
    assert await watched.refused() == []


async def test_a_version_that_the_pinned_key_does_not_lead_to_is_a_security_event(watched: Watched) -> None:
    assert await watched.number(PEOPLE_KEY, 1, [], FIRST, SECOND) == 1
    assert await watched.number(STRANGER, 2, [], FIRST, SECOND) == 1

    async def reported() -> bool:
        return any("not trusted for this" in one for one in await watched.refused())

    await eventually(reported)


async def test_a_former_key_and_a_removal_taken_back_are_security_events_also_after_a_restart(watched: Watched) -> None:
    assert await watched.number(OTHER, 2, CHAIN[:1], FIRST, SECOND) == 2
    watched.file = watched.again()
    assert await watched.number(PEOPLE_KEY, 3, [], FIRST, SECOND) == 2
    assert await watched.number(STRANGER, 3, [link(PEOPLE_KEY, STRANGER)], FIRST, SECOND) == 2
    assert await watched.number(OTHER, 3, CHAIN[:1], FIRST) == 2

    async def reported() -> bool:
        return len(await watched.refused()) == 3

    await eventually(reported)
    assert await watched.number(OTHER, 3, CHAIN[:1], FIRST, SECOND) == 3


async def test_a_file_that_is_half_written_is_read_again(watched: Watched) -> None:
    watched.path.write_bytes(b'{"payload":')
    await watched.file.refresh()
    assert await watched.number(PEOPLE_KEY, 1, [], FIRST, SECOND) == 1
    assert await watched.refused() == []


@pytest.mark.parametrize("content", [b'{"payload":', b'{"payload":1}', b"\xff"])
async def test_a_damaged_file_is_a_security_event_at_the_second_read_and_once(
    watched: Watched, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert await watched.number(PEOPLE_KEY, 1, [], FIRST, SECOND) == 1
    watched.path.write_bytes(content)
    for _ in range(5):
        await watched.file.refresh()
    assert [record.message for record in caplog.records].count("people.not_read") == 1

    async def reported() -> bool:
        return bool(await watched.refused())

    await eventually(reported)
    assert await watched.number(PEOPLE_KEY, 2, [], FIRST, SECOND) == 2
    watched.path.write_bytes(content + b" ")
    await watched.file.refresh()
    await watched.file.refresh()

    async def reported_again() -> bool:
        return len(await watched.refused()) >= 2

    await eventually(reported_again)
    assert ["is damaged" in detail for detail in await watched.refused()] == [True, True]


async def test_without_a_pinned_key_the_file_is_read_as_it_is(tmp_path: Path) -> None:
    assert await Watched(tmp_path, "").number(STRANGER, 1, [], FIRST) == 1

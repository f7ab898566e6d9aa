"""Exactly the archived range of the journal is removed, on a real server and during many writes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs

from writ_bus.errors import Unreachable
from writ_bus.nats.bus import NatsBus
from writ_bus.nats.jetstream import call
from writ_bus.nats.replies import Replies
from writ_bus.port import Entry
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.errors import Conflict, Full, WritError
from writ_contracts.history.archives import AnnouncedArchive
from writ_contracts.history.audit import JournalReply
from writ_contracts.notices import Notice
from writ_installation.archives import journal
from writ_installation.files.home import Home
from writ_nats_server import journal_generations, streams
from writ_nats_server.streams import Sizes, provision
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import WritServer, writ_server

SIZES = Sizes(journal=64 << 20, params=16 << 20, results=16 << 20)
WRITERS, TOGETHER, ROUNDS = 12, 8, 6
ONE = AnnouncedArchive(generation=1, first=1, last=2, digest="one", operation_id="a", at=4)
TWO = AnnouncedArchive(generation=2, first=4, last=5, digest="two", operation_id="b", at=6)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WritServer]:
    async with writ_server(tmp_path) as running:
        yield running


def entry(name: str) -> Entry:
    subject = f"writ.journal.security.{name}"
    return Entry(subject=subject, data=b"x" * 500, event_id=name, filter=subject, expected=0)


class Writers:
    """Writers that each append some events together, and the next ones when those are stored."""

    def __init__(self) -> None:
        self.stored: set[int] = set()
        self.over = asyncio.Event()

    async def write(self, bus: NatsBus, writer: int) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            last = await bus.journal.append_together([entry(f"{writer}-{number}-{at}") for at in range(TOGETHER)])
            self.stored |= set(range(last - TOGETHER + 1, last + 1))

    async def more_than(self, count: int) -> bool:
        return len(self.stored) > count


class Late:
    """A server that learns of subscriptions later than the others."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self.calls = 0

    async def one(self, *arguments: Any, **more: Any) -> Any:
        self.calls += 1
        if self.calls <= 3:
            raise Unreachable("nobody listens there")
        return await self._replies.one(*arguments, **more)


async def test_probe_of_a_closed_journal_is_repeated_until_the_server_knows_its_subject(
    server: WritServer,
) -> None:
    bootstrap, executor = await server.bus("bootstrap"), await server.bus("executor")
    await executor.journal.append(entry("one"))
    end = await executor.journal.append(entry("two"))
    config = await journal_generations._config(bootstrap.replies)
    closed = {**config, "subjects": [subjects.JOURNAL_CLOSED]}
    await call(bootstrap.replies, f"STREAM.UPDATE.{subjects.JOURNAL_STREAM}", closed)
    late = Late(bootstrap.replies)
    assert await journal_generations._reached(cast(Replies, late)) == end
    assert late.calls == 4


async def test_journal_is_open_again_one_step_after_its_limit_is_restored(
    server: WritServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restarting node of a cluster has the previous configuration for a moment."""
    bootstrap, executor = await server.bus("bootstrap"), await server.bus("executor")
    for name in ("one", "two", "three"):
        await executor.journal.append(entry(name))
    requested: list[tuple[bool, int]] = []

    async def recording_call(replies: Replies, verb: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if verb.startswith("STREAM.UPDATE"):
            requested.append((request["subjects"] == [subjects.JOURNAL], request["max_msgs"]))
        return await call(replies, verb, request)

    for module in (journal_generations, streams):
        monkeypatch.setattr(module, "call", recording_call)
    await journal_generations.take_out(bootstrap.replies, SIZES, 1, 1)
    assert requested == [(False, -1), (False, 2), (False, -1), (True, -1)]


@pytest.mark.timeout(120)
async def test_event_in_flight_as_the_journal_closes_stays_in_it(server: WritServer) -> None:
    bootstrap, writers, first, last = await server.bus("bootstrap"), Writers(), 1, 0
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(writers.write(await server.bus("executor"), number))
        for _ in range(ROUNDS):
            count = len(writers.stored)
            await eventually(lambda count=count: writers.more_than(count + 200), what="some events")  # type: ignore[misc]
            last = (await journal_generations.state(bootstrap.replies)).usage.last_sequence - 100
            await journal_generations.take_out(bootstrap.replies, SIZES, first, last)
            first = last + 1
        writers.over.set()
    there = await sequences(server)
    assert {sequence for sequence in writers.stored if sequence > last} - there == set()
    assert min(there) == last + 1


async def sequences(server: WritServer) -> set[int]:
    """Return the sequences of all messages in the journal."""
    return {record.sequence for record in await (await server.bus("executor")).journal.read(subjects.JOURNAL)}


async def test_unarchived_event_before_an_archive_keeps_the_range(server: WritServer) -> None:
    bootstrap, executor = await server.bus("bootstrap"), await server.bus("executor")
    for number in range(6):
        await executor.journal.append(entry(f"one-{number}"))
    with pytest.raises(Conflict, match="begins at 1, before 3"):
        await journal_generations.take_out(bootstrap.replies, SIZES, 3, 4)
    assert await sequences(server) == {1, 2, 3, 4, 5, 6}
    await journal_generations.take_out(bootstrap.replies, SIZES, 1, 4)
    await journal_generations.take_out(bootstrap.replies, SIZES, 1, 4)  # the caller died, and calls it again
    assert await sequences(server) == {5, 6}


async def append_seven(bootstrap: NatsBus, executor: NatsBus, *, lose: bool = True) -> None:
    """Store seven events, and have the server lose the third one."""
    for name in ("a", "b", "lost", "c", "d", "e"):
        await executor.journal.append(entry(name))
    if lose:
        config = await journal_generations._config(bootstrap.replies)
        await call(bootstrap.replies, f"STREAM.UPDATE.{subjects.JOURNAL_STREAM}", {**config, "max_msgs_per_subject": 1})
    await executor.replies.one("writ.journal.security.lost", b"again", timeout=10)
    await provision(bootstrap, [], SIZES)


async def test_range_before_lost_events_can_be_removed_and_the_one_behind_them(server: WritServer) -> None:
    bootstrap, executor = await server.bus("bootstrap"), await server.bus("executor")
    await append_seven(bootstrap, executor)
    assert await sequences(server) == {1, 2, 4, 5, 6, 7}
    assert await journal_generations.missing_events(bootstrap.replies) == {3}
    with pytest.raises(Conflict, match="has 6 events from 1 to 7"):
        await journal_generations.take_out(bootstrap.replies, SIZES, 1, 4)
    assert await sequences(server) == {1, 2, 4, 5, 6, 7}
    assert (await journal_generations.take_out(bootstrap.replies, SIZES, 1, 1)).usage.first_sequence == 2
    assert (await journal_generations.take_out(bootstrap.replies, SIZES, 2, 2)).usage.first_sequence == 4
    assert (await journal_generations.take_out(bootstrap.replies, SIZES, 4, 5)).usage.first_sequence == 6
    assert await sequences(server) == {6, 7}
    assert (await journal_generations.state(bootstrap.replies)).open


@pytest.fixture
async def archiver(server: WritServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> journal.Archiver:
    """Of a journal with two finished archives. Event 3 was lost when they were made."""

    async def announced(_: object) -> list[AnnouncedArchive]:
        return [ONE, TWO]

    monkeypatch.setattr(journal, "archives", announced)
    monkeypatch.setattr(journal, "sizes", lambda _: SIZES)
    home = Home(tmp_path)
    home.run.mkdir()
    writ = cast(Writ, SimpleNamespace(principal="alice"))
    return journal.Archiver(home, await server.bus("bootstrap"), writ, [], NoNotices().record)


class NoNotices:
    """Records nothing, as if no executor replied."""

    async def record(self, notice: Notice) -> None:
        raise Unreachable(f"it cannot be recorded now: {notice.detail}")


class Notices:
    """Keeps the notices, each with the events that the journal had then."""

    def __init__(self, server: WritServer) -> None:
        self._server = server
        self.recorded: list[tuple[Notice, set[int]]] = []

    async def record(self, notice: Notice) -> None:
        self.recorded.append((notice, await sequences(self._server)))


async def test_events_of_archives_that_a_server_brings_back_are_removed_and_no_others(
    server: WritServer, archiver: journal.Archiver
) -> None:
    await append_seven(await server.bus("bootstrap"), await server.bus("executor"))
    assert await archiver._removed_again(TWO, 1, there=False) == 4
    assert await sequences(server) == {4, 5, 6, 7}


async def test_lost_events_that_a_server_brings_back_are_removed_only_where_the_operator_names_them(
    server: WritServer, archiver: journal.Archiver
) -> None:
    await append_seven(await server.bus("bootstrap"), await server.bus("executor"), lose=False)
    for first, returned in [(1, 0), (3, 0), (3, 2), (3, 4)]:
        with pytest.raises(Conflict, match=r"events 3 to 3 were lost .* --remove-returned 3$"):
            await archiver._removed_again(TWO, first, there=False, returned=returned)
        assert await sequences(server) == {3, 4, 5, 6, 7}
    archiver._record = Notices(server).record
    assert await archiver._removed_again(TWO, 3, there=False, returned=3) == 4
    assert await sequences(server) == {4, 5, 6, 7}


async def test_removal_of_returned_events_is_recorded_before_it(server: WritServer, archiver: journal.Archiver) -> None:
    await append_seven(await server.bus("bootstrap"), await server.bus("executor"), lose=False)
    await journal_generations.take_out(archiver._bus.replies, SIZES, 1, 2)
    with pytest.raises(Unreachable, match="it cannot be recorded now: events 3 to 3"):
        await archiver._removed_again(TWO, 3, there=False, returned=3, reason="a backup has them")
    notices = Notices(server)
    archiver._record = notices.record
    await archiver._removed_again(TWO, 3, there=False, returned=3, reason="a backup has them")
    [(notice, present)] = notices.recorded
    assert (notice.kind, notice.principal) == ("events_removed", "alice")
    assert notice.detail == "events 3 to 3 of the journal, which no archive has, are removed: a backup has them"
    assert present == {3, 4, 5, 6, 7}
    assert await sequences(server) == {4, 5, 6, 7}


async def test_removal_of_returned_events_can_be_recorded_in_a_full_journal(
    server: WritServer, archiver: journal.Archiver
) -> None:
    bootstrap, executor = await server.bus("bootstrap"), await server.bus("executor")
    await append_seven(bootstrap, executor, lose=False)
    await journal_generations.take_out(bootstrap.replies, SIZES, 1, 2)
    config = await journal_generations._config(bootstrap.replies)
    used = (await journal_generations.state(bootstrap.replies)).usage.bytes
    await call(bootstrap.replies, f"STREAM.UPDATE.{subjects.JOURNAL_STREAM}", {**config, "max_bytes": used})
    with pytest.raises(Full):
        await executor.journal.append(entry("more"))

    async def record(_: Notice) -> None:
        await executor.journal.append(entry("removed"))

    archiver._record = record
    await archiver._removed_again(TWO, 3, there=False, returned=3)
    assert await sequences(server) == {4, 5, 6, 7, 8}


async def test_command_removes_returned_events_up_to_the_named_one_alone(
    server: WritServer, archiver: journal.Archiver, tmp_path: Path
) -> None:
    async def standing(_: object) -> JournalReply:
        return JournalReply(first=3, last=7, cut=7, max_bytes=SIZES.journal)

    archiver._writ = cast(Writ, SimpleNamespace(journal=standing, principal="alice"))
    archiver._record = Notices(server).record
    await append_seven(await server.bus("bootstrap"), await server.bus("executor"), lose=False)
    await journal_generations.take_out(archiver._bus.replies, SIZES, 1, 2)
    for returned, error, left in [
        (5, "--remove-returned 3$", {3, 4, 5, 6, 7}),
        (3, "is not what archive 2 is of", {4, 5, 6, 7}),  # the announcement of this test names no true digest
    ]:
        with pytest.raises(WritError, match=error):
            await archiver.archive(tmp_path / "two", reason="it is full", returned=returned)
        assert await sequences(server) == left


async def test_lost_events_of_which_some_come_back_are_removed_run_by_run(
    server: WritServer, archiver: journal.Archiver
) -> None:
    await append_seven(await server.bus("bootstrap"), await server.bus("executor"))
    archiver._record = Notices(server).record
    behind = structs.replace(TWO, first=5, last=6)
    assert await archiver._returned_removed(1, behind, 4, "they came back") == 5
    assert await sequences(server) == {5, 6, 7}


async def test_journal_above_its_size_loses_no_more_than_the_range(server: WritServer) -> None:
    bootstrap, executor = await server.bus("bootstrap"), await server.bus("executor")
    for number in range(6):
        await executor.journal.append(structs.replace(entry(f"one-{number}"), data=b"x" * 400_000))
    lowered = structs.replace(SIZES, journal=1 << 20)
    await provision(bootstrap, [], lowered)
    await journal_generations.take_out(bootstrap.replies, lowered, 1, 2)
    assert await sequences(server) == {3, 4, 5, 6}
    assert (await journal_generations.state(bootstrap.replies)).usage.max_bytes == lowered.journal


async def test_size_of_a_journal_can_be_lowered_and_raised_for_a_time(server: WritServer) -> None:
    sizes = structs.replace(SIZES, journal=40 << 30)
    await server.provision(journal_bytes=sizes.journal)
    await server.process.stop()
    await server.start()
    bootstrap = await server.bus("bootstrap")
    await provision(bootstrap, [], structs.replace(sizes, journal=20 << 30))
    await server.process.reload()
    await journal_generations.make_room(bootstrap.replies, 60 << 30)
    assert (await journal_generations.state(bootstrap.replies)).usage.max_bytes == 60 << 30
    await provision(bootstrap, [], SIZES)
    assert (await journal_generations.state(bootstrap.replies)).usage.max_bytes == SIZES.journal

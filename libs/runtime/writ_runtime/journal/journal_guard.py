"""The identity of the journal across restarts: it must be the one known to this service.

A mark names the stream by its creation time, and one event by its sequence and digest. The digest includes the server's
time stamp, so an event stored again, byte for byte, differs. A service with a folder of its own keeps the mark
there: an attacker who replaces the journal has to change that file as well.

The journal must also have all its events. NATS removes events by the stream's limits, which the bootstrap user can
change, and removes them where no mark points: a stop or a revocation would be gone without a trace. So what is neither
there nor in an announced archive is a difference too, also for a service that has no mark yet.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from msgspec import Struct, structs

from writ_bus.archive_announcements import Counts, archived_up_to
from writ_bus.port import Journal, Usage
from writ_bus.tracing import EVENT_ID
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.history.records import Record
from writ_contracts.plural import plural
from writ_contracts.subjects import JOURNAL
from writ_runtime.files.state_file import StateFile
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics

CHECK_EVERY = 5.0
AGAIN_AFTER = 1.0
CONFIRMED = 3
"""Differing reads in a row before an alarm: in a cluster, a leader that has just been deposed may answer for a
moment, without the latest events.
"""
PAGE = 1_000
NOTHING: Mapping[int, str] = MappingProxyType({})
FILE = "journal.json"

_log = Log("writ.journal")


class JournalMark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One event of one stream. Without a sequence no event is known yet."""

    created: str = ""
    sequence: int = 0
    digest: str = ""
    missing: int = 0
    """The number of removed events whose loss an operator accepted. Left out if it is 0: earlier releases refuse it."""


class JournalGuard:
    """Compares the journal with a mark of it, and moves the mark on while they agree."""

    def __init__(
        self,
        journal: Journal,
        measured: Metrics,
        alarm: Callable[[str], None],
        *,
        file: StateFile[JournalMark] | None = None,
        lost: int = 0,
        acknowledged: Callable[[], Mapping[int, str]] = lambda: NOTHING,
        counts: Counts = lambda _event, _sequence: True,
    ) -> None:
        """`alarm` is called once with the reason, when the loss is certain. `file`: the stored mark.

        `lost`: events up to this one are given up, since their journal was lost. `acknowledged`: the latest events that
        the journal itself acknowledged to this service, ids by sequence. `counts`: which announcements of archives are
        believed. Raises ConfigError for a damaged file.
        """
        self._journal = journal
        self._alarm = alarm
        self._file = file
        self._lost = lost
        self._acknowledged = acknowledged
        self._counts = counts
        self._mark = (file.read() if file else None) or JournalMark()
        self._kept = self._read_mark = self._mark
        self._latest: Record | None = None
        self._found = 0
        self._archived = 0
        self._contradiction: str | None = None
        self._comparing = asyncio.Lock()
        self.problem: str | None = None
        """The reason why nothing may be taken from this journal, from the first differing read on."""
        self.misled = asyncio.Event()
        """Set once it is certain that a reader took in an event that this journal does not have, and that the journal
        is the known one: a reader can begin again.
        """
        self._contradicted = asyncio.Event()
        declare(measured, lambda: float(self._found >= CONFIRMED))

    @property
    def mark(self) -> JournalMark:
        """Return the mark of the last event that the journal was seen to have."""
        return self._mark

    def _latest_read(self) -> JournalMark:
        """Return the mark of the last event that a reader took in, while nothing differs; then the one that differed.

        It does not count yet: within the account of the executors, a thief of their key can make up an event.
        """
        latest, self._latest = self._latest, None
        if self.problem is None and latest is not None and latest.sequence > self._read_mark.sequence:
            self._read_mark = structs.replace(self._mark, sequence=latest.sequence, digest=digest_of(latest))
        return self._read_mark

    def require_known(self) -> None:
        """Raises Unreachable while the journal is another than the known one: then nothing is accepted or started."""
        if self.problem is not None:
            raise Unreachable(f"this service does not trust the journal: {self.problem}"[:500])

    def begin(self, mark: JournalMark) -> None:
        """Begin with a mark from elsewhere than the file."""
        self._mark = self._read_mark = mark

    def read(self, record: Record) -> None:
        """Note this event as reached by a reader of the journal."""
        self._latest = record

    def contradict(self, sequence: int) -> None:
        """Note that a reader took in one event of this sequence and then received another. What it knows by the made-up
        one cannot be taken back: the reader has to begin again with the journal itself.
        """
        self._contradiction = self.problem = f"two different events {sequence} were received: one of them is made up"
        self._contradicted.set()

    def begin_again(self) -> None:
        """Trust the known journal again: the reader has forgotten what it knew, and read the journal itself."""
        self._contradiction = self._latest = self.problem = None
        self._read_mark, self._found = self._mark, 0
        self.misled.clear()

    async def compare(self) -> bool:
        """Return whether the journal is another than the marked one, unless its loss was accepted. Raises errors of
        the bus.
        """
        async with self._comparing:
            return await self._compare()

    async def _compare(self) -> bool:
        mark = self._latest_read()  # before the query to the journal, which may grow meanwhile
        usage = await self._journal.usage()
        other = await self._difference(mark, usage)
        is_given_up = self._lost and mark.sequence <= self._lost
        self.problem = (None if is_given_up else other) or self._contradiction
        if self.problem is None:
            self._found = 0
            await self._remember(usage, again=other is not None)
            return other is not None
        self._found += 1
        if self._found == CONFIRMED:
            _log.error("journal.replaced", reason=self.problem, effect="its events are not used")
            self._alarm(self.problem)
        if self._found >= CONFIRMED and await self._is_known(usage):
            self.misled.set()
        return True

    async def _is_known(self, usage: Usage) -> bool:
        """Return whether the journal has all that it was seen to have, and all that it acknowledged."""
        return await self._difference(self._mark, usage) is None and await self._has_acknowledged(usage)

    async def _has_acknowledged(self, usage: Usage) -> bool:
        """Return whether the journal has each acknowledged event after the mark, and no other in its place."""
        position = max(self._mark.sequence, usage.first_sequence - 1)
        expected = {sequence: known for sequence, known in self._acknowledged().items() if sequence > position}
        while expected:
            page = await self._journal.read(JOURNAL, after=position, limit=PAGE)
            found = {one.sequence: one.headers.get(EVENT_ID, "") for one in page}
            position = max(found, default=max(expected))
            if any(found.get(sequence) != known for sequence, known in expected.items() if sequence <= position):
                return False
            expected = {sequence: known for sequence, known in expected.items() if sequence > position}
        return True

    async def has_event(self, sequence: int, digest: str) -> bool:
        """Return whether the journal has exactly this event now. Raises errors of the bus."""
        found = await self._journal.read(JOURNAL, after=sequence - 1, limit=1)
        return bool(found) and found[0].sequence == sequence and digest_of(found[0]) == digest

    async def _difference(self, mark: JournalMark, usage: Usage) -> str | None:
        known = f"event {mark.sequence} was read from the journal that was made at {mark.created or 'an unknown time'}"
        if mark.created and usage.created and mark.created != usage.created:
            return f"{known}; this one was made at {usage.created}"
        if usage.last_sequence < mark.sequence:
            return f"{known}; this one ends at {usage.last_sequence}: was the journal restored?"
        if (missing := await self._missing(usage)) > mark.missing:
            return f"{plural(missing, 'event')} up to {usage.last_sequence}: neither in the journal nor in an archive"
        if not mark.sequence or usage.first_sequence > mark.sequence:
            return None  # no event is known yet, or the known one is archived by now
        if not await self.has_event(mark.sequence, mark.digest):
            return f"{known}; another event, or none, has this sequence now: was the journal restored?"
        return None

    async def _missing(self, usage: Usage) -> int:
        """Return the number of events that were removed although no archive was announced for them."""
        before = usage.first_sequence - 1
        if before > self._archived:
            self._archived = await archived_up_to(self._journal, usage.first_sequence, self._counts)
        return usage.last_sequence - before - usage.messages + max(before - self._archived, 0)

    async def _remember(self, usage: Usage, *, again: bool) -> None:
        last = await self._journal.last(JOURNAL)
        sequence, digest = (last.sequence, digest_of(last)) if last else (0, "")
        if again or sequence > self._mark.sequence or not self._mark.created:
            missing = await self._missing(usage)
            if not again:  # an archive behind the missing events ends their acceptance: others may not go instead
                missing = min(missing, self._mark.missing)
            mark = JournalMark(created=usage.created, sequence=sequence, digest=digest, missing=missing)
            self._mark = self._read_mark = mark
        if self._file is not None and self._mark != self._kept:
            try:
                await asyncio.to_thread(self._file.write, self._mark)
                self._kept = self._mark
            except OSError as error:  # the earlier mark is valid, too
                _log.warning("journal.mark_not_kept", error=str(error))

    async def watch(self) -> None:
        """Compare until cancelled. Failures are logged and tried again."""
        while True:
            await self._pause()
            try:
                await self.compare()
            except WritError as error:
                _log.warning("journal.not_compared", error=str(error))

    async def _pause(self) -> None:
        """Wait for the next comparison; a contradiction is the time for it."""
        try:
            async with asyncio.timeout(AGAIN_AFTER if 0 < self._found < CONFIRMED else CHECK_EVERY):
                await self._contradicted.wait()
        except TimeoutError:
            return
        self._contradicted.clear()


def declare(measured: Metrics, read: Callable[[], float]) -> None:
    """Declare the gauge of a service with a guard."""
    text = "1 while this service finds the journal replaced, shortened or restored."
    measured.measure("writ_journal_replaced", text, read)


def digest_of(record: Record) -> str:
    """Return the digest of an event with its sequence and the server's time stamp."""
    place = f"{record.sequence}\0{record.time!r}\0{record.subject}\0"
    return hashlib.sha256(place.encode() + record.data).hexdigest()

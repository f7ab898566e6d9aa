"""Samples of recorded decisions, which policy makes a second time. A different result is a security event."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct

from writ_audit.config import AuditConfig
from writ_audit.file_copies import FileCopies
from writ_audit.index import AuditIndex
from writ_audit.index_file import IndexDamaged
from writ_audit.version_compiler import VersionCompiler
from writ_bus.port import Bus
from writ_contracts.errors import TimedOut, Unreachable, WritError
from writ_contracts.history.records import Record
from writ_contracts.people.directory import PeopleDirectory
from writ_contracts.subjects import parse_event
from writ_runtime.buckets import Bucket
from writ_runtime.clocks import ServerClock
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.files.state_file import StateFile
from writ_runtime.journal.security_events import SecurityEvents, SecurityFinding
from writ_runtime.logs import Log
from writ_runtime.plugins.entry_points import load_catalogue

if TYPE_CHECKING:
    from writ_rules.second_decisions.checker import Checker, SecondDecision

CHECK_EVERY = 1.0
AFTER = 5.0
"""Seconds from an event to its second decision. By then this replica has also read a file that policy read just before
the event.
"""
MOST_WAITING = 1_000
"""Events above which no more decisions are chosen. A verdict always waits, as its place in the journal alone."""
FILE = "verdicts.json"
STORE_EVERY = 60.0
"""Seconds between two stored positions, each of which is synced; the end of the process stores one, too. After a kill
the next process repeats the checks of that time, whose findings are on record already.
"""
KINDS = frozenset({"requested", "refused", "granted", "started"})
VERDICTS = frozenset({"approval_given", "approved", "rejected"})
"""Kinds of events of which each is checked: people cause few of them."""

_log = Log("writ.audit")


class Chosen(Struct, frozen=True):
    """The place of an event that is to be checked."""

    subject: str
    sequence: int
    time: float
    again: bool = False
    """The verdict was checked before the index was rebuilt."""


class CheckedVerdicts(Struct, frozen=True):
    """The sequence of the journal up to which each verdict has been checked, and the sampled decisions that wait."""

    until: int
    samples: tuple[Chosen, ...] = ()


class DecisionSamples:
    """Makes sampled decisions a second time. `offer` receives every event; `run` processes the chosen ones, by the
    files that `keep_copies` keeps beside it.

    What waits when the process ends is checked by the next one. After a kill this holds for each verdict, and for the
    sampled decisions that waited when the position was stored last.
    """

    def __init__(
        self,
        config: AuditConfig,
        bus: Bus,
        keys: PolicyKeys,
        security: SecurityEvents,
        count: Callable[[str], None],
        clock: Callable[[], float],
        index: AuditIndex,
        people: Callable[[], PeopleDirectory | None] = lambda: None,
        server: ServerClock | None = None,
    ) -> None:
        """`count` gets the result of each: `same`, `differs` or `open`. `people`: the directory of credentials.
        `index`: the events that an earlier process got; `offer` receives those behind them. `server`: the time of NATS,
        which is measured again before a difference counts. Raises ConfigError for a damaged file.
        """
        self._people, self._server = people, server or ServerClock(None)
        self._config, self._bus, self._keys = config, bus, keys
        self._security, self._count, self._clock = security, count, clock
        burst = max(1.0, config.recheck_rate)
        self._bucket = Bucket(config.recheck_rate, burst, burst, time.monotonic())
        self._copies: FileCopies | None = None
        if config.recheck_one_in > 0 and config.inventory is not None and config.principals is not None:
            self._copies = FileCopies(config.state_dir, config.inventory, config.principals, clock)
        self._path = config.state_dir / FILE
        self._file = StateFile(self._path, CheckedVerdicts)
        self._storing = Lock()  # a cancelled pass leaves its thread to write on
        self._store_at = 0.0
        self._index = index
        self._indexed = self._offered = index.place.position
        self._kept = self._file.read()
        self._waiting = deque[Chosen]() if self._kept is None else deque(self._kept.samples)
        self._unread = self._kept is not None and self._kept.until < self._indexed
        """Whether an earlier process may have left verdicts unchecked that do not wait again yet."""

    def offer(self, record: Record, again: bool = False) -> None:
        """Choose one in `config.recheck_one_in` decisions at random, so that nobody can foresee which, and each
        verdict. `again`: the index is being rebuilt, and this event was received before. Only a verdict was then
        checked for certain: a finding of a sampled decision may be the first one.
        """
        self._offered = max(self._offered, record.sequence)
        where = None if self._copies is None else parse_event(record.subject)
        if where is None or where.event not in KINDS | VERDICTS:
            return
        if where.event in VERDICTS or self._is_chosen():
            checked = where.event in VERDICTS and self._kept is not None and record.sequence <= self._kept.until
            self._waiting.append(Chosen(record.subject, record.sequence, record.time, again and checked))

    def _is_chosen(self) -> bool:
        if len(self._waiting) >= MOST_WAITING:
            return False
        return secrets.randbelow(self._config.recheck_one_in) == 0 and self._bucket.take(time.monotonic())

    async def keep_copies(self) -> None:
        """Keep copies of the files until cancelled."""
        await (asyncio.Event().wait() if self._copies is None else self._copies.run())

    async def run(self) -> None:
        """Make the waiting decisions a second time until cancelled."""
        if self._copies is None:
            self._path.unlink(missing_ok=True)  # or all verdicts of this time would be checked at once afterwards
            await asyncio.Event().wait()
            return
        try:
            await self._check_waiting(self._copies)
        finally:
            self._store(self._position())

    async def _check_waiting(self, copies: FileCopies) -> None:
        checker: Checker | None = None
        while True:
            await self._read_unchecked()
            while self._waiting and self._is_due(self._waiting[0]):
                checker = checker or self._checker(copies)
                await copies.look()  # the check before may have taken minutes
                try:
                    await self._check(checker, self._waiting[0])
                except (Unreachable, TimedOut) as error:
                    _log.warning("decision.check_waits", sequence=self._waiting[0].sequence, error=str(error))
                    self._waiting.rotate(-1)  # an operation whose events are never read in time delays no others
                    break
                self._waiting.popleft()
            await self._store_position()
            await asyncio.sleep(CHECK_EVERY)

    def _is_due(self, chosen: Chosen) -> bool:
        """Return true some seconds after the record, and for one from before the server's clock was set back."""
        return abs(self._clock() - chosen.time) >= AFTER

    async def _read_unchecked(self) -> None:
        """Let the verdicts wait that an earlier process got and did not check."""
        if not self._unread or self._kept is None:
            return
        with suppress(Unreachable, IndexDamaged):  # the next pass tries again
            found = await asyncio.to_thread(self._index.places, VERDICTS, self._kept.until, self._indexed)
            self._waiting.extend(Chosen(subject, sequence, time=0.0) for subject, sequence in found)
            self._unread = False
            _log.info("decision.checks_resumed", verdicts=len(found), after=self._kept.until)

    async def _store_position(self) -> None:
        """Store what has been checked, once in a while."""
        position = self._position()
        if self._unread or position == self._kept or time.monotonic() < self._store_at:
            return
        self._store_at = time.monotonic() + STORE_EVERY
        await asyncio.to_thread(self._store, position)

    def _position(self) -> CheckedVerdicts:
        verdicts = {one for one in self._waiting if (where := parse_event(one.subject)) and where.event in VERDICTS}
        until = min((one.sequence - 1 for one in verdicts), default=self._offered)
        if self._unread and self._kept is not None:
            until = self._kept.until
        return CheckedVerdicts(until, tuple(one for one in self._waiting if one not in verdicts))

    def _store(self, position: CheckedVerdicts) -> None:
        """If this fails, a restart repeats more checks of verdicts, and makes fewer of samples."""
        try:
            with self._storing:
                self._file.write(position)
        except OSError as error:
            _log.warning("decision.position_not_stored", error=str(error))
        else:
            self._kept = position

    def _checker(self, copies: FileCopies) -> "Checker":
        from writ_rules.second_decisions.checker import Checker  # noqa: PLC0415 - the engine is large

        catalogue = load_catalogue()
        return Checker(
            self._bus.journal,
            self._bus.policies,
            catalogue,
            copies.inventory,
            copies.principals,
            events=self._keys.events,
            versions=self._keys.versions,
            installation=self._config.installation,
            now=self._clock,
            people=self._people,
            set_forward=self._server.set_forward,
            compile_text=VersionCompiler(catalogue),
        )

    async def _check(self, checker: "Checker", chosen: Chosen) -> None:
        """Raises Unreachable and TimedOut: try again then."""
        found = await self._bus.journal.read(chosen.subject, after=chosen.sequence - 1, limit=1)
        if not found or found[0].sequence != chosen.sequence:
            return  # in an archive by now, which is checked by itself
        try:
            checked = await checker.check(found[0])
            if checked is not None and checked.comparison.result == "differs":
                await self._server.measure()  # if its clock was just set, times before and after it do not compare
                checked = await checker.check(found[0])
        except (Unreachable, TimedOut):
            raise
        except WritError as error:
            _log.warning("decision.not_checked", sequence=chosen.sequence, error=str(error))
            self._count("open")
            return
        except Exception as error:  # noqa: BLE001 - a record that its writer made to break the check must not end it
            _log.error("decision.not_checked", sequence=chosen.sequence, exception=error)
            self._count("open")
            return
        if checked is None:
            return
        if checked.comparison.result == "differs":
            await self._report(checked, again=chosen.again)
        elif checked.comparison.result == "open":
            _log.info("decision.open", sequence=chosen.sequence, why=checked.comparison.why)
        self._count(checked.comparison.result)

    async def _report(self, checked: "SecondDecision", *, again: bool) -> None:
        finding = SecurityFinding(
            kind="broken_record",
            detail=f"event {checked.sequence}: {checked.text}",
            operation_id=checked.operation_id,
            principal=checked.principal,
            after=checked.sequence,
            again=again,
        )
        await self._security.record(finding)

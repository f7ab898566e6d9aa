"""`writ journal archive`: a range of the journal is verified in a file, announced by an operation, and removed.

Every step may be repeated after a crash. Until the operation is announced nothing has happened; afterwards the same
range makes the same manifest, whose digest the announcement names.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from msgspec import Struct, structs

from writ_bus.archive_announcements import archives
from writ_bus.backoff import backoff
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.port import Usage
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.errors import Conflict, Invalid
from writ_contracts.failures import error_of
from writ_contracts.history.archives import ARCHIVE, AnnouncedArchive, digest_before, finished_before, in_force, next_of
from writ_contracts.history.audit import JournalReply
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.notices import Notice
from writ_contracts.requests import Failure
from writ_documents.atomic_files import write_atomically
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.files.home import Home
from writ_installation.files.lock import held, turn
from writ_installation.nats.stream_sizes import sizes
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_nats_server import journal_generations
from writ_nats_server.journal_generations import JournalStreamState
from writ_nats_server.streams import restore_journal_configuration
from writ_proof.archive import check, write
from writ_proof.archive.format import SEAL, ArchiveManifest, digest_of
from writ_proof.archive.write import ArchivePlan
from writ_proof.bundles import BundleWriter, DamagedBundle
from writ_runtime.faults import fault
from writ_runtime.journal.journal_notices import NoticeSender

REMOVED = "removed"
MOST_EVENTS = 200_000
"""Limit of one archive; a longer range makes several."""
ARCHIVE_SECONDS = 1200.0
ROOM = 1 << 20
LARGEST_END = 128 << 10
"""Bytes of the events that end an operation."""
ENDS_WITHIN = 30.0
"""Seconds for which the end of an operation is waited for; executors and agents repeat theirs within a few."""


class ArchiveResult(Struct, frozen=True, kw_only=True):
    """The result. `more`: events that may still be archived, each time in a file of its own. `applied`: see
    `JournalStreamState`.
    """

    archive: check.VerifiedArchive
    freed: int
    more: int
    applied: bool = True


class Archiver:
    """One installation's journal, with the key that may change streams, and a principal that may archive."""

    def __init__(
        self,
        home: Home,
        bus: NatsBus,
        writ: Writ,
        policy_keys: Collection[str],
        record: Callable[[Notice], Awaitable[None]],
    ) -> None:
        """`record` has a notice recorded, as `record_notice` does."""
        self._record = record
        self._home = home
        self._bus = bus
        self._writ = writ
        self._policy_keys = policy_keys
        self._people = CredentialsDirectory(home).current
        self._verified_file = home.run / "archive-verified"
        """The digest of the last archive whose file was verified, and REMOVED behind it once its range was removed."""

    async def archive(
        self,
        path: Path,
        *,
        reason: str,
        until: float | None = None,
        damage: bool = False,
        supersede: bool = False,
        returned: int = 0,
    ) -> ArchiveResult:
        """Archive the next range to this file, and remove it from the journal. Raises WritError; the range stays then.

        `damage`: also where signatures in it do not hold; the manifest names those events. `supersede`: announce
        another archive where the announced one does not match the journal. `returned`: the last of the events to remove
        that were lost when an archive behind them was made, and are in the journal again.
        """
        with held(self._home.run / "archive.lock", "an archive is being made of"):
            await self._restore_configuration()  # a killed one may have left it closed
            standing = await self._with_ends(until)
            announced = in_force(await archives(self._bus.journal), standing.first)
            there = path.exists()  # noqa: ASYNC240 - one look, in a command
            if announced is not None:
                first = await self._removed_again(
                    announced, standing.first, there=there, returned=returned, reason=reason
                )
                standing = structs.replace(standing, first=first)
            if returned >= standing.first:
                raise Invalid(f"the journal begins at {standing.first}, and has no events up to {returned} again")
            begin = announced is None or (standing.first > announced.last and not there)
            if announced is not None and not (begin or there):
                begin = not await self._again(path, announced, supersede=supersede)
            if announced is None or begin:
                announced = await self._begin(path, standing, reason, damage=damage)
            fault("journal.sealed")
            verified = self._verified(path, announced)
            self._note(announced.digest)
            fault("journal.verified")
            before, after = await self._take_out(announced)
            self._note(f"{announced.digest} {REMOVED}")
            return ArchiveResult(
                archive=verified,
                freed=before.bytes - after.usage.bytes,
                more=max(standing.cut - verified.last, 0),
                applied=after.applied,
            )

    async def _with_ends(self, until: float | None) -> JournalReply:
        """Return the state of the journal. If it is full, first make room for the ends of operations, and wait for the
        one that holds up the archive: it may have ended, while nothing can be stored.
        """
        standing = await self._writ.journal(until)
        if not standing.held_by or standing.bytes + LARGEST_END < standing.max_bytes:
            return standing
        async with turn(self._home.streams_lock):
            await journal_generations.make_room(self._bus.replies, ROOM)
        before, give_up = standing.cut, asyncio.get_running_loop().time() + ENDS_WITHIN
        for pause in backoff():
            await asyncio.sleep(pause)
            standing = await self._writ.journal(until)
            if standing.cut > before or asyncio.get_running_loop().time() > give_up:
                break
        return standing

    async def _removed_again(
        self, announced: AnnouncedArchive, first: int, *, there: bool, returned: int = 0, reason: str = ""
    ) -> int:
        """Remove events of archives that a crashed server brought back: it forgets its latest removals. Return the
        first event of the journal then.

        The rest of the last range goes only if its file was verified here. If the first events of the range are missing
        for another reason, such as damage of the store, no file has them. All of it goes only if it was removed here
        before: else the command was interrupted, and its file may be gone. `there`: the file will be verified now.
        """
        if first < announced.first:
            first = await self._earlier_removed_again(announced, first, returned, reason)
        if first <= announced.last and not there and self._may_go(announced, whole=first == announced.first):
            await self._take_out(announced)
            return announced.last + 1
        return first

    async def _earlier_removed_again(self, announced: AnnouncedArchive, first: int, returned: int, reason: str) -> int:
        """Remove the events of earlier archives. Between two of them may be events that are in none: the journal had
        lost them, and has them again. Those up to `returned` are removed. Raises Conflict at others.
        """
        found, ranges = await archives(self._bus.journal), [announced]
        while (before := finished_before(found, ranges[-1])) is not None and before.last >= first:
            ranges.append(before)
        async with turn(self._home.streams_lock):
            for one in reversed(ranges):
                first = await self._returned_removed(first, one, returned, reason)
                if one != announced:
                    first = await self._events_removed(one.first, one.last)
        return first

    async def _returned_removed(self, first: int, behind: AnnouncedArchive, returned: int, reason: str) -> int:
        """Remove the events from `first` on that are before this archive, run by run; some may still be missing. First
        it is recorded who removes them. Raises Unreachable if it is not.
        """
        if first < behind.first and returned != behind.first - 1:
            raise Conflict(
                f"events {first} to {behind.first - 1} were lost when archive {behind.generation} was made, and are in"
                " the journal again. No archive has them. `writ backup FILE` keeps them; then remove them with"
                f" --remove-returned {behind.first - 1}"
            )
        if first < behind.first:
            text = f"events {first} to {returned} of the journal, which no archive has, are removed: {reason[:500]}"
            await journal_generations.make_room(self._bus.replies, ROOM)  # a full journal has none for it
            await self._record(Notice(kind="events_removed", detail=text, principal=self._writ.principal))
        while first < behind.first:
            missing = await journal_generations.missing_events(self._bus.replies)
            ends = [behind.first, *(sequence for sequence in missing if sequence > first)]
            first = await self._events_removed(first, min(ends) - 1)
        return first

    async def _events_removed(self, first: int, last: int) -> int:
        """Remove these events, and return the first one of the journal then."""
        done = await journal_generations.take_out(self._bus.replies, sizes(self._home), first, last)
        return done.usage.first_sequence

    def _note(self, text: str) -> None:
        with suppress(OSError):  # a full disk: after a crash of NATS the file of the archive must then be named again
            write_atomically(self._verified_file, text.encode())

    def _may_go(self, announced: AnnouncedArchive, *, whole: bool) -> bool:
        """Return whether the file of this archive was verified here; of a `whole` range, whether that was removed."""
        try:
            noted = self._verified_file.read_text().split()
        except FileNotFoundError:
            return False
        return noted == [announced.digest, REMOVED] or (not whole and noted == [announced.digest])

    async def _begin(self, path: Path, standing: JournalReply, reason: str, *, damage: bool) -> AnnouncedArchive:
        plan = await self._plan(standing)
        with BundleWriter(path) as writer:
            made = await write.write(self._bus.journal, writer, plan, self._policy_keys, self._people)
            if made.checked.problems and not damage:
                first = made.checked.problems[0]
                raise DamagedBundle(f"event {first.sequence}: {first.what}; --with-damage archives it nevertheless")
            fault("journal.exported")
            announced = await self._give_up(made.manifest, reason, room=standing.bytes // 4)
            fault("journal.announced")
            self._publish(writer, announced)
        return announced

    async def _plan(self, standing: JournalReply) -> ArchivePlan:
        """Return the next archive, which replaces an announced one if that is still in the journal."""
        following = next_of(await archives(self._bus.journal), standing.first)
        missing = await journal_generations.missing_events(self._bus.replies)
        behind = (sequence - 1 for sequence in missing if sequence > following.first)
        last = min(standing.cut, following.first - 1 + MOST_EVENTS, *behind)
        while last in following.ends:
            last -= 1
        if last < following.first:
            free = f"events from {following.first} on are kept for {standing.held_by}"
            raise Invalid(f"nothing to archive: {free}")
        return ArchivePlan(
            generation=following.generation, first=following.first, last=last, previous=following.previous
        )

    async def _again(self, path: Path, announced: AnnouncedArchive, *, supersede: bool) -> bool:
        """Write the file of an announced range that is still in the journal; return whether that was possible."""
        plan = ArchivePlan(
            generation=announced.generation,
            first=announced.first,
            last=announced.last,
            previous=digest_before(await archives(self._bus.journal), announced),
        )
        with BundleWriter(path) as writer:
            made = await write.write(self._bus.journal, writer, plan, self._policy_keys, self._people)
            if digest_of(made.manifest.encoded()) == announced.digest:
                self._publish(writer, announced)
                return True
        if not supersede:
            raise DamagedBundle(
                f"the journal from {plan.first} to {plan.last} is not what archive {plan.generation} is of, which"
                f" operation {announced.operation_id} announced. Was it made with other --policy-key?"
                " --supersede announces another one in its place"
            )
        return False

    def _publish(self, writer: BundleWriter, announced: AnnouncedArchive) -> None:
        writer.put(SEAL, announced.seal)
        writer.publish()

    async def _give_up(self, manifest: ArchiveManifest, reason: str, room: int) -> AnnouncedArchive:
        """Have the archive decided and announced, with extra room for the announcement in a full journal."""
        parameters = {
            "generation": manifest.generation,
            "first": manifest.first,
            "last": manifest.last,
            "events": manifest.events,
            "digest": digest_of(manifest.encoded()),
            "control": manifest.control,
            "reason": reason,
        }
        async with turn(self._home.streams_lock):
            await journal_generations.make_room(self._bus.replies, room + ROOM)
        try:
            done = await self._writ.run(ARCHIVE, WRIT_TARGET, parameters, reason=reason, timeout=ARCHIVE_SECONDS)
        except BaseException:
            await self._restore_configuration()
            raise
        if done.outcome != "succeeded":
            await self._restore_configuration()
            why = f"{ARCHIVE} {done.operation_id} is {done.outcome}: {done.message}"
            raise error_of(Failure(code=done.code or "internal", message=why))
        found = [one for one in await archives(self._bus.journal) if one.operation_id == done.operation_id]
        if not found:
            raise Conflict(f"archive {manifest.generation} is not announced in the journal")
        return found[0]

    async def _restore_configuration(self) -> None:
        async with turn(self._home.streams_lock):
            await restore_journal_configuration(self._bus.replies, sizes(self._home))

    def _verified(self, path: Path, announced: AnnouncedArchive) -> check.VerifiedArchive:
        verified = check.verify(path, self._policy_keys, self._people)
        if verified.digest != announced.digest:
            raise Conflict(f"{path} exists already: it is archive {verified.generation}, and not the one that counts")
        return verified

    async def _take_out(self, announced: AnnouncedArchive) -> tuple[Usage, JournalStreamState]:
        """Remove the range; return the usage before and the state after.

        Raises Conflict where another announcement is valid by now: every removed event must be in its archive.
        """
        async with turn(self._home.streams_lock):
            before = (await journal_generations.state(self._bus.replies)).usage
            counts = in_force(await archives(self._bus.journal), before.first_sequence)
            if counts is None or counts.operation_id != announced.operation_id:
                other = counts.operation_id if counts else "none"
                raise Conflict(f"archive {announced.generation} is that of operation {other} by now")
            first, last = announced.first, announced.last
            after = await journal_generations.take_out(self._bus.replies, sizes(self._home), first, last, fault)
        return before, after


@asynccontextmanager
async def bootstrapped(home: Home, url: str, environ: Mapping[str, str] = os.environ) -> AsyncIterator[NatsBus]:
    """Yield a connection with the key for making and changing streams."""
    bus = await connect(options_of(home, "bootstrap", url, client_tls(home, environ)))
    try:
        yield bus
    finally:
        await bus.drain(1.0)


async def record_notice(home: Home, url: str, notice: Notice, environ: Mapping[str, str] = os.environ) -> None:
    """Have executors record a notice of the provisioner, with its key. Raises Unreachable if it is not recorded."""
    bus = await connect(options_of(home, "keeper", url, client_tls(home, environ)))
    try:
        await NoticeSender(subjects.NOTICE_PROVISIONER, lambda _: None).record(bus, notice)
    finally:
        await bus.drain(1.0)

"""Delivery of notifications. Two tasks for each destination, one for security events and one for all other kinds, read
the journal from a position of their own, and repeat a notification until the receiver accepts it.

A destination that does not reply delays only itself, and a flood of security events delays no stop and no approval.
Notifications older than an hour are dropped and counted.
"""

import asyncio
import concurrent.futures
import http.client
import socket
import string
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from msgspec import Struct

from writ_audit.metrics import notification_counter
from writ_audit.notifications.limits import NotificationLimits
from writ_audit.notifications.messages import notification_of, pool_of
from writ_audit.notifications.settings import NotifiedDestination
from writ_bus.backoff import backoff
from writ_bus.port import Journal
from writ_bus.tasks import unending
from writ_contracts.errors import ConfigError, TimedOut, Unreachable
from writ_contracts.history.records import Record
from writ_contracts.notifications import KINDS, HttpRequest, Kind, Notification
from writ_contracts.subjects import JOURNAL
from writ_contracts.version import VERSION
from writ_runtime.files.state_file import StateFile
from writ_runtime.health import Attention
from writ_runtime.logs import Log
from writ_runtime.metric_series import Counter
from writ_runtime.metrics import Metrics

SEND_SECONDS = 10.0
PAGE, PAUSE = 100, 0.5
"""Events in one read, and seconds until the next read at the end of the journal."""
GIVE_UP = 3600.0
SAVE_EVERY = 1_000
"""The position is saved after so many events, even if none of them gave a notification."""
LANES: Mapping[str, frozenset[Kind]] = {"": frozenset(KINDS) - {"security"}, ".security": frozenset({"security"})}
"""The kinds of each task of a destination, by the ending of the name of its position's file."""

_log = Log("writ.audit")


class DeliveryPosition(Struct, frozen=True, kw_only=True):
    """The last event of the journal that was handled for a destination."""

    sequence: int


class Deliveries:
    """The deliveries to all destinations."""

    def __init__(
        self,
        journal: Journal,
        targets: Sequence[NotifiedDestination],
        link: str,
        state: Path,
        measured: Metrics,
        clock: Callable[[], float],
    ) -> None:
        """Deliver to `targets`.

        `state`: the folder with the positions. `clock`: returns the time of the journal's server.
        """
        self._journal = journal
        counter = notification_counter(measured)
        self._each = [
            self._delivery(one, lane, link, state, clock, counter)
            for one in targets
            for lane, kinds in LANES.items()
            if not kinds.isdisjoint(one.destination.events)
        ]

    @staticmethod
    def _delivery(
        target: NotifiedDestination, lane: str, link: str, state: Path, clock: Callable[[], float], counter: Counter
    ) -> "NotificationDelivery":
        name = target.destination.name

        def count(result: str) -> None:
            counter.add(destination=name, result=result)

        positions = [StateFile(state / f"notifications-{name}{one}.json", DeliveryPosition) for one in (lane, "")]
        return NotificationDelivery(target, LANES[lane], link, positions, clock, count)

    async def run(self) -> None:
        """Deliver to every destination until cancelled. A new destination begins at the present end of the journal."""
        async with asyncio.TaskGroup() as group:
            for one in self._each:
                group.create_task(unending(f"notifications to {one.name}", one.run(self._journal)))
            await asyncio.Event().wait()  # also if there is no destination

    async def check(self) -> str | None:
        """Return a problem for each destination that does not accept its notifications."""
        tasks = dict[str, list[NotificationDelivery]]()
        for one in self._each:
            tasks.setdefault(one.name, []).append(one)
        problems = {name: _problem(each) for name, each in tasks.items()}
        text = "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
        return Attention(text[:1000]) if text else None


class NotificationDelivery:
    """The delivery of some kinds to one destination."""

    def __init__(
        self,
        target: NotifiedDestination,
        kinds: Collection[Kind],
        link: str,
        positions: Sequence[StateFile[DeliveryPosition]],
        clock: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        """`positions`: its own, then the one of an earlier release, which counts until there is its own."""
        self.problem = ""
        """Of the last attempt, which was at `tried_at`."""
        self.tried_at = 0.0
        self.will_retry = False
        self._target = target
        self._link = link
        self._positions = positions
        self._clock = clock
        self._count = count
        self._kinds = frozenset(kinds) & {*target.destination.events}
        self._limits = NotificationLimits()

    @property
    def name(self) -> str:
        return self._target.destination.name

    async def run(self, journal: Journal) -> None:
        """Deliver the events of the journal from the saved position on."""
        known = next(filter(None, (one.read() for one in self._positions)), None)
        saved = known.sequence if known else await _last_sequence(journal)
        self._save(saved)
        async for record in _records(journal, saved):
            one = notification_of(record, self._link)
            if one is not None and one.kind in self._kinds:
                await self._deliver(one, record)
            elif record.sequence - saved < SAVE_EVERY:
                continue
            saved = record.sequence
            self._save(saved)

    def _save(self, sequence: int) -> None:
        try:
            self._positions[0].write(DeliveryPosition(sequence=sequence))
        except OSError as error:  # a full disk: after a restart some are sent twice, with the same id
            _log.warning("notifications.position_not_saved", destination=self.name, error=str(error))

    async def _deliver(self, one: Notification, record: Record) -> None:
        # First of all: events older than an hour must not use up the limits of those after them.
        if self._is_dropped(one, record):
            return
        if not self._limits.permit(one, pool_of(record), asyncio.get_running_loop().time()):
            self._count("dropped")
            return
        for pause in backoff(first=1.0, most=60.0):
            if await self._sent(one):
                return
            await asyncio.sleep(pause)
            if self._is_dropped(one, record):
                return

    def _is_dropped(self, one: Notification, record: Record) -> bool:
        if self._clock() - record.time <= GIVE_UP:
            return False
        self._count("dropped")
        _log.warning("notification.dropped", destination=self.name, id=one.id, kind=one.kind)
        self.will_retry = False
        return True

    async def _sent(self, one: Notification) -> bool:
        self.problem = await self._send(one)
        self.tried_at, self.will_retry = asyncio.get_running_loop().time(), bool(self.problem)
        self._count("failed" if self.problem else "sent")
        if self.problem:
            _log.warning("notification.failed", destination=self.name, id=one.id, problem=self.problem)
        return not self.problem

    async def _send(self, one: Notification) -> str:
        try:
            request = self._target.request(one, self._clock())
        except ConfigError as error:
            return str(error)[:300]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's defect holds up its own destination alone
            return f"no request could be made: {type(error).__name__}"  # its message may contain the secret
        return await _posted(request, f"notify-{self.name}")


def _problem(tasks: Sequence[NotificationDelivery]) -> str:
    """Return the problem of a destination by its tasks: that of one that will retry, else of the last attempt of any.
    The next security event may come weeks after one that was dropped.
    """
    retried = [one.problem for one in tasks if one.will_retry]
    return retried[0] if retried else max(tasks, key=lambda one: one.tried_at).problem


async def _posted(request: HttpRequest, name: str) -> str:
    """Return the result of `post` in a thread of its own: slow receivers would take all threads with which audit reads
    its index. The thread is a daemon: a process waits at its end for the threads of executors.
    """
    reply = concurrent.futures.Future[str]()

    def run() -> None:
        if not reply.set_running_or_notify_cancel():
            return
        try:
            reply.set_result(post(request))
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            reply.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(reply)


async def _last_sequence(journal: Journal) -> int:
    """Return the journal's last sequence; retry until the journal can be reached."""
    while True:
        try:
            return (await journal.usage()).last_sequence
        except (Unreachable, TimedOut):
            await asyncio.sleep(PAUSE)


async def _records(journal: Journal, after: int) -> AsyncIterator[Record]:
    """Yield the journal's events after this sequence, without end.

    Audit polls and does not subscribe: a poll misses no event and needs no further permission. While the journal cannot
    be reached, it yields nothing.
    """
    while True:
        try:
            records = await journal.read(JOURNAL, after=after, limit=PAGE)
        except (Unreachable, TimedOut):
            records = []
        for record in records:
            yield record
            after = record.sequence
        if len(records) < PAGE:
            await asyncio.sleep(PAUSE)


def post(request: HttpRequest) -> str:
    """Send the request. Return "" if the receiver accepted it, else the reason. Redirects are not followed.

    It takes at most `SEND_SECONDS` for each address of the receiver until one is connected, and as many for request and
    reply: a receiver that replies a byte at a time, or by interim replies without an end, is cut off.
    """
    parts = urlsplit(request.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = quote(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/", safe=string.punctuation)
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=SEND_SECONDS)
        connection.connect()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"not reached: {error}"[:300]
    is_late = threading.Event()
    whole = threading.Timer(SEND_SECONDS, _cut_off, [connection.sock, is_late])
    whole.daemon = True
    whole.start()
    try:
        headers = {**request.headers, "User-Agent": f"writ/{VERSION}", "Connection": "close"}
        connection.request("POST", path, request.body, headers)
        status = connection.getresponse().status
        problem = "" if 200 <= status < 300 else f"HTTP {status}"
    except ValueError:  # http.client quotes the header's value, which may be the secret
        return "a header of the request is no line of ASCII: does the file of its secret have several lines?"
    except (OSError, http.client.HTTPException) as error:
        problem = f"not reached: {error}"[:300]
    finally:
        whole.cancel()
        connection.close()
    # http.client takes a head that is cut off for a whole one.
    return f"not reached: no whole reply within {SEND_SECONDS:g} s" if is_late.is_set() else problem


def _cut_off(connected: socket.socket, is_late: threading.Event) -> None:
    is_late.set()
    with suppress(OSError):  # it was closed meanwhile
        # As that of the TCP socket: SSLSocket.shutdown ends TLS first, and the thread would go on in plain text.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)

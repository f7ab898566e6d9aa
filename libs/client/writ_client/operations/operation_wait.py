"""Wait for the outcome of an operation, and pass on the events on the way to it.

Events may get lost, so silence means nothing: after a while the client sends a query. Only a history without a gap,
from the first event to the last, stands for its reply.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec import Struct

from writ_client.operations.operation_events import Event, SequencedEvent, of_trace
from writ_client.operations.time_left import TimeLeft
from writ_client.queries.operation_queries import Queries
from writ_contracts import errors, life
from writ_contracts.agents import Progress
from writ_contracts.history import views
from writ_contracts.requests import OperationView, RequestReply

POLL_SECONDS = 2.0
SILENT_SECONDS = 3.0
"""A query without a reply for that long is passed on, as the reason for which nothing new is known."""
SILENT = "no reply from NATS or an executor; still waiting"
SILENCE_SECONDS = 60.0
"""After this time without a reply the executors count as unreachable."""
LAG_SECONDS = 0.02
"""An event may arrive here before the executor that replies has read it: the next query follows after this time."""

OnEvent = Callable[[Event], None]
Heard = asyncio.Queue[SequencedEvent]


class StillOpen(errors.TimedOut):
    """Raised when a wait ends before its operation, which goes on. `view`: the operation as last seen, if it was."""

    def __init__(self, message: str, operation_id: str, view: OperationView | None = None) -> None:
        super().__init__(message)
        self.operation_id = operation_id
        self.view = view


def last_view(error: errors.TimedOut) -> OperationView | None:
    """Return the operation as last seen before the end of a wait for it."""
    return error.view if isinstance(error, StillOpen) else None


class RecordedRequest(Struct, frozen=True):
    """A recorded request: its reply, and the operation as last seen, if the requester waited for its outcome."""

    operation_id: str
    answer: RequestReply
    view: OperationView | None = None


async def outcome(
    queries: Queries,
    operation_id: str,
    heard: Heard,
    *,
    within: TimeLeft,
    on_event: OnEvent,
    undecided: bool = False,
    accepted: bool = False,
) -> OperationView:
    """Return the operation once it has an outcome, else raise TimedOut. `undecided`: it cannot have one before its
    first event; `accepted`: it is recorded.
    """
    view: OperationView | None = None
    poll, history = StatePoll(queries, operation_id, accepted=accepted), EventHistory(heard, on_event)
    pause = POLL_SECONDS if undecided else 0.0
    ended = False
    try:
        async with asyncio.timeout(within.left):
            while True:
                if await history.end(pause):
                    if history.whole and (view := history.view()) is not None:
                        return view
                    ended, pause = True, LAG_SECONDS / 2
                view = await state_now(poll, operation_id, queries.principal, on_event) or view
                history.waits(view)
                if view is not None and view.outcome is not None:
                    return view
                pause = min(pause * 2, POLL_SECONDS) if ended else POLL_SECONDS
    except TimeoutError:
        seen = _later(view, history.view())
        state = _still(seen) if seen is not None else "has no outcome that was seen"
        raise StillOpen(f"operation {operation_id} {state} after {within.text}", operation_id, seen) from None


async def state_now(
    poll: Callable[[], Awaitable[OperationView | None]], operation_id: str, principal: str, on_event: OnEvent
) -> OperationView | None:
    """Return the operation, or None without a reply. Pass on that none came for `SILENT_SECONDS`, and a later one."""

    def pass_on(message: str) -> None:
        on_event(Progress(operation_id=operation_id, principal=principal, message=message))

    loop = asyncio.get_running_loop()
    silent = loop.call_later(SILENT_SECONDS, pass_on, SILENT)
    try:
        view = await poll()
    finally:
        late = loop.time() >= silent.when()
        silent.cancel()
    if late and view is not None:
        pass_on(f"replies come again: it is {view.state}")
    return view


def _later(polled: OperationView | None, heard: OperationView | None) -> OperationView | None:
    """Return the later view. Of two of the same time a reply to a query has more: the reason for a wait."""
    if polled is None or heard is None:
        return polled or heard
    return heard if heard.updated_at > polled.updated_at else polled


def _still(view: OperationView) -> str:
    why = f" ({view.waiting.text})" if view.waiting else ""
    return f"is still {view.state}{why}"


def waiting(view: OperationView | None, before: str) -> Progress | None:
    """Return the reason for the wait as an event, unless equal to `before`."""
    if view is None or view.waiting is None or view.waiting.text == before:
        return None
    text, silent = view.waiting.text, view.waiting.silent
    return Progress(operation_id=view.operation_id, principal=view.principal, message=text, silent=silent)


class EventHistory:
    """The history from events. `whole`: none is missing, so it is as good as a reply."""

    def __init__(self, heard: Heard, on_event: OnEvent) -> None:
        self._heard = heard
        self._on_event = on_event
        self._gap = False
        self._waits = ""
        self.life = life.Life()

    @property
    def whole(self) -> bool:
        """Return whether it runs from the first event to the outcome, by the table of an operation's life."""
        return not self._gap and self.life.outcome is not None

    def view(self) -> OperationView | None:
        """Return the operation by the events so far; None without its first one."""
        return views.view(self.life, views.latest(self.life))

    def waits(self, view: OperationView | None) -> None:
        """Pass on the reason for the wait, if new."""
        if news := waiting(view, self._waits):
            self._waits = news.message
            self._on_event(news)

    async def end(self, pause: float) -> bool:
        """Return whether the outcome comes within `pause` seconds; events before it are passed on."""
        try:
            async with asyncio.timeout(pause):
                while True:
                    if self._take(await self._heard.get()):
                        return True
        except TimeoutError:
            return False

    def _take(self, happening: SequencedEvent) -> bool:
        self._on_event(happening.event)
        if isinstance(happening.event, Progress):
            self._waits = happening.event.message  # executors reply to queries with it, too
            return False
        try:
            self.life = life.apply(self.life, happening.event, happening.sequence)
        except errors.Conflict:
            self._gap = True
        return happening.ends


class StatePoll:
    """A poll of the operation's state: None without a reply, since executors come back; an error when they don't."""

    def __init__(self, queries: Queries, operation_id: str, *, accepted: bool = False) -> None:
        """`accepted`: it is recorded, so an executor which does not find it has not read far enough yet."""
        self._queries = queries
        self._operation_id = operation_id
        self._accepted = accepted
        self._answered = time.monotonic()

    async def __call__(self) -> OperationView | None:
        """Raises Unreachable or TimedOut after 60 s of silence; Invalid (`not_found`)."""
        try:
            view = await self._queries.get(self._operation_id)
        except (errors.Unreachable, errors.TimedOut, errors.Invalid) as error:
            waits = self._accepted or not isinstance(error, errors.Invalid)
            if not waits or time.monotonic() - self._answered > SILENCE_SECONDS:
                raise
            return None
        self._answered = time.monotonic()
        return view


class HistoryReader:
    """The events of one operation, each once and in order, from the subscription and from the journal."""

    def __init__(self, queries: Queries, operation_id: str, heard: Heard) -> None:
        self._queries = queries
        self._operation_id = operation_id
        self._heard = heard
        self._view_now = StatePoll(queries, operation_id)
        self._last = 0
        self._waits = ""
        self._state = life.State.ABSENT

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events from the first to the outcome. Raises Invalid (`not_found`)."""
        view = await self._queries.get(self._operation_id)
        for past in await self._missed():
            yield self._passed(past)
        pause = LAG_SECONDS
        while self._state in life.OPEN or self._state is life.State.ABSENT:
            happening = await self._next(pause)
            if happening is None:
                if view.outcome is not None and pause > POLL_SECONDS / 2:
                    return  # it has ended, and the record of it cannot be had
                view = await self._view_now() or view
                pause = min(pause * 2, POLL_SECONDS)
                if news := waiting(view, self._waits):
                    self._waits = news.message
                    yield news
            for event in await self._in_order(happening):
                yield event

    async def _in_order(self, happening: SequencedEvent | None) -> list[Event]:
        """Return the event after missed ones before it: a gap is possible at silence, at an impossible step, and at the
        end.
        """
        if happening is not None and isinstance(happening.event, Progress):
            self._waits = happening.event.message  # executors reply to queries with it, too
            return [happening.event]
        gap = happening is None or happening.ends or self._state_after(happening) is None
        passed = [self._passed(missed) for missed in (await self._missed() if gap else ())]
        if happening is not None and happening.sequence > self._last:
            passed.append(self._passed(happening))
        return passed

    def _passed(self, happening: SequencedEvent) -> Event:
        self._last = happening.sequence
        self._state = self._state_after(happening) or _AFTER.get(_tag(happening), self._state)
        return happening.event

    def _state_after(self, happening: SequencedEvent) -> life.State | None:
        event = happening.event
        return None if isinstance(event, Progress) else life.advances(self._state, event)

    async def _next(self, pause: float) -> SequencedEvent | None:
        try:
            async with asyncio.timeout(pause):
                return await self._heard.get()
        except TimeoutError:
            return None

    async def _missed(self) -> list[SequencedEvent]:
        """Return events of the journal after the last one passed on; none while the audit service is away."""
        try:
            answer = await self._queries.trace(operation_id=self._operation_id)
        except errors.WritError:
            return []
        found = (of_trace(event.sequence, event.kind, event.body) for event in answer.events)
        return [happening for happening in found if happening is not None and happening.sequence > self._last]


_AFTER = {event: state for (_, event), state in life.TABLE.items()}
"""The state after an event, when the state before it is unknown."""


def _tag(happening: SequencedEvent) -> str:
    return str(happening.event.__struct_config__.tag)

"""Waiting for an outcome, and the events on the way to it.

Events only make the waiting short: what counts is the answer to a query, which is asked again after each silence.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from writ_client.following import Event, Happening, of_trace
from writ_client.queries import Queries
from writ_contracts import errors, life
from writ_contracts.agents import Progress
from writ_contracts.requests import OperationView

POLL_SECONDS = 2.0
SILENCE_SECONDS = 60.0
"""An executor that answers nothing for that long will not tell us any more."""
LAG_SECONDS = 0.02
"""An event may be heard before the executor that is asked has read it: so soon is it asked again."""

OnEvent = Callable[[Event], None]
Heard = asyncio.Queue[Happening]


async def outcome(
    queries: Queries, operation_id: str, heard: Heard, *, timeout: float | None, on_event: OnEvent, asked: bool
) -> OperationView:
    """The operation once it has an outcome, else TimedOut. `asked`: it cannot have one before something is heard."""
    view: OperationView | None = None
    look = Look(queries, operation_id)
    pause = POLL_SECONDS if asked else 0.0
    ended = False
    try:
        async with asyncio.timeout(timeout):
            while True:
                if await _end_heard(heard, pause, on_event) and not ended:
                    ended, pause = True, LAG_SECONDS / 2
                view = await look() or view
                if view is not None and view.outcome is not None:
                    return view
                pause = min(pause * 2, POLL_SECONDS) if ended else POLL_SECONDS
    except TimeoutError:
        state = f"is still {view.state}" if view is not None else "has no outcome that was seen"
        raise errors.TimedOut(f"operation {operation_id} {state} after {timeout:g} s") from None


async def _end_heard(heard: Heard, pause: float, on_event: OnEvent) -> bool:
    """Whether an event that ends it comes within `pause` seconds; what comes before is passed on."""
    try:
        async with asyncio.timeout(pause):
            while True:
                happening = await heard.get()
                on_event(happening.event)
                if happening.ends:
                    return True
    except TimeoutError:
        return False


class Look:
    """How the operation stands: None while nobody answers, since executors come back; an error when they don't."""

    def __init__(self, queries: Queries, operation_id: str) -> None:
        self._queries = queries
        self._operation_id = operation_id
        self._answered = time.monotonic()

    async def __call__(self) -> OperationView | None:
        """Raises Unreachable or TimedOut after 60 s of silence; Invalid (`not_found`)."""
        try:
            view = await self._queries.get(self._operation_id)
        except (errors.Unreachable, errors.TimedOut):
            if time.monotonic() - self._answered > SILENCE_SECONDS:
                raise
            return None
        self._answered = time.monotonic()
        return view


class History:
    """The events of one operation, each once and in order, from what is heard and what the record has."""

    def __init__(self, queries: Queries, operation_id: str, heard: Heard) -> None:
        self._queries = queries
        self._operation_id = operation_id
        self._heard = heard
        self._look = Look(queries, operation_id)
        self._last = 0
        self._state = life.State.ABSENT

    async def events(self) -> AsyncIterator[Event]:
        """From the first one to the one that ends it. Raises Invalid (`not_found`)."""
        view = await self._queries.get(self._operation_id)
        for past in await self._missed():
            yield self._passed(past)
        pause = LAG_SECONDS
        while self._state in life.OPEN or self._state is life.State.ABSENT:
            happening = await self._next(pause)
            if happening is None:
                if view.outcome is not None and pause > POLL_SECONDS / 2:
                    return  # it has ended, and the record of it cannot be had
                view = await self._look() or view
                pause = min(pause * 2, POLL_SECONDS)
            for event in await self._in_order(happening):
                yield event

    async def _in_order(self, happening: Happening | None) -> list[Event]:
        """The event after what was missed before it: there may be a gap at silence, an impossible step, the end."""
        if happening is not None and isinstance(happening.event, Progress):
            return [happening.event]
        gap = happening is None or happening.ends or (self._state, _tag(happening)) not in life.TABLE
        passed = [self._passed(missed) for missed in (await self._missed() if gap else ())]
        if happening is not None and happening.sequence > self._last:
            passed.append(self._passed(happening))
        return passed

    def _passed(self, happening: Happening) -> Event:
        self._last = happening.sequence
        self._state = life.TABLE.get((self._state, _tag(happening)), _AFTER.get(_tag(happening), self._state))
        return happening.event

    async def _next(self, pause: float) -> Happening | None:
        try:
            return await asyncio.wait_for(self._heard.get(), pause)
        except TimeoutError:
            return None

    async def _missed(self) -> list[Happening]:
        """What the record has beyond the last event passed; nothing while the audit service is away."""
        try:
            answer = await self._queries.trace(operation_id=self._operation_id)
        except errors.WritError:
            return []
        found = (of_trace(event.sequence, event.kind, event.body) for event in answer.events)
        return [happening for happening in found if happening is not None and happening.sequence > self._last]


_AFTER = {event: state for (_, event), state in life.TABLE.items()}
"""Where an event leads from a state that is not known."""


def _tag(happening: Happening) -> str:
    return str(happening.event.__struct_config__.tag)

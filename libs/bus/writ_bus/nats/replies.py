"""Replies: one subscription for all of a client's requests, one subject for each request.

A lost connection fails all waiting requests at once, since their replies would go nowhere. A refusal by the server
fails the request too. One operation has a dozen requests, so rare events (a refusal, a time-out) are handled when they
come: there is one timer for all, and none is made or cancelled for each request.
"""

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from math import inf
from typing import Any, Self

from nats.aio.msg import Msg
from nats.nuid import NUID

from writ_bus.errors import Forbidden, TimedOut, Unreachable
from writ_bus.nats.connection import NatsConnection
from writ_contracts.subjects import replies_to_all

NO_RESPONDERS = "503"
TICK = 0.001
"""Seconds by which the clock of an event loop may be behind one of its own timers."""


class Replies:
    """Sends requests, and passes each reply to its requester."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self.loop = connection.loop
        self._inbox, self._name = connection.options.inbox_prefix, NUID().next().decode()
        self._next = count()
        self._waiting: dict[str, _ExpectedReply] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings = inf

    async def open(self) -> None:
        """Subscribe. Raises Forbidden where the inbox prefix is not this user's."""
        try:
            await self._connection.listen(f"{self._inbox}.*.{self._name}.*", self._on_message)
        except Forbidden as error:
            options = self._connection.options
            where = f"{', '.join(options.servers)} does not permit {options.name} to receive replies in {self._inbox}"
            raise Forbidden(f"{where}: its key is another user's") from error
        self._connection.on_lost.append(self._on_lost)
        self._connection.on_refused.append(self._on_refused)

    def _on_message(self, message: Msg) -> None:
        expected = self._waiting.get(message.subject)
        if expected is not None:
            expected.take(message)

    def _on_lost(self) -> None:
        for expected in self._waiting.values():
            expected.fail(TimedOut("the connection was lost before the reply came"))

    def _on_refused(self, subject: str, error: Forbidden) -> None:
        for expected in self._waiting.values():
            # nats-py lower-cases what the server says, so two subjects that differ in case alone share a refusal.
            if expected.subject.lower() == subject:
                expected.fail(error)

    def expect(self, expected: "_ExpectedReply", *, of_all: bool) -> str:
        """Return a reply subject; replies there, and on no other one, go to `expected` until it is due."""
        kind = replies_to_all(self._inbox) if of_all else f"{self._inbox}.one"
        reply = f"{kind}.{self._name}.{next(self._next):x}"
        self._waiting[reply] = expected
        if expected.due < self._rings:
            self._ring_at(expected.due)
        return reply

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings, self._timer = when, self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._rings, self._timer = inf, None
        for expected in self._waiting.values():
            if expected.is_due():
                expected.fail(TimedOut(f"no answer from {expected.subject} in {round(expected.timeout, 2):g} s"))
        soonest = min((one.due for one in self._waiting.values() if not one.future.done()), default=inf)
        if soonest < inf:
            self._ring_at(soonest)

    def forget(self, expected: "_ExpectedReply") -> None:
        del self._waiting[expected.reply]

    async def one(self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None) -> Msg:
        """Return the first reply. Raises TimedOut, Forbidden, Unreachable (not connected, or nobody listens there)."""
        with _ExpectedReply(self, subject, timeout) as expected:
            await self._connection.publish(subject, data, expected.reply, headers)
            answer: Msg = await expected.future
        if is_status(answer, NO_RESPONDERS):
            raise Unreachable(f"nobody listens on {subject}")
        return answer

    async def until(self, subject: str, data: bytes, is_last: Callable[[Msg], bool], *, timeout: float) -> list[Msg]:
        """Return the replies, up to and including the last one. Raises as `one` does."""
        answers: list[Msg] = []

        def take(message: Msg) -> None:
            answers.append(message)
            if is_last(message):
                expected.end(message)

        with _ExpectedReply(self, subject, timeout, take) as expected:
            await self._connection.publish(subject, data, expected.reply)
            await expected.future
        return answers

    async def everybody(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Msg]:
        """Return all replies within `timeout`. Raises Forbidden, Unreachable (not connected), and TimedOut if the
        connection was lost meanwhile: replies may be missing.
        """
        answers: list[Msg] = []
        with _ExpectedReply(self, subject, timeout, answers.append, of_all=True) as over:
            await self._connection.publish(subject, data, over.reply, headers)
            try:
                await over.future
            except TimedOut:
                if not over.is_due():
                    raise
        return [answer for answer in answers if not is_status(answer, NO_RESPONDERS)]


def is_status(message: Msg, status: str) -> bool:
    """Return whether it is the server's own status message: no body, and a status line."""
    return not message.data and message.headers is not None and message.headers.get("Status") == status


class _ExpectedReply:
    """One waiting request: a reply subject, and a future for the first reply, a refusal, or the time-out."""

    __slots__ = ("_replies", "_take", "due", "future", "reply", "subject", "timeout")

    def __init__(
        self,
        replies: Replies,
        subject: str,
        timeout: float,
        take: Callable[[Msg], None] | None = None,
        *,
        of_all: bool = False,
    ) -> None:
        """`take` gets the replies, instead of the future. `of_all`: of everybody who listens."""
        loop = replies.loop
        self._replies, self.subject, self.timeout = replies, subject, timeout
        self._take = take
        self.due = loop.time() + timeout
        self.future: asyncio.Future[Any] = loop.create_future()
        self.reply = replies.expect(self, of_all=of_all)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.forget(self)
        self._take = None  # it knows us, and has all the answers: without this they would stay for the collector
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()  # seen, even where the caller had given up before

    def is_due(self) -> bool:
        """Return whether its time is over."""
        return self.due <= self._replies.loop.time() + TICK

    def take(self, message: Msg) -> None:
        (self._take or self.end)(message)

    def end(self, message: Msg) -> None:
        """Complete the request with this reply."""
        if not self.future.done():
            self.future.set_result(message)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

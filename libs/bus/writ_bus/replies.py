"""Answers: one subscription for all of a client's requests, one token for each request.

A lost connection fails what waits at once: the answer would go nowhere. What the server refuses fails it too.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from nats.aio.msg import Msg
from nats.nuid import NUID

from writ_bus.connection import Connection
from writ_bus.errors import TimedOut, Unreachable

NO_RESPONDERS = "503"


class Replies:
    """Asks on subjects, and brings each answer to who asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = f"{connection.options.inbox_prefix}.{NUID().next().decode()}."
        self._next = count()
        self._takers: dict[str, Callable[[Msg], None]] = {}
        self._pending: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        """Listen. Raises Forbidden where the inbox prefix is not this user's."""
        await self._connection.listen(self._prefix + "*", self._on_message)
        self._connection.on_lost.append(self._on_lost)

    def _on_message(self, message: Msg) -> None:
        taker = self._takers.get(message.subject[len(self._prefix) :])
        if taker is not None:
            taker(message)

    def _on_lost(self) -> None:
        for future in self._pending:
            if not future.done():
                future.set_exception(TimedOut("the connection was lost before the answer came"))

    @contextmanager
    def inbox(self, take: Callable[[Msg], None]) -> Iterator[str]:
        """A reply subject; `take` gets what arrives there."""
        token = format(next(self._next), "x")
        self._takers[token] = take
        try:
            yield self._prefix + token
        finally:
            del self._takers[token]

    @contextmanager
    def _expect(self, subject: str, timeout: float) -> Iterator[asyncio.Future[Any]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        timer = loop.call_later(timeout, _expire, future, subject, timeout)
        forget = self._connection.expect_refusal(subject, future)
        self._pending.add(future)
        try:
            yield future
        finally:
            timer.cancel()
            forget()
            self._pending.discard(future)
            if not future.cancel() and not future.cancelled():
                future.exception()  # seen, even where the caller had given up before

    async def one(self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None) -> Msg:
        """The first answer. Raises TimedOut, Forbidden, Unreachable (not connected, or nobody listens there)."""
        with self._expect(subject, timeout) as future, self.inbox(lambda message: _settle(future, message)) as reply:
            await self._connection.publish(subject, data, reply, headers)
            answer: Msg = await future
        if is_status(answer, NO_RESPONDERS):
            raise Unreachable(f"nobody listens on {subject}")
        return answer

    async def until(self, subject: str, data: bytes, is_last: Callable[[Msg], bool], *, timeout: float) -> list[Msg]:
        """The answers, to and with the last one. Raises as `one` does."""
        answers: list[Msg] = []

        def take(message: Msg) -> None:
            answers.append(message)
            if is_last(message):
                _settle(future, message)

        with self._expect(subject, timeout) as future, self.inbox(take) as reply:
            await self._connection.publish(subject, data, reply)
            await future
        return answers

    async def everybody(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Msg]:
        """Whatever comes within `timeout`. Raises Forbidden, Unreachable (not connected)."""
        answers: list[Msg] = []
        with self._expect(subject, timeout) as over, self.inbox(answers.append) as reply, suppress(TimedOut):
            await self._connection.publish(subject, data, reply, headers)
            await over
        return [answer for answer in answers if not is_status(answer, NO_RESPONDERS)]


def is_status(message: Msg, status: str) -> bool:
    """Whether it is the server's own status message: no body, and a status line where a message has none."""
    return not message.data and message.headers is not None and message.headers.get("Status") == status


def _settle(future: asyncio.Future[Any], message: Msg) -> None:
    if not future.done():
        future.set_result(message)


def _expire(future: asyncio.Future[Any], subject: str, timeout: float) -> None:
    if not future.done():
        future.set_exception(TimedOut(f"no answer from {subject} in {timeout:g} s"))

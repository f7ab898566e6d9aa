"""Answers: one subscription for all of a client's requests, one token for each request.

A lost connection fails what waits at once: the answer would go nowhere. What the server refuses fails it too.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Self

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

    def expect(self, future: asyncio.Future[Any], take: Callable[[Msg], None]) -> tuple[str, str]:
        """A token and its reply subject; `take` gets what arrives there, and a lost connection fails the future."""
        token = format(next(self._next), "x")
        self._takers[token] = take
        self._pending.add(future)
        return token, self._prefix + token

    def forget(self, token: str, future: asyncio.Future[Any]) -> None:
        """Nobody waits for that any more."""
        del self._takers[token]
        self._pending.discard(future)

    def refusals(self, subject: str, future: asyncio.Future[Any]) -> Callable[[], None]:
        """Fail the future when the server refuses the subject, until the returned function is called."""
        return self._connection.expect_refusal(subject, future)

    async def one(self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None) -> Msg:
        """The first answer. Raises TimedOut, Forbidden, Unreachable (not connected, or nobody listens there)."""
        with _Expected(self, subject, timeout) as expected:
            await self._connection.publish(subject, data, expected.reply, headers)
            answer: Msg = await expected.future
        if is_status(answer, NO_RESPONDERS):
            raise Unreachable(f"nobody listens on {subject}")
        return answer

    async def until(self, subject: str, data: bytes, is_last: Callable[[Msg], bool], *, timeout: float) -> list[Msg]:
        """The answers, to and with the last one. Raises as `one` does."""
        answers: list[Msg] = []

        def take(message: Msg) -> None:
            answers.append(message)
            if is_last(message):
                expected.take(message)

        with _Expected(self, subject, timeout, take) as expected:
            await self._connection.publish(subject, data, expected.reply)
            await expected.future
        return answers

    async def everybody(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Msg]:
        """Whatever comes within `timeout`. Raises Forbidden, Unreachable (not connected)."""
        answers: list[Msg] = []
        with _Expected(self, subject, timeout, answers.append) as over, suppress(TimedOut):
            await self._connection.publish(subject, data, over.reply, headers)
            await over.future
        return [answer for answer in answers if not is_status(answer, NO_RESPONDERS)]


def is_status(message: Msg, status: str) -> bool:
    """Whether it is the server's own status message: no body, and a status line where a message has none."""
    return not message.data and message.headers is not None and message.headers.get("Status") == status


class _Expected:
    """What one request waits for: a reply subject, and a future for the first answer, a refusal, or the time-out."""

    __slots__ = ("_forget", "_replies", "_subject", "_timer", "_token", "future", "reply")

    def __init__(
        self, replies: Replies, subject: str, timeout: float, take: Callable[[Msg], None] | None = None
    ) -> None:
        """`take` gets what arrives, instead of the future."""
        loop = asyncio.get_running_loop()
        self._replies, self._subject = replies, subject
        self.future: asyncio.Future[Any] = loop.create_future()
        self._token, self.reply = replies.expect(self.future, take or self.take)
        self._forget = replies.refusals(subject, self.future)
        self._timer = loop.call_later(timeout, self._expire, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._forget()
        self._replies.forget(self._token, self.future)
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()  # seen, even where the caller had given up before

    def take(self, message: Msg) -> None:
        """This is the answer."""
        if not self.future.done():
            self.future.set_result(message)

    def _expire(self, timeout: float) -> None:
        if not self.future.done():
            self.future.set_exception(TimedOut(f"no answer from {self._subject} in {timeout:g} s"))

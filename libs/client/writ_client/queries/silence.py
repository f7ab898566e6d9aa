"""Find out who does not reply while a command waits: NATS, or the service behind a request.

A principal cannot discover services, so each is asked one of its own queries that needs no other service.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import cast

from msgspec import Struct

from writ_bus import tasks
from writ_bus.errors import BusError, TimedOut, Unreachable
from writ_bus.port import Bus, Message
from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.failures import passes
from writ_contracts.ids import encode_id
from writ_contracts.policy.versions import PolicyStatusQuery
from writ_contracts.questions import QUESTIONS
from writ_contracts.requests import Failure, OperationQuery
from writ_contracts.wire import JSON, decode, encode

TICK = 0.4
PING_SECONDS = 1.3
"""A NATS server that works replies within milliseconds."""
LATE_SECONDS = 1.2
"""A request without a reply for so long makes the client look for the service that does not reply."""
PROBE_SECONDS = 1.2
EVERY = 5.0
"""Seconds until services are asked again, also where all of them replied: each question counts against the rate of the
principal's requests.
"""
SLOW_KINDS = frozenset({"backend_test"})
"""Queries whose reply may take long although all services work: an agent visits a host for it."""
REPLIES_AGAIN = "replies come again"
LONGEST_ERROR = 16_384
"""Bytes of a reply that is nothing but an error."""

Notice = Callable[[str], None]
_ANSWERED_BY = {one.kind: one.answered_by for one in QUESTIONS}


class _Waiting(Struct):
    """Requests without a reply: the first since when, and the latest subject."""

    since: float
    subject: str


class _ErrorOnly(Struct):
    """The part that every reply has."""

    error: Failure | None = None


class SilenceWatch:
    """A bus that notices silence. `notice` gets each change, in a few words."""

    def __init__(self, bus: Bus, principal: str, server: str, notice: Notice) -> None:
        self._bus = bus
        self._principal, self._server = principal, server
        self._notice = notice
        self._waiting: _Waiting | None = None
        self._asked = 0.0
        self._asked_for: _Waiting | None = None
        self._silent = ""
        self._watching = tasks.spawn(self._watch(), "silence")

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """Send the request. An attempt without a reply does not end the silence, nor does a reply of one service that
        another one is away.
        """
        if self._waiting is None:
            self._waiting = _Waiting(self._now(), subject)
        self._waiting.subject = subject
        try:
            reply = await self._bus.request(subject, data, timeout=timeout, headers=headers)
        except (Unreachable, TimedOut):
            raise
        except BaseException:
            self._waiting = None
            raise
        if not _says_away(reply):
            self._waiting = None
            self._say("")
        return reply

    async def drain(self, grace: float) -> None:
        """End the watch, and drain the bus."""
        self._watching.cancel()
        await self._bus.drain(grace)

    async def close(self) -> None:
        """End the watch, and close the bus."""
        self._watching.cancel()
        await self._bus.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._say(await self._who_is_silent())

    def _say(self, silent: str | None) -> None:
        """Pass on a change. None: it is as before."""
        if silent is None or silent == self._silent:
            return
        self._silent, self._asked = silent, self._now()
        self._notice(f"{silent}; still waiting" if silent else REPLIES_AGAIN)

    async def _who_is_silent(self) -> str | None:
        try:
            await self._bus.ping(PING_SECONDS)
        except Unreachable:
            return f"the connection to NATS at {self._server} is lost"
        except TimedOut:
            return f"NATS at {self._server} does not reply"
        waiting = self._waiting
        if waiting is None:
            return ""
        if self._now() - waiting.since < LATE_SECONDS:
            return "" if self._of_nats else None
        asked = bool(self._silent) or self._asked_for is waiting
        if asked and not self._of_nats and self._now() - self._asked < EVERY:
            return None
        self._asked, self._asked_for = self._now(), waiting
        found = await self._silent_service(waiting.subject)
        return found if self._waiting is waiting else None

    @property
    def _of_nats(self) -> bool:
        return "NATS at " in self._silent

    async def _silent_service(self, subject: str) -> str:
        """Return which service does not reply; empty if those that can be asked do."""
        kind = subject.rpartition(".")[2]
        if subject.startswith("writ.query.") and kind in SLOW_KINDS:
            return ""
        receiver = _ANSWERED_BY.get(kind, "executor") if subject.startswith("writ.query.") else _receiver(subject)
        executor, policy = await asyncio.gather(self._asks_executor(), self._asks_policy())
        if receiver == "executor" and executor:
            return executor
        if policy:
            return policy
        return "audit does not reply, but NATS and policy do" if receiver == "audit" else ""

    async def _asks_executor(self) -> str:
        question = OperationQuery(operation_id=encode_id(os.urandom(16)))
        return await self._asks("executor", subjects.query(self._principal, "operation"), question)

    async def _asks_policy(self) -> str:
        return await self._asks("policy service", subjects.query(self._principal, "policy_status"), PolicyStatusQuery())

    async def _asks(self, name: str, subject: str, question: object) -> str:
        """Return what is wrong with the service; empty if it replies at all."""
        try:
            await self._bus.request(subject, encode(question), timeout=PROBE_SECONDS)
        except Unreachable:
            return f"no {name} is connected to NATS"
        except TimedOut:
            return f"no {name} replies, but NATS does"
        except BusError:
            return ""
        return ""


def _says_away(reply: Message) -> bool:
    """Return whether the reply is an error that passes once another service is back."""
    if len(reply.data) > LONGEST_ERROR:
        return False
    try:
        return passes(decode(reply.data, _ErrorOnly, content_type=reply.headers.get("Content-Type", JSON)).error)
    except Invalid:
        return False  # the caller, who knows its type, reports it


def _receiver(subject: str) -> str:
    return "policy" if subject.startswith(("writ.approval.", "writ.scan.")) else "executor"


def noticing(bus: Bus, principal: str, server: str, notice: Notice) -> Bus:
    """Return a bus that passes on who does not reply, and when replies come again."""
    return cast("Bus", SilenceWatch(bus, principal, server, notice))

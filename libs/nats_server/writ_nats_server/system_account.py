"""Requests to NATS servers that only the key of the system account may send: reloads, health, activity of connections.

Source: server/events.go and server/monitor.go of nats-server.
"""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

import msgspec
from msgspec import Struct, field

from writ_bus.backoff import backoff
from writ_bus.errors import BusRefused, Unreachable
from writ_bus.nats.jetstream import ApiError
from writ_bus.nats.monitoring import PINGED, STATE, WITHIN, ping
from writ_bus.port import Bus

CONNECTIONS = "$SYS.REQ.SERVER.PING.CONNZ"
RELOAD = "$SYS.REQ.SERVER.{id}.RELOAD"
WHO = "$SYS.REQ.SERVER.PING.IDZ"
USER = "$SYS.REQ.USER.INFO"
HEALTH = "$SYS.REQ.SERVER.PING.HEALTHZ"
RELOAD_WITHIN = 10.0
HEALTH_WITHIN = 5.0
CREATED_WITHIN = 2.0
"""Seconds for which a server may report a stream as not recovered while it creates or deletes it."""
NOT_NOW = "reload not supported"
NOT_RECOVERED = "could not be recovered"
_METADATA = re.compile(r"\[WRN\].*(checksums? |metafile)")
REPAIR = "docs/operating/disasters.md (NATS does not recover a stream) has the repair"


class _Id(Struct, frozen=True):
    name: str
    id: str


class _Connection(Struct, frozen=True):
    last_activity: datetime


class _Connections(Struct, frozen=True):
    now: datetime
    connections: list[_Connection] = field(default_factory=list)


class _Health(Struct, frozen=True):
    error: str = ""


class _HealthReply(Struct, frozen=True):
    data: _Health = _Health()


class _Loaded(Struct, frozen=True):
    server_id: str
    server_name: str
    now: datetime
    config_load_time: datetime


class _User(Struct, frozen=True):
    account: str


class _UserReply(Struct, frozen=True):
    data: _User


class _Reloaded(Struct, frozen=True):
    error: ApiError | None = None


async def account_of(bus: Bus) -> str:
    """Return the account of this connection. Raises BusRefused for another reply, Forbidden, Unreachable, TimedOut."""
    answer = await bus.request(USER, b"", timeout=WITHIN)
    try:
        return msgspec.json.decode(answer.data, type=_UserReply).data.account
    except msgspec.DecodeError as error:
        raise BusRefused(f"{USER}: not the reply of a NATS server: {error}") from error


async def idle_seconds(bus: Bus, key: str) -> float | None:
    """Return the time since a connection by this key last sent something, closed ones included, with the key of the
    system account; None where no server has had one. Raises Unreachable, BusRefused.
    """
    question = {"user": key, "auth": True, "state": 2}  # all: open and closed
    answers = [found for _, found in await ping(bus, CONNECTIONS, question, _Connections)]
    ages = [(one.now - each.last_activity).total_seconds() for one in answers for each in one.connections]
    return min(ages, default=None)


async def reload_all(bus: Bus, least: int = 1) -> None:
    """Have all servers reload their files, with the key of the system account. Twice: nats-server 2.15 connects the
    service imports of a new account only at the next reload.

    Raises BusRefused with a server's own message if it refuses its file, Unreachable if fewer than `least` reply.
    """
    known = [
        msgspec.json.decode(message.data, type=_Id) for message in await bus.request_many(WHO, b"", timeout=WITHIN)
    ]
    if len(known) < least:
        raise Unreachable(f"{len(known)} NATS servers reply with their names, expected {least}")
    await _reload(bus, known)


async def reload_late(bus: Bus, seconds: float) -> list[str]:
    """Have those servers reload their files that last loaded them more than `seconds` ago; return their names.

    A server that hung at a reload of all does not load its file by itself when it goes on. Each server's own clock
    counts. Raises as `reload_all`.
    """
    found = [one for _, one in await ping(bus, PINGED[STATE], {}, _Loaded)]
    late = [one for one in found if (one.now - one.config_load_time).total_seconds() > seconds]
    await _reload(bus, [_Id(name=one.server_name, id=one.server_id) for one in late])
    return [one.server_name for one in late]


async def _reload(bus: Bus, servers: Sequence[_Id]) -> None:
    for _ in range(2):
        for server in servers:
            answer = await bus.request(RELOAD.format(id=server.id), b"", timeout=RELOAD_WITHIN)
            error = msgspec.json.decode(answer.data, type=_Reloaded).error
            if error is not None:
                later = " (this takes effect when it is started again)" if NOT_NOW in error.description else ""
                raise BusRefused(f"{server.name} refuses its configuration: {error.description.strip()}{later}")


async def require_recovered(bus: Bus) -> None:
    """Raises BusRefused if a NATS server that runs alone has a stream on its disk that it did not recover; Unreachable,
    TimedOut.

    A stream created then has the former events under another identity, which services refuse, until the next start.
    """
    give_up = asyncio.get_running_loop().time() + CREATED_WITHIN
    for pause in backoff():
        answer = await bus.request(HEALTH, b"", timeout=HEALTH_WITHIN)
        problem = msgspec.json.decode(answer.data, type=_HealthReply).data.error
        if NOT_RECOVERED not in problem:
            return
        if asyncio.get_running_loop().time() > give_up:
            refuse_unrecovered(problem)
        await asyncio.sleep(pause)


def refuse_unrecovered(problem: str, log: str = "") -> NoReturn:
    """Raises BusRefused with the problem that a server reports, and the reason in its log."""
    reasons = [line for line in log.splitlines() if _METADATA.search(line)]
    reason = f" ({reasons[-1].rpartition('] ')[2].strip()})" if reasons else ""
    raise BusRefused(f"nats-server: {problem}{reason}. Its events may be whole: {REPAIR}")

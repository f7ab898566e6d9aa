"""The journal's usage for `writ status`, read by the key `status`, or the reason why it is not known."""

import asyncio
import os

from msgspec import Struct

from writ_bus.errors import BusError
from writ_bus.nats.bus import connect
from writ_bus.port import Usage
from writ_contracts.errors import ConfigError, TimedOut
from writ_installation.files.home import Home
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls

NO_NATS = "NATS does not answer"
STATUS_KEY = "status"


class JournalReading(Struct, frozen=True, kw_only=True):
    """The journal's usage, or the reason why it is not known; `asked`: NATS had a request for it."""

    usage: Usage | None = None
    problem: str = ""
    asked: bool = True


async def read_journal(home: Home, url: str, within: float) -> JournalReading:
    """Return the journal's usage, or why there is none. A stopped server accepts connections."""
    try:
        async with asyncio.timeout(within):
            return JournalReading(usage=await _usage(home, url))
    except (TimedOut, TimeoutError):
        return JournalReading(problem=NO_NATS)
    except BusError as error:
        return JournalReading(problem=str(error))
    except ConfigError as error:
        return JournalReading(problem=f"{error}{_new_key(home, error)}", asked=False)


def _new_key(home: Home, error: ConfigError) -> str:
    """Return how to replace the key of `writ status` if it is lost (docs/operating/files.md), "" if it is not."""
    if not isinstance(error.__cause__, FileNotFoundError):
        return ""
    if home.in_containers:
        return "; `init` makes a new one, then restart everything"
    if home.split:
        return "; `writ init --system --upgrade` makes a new one, then restart everything"
    return "; `writ down`, then `writ up` make a new one"


async def _usage(home: Home, url: str) -> Usage:
    bus = await connect(options_of(home, STATUS_KEY, url, client_tls(home, os.environ)))
    try:
        return await bus.journal.usage()
    finally:
        await bus.connection.close()  # nothing is open: a last round trip to a stopped server takes a second

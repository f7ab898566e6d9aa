"""A service's connection to NATS: its key from a private file, its role's inbox, TLS if configured."""

import asyncio

from writ_bus.backoff import backoff
from writ_bus.errors import BusRefused, TimedOut, Unreachable
from writ_bus.nats.bus import connect
from writ_bus.nats.connection import OnViolation, Options
from writ_bus.nats.jetstream import STREAM_NOT_FOUND
from writ_bus.nats.tls import TlsOptions
from writ_bus.port import Bus
from writ_bus.private_files import read_private
from writ_bus.traced_bus import traced
from writ_contracts.errors import ConfigError, Invalid
from writ_runtime.config import ServiceConfig
from writ_runtime.logs import Log
from writ_trust.keys import Key

JOURNAL_WITHIN = 20.0
"""Seconds in which the journal has to be there: the servers of a cluster that starts elect a leader in up to 8 s."""


def load_key(config: ServiceConfig) -> Key:
    """Return the process's own key. Raises ConfigError, naming the file and never showing the key."""
    try:
        return Key(read_private(config.key_file), config.installation)
    except Invalid as error:
        raise ConfigError(f"{config.key_file}: {error}") from error


async def connect_as(
    role: str, config: ServiceConfig, key: Key, *, on_violation: OnViolation | None = None, wait: float = 30.0
) -> Bus:
    """Yield the bus, connected as `role` (`executor`, `agent-<pool>`, …). Raises Unreachable, Forbidden."""
    options = Options(
        name=f"writ-{role}",
        servers=[server.strip() for server in config.nats_url.split(",")],
        seed=key.seed,
        inbox_prefix=f"_INBOX_{role}",
        tls=_tls(config),
        plaintext=config.plaintext == "allow",
        wait=wait,
        on_violation=on_violation,
    )
    return traced(await connect(options))


async def await_journal(bus: Bus, log: Log) -> None:
    """Wait until the journal is made and has a leader, for JOURNAL_WITHIN; log the reason once. Raises BusError."""
    give_up, reason = asyncio.get_running_loop().time() + JOURNAL_WITHIN, ""
    for pause in backoff(first=0.1):
        try:
            await bus.journal.usage()
        except (Unreachable, TimedOut, BusRefused) as error:
            is_passing = not isinstance(error, BusRefused) or error.number == STREAM_NOT_FOUND
            if not is_passing or asyncio.get_running_loop().time() >= give_up:
                raise
            if not reason:
                reason = str(error)
                log.warning("service.waits", what="the journal", reason=reason)
        else:
            return
        await asyncio.sleep(pause)


def _tls(config: ServiceConfig) -> TlsOptions | None:
    if config.tls_ca is None:
        return None
    certificate, key = config.tls_cert, config.tls_key
    return TlsOptions(
        ca=config.tls_ca,
        certificate=str(certificate) if certificate else None,
        key=str(key) if key else None,
    )

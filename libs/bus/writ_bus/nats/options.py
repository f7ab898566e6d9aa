"""Options of a NATS client: user, servers, and reconnection."""

import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from nats.aio.client import Server

from writ_bus.nats.tls import TlsOptions

_jitter = random.SystemRandom()

OnViolation = Callable[[str, str], None]


class Options(Struct, frozen=True, kw_only=True):
    """The address of the server, and the user."""

    name: str
    servers: list[str]
    seed: bytes
    """The nkey seed (SU…) of the user."""
    inbox_prefix: str
    """Prefix of this user's reply subjects, without the last dot."""
    tls: TlsOptions | None = None
    wait: float = 5.0
    """Seconds the first connect may take, in all."""
    probe_every: float = 5.0
    probe_patience: float = 10.0
    """A connection on which a probe gets no reply for that long is dead, even if TCP is up; together below 30 s."""
    client: str = msgspec.field(default_factory=lambda: client_of(os.environ))
    """`direct` or `plain`."""
    plaintext: bool = msgspec.field(default_factory=lambda: plaintext_of(os.environ))
    """Whether servers beyond this machine may be reached without TLS."""
    on_violation: OnViolation | None = None
    """Called with `publish` or `subscription` and the subject (in lower case, as nats-py passes it)."""


def next_server(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """Return one of the servers with the fewest failures, after a pause growing to 2 s, with jitter, so a fleet does
    not reconnect at once.
    """
    least = min(server.reconnects for server in servers)
    server = _jitter.choice([server for server in servers if server.reconnects == least])
    return server, min(2.0, 0.05 * 2 ** min(server.reconnects, 6)) * _jitter.uniform(0.5, 1.0)


def client_of(environ: Mapping[str, str]) -> str:
    """Return WRIT_NATS_CLIENT: `direct`, the default, or `plain`."""
    return environ.get("WRIT_NATS_CLIENT") or "direct"


def plaintext_of(environ: Mapping[str, str]) -> bool:
    """Return whether WRIT_NATS_PLAINTEXT is `allow`."""
    return environ.get("WRIT_NATS_PLAINTEXT") == "allow"

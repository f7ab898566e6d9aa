"""Options of a NATS client: user, servers, certificates, and reconnection."""

import os
import random
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from nats.aio.client import Server

_jitter = random.SystemRandom()

OnViolation = Callable[[str, str], None]


class TlsOptions(Struct, frozen=True, kw_only=True):
    """Paths of PEM files; `certificate` and `key` where the server asks for the client's own."""

    ca: str
    certificate: str | None = None
    key: str | None = None


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


def tls_of(environ: Mapping[str, str]) -> TlsOptions | None:
    """Return the options from WRIT_TLS_CA, WRIT_TLS_CERT and WRIT_TLS_KEY; None without the first."""
    ca = environ.get("WRIT_TLS_CA")
    if not ca:
        return None
    certificate, key = environ.get("WRIT_TLS_CERT"), environ.get("WRIT_TLS_KEY")
    return TlsOptions(ca=ca, certificate=certificate or None, key=key or None)


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """Return a context for TLS 1.3 which verifies the server against `ca`, with our own certificate if there is one."""
    context = ssl.create_default_context(cafile=options.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if options.certificate:
        context.load_cert_chain(options.certificate, options.key, password="")  # never ask a terminal for one
    return context

"""How a client connects: as whom, where, with which certificates, and how it comes back after it lost the server."""

import random
import ssl
from collections.abc import Callable, Mapping
from typing import Any

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
    """How to reach the server, and as whom."""

    name: str
    servers: list[str]
    seed: bytes
    """The nkey seed (SU…) of the user."""
    inbox_prefix: str
    """Where this user may listen for answers, without the last dot."""
    tls: TlsOptions | None = None
    wait: float = 5.0
    """How long the first connect may take, in all."""
    probe_every: float = 5.0
    probe_patience: float = 10.0
    """A connection on which a probe gets no answer for that long is dead, whatever TCP says; together below 30 s."""
    on_violation: OnViolation | None = None
    """Called with `publish` or `subscription` and the subject (in lower case, as nats-py hands it on)."""


def next_server(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """Any of the servers that failed least, after a pause that grows to 2 s, with jitter: fleets must not march."""
    least = min(server.reconnects for server in servers)
    server = _jitter.choice([server for server in servers if server.reconnects == least])
    return server, min(2.0, 0.05 * 2 ** min(server.reconnects, 6)) * _jitter.uniform(0.5, 1.0)


def tls_of(environ: Mapping[str, str]) -> TlsOptions | None:
    """Return what WRIT_TLS_CA, WRIT_TLS_CERT and WRIT_TLS_KEY say; None without the first."""
    ca = environ.get("WRIT_TLS_CA")
    if not ca:
        return None
    certificate, key = environ.get("WRIT_TLS_CERT"), environ.get("WRIT_TLS_KEY")
    return TlsOptions(ca=ca, certificate=certificate or None, key=key or None)


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """TLS 1.3, the server verified against `ca`, our own certificate if there is one."""
    context = ssl.create_default_context(cafile=options.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if options.certificate:
        context.load_cert_chain(options.certificate, options.key, password="")  # never ask a terminal for one
    return context

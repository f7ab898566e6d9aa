"""TLS of a NATS client: the trusted certificates, and the servers that it may reach without TLS.

`client.encrypted` prevents a downgrade of nats-py's TLS.
"""

import base64
import binascii
import ipaddress
import ssl
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from writ_contracts.errors import ConfigError

PINNED = "der:"
"""Prefix of certificates that are spelled out (base64, separated by commas) in place of the path of a file."""
STREAM_SCHEMES = ("nats", "tls")
SCHEMES = (*STREAM_SCHEMES, "ws", "wss")
ENCRYPTED_SCHEMES = ("tls", "wss")
REASONS = {
    9: "its certificate is not valid yet: compare the clocks",
    10: "its certificate has expired",
    18: "its certificate is not signed by a CA that is trusted here",
    19: "its certificate is not signed by a CA that is trusted here",
    20: "its certificate is not signed by a CA that is trusted here",
    21: "its certificate is not signed by a CA that is trusted here",
    62: "its certificate is for another name",
    64: "its certificate is for another address",
}
"""By OpenSSL's verification codes (X509_V_ERR_…, x509_vfy.h)."""


class TlsOptions(Struct, frozen=True, kw_only=True):
    """`ca`: the path of a PEM file, or `der:…`; `certificate` and `key`: PEM files, where the server requires one."""

    ca: str
    certificate: str | None = None
    key: str | None = None


def tls_of(environ: Mapping[str, str]) -> TlsOptions | None:
    """Return the options from WRIT_TLS_CA, WRIT_TLS_CERT and WRIT_TLS_KEY; None without the first."""
    ca = environ.get("WRIT_TLS_CA")
    if not ca:
        return None
    certificate, key = environ.get("WRIT_TLS_CERT"), environ.get("WRIT_TLS_KEY")
    return TlsOptions(ca=ca, certificate=certificate or None, key=key or None)


def pinned(certificates: Iterable[bytes]) -> str:
    """Return these certificates (DER) in the form for `TlsOptions.ca`: no file can be missing or exchanged."""
    return PINNED + ",".join(base64.b64encode(one).decode() for one in certificates)


def tls_context(options: TlsOptions | None) -> ssl.SSLContext:
    """Return a context for TLS 1.3 that verifies the server; without options by the CAs of this machine.

    Raises ConfigError, which names the file.
    """
    context = ssl.create_default_context() if options is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if options is not None:
        trust(context, options)
    return context


def trust(context: ssl.SSLContext, options: TlsOptions) -> None:
    """Load the files, again after a change: a CA that was added counts at the next connection."""
    try:
        _load_ca(context, options.ca)
    except (OSError, binascii.Error, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(f"WRIT_TLS_CA: {_shown(options.ca)} has no usable certificates: {error}") from error
    if options.certificate:
        try:
            context.load_cert_chain(options.certificate, options.key, password="")  # never ask a terminal for one
        except OSError as error:
            raise ConfigError(f"WRIT_TLS_CERT: {options.certificate} cannot be used: {error}") from error


def _load_ca(context: ssl.SSLContext, ca: str) -> None:
    if not ca.startswith(PINNED):
        context.load_verify_locations(cafile=ca)
        return
    for one in ca.removeprefix(PINNED).split(","):
        context.load_verify_locations(cadata=base64.b64decode(one, validate=True))


def _shown(ca: str) -> str:
    return ca if len(ca) < 200 else f"{ca[:60]}…"


def uses_tls(servers: Sequence[str], options: TlsOptions | None) -> bool:
    """Return whether connections to these servers must be encrypted."""
    return options is not None or any(_scheme(url) in ENCRYPTED_SCHEMES for url in servers)


def check_schemes(servers: Sequence[str]) -> None:
    """Raises ConfigError for a URL with a scheme that nats-py does not know: it would take it for a host's name."""
    for url in servers:
        if (scheme := _scheme(url)) not in SCHEMES:
            shown = _without_password(url)
            raise ConfigError(
                f"{shown} is not the URL of a NATS server: its scheme is {scheme!r}, and must be one of "
                f"{', '.join(SCHEMES)}, as in nats://127.0.0.1:4222"
            )


def check_encrypted(servers: Sequence[str], options: TlsOptions | None) -> None:
    """Raises ConfigError for a server beyond this machine that would be reached without TLS."""
    for url in servers:
        if not is_loopback(url) and not _is_encrypted(url, options):
            raise ConfigError(
                f"{_without_password(url)} is on another machine and has no TLS: use tls:// with WRIT_TLS_CA, or set "
                "WRIT_NATS_PLAINTEXT=allow where the network itself is private"
            )


def _is_encrypted(url: str, options: TlsOptions | None) -> bool:
    scheme = _scheme(url)
    return scheme in ENCRYPTED_SCHEMES or (options is not None and scheme in STREAM_SCHEMES)


def is_loopback(url: str) -> bool:
    """Return whether the URL is one of this machine's own."""
    return is_loopback_host(urlsplit(url if "://" in url else f"nats://{url}").hostname or "")


def is_loopback_host(host: str) -> bool:
    """Return whether the address, or name, is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_password(url: str) -> str:
    """Return the URL without user and password, which stand before the last @ of its address."""
    scheme, _, rest = url.partition("://") if "://" in url else ("", "", url)
    shown = rest.rpartition("@")[2]
    return f"{scheme}://{shown}" if scheme else shown


def _scheme(url: str) -> str:
    return urlsplit(url.strip()).scheme if "://" in url else "nats"


def reason(error: BaseException | None) -> str | None:
    """Return the reason for which TLS failed, with what to do; None for any other error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = REASONS.get(error.verify_code, f"its certificate is not valid: {error.verify_message}")
        return f"{text} (WRIT_TLS_CA)" if error.verify_code in (18, 19, 20, 21) else text
    if isinstance(error, ssl.SSLError):
        spoken = error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
        return "it does not offer TLS, which this client requires" if spoken else f"TLS: {error.reason}"
    return None

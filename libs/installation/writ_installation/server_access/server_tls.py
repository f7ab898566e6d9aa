"""TLS of an installation's NATS servers: `tls.yaml`, the CA, and the certificate that is renewed before it ends.

Each certificate has a number and files of its own, so that a reload of NATS never reads half of a pair. Clients trust
the CA; a new CA is also signed by the former one, until `finish_rotation`.
"""

import fcntl
import os
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta, Struct

from writ_bus.nats.options import plaintext_of
from writ_bus.nats.tls import TlsOptions, check_encrypted, is_loopback_host, pinned, tls_of
from writ_contracts.errors import ConfigError, Conflict, Invalid
from writ_documents import atomic_files, shapes, yaml_file
from writ_documents.atomic_files import write_atomically
from writ_installation.files.home import Home
from writ_installation.server_access.issued_certificate import (
    IssuedCertificate,
    certificate_file,
    digest_of,
    issued,
    key_file,
    state_file,
)
from writ_nats_server.cluster import TlsFiles
from writ_runtime.files.watched_file import stamp

RENEWED, USED = timedelta(days=30), timedelta(days=60)  # before the end of a certificate, and from its begin on
KEPT = 2  # a server that has not reloaded yet reads the former certificate at a restart
HEAD = """# TLS of NATS. mode: required; offered, for as long as clients without TLS are left; off.
# names: of its servers, as clients spell them.
"""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
BEGIN = b"-----BEGIN"

Mode = Literal["required", "offered", "off"]
ServerName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,253}(?!\n)$")]


class TlsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `tls.yaml`."""

    mode: Mode
    names: Annotated[list[ServerName], Meta(max_length=64)] = []


def read_settings(home: Home) -> TlsSettings | None:
    """Return the settings; None without the file, as in an installation older than it. Raises ConfigError."""
    return shapes.convert(yaml_file.read(home.tls_file), TlsSettings) if home.tls_file.exists() else None


def is_on(home: Home) -> bool:
    """Return whether NATS's servers use TLS."""
    settings = read_settings(home)
    return settings is not None and settings.mode != "off"


def write_settings(home: Home, mode: Mode, names: Iterable[str]) -> None:
    """Write the settings. Raises ConfigError for a name that is none."""
    try:
        settings = msgspec.convert({"mode": mode, "names": list(dict.fromkeys(names))}, TlsSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"names of NATS's certificate: {error}") from None
    atomic_files.save(home.tls_file, (HEAD + yaml_file.dump(msgspec.to_builtins(settings))).encode())


def own_names(listen: str, urls: str = "") -> list[str]:
    """Return the names of a server of this machine that listens there and that others reach by these URLs."""
    hosts = [urlsplit(url if "://" in url else f"nats://{url}").hostname or "" for url in urls.split(",") if url]
    everywhere = listen in ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to
    found = (*hosts, *(() if everywhere else (listen,)), socket.gethostname(), *LOCAL_NAMES)
    return list(dict.fromkeys(filter(None, found)))


def set_up(home: Home, mode: Mode, names: Sequence[str], now: float) -> None:
    """Make the missing parts: settings, CA, certificate."""
    if not home.tls_file.exists():
        write_settings(home, mode, names)
    if is_on(home):
        make_ca(home, now)
        renew(home, now)


def make_ca(home: Home, now: float) -> None:
    """Make the CA, unless there is one."""
    if home.ca_file.exists():
        return
    from writ_installation.server_access.certificates import make_authority  # noqa: PLC0415 - it takes longer than all else

    made = make_authority(home.installation, _time(now))
    home.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(home.ca_key, made.private)
    atomic_files.save(home.ca_file, made.public)


@contextmanager
def _one_at_a_time(home: Home) -> Iterator[None]:
    """Keep the command and the provisioner from writing the files of one certificate, or of the CA, together."""
    home.certificates.mkdir(mode=0o700, exist_ok=True)
    folder = os.open(home.certificates, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def certificate_end(home: Home) -> float | None:
    """Return the end of the certificate in Unix seconds; None without TLS, and to users that may not read it."""
    with suppress(ConfigError, OSError):
        if is_on(home) and (known := issued(home)) is not None:
            return known.ends
    return None


def is_due(home: Home, now: float) -> bool:
    """Return whether there is to be another certificate: before its end or begin, for other names, by another CA."""
    settings = read_settings(home)
    if settings is None or settings.mode == "off":
        return False
    known = issued(home)
    return known is None or known.names != settings.names or known.chain != _chain(home) or _is_out(known, now)


def _is_out(known: IssuedCertificate, now: float) -> bool:
    # One that begins later was issued while the clock was ahead, or the clock is behind now, as it is before the CA's
    # begin. The certificate that replaces it may last longer than others, but is not used longer.
    is_old = known.ends - now < RENEWED.total_seconds() or 0 < known.begins < now - USED.total_seconds()
    return is_old or known.ca_begins <= now < known.begins


def tls_state(home: Home, now: float) -> list[object]:
    """Return a state that changes when a file of TLS does, or the certificate is to be renewed."""
    with suppress(ConfigError):  # the code that applies the files names the mistake
        known = issued(home)
        files = [home.tls_file, home.ca_file, state_file(home)]
        files += [certificate_file(home, known.number)] if known else []
        return [*map(stamp, files), known is not None and _is_out(known, now)]
    return []


def renew(home: Home, now: float) -> str:
    """Issue a certificate where one is due; return the reason for which it could not be done, "" without one."""
    if not is_due(home, now):
        return ""
    with _one_at_a_time(home):
        return _renew(home, now)


def _renew(home: Home, now: float) -> str:
    settings = read_settings(home)
    if settings is None or not is_due(home, now):  # another process was faster
        return ""
    known = issued(home)
    if not _has_ca_key(home):
        if known is None:
            raise ConfigError(f"{home.ca_key} is missing: NATS has no certificate, and none can be made")
        return f"NATS's certificate ends {_time(known.ends):%Y-%m-%d} and cannot be renewed without {home.ca_key}"
    # Where the clock is behind, clients with a right one must still accept the new certificate.
    until = known.ends if known is not None and now < known.begins else now
    return _issue(home, settings.names, 1 if known is None else known.number + 1, now, until)


def _issue(home: Home, names: list[str], number: int, now: float, until: float) -> str:
    from writ_installation.server_access.certificates import is_pair, issue, period_of  # noqa: PLC0415 - as above
    from writ_installation.server_access.cluster_certificate import Certificate  # noqa: PLC0415

    authority = Certificate(first_of(home.ca_file.read_bytes()), home.ca_key.read_bytes())
    if not is_pair(authority):
        return f"NATS's certificate is not renewed: {home.ca_key} is not the key of {home.ca_file}"
    made, chain = issue(authority, names or LOCAL_NAMES, _time(now), _time(until)), _chain(home)
    home.certificates.mkdir(mode=0o700, exist_ok=True)
    atomic_files.save(key_file(home, number), made.private)  # in a shared folder for the group of NATS's user alone
    pem = made.public + chain.encode()
    atomic_files.save(certificate_file(home, number), pem)
    begins, ends, ca_begins, _ = (at.timestamp() for one in (made, authority) for at in period_of(one.public))
    state = IssuedCertificate(
        number=number,
        names=names,
        begins=begins,
        ends=ends,
        chain=chain,
        ca_begins=ca_begins,
        digest=digest_of(pem),
    )
    atomic_files.save(state_file(home), msgspec.json.format(msgspec.json.encode(state)))
    for old in range(max(number - 8, 1), number - KEPT + 1):
        key_file(home, old).unlink(missing_ok=True)
        certificate_file(home, old).unlink(missing_ok=True)
    return ""


def server_files(home: Home) -> TlsFiles | None:
    """Return the files for NATS's servers; None without TLS. Raises ConfigError before the first certificate."""
    settings = read_settings(home)
    if settings is None or settings.mode == "off":
        return None
    known = issued(home)
    if known is None:
        raise ConfigError(f"{home.tls_file}: there is no certificate yet: `writ init --upgrade` makes it")
    paths = str(certificate_file(home, known.number)), str(key_file(home, known.number))
    return TlsFiles(certificate=paths[0], key=paths[1], required=settings.mode == "required")


def client_tls(home: Home, environ: Mapping[str, str]) -> TlsOptions | None:
    """Return the options of a client on this machine: its environment's, or else the installation's own CA."""
    found = tls_of(environ)
    if found is not None or environ.get("NATS_URL") or not is_on(home):
        return found
    return TlsOptions(ca=str(home.ca_file))


def pinned_ca(home: Home) -> str:
    """Return the CA for clients on other machines; "" without TLS."""
    if not is_on(home):
        return ""
    return pinned([ssl.PEM_cert_to_DER_cert(first_of(home.ca_file.read_bytes()).decode())])


def encrypted(urls: str) -> str:
    """Return these URLs with the scheme for TLS."""
    return ",".join(_encrypted(url.strip()) for url in urls.split(","))


def _encrypted(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    scheme = {"nats": "tls", "ws": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, "", "", ""))


def with_scheme(home: Home, urls: str) -> str:
    """Return URLs of this installation's servers as its clients must write them."""
    return encrypted(urls) if is_on(home) else urls


def check_names(home: Home, urls: str) -> None:
    """Raises Invalid for a name missing in NATS's certificate: no client would accept it."""
    settings = read_settings(home)
    if settings is None or settings.mode == "off":
        return
    for url in urls.split(","):
        host = urlsplit(encrypted(url.strip())).hostname or ""
        if host not in {name.lower() for name in settings.names}:
            raise Invalid(f"NATS's certificate is not for {host}: add it to `names` in {home.tls_file}")


def check_exposed(urls: str, ca: str, environ: Mapping[str, str]) -> None:
    """Raises Invalid for an address at which other hosts would reach NATS without TLS."""
    try:
        if not plaintext_of(environ):
            check_encrypted([url.strip() for url in urls.split(",")], TlsOptions(ca=ca) if ca else None)
    except ConfigError as error:
        raise Invalid(f"{error}. docs/operating/tls.md describes how to enable TLS for NATS") from None


def exposure(home: Home, listen: str) -> str:
    """Return the warning of a server reached by others without TLS; "" for any other."""
    settings = read_settings(home)
    if is_loopback_host(listen):
        return ""
    if settings is None:
        return f"NATS listens on {listen} without TLS: `writ init --upgrade` enables TLS"
    if settings.mode == "offered":
        return f"NATS on {listen} also serves clients without TLS: {home.tls_file}, mode: required"
    return ""


def plaintext(home: Home, listen: str) -> str:
    """Return the note that somebody has turned TLS off for a server that others reach; it is no fault."""
    settings = read_settings(home)
    if is_loopback_host(listen) or settings is None or settings.mode != "off":
        return ""
    return f"NATS listens on {listen} without TLS ({home.tls_file}, mode: off): only for a network that is encrypted"


def rotate_ca(home: Home, now: float) -> None:
    """Make a new CA, which the former one signs, too. Raises Conflict while another rotation is under way."""
    with _one_at_a_time(home):
        _rotate_ca(home, now)


def _rotate_ca(home: Home, now: float) -> None:
    from writ_installation.server_access.certificates import cross_sign, is_pair, make_authority  # noqa: PLC0415 - as above
    from writ_installation.server_access.cluster_certificate import Certificate  # noqa: PLC0415

    present = home.ca_file.read_bytes()
    if _chain(home):
        raise Conflict("a rotation of the CA is under way: end it first with `writ tls rotate-ca --finish`")
    if not _has_ca_key(home):
        raise ConfigError(f"{home.ca_key} is missing: only the key of the present CA can sign a new one")
    former = Certificate(first_of(present), home.ca_key.read_bytes())
    if not is_pair(former):
        raise ConfigError(f"{home.ca_key} is not the key of {home.ca_file}: is it {_former_key(home)}?")
    made = make_authority(home.installation, _time(now))
    write_atomically(_former_key(home), former.private)
    write_atomically(home.ca_key, made.private)
    trusted = made.public + cross_sign(made.public, former) + first_of(present)  # NATS has the former's until a reload
    atomic_files.save(home.ca_file, trusted)


def finish_rotation(home: Home) -> None:
    """Trust the new CA alone from now on. Raises Conflict where no rotation is under way."""
    if not _chain(home):
        raise Conflict("no rotation of the CA is under way")
    atomic_files.save(home.ca_file, first_of(home.ca_file.read_bytes()))
    _former_key(home).unlink(missing_ok=True)


def first_of(pem: bytes) -> bytes:
    """Return the first certificate of a PEM file."""
    _, begin, rest = pem.partition(BEGIN)
    return begin + rest.partition(BEGIN)[0]


def _chain(home: Home) -> str:
    """Return the second certificate of ca.pem, the CA as the former one signs it; "" where no rotation is under way."""
    with suppress(FileNotFoundError):
        return first_of((text := home.ca_file.read_bytes())[len(first_of(text)) :]).decode()
    return ""


def _has_ca_key(home: Home) -> bool:
    """Return whether the key is here. A unit of systemd has something else in its place where there is none."""
    with suppress(OSError):
        return home.ca_key.read_bytes().startswith(BEGIN)
    return False


def _former_key(home: Home) -> Path:
    return home.ca_key.with_name("ca-former.key")


def _time(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)

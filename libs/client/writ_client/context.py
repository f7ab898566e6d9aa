"""The context of a client: address, key file, and the subjects of one principal of one installation.

`writ context PRINCIPAL -o json` writes it for any NATS client in any language; `Writ.from_context` reads it back.
"""

from pathlib import Path

import msgspec
from msgspec import Struct, field

from writ_bus.nats.bus import connect
from writ_bus.nats.connection import Options
from writ_bus.nats.tls import TlsOptions
from writ_bus.nats.tls import tls_of as tls_of
from writ_bus.port import Bus
from writ_bus.traced_bus import traced
from writ_contracts import subjects
from writ_contracts.errors import ConfigError
from writ_contracts.ids import PrincipalId
from writ_contracts.subjects import inbox_prefix


class Subjects(Struct, frozen=True, kw_only=True):
    """The subjects of a principal's requests, queries and events."""

    request: str = ""
    query: str = ""
    events: str = ""


class Context(Struct, frozen=True, kw_only=True):
    """All settings of a client except the key itself, which stays in its file."""

    principal: PrincipalId
    url: str
    key_file: str = ""
    inbox_prefix: str = ""
    subjects: Subjects = field(default_factory=Subjects)
    installation: str = ""
    """Its id, which signed requests name."""
    policy_keys: list[str] = field(default_factory=list)
    """Policy's public keys, now and before, by which signatures of records are verified."""
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


def spelled_out(context: Context) -> Context:
    """Return the context with the subjects of the principal, for clients without knowledge of Writ."""
    principal = context.principal
    return msgspec.structs.replace(
        context,
        inbox_prefix=inbox_prefix(principal),
        subjects=Subjects(
            request=subjects.request(principal, "OPERATION").replace("OPERATION", "<operation>"),
            query=subjects.query(principal, "KIND").replace("KIND", "<kind>"),
            events=subjects.events_of(principal),
        ),
    )


def read_context(path: Path) -> Context:
    """Return the context in a JSON file; its key file may be named relative to it. Raises ConfigError."""
    try:
        context = msgspec.json.decode(path.read_bytes(), type=Context)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: is not a context: {error}") from error
    return msgspec.structs.replace(context, key_file=str(path.parent / context.key_file))


async def open_bus(context: Context, seed: bytes, *, wait: float) -> Bus:
    """Connect as this principal. Raises Unreachable, and Forbidden for a key the server does not know."""
    tls = None
    if context.tls_ca is not None:
        tls = TlsOptions(ca=context.tls_ca, certificate=context.tls_cert, key=context.tls_key)
    options = Options(
        name=f"writ-{context.principal}",
        servers=context.url.split(","),
        seed=seed,
        inbox_prefix=context.inbox_prefix or inbox_prefix(context.principal),
        tls=tls,
        wait=wait,
    )
    return traced(await connect(options))

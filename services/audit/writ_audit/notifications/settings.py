"""notifications.yaml: destinations, and the kinds of notifications of each. Secrets are in files of their own."""

from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError
from writ_documents import shapes, yaml_file
from writ_documents.document import FileErrors

Kind = Literal["pending", "decided", "expired", "emergency", "stop", "window", "principal", "policy", "security"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_DESTINATIONS = 8


class Destination(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One receiver. `secret_file` signs a webhook's messages; `token_file` is ntfy's bearer token."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    kind: Literal["webhook", "ntfy"]
    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    topic: str = ""
    secret_file: str = ""
    token_file: str = ""
    events: list[Kind] = field(default_factory=lambda: list(KINDS))


class NotificationsFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `link`: the address in messages, with `{operation_id}` in it."""

    destinations: Annotated[list[Destination], Meta(max_length=MOST_DESTINATIONS)]
    link: Annotated[str, Meta(max_length=2000)] = ""


class Target(Struct, frozen=True):
    """A destination with its secret or token, empty without one."""

    destination: Destination
    secret: bytes


def read_notifications(path: Path) -> tuple[list[Target], str]:
    """Return the destinations and the link. Raises ConfigError."""
    document = yaml_file.read(path)
    file = shapes.convert(document, NotificationsFile)
    found = [
        document.problem(("destinations", at, "url"), problem)
        for at, one in enumerate(file.destinations)
        if (problem := _problem(one)) is not None
    ]
    if len({one.name for one in file.destinations}) < len(file.destinations):
        found.append(document.problem(("destinations",), "two destinations have the same name"))
    if found:
        raise FileErrors(*found)
    return [Target(one, _secret(path, one)) for one in file.destinations], file.link


def _problem(one: Destination) -> str | None:
    parts = urlsplit(one.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return "must be http:// or https://, with a host and without a password"
    if one.kind == "webhook" and not one.secret_file:
        return "a webhook needs secret_file, which signs its messages"
    if one.kind == "ntfy" and not one.topic:
        return "ntfy needs a topic beside the server's url"
    return None


def _secret(path: Path, one: Destination) -> bytes:
    named = one.secret_file if one.kind == "webhook" else one.token_file
    if not named:
        return b""
    secret = read_private(path.parent / named)
    if one.kind == "webhook" and len(secret) < 16:
        raise ConfigError(f"{path.parent / named}: a secret has 16 bytes at least: `openssl rand -hex 32`")
    return secret

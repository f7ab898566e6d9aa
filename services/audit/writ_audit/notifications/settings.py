"""The file notifications.yaml: destinations, and the kinds of notifications for each. Secrets are in separate files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError
from writ_contracts.nearest_name import near
from writ_contracts.notifications import KINDS, HttpRequest, Kind, Notification, Notifier, Receiver
from writ_documents import shapes, yaml_file
from writ_documents.document import Document, FileErrors

MOST_DESTINATIONS = 8


class Destination(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A destination in the file.

    `kind` names its notifier and `with` the notifier's options. The content of `secret_file` signs a webhook's
    messages, and is the bearer token for ntfy.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    kind: Annotated[str, Meta(min_length=1, max_length=64)]
    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    secret_file: str = ""
    options: dict[str, Any] = field(name="with", default_factory=dict)
    events: list[Kind] = field(default_factory=lambda: list(KINDS))


class NotificationsFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of notifications.yaml. `link` is the address to put into messages, with `{operation_id}` as
    placeholder.
    """

    destinations: Annotated[list[Destination], Meta(max_length=MOST_DESTINATIONS)]
    link: Annotated[str, Meta(max_length=2000)] = ""


class NotifiedDestination(Struct, frozen=True):
    """A destination with its notifier, and the receiver that is passed to the notifier."""

    destination: Destination
    notifier: Notifier
    receiver: Receiver

    def request(self, one: Notification, now: float) -> HttpRequest:
        """Return the POST request of a notification that is sent at `now` (Unix seconds).

        Raises ConfigError if its host is not the destination's, so that no text in a notification can choose the
        receiver.
        """
        made = self.notifier.request(one, self.receiver, now)
        if urlsplit(made.url)[:2] != urlsplit(self.destination.url)[:2]:
            raise ConfigError(f"the notifier {self.destination.kind} sends to another host than its url")
        return made


def read_notifications(path: Path, notifiers: Mapping[str, Notifier]) -> tuple[list[NotifiedDestination], str]:
    """Return the destinations and the link. Raises ConfigError with all problems of the file."""
    document = yaml_file.read(path)
    file = shapes.convert(document, NotificationsFile)
    problems = [
        document.problem(("destinations", at, key), problem)
        for at, one in enumerate(file.destinations)
        for key, problem in _problems(one, notifiers)
    ]
    if len({one.name for one in file.destinations}) < len(file.destinations):
        problems.append(document.problem(("destinations",), "two destinations have the same name"))
    if problems:
        raise FileErrors(*problems)
    return [
        NotifiedDestination(
            one, notifier, Receiver(one.url, _secret(path.parent, one, notifier), _options(document, at, notifier))
        )
        for at, one in enumerate(file.destinations)
        for notifier in [notifiers[one.kind]]
    ], file.link


def _problems(one: Destination, notifiers: Mapping[str, Notifier]) -> list[tuple[str, str]]:
    """Yield each problem with the key that has it."""
    notifier = notifiers.get(one.kind)
    if notifier is None:
        known = near(one.kind, notifiers) or f": installed are {', '.join(notifiers) or 'none'}"
        return [("kind", f"no notifier {one.kind!r}{known}")]
    problems, parts = list[tuple[str, str]](), urlsplit(one.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        problems.append(("url", "must be http:// or https://, with a host and without a password"))
    if notifier.least_secret and not one.secret_file:
        problems.append(("kind", f"a {one.kind} needs secret_file, a file with its secret"))
    return problems


def _options(document: Document, at: int, notifier: Notifier) -> Any:
    written = document.data["destinations"][at]
    try:
        return msgspec.convert(written.get("with", {}), notifier.options)
    except msgspec.ValidationError as error:
        keys = ("destinations", at, "with") if "with" in written else ("destinations", at)
        raise FileErrors(document.problem(keys, f"the options of {written['kind']} (`with`): {error}")) from error


def _secret(folder: Path, one: Destination, notifier: Notifier) -> bytes:
    if not one.secret_file:
        return b""
    path = folder / one.secret_file
    secret = read_private(path)
    if len(secret) < notifier.least_secret:
        raise ConfigError(f"{path}: a secret has {notifier.least_secret} bytes at least: `openssl rand -hex 32`")
    return secret

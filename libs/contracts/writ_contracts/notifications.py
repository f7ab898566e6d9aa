"""Notifications, and notifiers: the functions that make an HTTP request of one, in a service's own form.

Plugins bring notifiers by the entry point `writ.notifiers`. A notifier is a pure function and sends nothing: the audit
service sends its request, again until the receiver takes it, and to the destination's own host alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from msgspec import Struct

from writ_contracts.evaluators import NoOptions

Kind = Literal["pending", "decided", "expired", "emergency", "stop", "window", "principal", "policy", "security"]
KINDS: tuple[Kind, ...] = get_args(Kind)
URGENT: frozenset[Kind] = frozenset({"emergency", "stop", "security"})


class Notification(Struct, frozen=True, kw_only=True):
    """Something that people should know. `id` is that of its event, the same at each delivery; `at` in Unix seconds.

    It has no parameters, no outputs and no buttons. `title` and `text` contain words of requesters: quote them.
    """

    id: str
    kind: Kind
    at: float
    title: str
    text: str
    sequence: int
    operation_id: str = ""
    principal: str = ""
    link: str = ""


class Receiver(Struct, frozen=True):
    """The destination of a delivery: its URL, its secret (empty without one), and options of the notifier's type."""

    url: str
    secret: bytes
    options: Any


class HttpRequest(Struct, frozen=True, kw_only=True):
    """An HTTP POST. A header is one line of printable ASCII."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Notifier(Struct, frozen=True, kw_only=True):
    """`request` makes the POST of a notification that is sent at a time (Unix seconds). `options` is the type of a
    destination's `with`. `least_secret`: bytes that its secret must have, 0 where none is necessary.
    """

    request: Callable[[Notification, Receiver, float], HttpRequest]
    summary: str
    options: type[Struct] = NoOptions
    least_secret: int = 0

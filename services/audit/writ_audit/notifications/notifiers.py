"""Writ's own notifiers: a signed webhook, ntfy, and the API server of Apprise. The functions are pure."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from writ_contracts.notifications import URGENT, HttpRequest, Notification, Notifier, Receiver


class NtfyOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ntfy topic below the server's URL."""

    topic: Annotated[str, Meta(min_length=1, max_length=64)]


class AppriseOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tag of the services that get the notification; by default all services of the configuration."""

    tag: Annotated[str, Meta(min_length=1, max_length=64)] = "all"


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the HMAC-SHA-256 of `<timestamp>.<body>` in hexadecimal."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _webhook(one: Notification, to: Receiver, now: float) -> HttpRequest:
    body, timestamp = msgspec.json.encode(one), str(int(now))
    headers = {
        "Content-Type": "application/json",
        "Writ-Event-Id": one.id,
        "Writ-Timestamp": timestamp,
        "Writ-Signature": f"v1={signature(to.secret, timestamp, body)}",
    }
    return HttpRequest(url=to.url, headers=headers, body=body)


def _ntfy(one: Notification, to: Receiver, _: float) -> HttpRequest:
    """Return the request for ntfy as JSON, so that no text gets into headers (docs.ntfy.sh/publish, "Publish as
    JSON").
    """
    message: dict[str, Any] = {"topic": to.options.topic, "title": one.title, "message": one.text or one.title}
    message["tags"] = [one.kind]
    message["priority"] = 4 if one.kind in URGENT else 3
    if one.link:
        message["click"] = one.link
    headers = {"Content-Type": "application/json"}
    if to.secret:
        headers["Authorization"] = f"Bearer {to.secret.decode('ascii', 'replace')}"
    return HttpRequest(url=to.url, headers=headers, body=msgspec.json.encode(message))


def _apprise(one: Notification, to: Receiver, _: float) -> HttpRequest:
    """Return the request for Apprise's API server, whose configuration names the services (`/notify/KEY`).

    The message is plain text, so that the words of a requester cannot form a link or a heading.
    """
    text = "\n".join(part for part in (one.text, one.link) if part) or one.title
    kind = "warning" if one.kind in URGENT else "info"
    message = {"title": one.title, "body": text, "type": kind, "format": "text", "tag": to.options.tag}
    headers = {"Content-Type": "application/json"}
    if to.secret:
        headers["Authorization"] = f"Bearer {to.secret.decode('ascii', 'replace')}"
    return HttpRequest(url=to.url, headers=headers, body=msgspec.json.encode(message))


BUILT_IN: Mapping[str, Notifier] = {
    "webhook": Notifier(request=_webhook, summary="a signed POST of JSON", least_secret=16),
    "ntfy": Notifier(request=_ntfy, summary="a message to a topic of ntfy", options=NtfyOptions),
    "apprise": Notifier(request=_apprise, summary="a message to the API server of Apprise", options=AppriseOptions),
}

"""Replies from the bus: bodies as plain values; D-Bus errors and broken connections as HostError."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, Tuple

from jeepney import HeaderFields, Message, MessageType

from writ_hostops.errors import HostError

NAME = "org.freedesktop.systemd1"
_CODES = {
    f"{NAME}.NoSuchUnit": "unit_not_found",
    "org.freedesktop.DBus.Error.AccessDenied": "permission_denied",
    "org.freedesktop.DBus.Error.AuthFailed": "permission_denied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": "permission_denied",
    "org.freedesktop.DBus.Error.InvalidArgs": "invalid_parameter",
    "org.freedesktop.DBus.Error.UnknownObject": "unit_not_found",
    "org.freedesktop.DBus.Error.ServiceUnknown": "unavailable",
    "org.freedesktop.DBus.Error.NameHasNoOwner": "unavailable",
    "org.freedesktop.DBus.Error.NoReply": "unavailable",
    "org.freedesktop.DBus.Error.Spawn.ExecFailed": "unavailable",
}

LACKING = ("org.freedesktop.DBus.Error.UnknownProperty", "org.freedesktop.DBus.Error.UnknownInterface")
"""The error of a systemd older than the property."""


@contextmanager
def lost_connections(effect: str) -> Iterator[None]:
    """Turn a broken connection in the block into a HostError. `effect`: the possible effect."""
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise HostError(
            "unavailable",
            f"systemd did not answer on the system bus ({type(error).__name__})",
            effect=effect,
            certain=effect == "none",
        ) from error


def body_of(reply: Message) -> Tuple[Any, ...]:
    """Return the body of a reply. A D-Bus error becomes a HostError without effect: systemd refused it."""
    name = error_name(reply)
    if not name:
        return tuple(reply.body)
    text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else "refused"
    raise HostError(_CODES.get(name, "job_failed"), f"{text} ({name})")


def error_name(reply: Message) -> str:
    """Return the name of the D-Bus error; "" if the reply is none."""
    is_error = reply.header.message_type is MessageType.error
    return str(reply.header.fields.get(HeaderFields.error_name, "unnamed")) if is_error else ""


def plain(variant: Tuple[str, Any]) -> Any:
    """Return a D-Bus variant's plain value: bytes as hex (InvocationID), a job (id, path) as its id."""
    signature, value = variant
    if signature == "ay":
        return bytes(value).hex()
    return value[0] if signature == "(uo)" else value

"""Errors of the bus, one class per thing that a caller does differently; no exception of nats leaves this package.

BusError
├── Unreachable   nobody listens there, or the server is away; nothing was done: try later
├── TimedOut      sent, and no reply came: the effect is unknown
├── Forbidden     the server's permissions refuse this subject to this key: a defect, or an attack
├── Conflict      somebody else wrote first: read again, then decide
├── Full          a limit (bytes of the stream, backlog of a service) is reached; nothing was done
└── BusRefused    the server or the service refused for another reason; `number` is JetStream's error code
"""

from typing import ClassVar

from writ_contracts import errors

NO_SERVICE = ("nobody listens on writ.", "no answer from writ.")
"""How a message begins where NATS replies and a service of ours does not; the subject in it says little to a user."""


class BusError(errors.WritError):
    """Base of all errors of the bus."""


class Unreachable(BusError, errors.Unreachable):
    """Raised when nothing was done."""


class TimedOut(BusError, errors.TimedOut):
    """Raised when the effect is unknown."""


class Forbidden(BusError, errors.Denied):
    """Raised when the NATS server refused it; another try cannot help."""


class Conflict(BusError, errors.Conflict):
    """Raised when the expected sequence was not the last one; `last` is the last one, where the server named it."""

    def __init__(self, message: str, *, last: int | None = None) -> None:
        super().__init__(message)
        self.last = last


class Full(BusError, errors.Full):
    """Raised when nothing was stored or queued."""


class BusRefused(BusError):
    """Raised for a defect or a wrong configuration, which the message names."""

    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, number: int = 0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.number = number

"""What can go wrong on the bus, one class per thing that a caller does differently; nothing of nats gets past it.

BusError
├── Unreachable   nobody listens there, or the server is away; nothing was done: try later
├── TimedOut      sent, and no answer came: whether it was done is not known
├── Forbidden     the server's permissions refuse this subject to this key: a defect, or an attack
├── Conflict      somebody else wrote first: read again, then decide
├── Full          a limit (bytes of the stream, backlog of a service) is reached; nothing was done
└── Refused       the server or the service said no for another reason; `number` is JetStream's error code
"""

from typing import ClassVar

from writ_contracts import errors


class BusError(errors.WritError):
    """Base of all errors of the bus."""


class Unreachable(BusError, errors.Unreachable):
    """Nothing was done."""


class TimedOut(BusError, errors.TimedOut):
    """The effect is unknown."""


class Forbidden(BusError, errors.Denied):
    """The NATS server refused it; asking again cannot help."""


class Conflict(BusError, errors.Conflict):
    """The expected sequence was not the last one; `last` is the last one, where the server said so."""

    def __init__(self, message: str, *, last: int | None = None) -> None:
        super().__init__(message)
        self.last = last


class Full(BusError, errors.Full):
    """Nothing was stored or queued."""


class BusRefused(BusError):
    """A defect or a wrong configuration: the message says which."""

    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, number: int = 0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.number = number

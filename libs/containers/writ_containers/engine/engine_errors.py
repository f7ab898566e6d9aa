"""The engine's errors as ours. Each code implies for certain whether the engine may have acted.

Unreachable   `unreachable`       no connection: nothing was done
Untrusted     `certificate_changed`  another certificate than the pinned one: nothing was sent
TimedOut      `connection_lost`   sent, and no whole answer: it may have been done
TimedOut      `garbled`           sent, and a reply that cannot be used: it may have been done
Conflict      `engine_conflict`   409: the state of the container or its name forbids it
Invalid       `engine_refused`    400, 403, 404 and others: the engine says no
WritError     `engine_failed`     5xx: the engine tried, or broke
"""

from collections.abc import Iterator
from contextlib import contextmanager

from writ_containers.engine.http_client import aiodocker, aiohttp
from writ_contracts.errors import Conflict, Invalid, TimedOut, Unreachable, Untrusted, WritError

LOST = frozenset({"connection_lost", "garbled"})
"""Codes of requests that were sent and may have been done."""
NO_CONNECTION = 900
"""aiodocker's own status for every aiohttp.ClientConnectionError, whether the request was sent or not."""
STREAM = 0
MISTRUSTED = "certificate_changed"
LONGEST_MESSAGE = 400


class UnusableEngineReply(Exception):
    """Raised for a reply that is not read: a redirect, or one that is too large."""


@contextmanager
def translated() -> Iterator[None]:
    """Translate each error of aiodocker, of aiohttp below it, and each reply without the engine's JSON."""
    try:
        yield
    except aiodocker.exceptions.DockerError as error:
        raise _error_of_reply(error) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise Untrusted(f"the engine's certificate is not the pinned one: {_reason(error)}", code=MISTRUSTED) from error
    except aiohttp.ClientConnectorError as error:
        raise Unreachable(f"the engine is not reachable: {_reason(error)}", code="unreachable") from error
    except aiohttp.ClientPayloadError as error:
        message = "the connection to the engine ended before the end of its reply"
        raise TimedOut(message, code="connection_lost") from error
    except aiohttp.ClientError as error:
        raise TimedOut(f"the connection to the engine ended: {_reason(error)}", code="connection_lost") from error
    except TimeoutError as error:
        raise TimedOut("the engine did not reply in time", code="connection_lost") from error
    except UnusableEngineReply as error:
        raise TimedOut(f"the engine's reply is not usable: {error}", code="garbled") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:  # JSON of another shape
        raise TimedOut(f"the engine's reply cannot be parsed: {type(error).__name__}", code="garbled") from error


@contextmanager
def translated_delete() -> Iterator[None]:
    """Translate errors as `translated` does. aiohttp sends a DELETE again over a new connection: no connection says
    nothing of the first.
    """
    try:
        with translated():
            yield
    except Unreachable as error:
        raise TimedOut(str(error), code="connection_lost") from error


def _error_of_reply(error: "aiodocker.exceptions.DockerError") -> WritError:
    if error.status == NO_CONNECTION:
        if isinstance(error.__context__, aiohttp.ClientConnectorCertificateError):
            reason = _reason(error.__context__)
            return Untrusted(f"the engine's certificate is not the pinned one: {reason}", code=MISTRUSTED)
        if isinstance(error.__context__, aiohttp.ClientConnectorError):
            return Unreachable(f"the engine is not reachable: {_reason(error.__context__)}", code="unreachable")
        return TimedOut("the connection to the engine ended before its reply", code="connection_lost")
    message = f"the engine answers: {one_line(str(error.message))}"
    if error.status == 409:
        return Conflict(message, code="engine_conflict")
    if error.status >= 500 or error.status == STREAM:
        return WritError(message, code="engine_failed")
    return Invalid(message, code="not_found" if error.status == 404 else "engine_refused")


def one_line(text: str) -> str:
    """Return the text on one line, bounded, without control characters: it goes to terminals and logs."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_MESSAGE]


def _reason(error: BaseException) -> str:
    reason = getattr(error, "os_error", None)
    return one_line((reason.strerror if reason is not None else "") or str(error) or type(error).__name__)

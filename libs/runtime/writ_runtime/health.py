"""`/healthz`, `/readyz` and `/metrics` over HTTP/1.1, for supervisors and Prometheus. Only the path and Accept are
read.

One request a connection, GET or HEAD, bounded in size, time and number: no client can hold anything up.
"""

import asyncio
import re
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from writ_bus import tasks
from writ_contracts.errors import WritError
from writ_runtime.logs import Log

Check = Callable[[], Awaitable[str | None]]
"""Returns None (or a Detail) if all is well, else the reason in a few words."""


class Attention(str):
    """A reason for attention which leaves the service ready, such as an old version of a file in force."""

    __slots__ = ()


class Detail(str):
    """A detail of a healthy check: `/readyz` shows it under `details`, and the check as `ok`."""

    __slots__ = ()


LARGEST_HEAD = 8192
REQUEST_SECONDS = 5.0
CHECK_SECONDS = 2.0
MOST_CONNECTIONS = 64

_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")
_log = Log("writ.health")


class HttpResponse(Struct, frozen=True):
    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


class HealthListener(Protocol):
    """A listener for check results besides `/readyz`, and the source of `/metrics`."""

    def checked(self, checks: Mapping[str, bool], *, ready: bool) -> None:
        """Take the result of each check by name, and whether all of it is ready."""

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics, and their content type, which is one of those accepted."""


class Health:
    """The health of a process. It is alive while it answers, and ready when every check passes."""

    def __init__(self, metrics: HealthListener) -> None:
        self._metrics = metrics
        self._checks: Mapping[str, Check] = {"start": _starting}
        self._failing_since: dict[str, float] = {}
        """By check: when a request first found it failing, in Unix seconds of this host, without a success since."""

    def watch(self, checks: Mapping[str, Check]) -> None:
        """Let these checks decide readiness from now on."""
        self._checks = checks

    def stopping(self) -> None:
        """Become unready, so no new work arrives."""
        self._checks = {"stop": _stopping}

    async def respond(self, method: str, path: str, accept: str = "") -> HttpResponse:
        """Return the response to one request. `accept`: its Accept header."""
        if method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        name, _, query = path.partition("?")
        match name:
            case "/healthz":
                return HttpResponse(HTTPStatus.OK, b'{"status":"ok"}')
            case "/readyz":
                return await self.readiness(_within(query))
            case "/metrics":
                await self.readiness()
                return HttpResponse(HTTPStatus.OK, *self._metrics.exposition(accept))
            case _:
                return _plain(HTTPStatus.NOT_FOUND)

    async def readiness(self, within: float | None = None) -> HttpResponse:
        """Return every check by name, in JSON: 200 if all pass, else 503.

        `within`: seconds for the checks, where the client has less time than they have. Such a reply is no metric:
        a client with no time at all would raise an alert.
        """
        checks = self._checks
        seconds = CHECK_SECONDS if within is None else min(within, CHECK_SECONDS)
        reasons = await asyncio.gather(*(_judge(name, check, seconds) for name, check in checks.items()))
        results = dict(zip(checks, reasons, strict=True))
        ready = all(reason is None or isinstance(reason, Attention | Detail) for reason in reasons)
        well = {name: _is_well(reason) for name, reason in results.items()}
        if within is None:
            self._metrics.checked(well, ready=ready)
        now, before = time.time(), self._failing_since
        self._failing_since = {name: before.get(name, now) for name in results if not well[name]}
        body: dict[str, Any] = {
            "status": "ready" if ready else "not ready",
            "checks": {name: "ok" if well[name] else str(reason) for name, reason in results.items()},
        }
        if details := {name: str(reason) for name, reason in results.items() if isinstance(reason, Detail)}:
            body["details"] = details
        if self._failing_since:
            body["failing_since"] = self._failing_since
        return HttpResponse(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode(body))


@asynccontextmanager
async def listening(health: Health, host: str, port: int) -> AsyncIterator[int]:
    """Serve on `host`. Yield the port, a free one if `port` is 0. OSError if it is taken."""
    open_now: dict[asyncio.Task[None], StreamWriter] = {}

    def connected(reader: StreamReader, writer: StreamWriter) -> None:
        # No coroutine: asyncio 3.11 logs one that is cancelled as an error.
        if len(open_now) >= MOST_CONNECTIONS:  # a silent client makes way: a probe takes an instant
            open_now.pop(next(iter(open_now))).transport.abort()
        task = tasks.spawn(_converse(health, reader, writer), "health connection")
        open_now[task] = writer
        task.add_done_callback(lambda ended: open_now.pop(ended, None))

    server = await asyncio.start_server(connected, host, port, limit=LARGEST_HEAD)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in open_now.items():
            task.cancel()
            writer.transport.abort()  # one that is cancelled before it begins closes nothing
        await asyncio.gather(*open_now, return_exceptions=True)


async def _converse(health: Health, reader: StreamReader, writer: StreamWriter) -> None:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            method, answer = await _receive(health, reader)
            writer.write(_encode(answer, method != "HEAD"))
            await writer.drain()
    except (TimeoutError, ConnectionError) as error:
        _log.debug("health.abandoned", error=type(error).__name__)
        writer.transport.abort()
    finally:
        writer.close()


async def _receive(health: Health, reader: StreamReader) -> tuple[str, HttpResponse]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return "GET", _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    except asyncio.IncompleteReadError:
        return "GET", _plain(HTTPStatus.BAD_REQUEST)
    first, *fields = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "GET", _plain(HTTPStatus.BAD_REQUEST)
    return words[0], await health.respond(words[0], words[1], _accepted(fields))


def _accepted(fields: list[str]) -> str:
    named = (field.partition(":") for field in fields)
    return ",".join(value.strip() for name, _, value in named if name.lower() == "accept")


def _encode(answer: HttpResponse, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n"
    )
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        head += "Allow: GET, HEAD\r\n"
    return head.encode() + b"\r\n" + (answer.body if with_body else b"")


def _plain(status: HTTPStatus) -> HttpResponse:
    return HttpResponse(status, msgspec.json.encode({"status": status.phrase.lower()}))


def _is_well(reason: str | None) -> bool:
    return reason is None or isinstance(reason, Detail)


def _within(query: str) -> float | None:
    """Return the seconds of `within=SECONDS` in a query; None without a number."""
    [word, *_] = parse_qs(query).get("within") or [""]
    return float(word) if _SECONDS.fullmatch(word) else None


async def _judge(name: str, check: Check, seconds: float) -> str | None:
    """Return the reason of a failed check. A check that raises or hangs has failed; the cause of a crash is only in the
    log.
    """
    try:
        async with asyncio.timeout(seconds):
            return await check()
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except WritError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - any defect of a check means: not ready
        _log.error("health.check_broken", check=name, exception=error)
        return f"the check itself failed ({type(error).__name__})"


async def _starting() -> str | None:
    return "starting"


async def _stopping() -> str | None:
    return "stopping"

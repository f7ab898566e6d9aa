"""Health: true answers on a real port, and no way for a hostile peer to block it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from writ_contracts.errors import Unreachable
from writ_runtime import health as health_module
from writ_runtime.health import MOST_CONNECTIONS, Attention, Check, Health, listening
from writ_runtime.metrics import Metrics


async def fine() -> str | None:
    return None


async def disconnected() -> str | None:
    return "not connected to NATS"


async def unreachable() -> str | None:
    raise Unreachable("nobody listens")


async def broken() -> str | None:
    raise ValueError("secret detail")


async def hanging() -> str | None:
    await asyncio.Event().wait()
    return None


@pytest.fixture
def health() -> Health:
    return Health(Metrics())


@pytest.fixture
async def port(health: Health) -> AsyncIterator[int]:
    async with listening(health, "127.0.0.1", 0) as port:
        yield port


async def send(port: int, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        if raw and not raw.endswith(b"\r\n\r\n"):
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split(" ")[1]), {name.lower(): value for name, value in (f.split(": ") for f in fields)}, body


async def get(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    return await send(port, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\n\r\n".encode())


async def test_service_is_alive_at_once_and_ready_only_later(health: Health, port: int) -> None:
    assert (await get(port, "/healthz"))[0] == 200
    status, _, body = await get(port, "/readyz")
    not_yet = {"status": "not ready", "checks": {"start": "starting"}}
    assert (status, {**json.loads(body), **not_yet}) == (503, json.loads(body))
    health.watch({"nats": fine})
    status, _, body = await get(port, "/readyz?verbose")
    assert (status, json.loads(body)) == (200, {"status": "ready", "checks": {"nats": "ok"}})
    health.stopping()
    assert (await get(port, "/readyz"))[0] == 503
    assert (await get(port, "/healthz"))[0] == 200


async def test_readiness_names_each_check_and_its_reason(
    health: Health, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.05)
    health.watch({"policy": fine, "nats": disconnected, "index": broken, "journal": unreachable, "disk": hanging})
    status, _, body = await get(port, "/readyz")
    assert status == 503
    assert json.loads(body)["checks"] == {
        "policy": "ok",
        "nats": "not connected to NATS",
        "index": "the check itself failed (ValueError)",
        "journal": "nobody listens",
        "disk": "no answer within 0.05 s",
    }


async def test_readiness_within_less_time_names_the_check_and_leaves_the_metric(health: Health, port: int) -> None:
    health.watch({"policy": fine, "disk": hanging})
    status, _, body = await get(port, "/readyz?within=0.05")
    assert (status, json.loads(body)["checks"]) == (503, {"policy": "ok", "disk": "no answer within 0.05 s"})
    health.watch({"policy": fine})
    await get(port, "/readyz")
    health.watch({"policy": disconnected})
    assert (await get(port, "/readyz?within=1"))[0] == 503
    exposition, _ = health._metrics.exposition("")
    assert b'writ_check_ok{check="policy"} 1.0' in exposition


@pytest.mark.parametrize("query", ["within=", "within=x", "within=-1", "within=1e9", "within=nan"])
async def test_readiness_within_no_number_takes_the_usual_time(health: Health, port: int, query: str) -> None:
    health.watch({"policy": fine})
    assert (await get(port, f"/readyz?{query}"))[0] == 200


async def test_warning_is_shown_and_the_service_stays_ready(health: Health, port: int) -> None:
    async def old() -> str | None:
        return Attention("an old version is in force")

    health.watch({"bus": fine, "policy": old})
    status, _, body = await get(port, "/readyz")
    assert (status, json.loads(body)["checks"]) == (200, {"bus": "ok", "policy": "an old version is in force"})
    health.watch({"bus": disconnected, "policy": old})
    assert (await get(port, "/readyz"))[0] == 503


async def test_each_check_is_a_metric_as_of_this_moment(health: Health, port: int) -> None:
    async def old() -> str | None:
        return Attention("an old version is in force")

    def health_lines(body: bytes) -> set[str]:
        return {line for line in body.decode().splitlines() if line.startswith(("writ_check_ok", "writ_ready"))}

    health.watch({"bus": fine, "policy": old})
    first = health_lines((await get(port, "/metrics"))[2])
    assert first == {'writ_check_ok{check="bus"} 1.0', 'writ_check_ok{check="policy"} 0.0', "writ_ready 1.0"}
    health.watch({"bus": disconnected})
    assert health_lines((await get(port, "/metrics"))[2]) == {'writ_check_ok{check="bus"} 0.0', "writ_ready 0.0"}


async def test_metrics_are_in_the_text_format_of_prometheus(port: int) -> None:
    status, fields, body = await get(port, "/metrics")
    assert (status, fields["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"# TYPE writ_handled_total counter" in body
    assert int(fields["content-length"]) == len(body)


async def test_head_has_the_fields_and_no_body(port: int) -> None:
    status, fields, body = await get(port, "/healthz", "HEAD")
    assert (status, fields["content-length"], body) == (200, "15", b"")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\xff\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x", 400),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    ],
)
async def test_malformed_request_gets_its_status(port: int, raw: bytes, status: int) -> None:
    answer, fields, _ = await send(port, raw)
    assert answer == status
    assert fields.get("allow") == ("GET, HEAD" if status == 405 else None)


async def test_a_peer_that_says_nothing_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "REQUEST_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_many_silent_peers_are_bounded_and_leave_no_trace(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "REQUEST_SECONDS", 600.0)  # none is cut off for its silence
    async with listening(health, "127.0.0.1", 0) as port:
        peers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CONNECTIONS + 1)]
        oldest, (reader, writer) = peers[0][0], await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 200")
        writer.close()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(oldest.read(), 20) == b""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    for _, writer in peers:
        writer.close()


async def test_a_probe_that_is_open_when_the_service_stops_is_no_error(health: Health) -> None:
    reported = list[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with listening(health, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await get(port, "/healthz"))[0] == 200  # so the first has been accepted, too
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await asyncio.sleep(0)
    assert reported == []


async def test_a_taken_port_is_an_error_at_once(health: Health, port: int) -> None:
    with pytest.raises(OSError, match="in use"):
        async with listening(health, "127.0.0.1", port):
            pass


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (
            "Application/OpenMetrics-Text;version=x;escaping=y=z",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("\xe9;;=,version", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_metrics_come_in_the_format_that_is_accepted(port: int, accept: str, content_type: str) -> None:
    raw = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\naccept: {accept}\r\n\r\n".encode("latin-1")
    status, fields, body = await send(port, raw)
    assert (status, fields["content-type"]) == (200, content_type)
    assert body.endswith(b"# EOF\n") == ("openmetrics" in content_type)


async def test_failing_check_says_since_when_until_it_is_well_again(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def since(now: float, **checks: Check) -> dict[str, float]:
        monkeypatch.setattr("writ_runtime.health.time.time", lambda: now)
        health.watch(checks)
        found: dict[str, float] = json.loads((await health.respond("GET", "/readyz")).body).get("failing_since", {})
        return found

    assert await since(1_000.0, nats=disconnected, files=fine) == {"nats": 1_000.0}
    assert await since(1_060.0, nats=disconnected, files=fine) == {"nats": 1_000.0}
    assert await since(1_080.0, nats=fine, files=fine) == {}
    assert await since(1_120.0, nats=disconnected, files=fine) == {"nats": 1_120.0}

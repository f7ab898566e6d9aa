"""The direct client and nats-py read the same headers from a message, and write the same bytes."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client

from writ_bus.nats.client import headers
from writ_bus.nats.client.direct import DirectClient
from writ_bus.nats.client.headers import HeaderClient, header_block, status_headers

NAMES = st.sampled_from(["traceparent", "Writ-Correlation-Id", "A", "", " ", "a b", "é", "x:y", "tab\t", "\x1cname"])
VALUES = st.text(max_size=12) | st.sampled_from(["", " a ", "1\r\n2", "a: b", "\x0bv\x0c", "\x1cv", "ü"])
LINES = st.lists(st.tuples(NAMES | st.text(max_size=4), VALUES), max_size=5)


def text(lines: list[tuple[str, str]], colon: str) -> bytes:
    return "".join(f"{name}{colon}{value}\r\n" for name, value in lines).encode("utf-8", "surrogatepass")


@given(LINES, st.sampled_from([":", ": ", ":\t", ""]))
@example([("a", "1"), ("a", "2")], ": ")
def test_headers_are_read_as_nats_py_reads_them(lines: list[tuple[str, str]], colon: str) -> None:
    raw = text(lines, colon)
    assert HeaderClient._parse_header_lines(raw) == Client._parse_header_lines(raw)


STATUSES = st.sampled_from(
    ["204 EOB", "404 No Messages", "503", "100", "408 a: b", "2045", "20", " 204 x", "204  x", "2²4 x"]
)


@given(STATUSES | st.text(max_size=8), LINES, st.sampled_from([":", ": "]), st.sampled_from([b"\r\n", b""]))
@example("204 EOB", [("Nats-Num-Pending", "3"), ("Status", "7")], ": ", b"\r\n")
async def test_status_is_read_as_nats_py_reads_it(
    status: str, lines: list[tuple[str, str]], colon: str, end: bytes
) -> None:
    block = b"NATS/1.0 " + status.encode("utf-8", "surrogatepass") + b"\r\n" + text(lines, colon) + end
    found = status_headers(block)
    assert found is None or found == await Client()._process_headers(block)


@pytest.mark.parametrize("block", [b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 3\r\n\r\n"])
async def test_plain_status_is_not_left_to_nats_py(block: bytes) -> None:
    assert status_headers(block) == await Client()._process_headers(block) is not None


@given(st.binary(max_size=40))
def test_bytes_of_any_kind_are_read_as_nats_py_reads_them(raw: bytes) -> None:
    assert HeaderClient._parse_header_lines(raw) == Client._parse_header_lines(raw)


class Recorded(Client):
    """nats-py, with a record of its commands."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.sent.append(bytes(cmd))


class Ours(HeaderClient, Recorded):
    """The direct client, with the same record."""


async def outcome(client: Recorded, headers: dict[str, Any] | None) -> object:
    try:
        await client._send_publish("a.b", "reply", b"data", 4, headers)
    except Exception as error:  # noqa: BLE001 - whatever the one raises the other is to raise
        return type(error), str(error)
    return client.sent, client.stats


@given(st.none() | st.dictionaries(NAMES | st.text(max_size=4), VALUES, max_size=4))
async def test_headers_are_written_as_nats_py_writes_them(headers: dict[str, Any] | None) -> None:
    assert await outcome(Ours(), headers) == await outcome(Recorded(), headers)


@pytest.mark.parametrize("value", ["1\r\nX: 2", "1\n2", "1\r2"])
def test_header_value_adds_no_further_header(value: str) -> None:
    assert header_block({"A": value}) is None


def test_header_names_that_are_long_or_many_are_not_cached() -> None:
    long = "N" * (headers.LONGEST_NAME + 1)
    for name in (long, *(f"name-{number}" for number in range(headers.MOST_NAMES + 10))):
        assert HeaderClient._parse_header_lines(f"{name}: 1\r\n".encode()) == {name: "1"}
        assert header_block({name: "1"}) == f"NATS/1.0\r\n{name}: 1\r\n\r\n".encode()
    assert long not in headers._names
    assert len(headers._names) <= headers.MOST_NAMES


class Published(DirectClient, Recorded):
    """The direct client before a socket that takes nothing."""

    async def _flush_pending(self, force_flush: bool = False) -> None:
        return

    def _goes_out(self) -> bool:
        self.sent += self._pending
        self._pending, self._pending_data_size = [], 0
        return True


class PublishedByNatsPy(Recorded):
    """nats-py's client in the same state."""


async def published(
    client: Recorded, subject: str, reply: str, headers: dict[str, Any] | None, most: int = 2_000
) -> object:
    client._status, client._flush_queue, client._max_pending_size = Client.CONNECTED, asyncio.Queue(), -1
    client._max_payload = most
    try:
        await client.publish(subject, b"data" * (1_000 if "long" in subject else 1), reply, headers)
    except Exception as error:  # noqa: BLE001 - whatever the one raises the other is to raise
        return type(error), str(error)
    return client.sent, client.stats


SUBJECTS = st.sampled_from(["a.b", "", "a b", "a\r\nPING", "long.a", "é"]) | st.text(max_size=4)


@given(SUBJECTS, SUBJECTS, st.none() | st.dictionaries(NAMES, VALUES, max_size=3))
@example("long.a", "a b", None)
async def test_messages_are_published_as_nats_py_publishes_them(
    subject: str, reply: str, headers: dict[str, Any] | None
) -> None:
    ours = await published(Published(), subject, reply, headers)
    assert ours == await published(PublishedByNatsPy(), subject, reply, headers)

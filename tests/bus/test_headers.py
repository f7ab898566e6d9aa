"""Our way through the headers of a message and nats-py's own: the same bytes out, the same headers in."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client

from writ_bus.nats.client import headers
from writ_bus.nats.client.headers import HeaderClient, header_block

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


@given(st.binary(max_size=40))
def test_bytes_of_any_kind_are_read_as_nats_py_reads_them(raw: bytes) -> None:
    assert HeaderClient._parse_header_lines(raw) == Client._parse_header_lines(raw)


class Recorded(Client):
    """nats-py, with the commands that it would have sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.sent.append(bytes(cmd))


class Ours(HeaderClient, Recorded):
    """The same with our way."""


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
def test_no_value_brings_a_header_of_its_own(value: str) -> None:
    assert header_block({"A": value}) is None


def test_long_names_and_many_are_read_and_not_remembered() -> None:
    long = "N" * (headers.LONGEST_NAME + 1)
    for name in (long, *(f"name-{number}" for number in range(headers.MOST_NAMES + 10))):
        assert HeaderClient._parse_header_lines(f"{name}: 1\r\n".encode()) == {name: "1"}
        assert header_block({name: "1"}) == f"NATS/1.0\r\n{name}: 1\r\n\r\n".encode()
    assert long not in headers._names
    assert len(headers._names) <= headers.MOST_NAMES

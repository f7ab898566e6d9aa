"""Our decoder and nats-py's parser produce the same messages from any bytes of the server."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from writ_bus.nats.client.direct import DirectClient, ReplyFuture
from writ_bus.nats.client.frames import whole_messages

WORDS = st.sampled_from([b"a.b", b"_INBOX.x.1", b"7", b"x y", b"", b"\xff", b"-1", b"+3", b"1_0", b"\xc2\xb2"])
BODIES = st.binary(max_size=30) | st.sampled_from([b"", b"\r\n", b"MSG a 1 0\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n"])


class Taken:
    """A connection that records the calls of nats-py's parser and their messages."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.messages.append((sid, subject, reply, headers or b"", data))

    async def _process_ping(self) -> None:
        return

    async def _process_pong(self) -> None:
        return

    async def _process_err(self, error: str) -> None:
        return

    async def _process_info(self, info: object) -> None:
        return


def by_nats_py(data: bytes) -> list[tuple[Any, ...]]:
    """Return the messages before the first bytes refused by its parser."""
    taken = Taken()
    try:
        asyncio.run(Parser(taken).parse(data))
    except Exception:  # noqa: BLE001 - it refuses bytes in several ways
        return taken.messages
    return taken.messages


def message(subject: bytes, sid: int, reply: bytes, headers: bytes, body: bytes) -> bytes:
    """Return a message as the server writes it."""
    words = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid, *([reply] if reply else [])]
    sizes = [*([b"%d" % len(headers)] if headers else []), b"%d" % (len(headers) + len(body))]
    return b" ".join([*words, *sizes]) + b"\r\n" + headers + body + b"\r\n"


MESSAGES = st.builds(
    message,
    st.sampled_from([b"a.b", b"_INBOX.x.1", b"a.\xff"]),
    st.integers(0, 9),
    st.sampled_from([b"", b"_INBOX.y.2"]),
    st.sampled_from([b"", b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0 503\r\n\r\n"]),
    BODIES,
)
LINES = st.builds(
    lambda kind, words, body: b" ".join([kind, *words]) + b"\r\n" + body,
    st.sampled_from([b"MSG", b"HMSG", b"PING", b"+OK", b"-ERR", b"msg", b" MSG"]),
    st.lists(WORDS | st.integers(0, 40).map(lambda number: b"%d" % number), max_size=6),
    BODIES,
)


@given(st.lists(MESSAGES, min_size=1, max_size=4))
def test_complete_messages_are_all_decoded(messages: list[bytes]) -> None:
    data = b"".join(messages)
    found = list(whole_messages(data))
    assert [frame[:5] for frame in found] == by_nats_py(data)
    assert found[-1][5] == len(data)


@given(st.lists(MESSAGES | LINES | st.binary(max_size=20), max_size=4), st.integers(0, 20))
def test_nats_py_finds_the_same_messages_in_any_bytes(pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)
    data = data[: len(data) - cut]
    found = list(whole_messages(data))
    taken = found[-1][5] if found else 0
    assert by_nats_py(data) == [frame[:5] for frame in found] + by_nats_py(data[taken:])


def listening(passed_on: list[Msg]) -> DirectClient:
    """Return a client without a connection, with ten subscriptions."""
    client = DirectClient()
    sink = cast("asyncio.Future[Msg]", ReplyFuture(passed_on.append))
    client._subs |= {sid: Subscription(client, sid, future=sink) for sid in range(10)}
    return client


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.lists(st.integers(0, 200), max_size=4))
async def test_messages_in_any_pieces_are_passed_on(messages: list[bytes], cuts: list[int]) -> None:
    whole, pieces = list[Msg](), list[Msg]()
    data = b"".join(messages)
    listening(whole)._arrived(data)
    client = listening(pieces)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        client._arrived(data[start:end])
    assert [(one.subject, one.reply, one.data, one.headers) for one in pieces] == [
        (one.subject, one.reply, one.data, one.headers) for one in whole
    ]
    assert client._begun is None
    assert len(pieces) == sum(b" a.\xff " not in one[:13] for one in messages)  # a subject that is no text is dropped


@given(st.one_of(st.binary(max_size=40), st.binary(max_size=20).map(lambda rest: b"NATS/1.0" + rest)))
async def test_headers_of_any_bytes_do_not_end_the_reading(block: bytes) -> None:
    passed_on, failed = list[Msg](), list[Exception]()
    client = listening(passed_on)
    setattr(client, "_reader_fails", failed.append)  # noqa: B010 - a method of its own instead of its class's
    client._arrived(b"HMSG a 1 %d %d\r\n%b\r\nMSG a 1 2\r\nok\r\n" % (len(block), len(block), block))
    assert failed == []
    assert passed_on[-1].data == b"ok"


@given(st.lists(MESSAGES, max_size=2), MESSAGES, st.integers(1, 200))
async def test_partial_message_is_kept_until_the_rest_arrives(before: list[bytes], last: bytes, cut: int) -> None:
    passed_on, line = list[Msg](), last.index(b"\r\n") + 2
    cut = min(max(cut, line), len(last) - 1)
    client = listening(passed_on)
    client._arrived(b"".join(before) + last[:cut])
    count = len(passed_on)
    assert client._begun is not None
    assert (client._begun.all_bytes(), bytes(client._ps.buf)) == (last[:cut], b"")
    client._arrived(last[cut:])
    assert len(passed_on) == count + (b" a.\xff " not in last[:13])
    assert getattr(client, "_begun") is None  # noqa: B009 - it was narrowed above


@pytest.mark.parametrize("size", [10_000, 299_999, 1])
@pytest.mark.parametrize("headers", [b"", b"NATS/1.0\r\nA: b\r\n\r\n"])
def test_long_message_in_pieces_is_passed_on_whole(headers: bytes, size: int) -> None:
    passed_on, payload = list[Msg](), bytes(range(256)) * (1200 if size > 1 else 2)
    data = message(b"a.b", 1, b"", headers, payload) + message(b"a.b", 2, b"", b"", b"next")
    client = listening(passed_on)
    for start in range(0, len(data), size):
        client._arrived(data[start : start + size])
    assert [one.data for one in passed_on] == [payload, b"next"]
    assert [one.headers for one in passed_on] == [{"A": "b"} if headers else None, None]


async def test_message_in_pieces_for_a_subscription_of_nats_py_reaches_it() -> None:
    client = listening([])
    queued = Subscription(client, 10, future=None, cb=None)
    client._subs[10] = queued
    data = message(b"a.b", 10, b"", b"", b"x" * 1000) + b"PING\r\n"
    for start in range(0, len(data), 300):
        client._arrived(data[start : start + 300])
    assert (await queued.next_msg(1)).data == b"x" * 1000
    assert client._begun is None

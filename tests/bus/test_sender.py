"""The sender's key is authentication, so only the server's own statement counts, whatever headers the sender sets."""

import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from writ_bus.nats.bus import connect
from writ_bus.port import Message
from writ_bus.sender import REQUEST_INFO, sender_key
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import writ_server

SUBJECT = "writ.request.alice.file_read"


def made_up(forged: bytes) -> list[bytes]:
    """Return blocks of headers by which a sender names another key. The server appends its own line to each."""
    line = f"{REQUEST_INFO}: ".encode() + forged
    twice, spaced = line + b"\r\n" + line + b"\r\n", f"{REQUEST_INFO} : ".encode() + forged + b"\r\n"
    lower = line.lower() + b"\r\n"
    ends = (
        b"\r\n",
        b"X:zz",
        b"X: abc",
        b"X zz",
        b"Xzz",
        b":zz",
        b"\xff:zz",
        b"\r\n\r\nA: b\r\n\r\nX:zz",
        line,
        line + b"zz",
    )
    beginnings = (b"NATS/1.0\r\n", b"NATS/1.0 503\r\n", b"NATS/1.0 404 No Messages\r\n", b"NATS/1.0\r\n\r\n")
    heads = (b"", line + b"\r\n", twice, line + b"\r\n" + twice, spaced, b" " + spaced, lower + twice, twice + lower)
    return [beginning + head + end for beginning in beginnings for head in heads for end in ends]


@pytest.mark.parametrize("client", ["direct", "plain"])
async def test_headers_name_no_other_key_than_the_connections(tmp_path: Path, client: str) -> None:
    heard: dict[str, Message] = {}

    def hear(message: Msg) -> None:
        heard[message.data.decode()] = Message(message.subject, message.data, message.headers or {}, message.reply)

    async with writ_server(tmp_path, pools=()) as server:
        alice, bob = (server.keys[name].public for name in ("alice", "bob"))
        receiver, sender = await connect(server.options("executor", client=client)), await server.bus("alice")
        await receiver.connection.listen(SUBJECT, hear)
        await receiver.connection.round_trip(5.0)
        blocks = made_up(json.dumps({"acc": "P_bob", "user": bob, "name": "x"}).encode())
        transport: Any = getattr(sender.connection.client, "_transport")  # noqa: B009 - nats-py's own
        for number, block in enumerate([b"NATS/1.0\r\nA: b\r\n\r\n", *blocks]):
            body = b"%d" % number
            sizes = len(block), len(block) + len(body)
            transport.write(b"HPUB %b %d %d\r\n%b%b\r\n" % (SUBJECT.encode(), *sizes, block, body))
        await sender.publish(SUBJECT, b"last")

        async def all_heard() -> bool:
            return "last" in heard

        await eventually(all_heard, within=20.0)
        await receiver.close()
    keys = {number: sender_key(message) for number, message in heard.items()}
    assert keys.pop("0") == keys.pop("last") == alice
    assert set(keys.values()) <= {alice, ""}, {blocks[int(one) - 1] for one, key in keys.items() if key == bob}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"user": 1}', '{"user": null}'])
def test_sender_key_is_absent_if_the_server_names_none(text: str) -> None:
    assert sender_key(Message("a", b"", {REQUEST_INFO: text}, "")) == ""

"""Messages to the server, byte for byte as nats-py writes them; tests/bus/test_client.py compares the two."""

import asyncio
from asyncio import StreamWriter
from itertools import groupby

from nats.protocol.command import hpub_cmd, pub_cmd

LONG = 65_536
"""Bytes from which on a payload is not copied."""


def message_parts(subject: str, reply: str, block: bytes, payload: bytes) -> list[bytes]:
    """Return the message as nats-py writes it. A long payload is a part of its own: nats-py copies it twice, into
    memory that costs a process more time than the copies if it has to get it from the kernel.
    """
    if len(payload) < LONG:
        return [hpub_cmd(subject, reply, block, payload) if block else pub_cmd(subject, reply, payload)]
    if block:
        line = f"HPUB {subject} {reply} {len(block)} {len(block) + len(payload)}\r\n"
    else:
        line = f"PUB {subject} {reply} {len(payload)}\r\n"
    return [line.encode() + block, payload, b"\r\n"]


def write_parts(writer: StreamWriter, parts: list[bytes]) -> None:
    """Send the parts. asyncio's own transports join them first, up to Python 3.11, which costs a long payload more than
    a system call of its own.
    """
    if type(writer.transport).writelines is not asyncio.WriteTransport.writelines:
        writer.writelines(parts)
        return
    for long, run in groupby(parts, key=lambda part: len(part) >= LONG):
        for part in run if long else (b"".join(run),):
            writer.write(part)

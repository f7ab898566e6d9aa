"""The HTTP of the fake engine: one request read, one answer sent, whole or broken off."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class EngineRequest(NamedTuple):
    """One request; `query` has the last value of each name."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class HttpReply(NamedTuple):
    """`lines`: a stream of JSON lines instead of a body; `hangs`: it never ends."""

    status: int
    body: Any = None
    lines: tuple[dict[str, Any], ...] | None = None
    hangs: bool = False
    raw: bytes | None = None
    headers: Mapping[str, str] = {}


async def leave(reader: asyncio.StreamReader, waits: bool) -> bool:
    """Say nothing; where it hangs, until the client has left."""
    if waits:
        await reader.read()
    return False


async def read_request(reader: asyncio.StreamReader) -> EngineRequest | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await _body(reader, headers)
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    parameters = body if headers.get("content-type") == "application/x-tar" else json.loads(body) if body else None
    return EngineRequest(method, re.sub(r"^/v1\.\d+", "", unquote(url.path)), query, parameters, headers)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    whole = b""
    while size := int(await reader.readline(), 16):
        whole += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return whole


async def send_answer(
    writer: asyncio.StreamWriter, answer: HttpReply, *, cut: bool = False, half: bool = False
) -> None:
    if answer.lines is not None:
        writer.write(f"HTTP/1.1 {answer.status} OK\r\n".encode())
        writer.write(b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in answer.lines[: 1 if cut else None]:
            piece = json.dumps(line).encode() + b"\r\n"
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        writer.write(b"" if cut or answer.hangs else b"0\r\n\r\n")
        await writer.drain()
        return
    body = answer.raw if answer.raw is not None else (b"" if answer.body is None else json.dumps(answer.body).encode())
    kind = "application/json" if answer.raw is None else "application/vnd.docker.raw-stream"
    more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    length = more if answer.status in (204, 304) else f"{more}Content-Length: {len(body)}\r\nContent-Type: {kind}\r\n"
    writer.write(f"HTTP/1.1 {answer.status} OK\r\n{length}\r\n".encode() + body[: len(body) // 2 if cut else None])
    await writer.drain()
    if half and writer.can_write_eof():
        writer.write_eof()

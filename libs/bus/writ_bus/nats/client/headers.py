"""nats-py's client with a faster parser of message headers; the protocol on the wire is the same.

Every message here has headers, and one operation has dozens of messages: nats-py's loops over them were a tenth of all
the work of a process. Headers that are not plain take nats-py's own path; tests/bus/test_headers.py compares the two.
"""

import re
from typing import Any

from nats.aio.client import Client
from nats.protocol.command import hpub_cmd

from writ_bus.nats.client.guarded import BLANK, GuardedClient, take_from_server
from writ_bus.sender import REQUEST_INFO

BEGINNING = b"NATS/1.0\r\n"
"""Start of headers without a status."""
_plain_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_status_line = re.compile(rb"NATS/1\.0 ([0-9]{3})(?: ([ -9;-~]+))?\r\n").match
MOST_NAMES, LONGEST_NAME = 256, 64


class _Names(dict[str, str]):
    """Names that are known to be plain, as the start of a line."""

    def __missing__(self, name: str) -> str:
        """Return the start of a line for a further name. Raises ValueError unless it is plain."""
        if not _plain_name(name):
            raise ValueError(name)
        _remember(name)
        return f"{name}: "


_names = _Names()


class HeaderClient(GuardedClient):
    """A client with the faster parser; otherwise like its base."""

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        found = HeaderClient._read_lines(raw)
        if REQUEST_INFO in found:
            take_from_server(found, raw)
        return found

    @staticmethod
    def _read_lines(raw: bytes) -> dict[str, str]:
        if not raw.isascii():
            slowly: dict[str, str] = Client._parse_header_lines(raw)
            return slowly
        found: dict[str, str] = {}
        for line in raw.decode("ascii").split("\r\n"):
            name, colon, value = line.partition(":")
            if name not in _names or not colon:
                name = name.strip(BLANK)
                if not colon or (name and name.split() != [name]):
                    continue
                _remember(name)
            found[name] = value.strip(BLANK)
        return found

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, Any] | None
    ) -> None:
        block = header_block(headers) if headers and subject else None
        if block is None:
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        await self._send_command(hpub_cmd(subject, reply, block, payload))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()


def parse_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a whole block in wire form."""
    _, _, lines = block.partition(b"\r\n")
    return HeaderClient._parse_header_lines(lines.rstrip(b"\r\n")) if lines else {}


def status_headers(block: bytes) -> dict[str, str] | None:
    """Return the headers of a status message of the server, named as by nats-py; None where something is not plain."""
    line = _status_line(block)
    if line is None or not block.endswith(b"\r\n\r\n"):
        return None
    status, description = line.groups()
    lines = block[line.end() : -2].removesuffix(b"\r\n")
    if description is None:
        return None if lines else {"Status": status.decode()}
    found = {"Status": status.decode(), "Description": description.decode()}
    return found | HeaderClient._parse_header_lines(lines) if lines else found


def header_block(headers: dict[str, Any]) -> bytes | None:
    """Return the headers in wire form; None where something is not plain."""
    try:
        text = "".join([_names[name] + value.strip() + "\r\n" for name, value in headers.items()])
    except (AttributeError, TypeError, ValueError):
        return None
    if text.count("\r") != len(headers) or text.count("\n") != len(headers):
        return None
    return f"NATS/1.0\r\n{text}\r\n".encode()


def _remember(name: str) -> None:
    """Remember a plain name. Any sender chooses names, so their memory is limited."""
    if len(name) > LONGEST_NAME or not _plain_name(name):
        return
    if len(_names) >= MOST_NAMES:
        _names.clear()
    _names[name] = f"{name}: "

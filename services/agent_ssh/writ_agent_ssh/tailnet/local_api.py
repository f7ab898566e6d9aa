"""tailscaled's LocalAPI: this node's state, its peers, and the owner of an address.

HTTP over a unix socket (tailscale's ipn/localapi/localapi.go; shapes in ipn/ipnstate/ipnstate.go, whois in
client/tailscale/apitype). It refuses requests that a browser could send: a foreign Host, an Origin, a Referer. Every
request is bounded in time and size; an unanswerable one is an error with a code, never an empty answer.
"""

import asyncio
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from writ_contracts.errors import Invalid, Unreachable

HOST = "local-tailscaled.sock"
SECONDS = 3.0
MOST_BYTES = 32 * 1024 * 1024
"""Bytes of one answer: about 1.5 KB for each peer."""
UNAVAILABLE, GARBLED, REFUSED = "tailscale_unavailable", "tailscale_garbled", "tailscale_refused"
T = TypeVar("T", bound=Struct)


class PeerStatus(Struct, frozen=True, kw_only=True):
    """One node, as in `status`. `public_key` is its node key, `dns_name` ends in a dot; None stands for an absent
    value.
    """

    public_key: str = msgspec.field(name="PublicKey")
    dns_name: str = msgspec.field(name="DNSName", default="")
    addresses: list[str] | None = msgspec.field(name="TailscaleIPs", default=None)
    tags: list[str] | None = msgspec.field(name="Tags", default=None)
    online: bool = msgspec.field(name="Online", default=False)
    last_seen: str = msgspec.field(name="LastSeen", default="")
    expired: bool = msgspec.field(name="Expired", default=False)
    key_expiry: str | None = msgspec.field(name="KeyExpiry", default=None)


class Status(Struct, frozen=True, kw_only=True):
    """The state of this node, and its peers if requested. `tun` false: userspace mode."""

    version: str = msgspec.field(name="Version", default="")
    state: str = msgspec.field(name="BackendState")
    tun: bool = msgspec.field(name="TUN", default=True)
    suffix: str = msgspec.field(name="MagicDNSSuffix", default="")
    peers: dict[str, PeerStatus] | None = msgspec.field(name="Peer", default=None)


class TailnetNode(Struct, frozen=True, kw_only=True):
    """The node of an address, as in `whois`."""

    key: str = msgspec.field(name="Key")
    name: str = msgspec.field(name="Name", default="")
    tags: list[str] | None = msgspec.field(name="Tags", default=None)


class Whois(Struct, frozen=True, kw_only=True):
    """The answer of `whois`."""

    node: TailnetNode = msgspec.field(name="Node")


class Response(NamedTuple):
    status: int
    body: bytes


class LocalApi:
    """One tailscaled, by its socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def status(self, *, peers: bool) -> Status:
        """Return the present state. Raises Unreachable, Invalid."""
        response = await self._get(f"status?peers={'true' if peers else 'false'}")
        return decoded("status", response, Status)

    async def whois(self, address: str) -> Whois | None:
        """Return the owner of `IP:port` (`[IP]:port`); None without one. Raises Unreachable, Invalid."""
        response = await self._get(f"whois?addr={quote(address, safe='')}")
        return None if response.status == 404 else decoded("whois", response, Whois)

    async def _get(self, what: str) -> Response:
        try:
            async with asyncio.timeout(SECONDS):
                return parse(await self._exchange(f"/localapi/v0/{what}"))
        except TimeoutError:
            raise Unreachable(f"tailscaled did not answer within {SECONDS:g} s", code=UNAVAILABLE) from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Unreachable(f"tailscaled cannot be asked at {self.socket}: {why}", code=UNAVAILABLE) from error

    async def _exchange(self, path: str) -> bytes:
        """Return the whole response, up to the close demanded by the request."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            received = bytearray()
            while piece := await reader.read(65_536):
                received += piece
                if len(received) > MOST_BYTES:
                    raise Unreachable(f"tailscaled sends more than {MOST_BYTES} bytes", code=GARBLED)
            return bytes(received)
        finally:
            writer.transport.abort()


class _ResponseBytes:
    """Bytes in place of the socket that http.client expects."""

    def __init__(self, received: bytes) -> None:
        self._data = received

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self._data)


def decoded(name: str, response: Response, kind: type[T]) -> T:
    """Return the decoded answer. Raises Invalid for a refusal, Unreachable for anything malformed."""
    if response.status != 200:
        received = response.body.decode(errors="replace").strip()[:200]
        raise Invalid(f"tailscaled refuses {name}: {response.status} {received}", code=REFUSED)
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(f"tailscaled answers {name} with a malformed response: {error}", code=GARBLED) from error


def parse(received: bytes) -> Response:
    """Parse a whole response, chunked or not. Raises Unreachable for a malformed or incomplete one."""
    try:
        response = HTTPResponse(_ResponseBytes(received), method="GET")  # type: ignore[arg-type]
        response.begin()
        return Response(response.status, response.read())
    except (HTTPException, ValueError) as error:
        raise Unreachable(f"tailscaled does not answer in HTTP: {type(error).__name__}", code=GARBLED) from error

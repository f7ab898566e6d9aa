"""tailscaled's LocalAPI on a unix socket, with `status` and `whois`.

Shapes and refusals are those of tailscale's ipn/localapi/localapi.go and ipn/ipnstate/ipnstate.go; other paths are
answered 404. Threads serve it, so tests with and without an event loop use it alike.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

HOST = "local-tailscaled.sock"
VERSION = "1.90.6-t0000000000-g0000000000"
CAPABILITY = "130"
SUFFIX = "tailnet.example"
NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time."""
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
"""Go's texts for false; any other value of `peers` is the default, true."""

State = Literal["NoState", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting", "Running"]


def node_key(name: str) -> str:
    """Return a node key, always the same one for a name."""
    return f"nodekey:{hashlib.sha256(name.encode()).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One node of the tailnet. Tagged ones have no user; the others belong to `user`."""

    name: str
    addresses: tuple[str, ...]
    key: str = ""
    tags: tuple[str, ...] = ()
    online: bool = True
    expired: bool = False
    key_expiry: str | None = None
    last_seen: str = NEVER
    """Set only while it is offline, as in the real one."""
    ssh_host_keys: tuple[str, ...] = ()
    user: str = "operator@example.org"

    @property
    def node_key(self) -> str:
        """Return the given node key, or one made of the name."""
        return self.key or node_key(self.name)

    @property
    def number(self) -> int:
        return int(self.node_key[-8:], 16)

    def status(self) -> dict[str, Any]:
        """Return the peer as `PeerStatus`, without empty `omitempty` fields."""
        shown: dict[str, Any] = {
            "ID": f"n{self.number}CNTRL", "PublicKey": self.node_key, "HostName": self.name,
            "DNSName": f"{self.name}.{SUFFIX}.", "OS": "linux", "UserID": self._user_id,
            "TailscaleIPs": list(self.addresses), "AllowedIPs": self._prefixes,
            "Addrs": None, "CurAddr": "", "Relay": "", "RxBytes": 0, "TxBytes": 0, "Created": "2026-01-01T00:00:00Z",
            "LastWrite": NEVER, "LastSeen": NEVER if self.online else self.last_seen, "LastHandshake": NEVER,
            "Online": self.online, "ExitNode": False, "ExitNodeOption": False, "Active": False, "PeerAPIURL": None,
            "InNetworkMap": True, "InMagicSock": True, "InEngine": False,
        }  # fmt: skip
        more = {
            "Tags": list(self.tags), "sshHostKeys": list(self.ssh_host_keys), "Expired": self.expired,
            "KeyExpiry": self.key_expiry,
        }  # fmt: skip
        return shown | {name: value for name, value in more.items() if value}

    def whois(self) -> dict[str, Any]:
        """Return the peer as `WhoIsResponse`."""
        node = {
            "ID": self.number, "StableID": f"n{self.number}CNTRL", "Name": f"{self.name}.{SUFFIX}.",
            "User": self._user_id, "Key": self.node_key, "KeyExpiry": self.key_expiry or NEVER,
            "Addresses": self._prefixes, "AllowedIPs": self._prefixes, "Created": "2026-01-01T00:00:00Z",
            "Hostinfo": {"OS": "linux", "Hostname": self.name}, "MachineAuthorized": True, "Online": self.online,
            "ComputedName": self.name,
        }  # fmt: skip
        more = {"Tags": list(self.tags), "Expired": self.expired}
        node |= {name: value for name, value in more.items() if value}
        return {"Node": node, "UserProfile": self.profile(), "CapMap": None}

    def profile(self) -> dict[str, Any]:
        """Return the peer as `UserProfile`."""
        login = "tagged-devices" if self.tags else self.user
        return {"ID": self._user_id, "LoginName": login, "DisplayName": login.partition("@")[0]}

    @property
    def _user_id(self) -> int:
        return int(hashlib.sha256(b"tagged-devices" if self.tags else self.user.encode()).hexdigest()[:8], 16)

    @property
    def _prefixes(self) -> list[str]:
        return [f"{one}/{ip_address(one).max_prefixlen}" for one in self.addresses]


@dataclass
class TailscaleState:
    """The data of the server. Change it while the server runs, as the tailnet changes."""

    socket: Path
    peers: list[Peer] = field(default_factory=list)
    own: Peer = field(default_factory=lambda: Peer(name="control", addresses=("100.64.9.1",)))
    state: State = "Running"
    tun: bool = True
    """False as in userspace mode."""
    permit_read: bool = True
    """False as for a caller without the right to read."""
    silent: bool = False
    """True: it accepts connections and answers nothing, until it is stopped."""
    garbage: bytes | None = None
    """These bytes replace every answer."""
    requests: list[str] = field(default_factory=list)
    """The requested paths with their queries, in order."""
    stopped: threading.Event = field(default_factory=threading.Event)

    def put(self, peer: Peer) -> None:
        """Add the peer in place of one with the same name."""
        self.peers = [*(one for one in self.peers if one.name != peer.name), peer]

    def status(self, peers: bool) -> dict[str, Any]:
        """Return the answer as `Status`. Without peers they are null, not {}."""
        others = self.peers if peers else []
        tailnet = {"Name": "example.org", "MagicDNSSuffix": SUFFIX, "MagicDNSEnabled": True}
        running = self.state == "Running"
        return {
            "Version": VERSION, "TUN": self.tun, "BackendState": self.state, "HaveNodeKey": True, "AuthURL": "",
            "TailscaleIPs": list(self.own.addresses) if running else None, "Self": self.own.status(), "Health": [],
            "MagicDNSSuffix": SUFFIX, "CurrentTailnet": tailnet if running else None, "CertDomains": None,
            "Peer": {one.node_key: one.status() for one in others} or None,
            "User": {str(one.profile()["ID"]): one.profile() for one in others} or None,
            "ClientVersion": None,
        }  # fmt: skip

    def whois(self, address: str) -> Peer | None:
        """Return the owner of `IP`, `IP:port` or `nodekey:…`; ValueError for any other form."""
        if address.startswith("nodekey:"):
            return next((one for one in [self.own, *self.peers] if one.node_key == address), None)
        return next((one for one in [self.own, *self.peers] if _address(address) in one.addresses), None)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or int(port) > 65_535:
            raise
        return str(ip_address(host.removeprefix("[").removesuffix("]")))


class _SocketServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, api: TailscaleState) -> None:
        super().__init__(str(api.socket), _Handler)
        self.api = api


class _Handler(BaseHTTPRequestHandler):
    """One connection. The checks have the order of the real ones."""

    protocol_version = "HTTP/1.1"
    server: _SocketServer

    def do_GET(self) -> None:
        """Answer; `status` and `whois` ignore the method."""
        api, url = self.server.api, urlsplit(self.path)
        api.requests.append(self.path)
        if api.silent:
            self.close_connection = True
            api.stopped.wait()
        elif api.garbage is not None:
            self.close_connection = True
            self.wfile.write(api.garbage)
        elif (host := self.headers.get("Host")) is None and self.request_version == "HTTP/1.1":
            self._plain(HTTPStatus.BAD_REQUEST, "400 Bad Request: missing required Host header")
        elif host not in (None, "", HOST) or self.headers.get("Origin") or self.headers.get("Referer"):
            self._plain(HTTPStatus.FORBIDDEN, "invalid localapi request")
        else:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            self._handle(url.path, query)

    def _handle(self, path: str, query: dict[str, str]) -> None:
        if path == "/":
            self._plain(HTTPStatus.OK, "tailscaled")
        elif path == "/localapi/v0/status":
            self._status(query)
        elif path == "/localapi/v0/whois":
            self._whois(query.get("addr", ""))
        else:
            self._plain(HTTPStatus.NOT_FOUND, "404 page not found")

    def _status(self, query: dict[str, str]) -> None:
        api = self.server.api
        if not api.permit_read:
            return self._plain(HTTPStatus.FORBIDDEN, "status access denied")
        return self._json(api.status(peers=query.get("peers", "") not in _FALSE))

    def _whois(self, address: str) -> None:
        if not self.server.api.permit_read:
            return self._plain(HTTPStatus.FORBIDDEN, "whois access denied")
        if not address:
            return self._plain(HTTPStatus.BAD_REQUEST, "missing 'addr' parameter")
        try:
            peer = self.server.api.whois(address)
        except ValueError:
            return self._plain(HTTPStatus.BAD_REQUEST, "invalid 'addr' parameter")
        if peer is None:
            return self._plain(HTTPStatus.NOT_FOUND, "no match for IP:port")
        return self._json(peer.whois())

    def _json(self, content: dict[str, Any]) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(content, indent="\t") + "\n")

    def _plain(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", text + "\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Tailscale-Version", VERSION)
        self.send_header("Tailscale-Cap", CAPABILITY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def local_api(socket: Path, *peers: Peer) -> Iterator[TailscaleState]:
    """Serve on that socket (a path shorter than 108 bytes), and remove it afterwards."""
    api = TailscaleState(socket, list(peers))
    with _SocketServer(api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="local-api")
        thread.start()
        try:
            yield api
        finally:
            api.stopped.set()
            server.shutdown()
            thread.join()
            socket.unlink(missing_ok=True)

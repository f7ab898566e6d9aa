"""The fake LocalAPI refuses and reports as tailscaled does."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from writ_testing.peers.tailscale_local_api import HOST, Peer, TailscaleState, local_api, node_key

WEB = Peer(
    name="web1", addresses=("100.64.9.11", "fd7a:115c:a1e0::11"), tags=("tag:web",), ssh_host_keys=("ssh-ed25519 A",)
)
OFF = Peer(name="off1", addresses=("100.64.9.12",), online=False, last_seen="2026-02-03T04:05:06Z")
OLD = Peer(name="old1", addresses=("100.64.9.13",), expired=True, key_expiry="2026-02-03T04:05:06Z")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(HOST, timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TailscaleState]:
    with local_api(tmp_path / "tailscaled.sock", WEB, OFF, OLD) as served:
        yield served


def ask(api: TailscaleState, path: str, **headers: str) -> tuple[int, str]:
    with UnixConnection(api.socket) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def fetch_json(api: TailscaleState, path: str) -> dict[str, Any]:
    status, text = ask(api, path)
    assert status == 200, text
    return dict(json.loads(text))


def test_status_shows_the_peers_by_their_node_key(api: TailscaleState) -> None:
    status = fetch_json(api, "/localapi/v0/status")
    assert (status["BackendState"], status["Self"]["HostName"]) == ("Running", "control")
    web, off, old = (status["Peer"][node_key(name)] for name in ("web1", "off1", "old1"))
    assert (web["DNSName"][-1], web["Tags"], web["Online"], web["sshHostKeys"]) == (
        ".",
        ["tag:web"],
        True,
        ["ssh-ed25519 A"],
    )
    assert web["TailscaleIPs"] == ["100.64.9.11", "fd7a:115c:a1e0::11"]
    assert (off["Online"], off["LastSeen"]) == (False, "2026-02-03T04:05:06Z")
    assert old["Expired"] is True
    assert not {"Expired", "KeyExpiry"} & set(web)


@pytest.mark.parametrize(
    ("query", "peers"), [("false", False), ("0", False), ("true", True), ("what", True), ("", True)]
)
def test_without_peers_there_is_null_for_them(api: TailscaleState, query: str, peers: bool) -> None:
    assert (fetch_json(api, f"/localapi/v0/status?peers={query}")["Peer"] is not None) == peers


@pytest.mark.parametrize(
    "address", ["100.64.9.11", "100.64.9.11:22", "[fd7a:115c:a1e0::11]:22", "fd7a:115c:a1e0::11", node_key("web1")]
)
def test_whois_knows_a_peer_by_address_and_by_key(api: TailscaleState, address: str) -> None:
    found = fetch_json(api, f"/localapi/v0/whois?addr={address}")
    assert (found["Node"]["Key"], found["Node"]["Addresses"][0]) == (node_key("web1"), "100.64.9.11/32")
    assert found["UserProfile"]["LoginName"] == "tagged-devices"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/localapi/v0/whois?addr=100.64.9.99:22", 404, "no match for IP:port\n"),
        ("/localapi/v0/whois?addr=web1", 400, "invalid 'addr' parameter\n"),
        ("/localapi/v0/whois?addr=100.64.9.11:65536", 400, "invalid 'addr' parameter\n"),
        ("/localapi/v0/whois", 400, "missing 'addr' parameter\n"),
        ("/localapi/v0/prefs", 404, "404 page not found\n"),
        ("/", 200, "tailscaled\n"),
    ],
)
def test_local_api_answers_unusable_requests_with_an_error(
    api: TailscaleState, path: str, status: int, text: str
) -> None:
    assert ask(api, path) == (status, text)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost"}, {"Host": f"{HOST}:80"}, {"Origin": "http://example.org"}, {"Referer": "http://a"}],
)
def test_a_request_as_a_browser_would_send_it_is_refused(api: TailscaleState, headers: dict[str, str]) -> None:
    for path in ("/localapi/v0/status", "/localapi/v0/whois?addr=100.64.9.11", "/"):
        assert ask(api, path, **headers) == (403, "invalid localapi request\n")


def test_local_api_reports_a_missing_permission(api: TailscaleState) -> None:
    api.permit_read = False
    assert ask(api, "/localapi/v0/status") == (403, "status access denied\n")
    assert ask(api, "/localapi/v0/whois?addr=100.64.9.11") == (403, "whois access denied\n")


def test_a_peer_that_changes_is_reported_as_it_is_now(api: TailscaleState) -> None:
    api.put(Peer(name="web1", addresses=WEB.addresses, key=node_key("another")))
    assert node_key("web1") not in fetch_json(api, "/localapi/v0/status")["Peer"]
    assert fetch_json(api, "/localapi/v0/whois?addr=100.64.9.11")["Node"]["Key"] == node_key("another")


def test_local_api_can_be_silent_malformed_and_absent(tmp_path: Path) -> None:
    with local_api(tmp_path / "s") as api:
        api.garbage = b"\0\1\2\n"
        with pytest.raises(http.client.BadStatusLine):
            ask(api, "/localapi/v0/status")
        api.garbage, api.silent = None, True
        with UnixConnection(api.socket) as connection:
            connection.timeout = 0.2
            connection.request("GET", "/localapi/v0/status")
            with pytest.raises(TimeoutError):
                connection.getresponse()
    with pytest.raises(FileNotFoundError):
        ask(api, "/localapi/v0/status")

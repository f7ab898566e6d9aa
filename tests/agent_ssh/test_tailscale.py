"""A target `via: tailscale` is reached only as the peer that the inventory pins; refusals give the reason."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from writ_agent_ssh.settings import SshConnection, connection_of
from writ_agent_ssh.tailnet import local_api as client
from writ_agent_ssh.tailnet.local_api import PeerStatus, Status
from writ_agent_ssh.tailnet.tailscale import Tailnet, check, peer_of
from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.inventory import Target
from writ_testing.peers.tailscale_local_api import Peer, TailscaleState, local_api, node_key

WEB = Peer(name="web1", addresses=("127.0.0.1", "fd7a:115c:a1e0::11"), tags=("tag:web", "tag:prod"))
LONG_AGO, LONG_HENCE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00.123456789Z"
HERE = {"host": "web1", "user": "u", "via": "tailscale"}
PINNED = {**HERE, "tailscale_node_key": node_key("web1"), "tailscale_tags": ["tag:web"]}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TailscaleState]:
    with local_api(tmp_path / "tailscaled.sock", Peer(name="db1", addresses=("100.64.9.2",)), WEB) as served:
        yield served


def connection() -> SshConnection:
    return msgspec.convert(PINNED, SshConnection)


async def dialled(api: TailscaleState) -> None:
    carrier = await Tailnet(client.LocalApi(api.socket)).dial(connection())
    carrier.sock.close()
    carrier.end()


def changed(**what: object) -> Peer:
    return Peer(**{"name": "web1", "addresses": WEB.addresses, "tags": WEB.tags, **what})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "error", "code", "words"),
    [
        (changed(online=False, last_seen="2026-02-03T04:05:06Z"), Unreachable, "tailscale_offline", "2026-02-03"),
        (changed(online=False, last_seen="0001-01-01T00:00:00Z"), Unreachable, "tailscale_offline", "last seen never"),
        (changed(expired=True, key_expiry=LONG_AGO), Untrusted, "tailscale_expired", "2020-01-01"),
        (changed(key_expiry=LONG_AGO), Untrusted, "tailscale_expired", "2020-01-01"),
        (changed(key_expiry="soon"), Untrusted, "tailscale_expired", "soon"),
        (changed(key=node_key("thief")), Untrusted, "tailscale_wrong_node", node_key("thief")),
        (changed(tags=("tag:prod",)), Untrusted, "tailscale_wrong_tags", "tag:web"),
        (changed(tags=()), Untrusted, "tailscale_wrong_tags", "tag:web"),
        (changed(addresses=()), Unreachable, "tailscale_offline", "no address"),
    ],
)
async def test_a_peer_that_is_not_there_or_not_who_it_should_be_is_refused_with_that_reason(
    api: TailscaleState, peer: Peer, error: type[WritError], code: str, words: str
) -> None:
    api.put(peer)
    with pytest.raises(error, match="web1") as refused:
        await dialled(api)
    assert refused.value.code == code
    assert words in str(refused.value)


async def test_identity_of_a_peer_is_checked_before_its_presence(api: TailscaleState) -> None:
    api.put(changed(key=node_key("thief"), online=False))
    with pytest.raises(Untrusted) as refused:
        await dialled(api)
    assert refused.value.code == "tailscale_wrong_node"


async def test_an_address_that_is_another_peers_by_now_is_refused(
    api: TailscaleState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "whois", lambda address: Peer(name="thief", addresses=("127.0.0.1",)))
    with pytest.raises(Untrusted, match="belongs to nodekey:") as refused:
        await dialled(api)
    assert refused.value.code == "tailscale_wrong_node"
    monkeypatch.setattr(api, "whois", lambda address: None)
    with pytest.raises(Untrusted, match="belongs to nobody"):
        await dialled(api)


@pytest.mark.parametrize("state", ["NoState", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting"])
async def test_a_tailscaled_that_does_not_run_its_network_is_reported_as_such(api: TailscaleState, state: str) -> None:
    api.state = state  # type: ignore[assignment]
    with pytest.raises(Unreachable, match=state) as refused:
        await dialled(api)
    assert refused.value.code == "tailscale_down"


async def test_missing_permission_on_tailscaled_is_reported(
    api: TailscaleState, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.permit_read = False
    with pytest.raises(Invalid, match="403 status access denied") as refused:
        await dialled(api)
    assert refused.value.code == "tailscale_refused"
    monkeypatch.setattr(client, "HOST", "localhost")
    with pytest.raises(Invalid, match="403 invalid localapi request"):
        await dialled(api)


async def test_each_question_is_bounded_in_time(api: TailscaleState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SECONDS", 0.1)
    api.silent = True
    with pytest.raises(Unreachable, match=r"did not answer within 0\.1 s") as refused:
        await dialled(api)
    assert refused.value.code == "tailscale_unavailable"


async def test_a_tailscaled_that_is_not_there_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="No such file") as refused:
        await Tailnet(client.LocalApi(tmp_path / "none.sock")).dial(connection())
    assert refused.value.code == "tailscale_unavailable"


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0\1\2\n",
        b"SSH-2.0-OpenSSH\r\n",
        JSON,
        JSON + b"\r\n",
        JSON + b"\r\nnull",
        JSON + b"\r\n[]",
        JSON + b"\r\n{}",
        JSON + b'\r\n{"BackendState": 7}',
        JSON + b'\r\n{"BackendState": "Running", "Peer": {"nodekey:00": {"Online": true}}}',
        JSON + b'\r\n{"BackendState": "\xff\xfe"}',
        JSON + b'Content-Length: 9999\r\n\r\n{"BackendState": "Running"}',
        JSON + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"Bac\r\n',
        JSON + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n{"BackendState": "Running"}\r\n0\r\n\r\n',
    ],
)
async def test_malformed_answer_of_tailscaled_is_refused(api: TailscaleState, garbage: bytes) -> None:
    api.garbage = garbage
    with pytest.raises(Unreachable) as refused:
        await dialled(api)
    assert refused.value.code in ("tailscale_garbled", "tailscale_unavailable")


async def test_an_answer_without_an_end_is_cut_off(api: TailscaleState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 1000)
    api.garbage = JSON + b"\r\n" + b" " * 100_000
    with pytest.raises(Unreachable, match="more than 1000 bytes"):
        await dialled(api)


async def test_an_answer_in_chunks_is_read_whole(api: TailscaleState) -> None:
    """Go sends answers beyond its buffer in chunks."""
    api.garbage = JSON + b'Transfer-Encoding: chunked\r\n\r\n10\r\n{"BackendState":\r\na\r\n"Stopped"}\r\n0\r\n\r\n'
    assert (await client.LocalApi(api.socket).status(peers=True)).state == "Stopped"


async def test_without_peers_there_are_none(api: TailscaleState) -> None:
    local_api = client.LocalApi(api.socket)
    assert (await local_api.status(peers=False)).peers is None
    assert len((await local_api.status(peers=True)).peers or {}) == 2
    api.peers.clear()
    with pytest.raises(Invalid, match="no peer of the tailnet is web1") as refused:
        await dialled(api)
    assert refused.value.code == "tailscale_unknown_peer"


def status_of(*peers: Peer) -> Status:
    return msgspec.convert(TailscaleState(Path("/none"), list(peers)).status(peers=True), Status)


@pytest.mark.parametrize(
    "host",
    ["web1", "WEB1", "web1.tailnet.example", "web1.tailnet.example.", "127.0.0.1", "fd7a:115c:a1e0:0:0:0:0:11"],
)
def test_a_peer_is_found_by_its_name_in_the_tailnet_or_an_address_of_its_own(host: str) -> None:
    found = peer_of(status_of(Peer(name="db1", addresses=("100.64.9.2",)), WEB), host)
    assert found.public_key == node_key("web1")


@pytest.mark.parametrize("host", ["web", "web1.elsewhere.example", "tailnet.example", "web1.tailnet", "100.64.9.1"])
def test_similar_host_name_finds_no_peer(host: str) -> None:
    with pytest.raises(Invalid, match="no peer"):
        peer_of(status_of(WEB), host)


def test_name_that_a_node_gives_itself_does_not_count() -> None:
    shown = TailscaleState(Path("/none"), [WEB]).status(peers=True)
    shown["Peer"][node_key("web1")]["DNSName"] = "web1-1.tailnet.example."
    with pytest.raises(Invalid, match="no peer"):
        peer_of(msgspec.convert(shown, Status), "web1")


@pytest.mark.parametrize("expiry", [None, LONG_HENCE, "0001-01-01T00:00:00Z"])
def test_tailnet_key_counts_until_its_expiry(expiry: str | None) -> None:
    peer = PeerStatus(public_key=node_key("web1"), tags=["tag:web"], online=True, key_expiry=expiry)
    check(peer, connection(), now=1_780_000_000.0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tailscale_node_key": None, "tailscale_tags": []}, "needs tailscale_node_key, tailscale_tags"),
        ({"via": None}, "need via: tailscale"),
        ({"via": "wireguard"}, "via"),
        ({"tailscale_node_key": "nodekey:short"}, "tailscale_node_key"),
        ({"tailscale_tags": ["web"]}, "tailscale_tags"),
        ({"jump": [{"host": "gate", "user": "u"}]}, "exclude each other"),
    ],
)
def test_an_entry_that_pins_nothing_or_makes_no_sense_is_refused(more: dict[str, object], words: str) -> None:
    target = Target(id="web1", role="testing", backend="ssh", connection={**PINNED, **more})
    with pytest.raises(Invalid, match=words) as refused:
        connection_of(target)
    assert refused.value.code == "invalid_connection"

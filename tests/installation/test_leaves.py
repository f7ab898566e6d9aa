"""leaves.yaml and the files of a site: refusals, and repetition without a change."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from tests.installation.stand_in_installations import up

from writ_cli.main import cli
from writ_contracts.errors import ConfigError, Invalid
from writ_installation.files.home import Home, host_token
from writ_installation.nats.leaf_sites import (
    LeafCertificate,
    NewSite,
    add_site,
    check_listener,
    listener,
    read_leaves,
    write_site,
)
from writ_installation.nats.server import configuration
from writ_installation.server_access.cluster_certificate import for_servers
from writ_installation.server_access.server_address import ServerAddress
from writ_nats_server.cluster import TlsFiles
from writ_nats_server.leaf import LeafListener
from writ_nats_server.process import check_config
from writ_testing.installations.installation import local_target, prepare
from writ_testing.peers.nats_server import free_port

HUB = ("nats://hub.example.org:7500",)
ADDRESS = ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with two pools elsewhere."""
    hosts = ("depot", "yard")
    return prepare(tmp_path, targets=[local_target(f"{host}-1", tmp_path, connection={"host": host}) for host in hosts])


async def test_site_gets_a_key_for_each_of_its_pools(home: Home, tmp_path: Path) -> None:
    assert listener(home) is None
    assert "leafnodes" not in configuration(home, ADDRESS)
    site = NewSite(name="depot", pools=("local-depot", "local-yard"), hub=HUB)
    add_site(home, site, "0.0.0.0")
    leaves = read_leaves(home.leaves)
    assert leaves is not None
    assert (leaves.listen, leaves.port) == ("0.0.0.0", 7500)
    assert {pool: len(keys) for pool, keys in leaves.links().items()} == {"local-depot": 1, "local-yard": 1}
    home.server_config.write_text(configuration(home, ADDRESS))
    await check_config(home.server_config)
    files = write_site(home, site, tmp_path / "out")
    await check_config(files[0])
    assert json.loads(files[0].read_text().partition("leafnodes: ")[2])["remotes"][0]["urls"] == list(HUB)
    assert "WRIT_POOL=local-yard" in (tmp_path / "out" / "agent-local-yard.env").read_text().splitlines()


def test_sites_are_listed_with_their_pools(home: Home) -> None:
    runner = CliRunner(env={"WRIT_HOME": str(home.root)})
    assert runner.invoke(cli, ["leaf", "list"]).stdout.startswith("no site is linked")
    add_site(home, NewSite(name="depot", pools=("local-depot", "local-yard"), hub=HUB), "0.0.0.0")
    listed = json.loads(runner.invoke(cli, ["leaf", "list", "-o", "json"]).stdout)
    assert [(one["site"], one["pool"]) for one in listed] == [("depot", "local-depot"), ("depot", "local-yard")]
    assert runner.invoke(cli, ["leaf", "list", "-q"]).stdout.splitlines() == ["depot", "depot"]


def test_the_same_site_again_has_the_same_keys(home: Home, tmp_path: Path) -> None:
    site = NewSite(name="depot", pools=("local-depot",), hub=HUB)
    written = []
    for _ in range(2):
        add_site(home, site, "127.0.0.1")
        written.append([path.read_bytes() for path in write_site(home, site, tmp_path / "out")])
    assert written[0] == written[1]
    assert len(home.leaves.read_text().split("site:")) == 2


def test_a_certificate_for_the_hub_is_required(home: Home, tmp_path: Path) -> None:
    site = NewSite(name="depot", pools=("local-depot",), hub=("tls://hub:7422",), hub_ca="/etc/writ/ca.pem")
    add_site(home, site, "127.0.0.1")
    text = write_site(home, site, tmp_path / "out")[0].read_text()
    assert json.loads(text.partition("leafnodes: ")[2])["remotes"][0]["tls"]["ca_file"] == "/etc/writ/ca.pem"


def test_certificate_for_leaf_nodes_has_a_readable_matching_key(home: Home, tmp_path: Path) -> None:
    site, made = NewSite(name="depot", pools=("local-depot",), hub=("tls://hub:7422",)), for_servers(["hub"])
    shown = LeafCertificate(certificate=str(tmp_path / "hub.pem"), key=str(tmp_path / "hub.key"))
    refused = [
        (shown, made.public, for_servers(["hub"]).private),
        (shown, made.public, _locked(made.private)),
        (LeafCertificate(certificate="hub.pem", key="hub.key"), b"", b""),
    ]
    for one, certificate, key in refused:
        (tmp_path / "hub.pem").write_bytes(certificate)
        (tmp_path / "hub.key").write_bytes(key)
        with pytest.raises(Invalid, match=r"hub\.pem"):
            add_site(home, site, "0.0.0.0", one)
        assert not home.leaves.exists()
    (tmp_path / "hub.pem").write_bytes(made.public)
    (tmp_path / "hub.key").write_bytes(made.private)
    add_site(home, site, "0.0.0.0", shown)
    add_site(home, site, "0.0.0.0")
    assert (found := listener(home)) is not None
    assert found.tls == TlsFiles(certificate=shown.certificate, key=shown.key)
    with pytest.raises(Invalid, match="another certificate"):
        add_site(home, site, "0.0.0.0", LeafCertificate(certificate=shown.key, key=shown.key))


def _locked(private: bytes) -> bytes:
    """Return the key under a passphrase, which a server cannot get."""
    key = load_pem_private_key(private, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("name", "pools", "hub", "message"),
    [
        ("a-b", ("local-depot",), HUB, "cannot name a site"),
        ("depot", ("nowhere",), HUB, "no pool 'nowhere'"),
        ("depot", ("local-depot",), ("http://hub",), "not an address of a NATS server"),
        ("depot", ("local-depot",), (*HUB, "http://hub"), "'http://hub' is not an address of a NATS server"),
        ("depot", ("local-depot",), ("nats://hub:99999",), "not an address of a NATS server"),
    ],
)
def test_impossible_site_is_refused_before_any_file_is_written(
    home: Home, name: str, pools: tuple[str, ...], hub: tuple[str, ...], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        add_site(home, NewSite(name=name, pools=pools, hub=hub), "127.0.0.1")
    assert not home.leaves.exists()
    assert not list(home.keys.glob("leaf-*"))


def test_a_second_site_needs_the_address_of_a_server_as_the_first_one_did(home: Home) -> None:
    add_site(home, NewSite(name="depot", pools=("local-depot",), hub=HUB), "127.0.0.1")
    with pytest.raises(Invalid, match="not an address of a NATS server"):
        add_site(home, NewSite(name="yard", pools=("local-yard",), hub=("http://hub",)), "127.0.0.1")
    assert "yard" not in home.leaves.read_text()


def test_a_server_has_no_setting_to_wait_where_it_cannot() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = LeafListener(host="127.0.0.1", port=taken.getsockname()[1], tls=None)
        with pytest.raises(ConfigError, match=r"cannot accept leaf nodes at 127\.0\.0\.1, port .*in use"):
            check_listener(place, None)
        its_own = LeafListener(host="0.0.0.0", port=place.port, tls=None)
        check_listener(place, its_own)
    for host in ("192.0.2.1", "no such name"):
        with pytest.raises(ConfigError, match=f"at {host}, port"):
            check_listener(LeafListener(host=host, port=place.port, tls=None), None)
    check_listener(place, None)


async def test_nats_continues_if_leaves_yaml_names_an_address_that_it_cannot_use(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        before = one.pid("nats")
        one.home.leaves.write_text(f"{{listen: 192.0.2.1, port: {free_port()}, leaves: []}}\n")
        await one.until(lambda: "a file has an error: NATS cannot accept leaf nodes at 192.0.2.1" in one.printed)
        assert one.pid("nats") == before
        assert "192.0.2.1" not in one.home.server_config.read_text()
        one.home.leaves.unlink()
        site = NewSite(name="depot", pools=(f"local-{host_token()}",), hub=("nats://hub",))
        with pytest.raises(ConfigError, match="at 192"):
            add_site(one.home, site, "192.0.2.1")

"""TLS of NATS in the files of an installation: when a certificate is issued, and by which CA."""

import ssl
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from writ_bus.nats.tls import pinned
from writ_contracts.errors import ConfigError, Conflict, Invalid
from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_installation.files.home import Home
from writ_installation.files.site import Site
from writ_installation.initialise import init, upgrade
from writ_installation.nats.server import configuration
from writ_installation.server_access import server_tls
from writ_installation.server_access.agent_ca import ca_elsewhere
from writ_installation.server_access.certificates import issue, make_authority, period_of
from writ_installation.server_access.cluster_certificate import Certificate
from writ_installation.server_access.issued_certificate import issued
from writ_installation.server_access.server_address import ServerAddress
from writ_installation.server_access.server_tls import encrypted, own_names, renew, set_up

NOW, DAY = datetime.now(UTC).timestamp(), 86400.0
OPEN = Site(url="nats://hub.example.org:4222", listen="0.0.0.0", port=4222, monitor_port=8222)
HERE = Site(url="nats://127.0.0.1:4222", listen="127.0.0.1", port=4222, monitor_port=8222)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home whose NATS other hosts reach."""
    return init(tmp_path / "home", OPEN)


def number(home: Home) -> int:
    known = issued(home)
    assert known is not None
    return known.number


def handshake(home: Home, ca: bytes, name: str) -> None:
    """Raise SSLError unless a client with `ca` accepts the server's certificate for that name."""
    files = server_tls.server_files(home)
    assert files is not None
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(files.certificate, files.key)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.load_verify_locations(cadata=ca.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(to_client, to_server, server_hostname=name)
    server = theirs.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"


def test_nats_beyond_loopback_requires_tls_by_the_installations_own_ca(home: Home) -> None:
    text = configuration(home, ServerAddress(host="0.0.0.0", port=4222, monitor_port=8222))
    assert '"min_version": "1.3"' in text
    assert "allow_non_tls: false" in text
    ca = home.ca_file.read_bytes()
    for name in ("hub.example.org", "localhost", "127.0.0.1"):
        handshake(home, ca, name)
    with pytest.raises(ssl.SSLError):
        handshake(home, ca, "elsewhere.example.org")
    with pytest.raises(ssl.SSLError):
        handshake(home, make_authority("other", datetime.now(UTC)).public, "localhost")


def test_private_keys_of_tls_are_their_owners_alone(home: Home) -> None:
    for path in (home.ca_key, home.certificates / "server-1.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nats_on_loopback_has_no_tls_and_no_ca(tmp_path: Path) -> None:
    home = init(tmp_path / "home", HERE)
    assert not home.tls_file.exists()
    assert not home.ca_key.exists()
    assert "allow_non_tls" not in configuration(home, ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222))


def test_plaintext_beyond_loopback_is_an_explicit_choice(tmp_path: Path) -> None:
    home = init(tmp_path / "home", OPEN, "off")
    assert server_tls.server_files(home) is None
    assert server_tls.exposure(home, "0.0.0.0") == ""
    assert server_tls.plaintext(home, "0.0.0.0").startswith("NATS listens on 0.0.0.0 without TLS")
    assert server_tls.plaintext(home, "127.0.0.1") == ""


@pytest.mark.parametrize(("days", "renewed"), [(59, False), (61, True)])
def test_a_certificate_is_renewed_thirty_days_before_its_end(home: Home, days: int, renewed: bool) -> None:
    then = NOW + days * DAY
    assert renew(home, then) == ""
    assert (number(home) == 2) is renewed
    files = server_tls.server_files(home)
    assert files is not None
    _, end = period_of(Path(files.certificate).read_bytes())
    assert end.timestamp() - then > 30 * DAY - 60


def test_the_end_is_that_of_the_certificate_in_use_also_after_its_file_was_replaced(home: Home) -> None:
    authority = Certificate(home.ca_file.read_bytes(), home.ca_key.read_bytes())
    other = issue(authority, ["localhost"], datetime.fromtimestamp(NOW - 70 * DAY, UTC))
    before = server_tls.tls_state(home, NOW)
    (home.certificates / "server-1.pem").write_bytes(other.public)
    (home.certificates / "server-1.key").write_bytes(other.private)
    assert server_tls.certificate_end(home) == period_of(other.public)[1].timestamp()
    assert server_tls.tls_state(home, NOW) != before
    assert renew(home, NOW) == ""
    assert number(home) == 2
    (home.certificates / "server-2.pem").write_text("-----BEGIN")
    with pytest.raises(ConfigError, match=r"server-2\.pem: it is no certificate"):
        renew(home, NOW)


def test_a_clock_before_the_begin_of_the_ca_replaces_no_certificate(home: Home) -> None:
    """A host without a battery starts in 1970, say. One of that time would be out of date for clients elsewhere."""
    right = server_tls.tls_state(home, NOW)
    assert server_tls.tls_state(home, NOW - 365 * DAY) == right
    assert renew(home, NOW - 365 * DAY) == ""
    assert number(home) == 1
    handshake(home, home.ca_file.read_bytes(), "localhost")


def test_a_certificate_issued_by_a_clock_ahead_is_replaced_once_the_clock_is_right(home: Home) -> None:
    renew(home, NOW + 365 * DAY)
    with pytest.raises(ssl.SSLError, match="not yet valid"):
        handshake(home, home.ca_file.read_bytes(), "localhost")
    ahead = server_tls.tls_state(home, NOW + 365 * DAY)
    assert server_tls.tls_state(home, NOW) != ahead
    assert renew(home, NOW) == ""
    handshake(home, home.ca_file.read_bytes(), "localhost")
    assert renew(home, NOW) == ""
    assert number(home) == 3


def test_a_certificate_issued_by_a_clock_behind_holds_for_clients_with_a_right_clock(home: Home) -> None:
    """The clock was set back by more than a certificate lasts, but not to before the CA."""
    server_tls.rotate_ca(home, NOW - 400 * DAY)
    renew(home, NOW - DAY)
    for behind in (300, 350):
        assert renew(home, NOW - behind * DAY) == ""
        handshake(home, home.ca_file.read_bytes(), "localhost")
    assert number(home) == 4
    for right in (NOW, NOW):
        assert renew(home, right) == ""
    assert number(home) == 5
    known = issued(home)
    assert known is not None
    assert known.ends == pytest.approx(NOW + 90 * DAY, abs=2)


def test_a_certificate_follows_the_names_in_the_file(home: Home) -> None:
    server_tls.write_settings(home, "required", ["nats.example.org"])
    renew(home, NOW)
    handshake(home, home.ca_file.read_bytes(), "nats.example.org")
    with pytest.raises(ConfigError, match="names of NATS's certificate"):
        server_tls.write_settings(home, "required", ["a b"])


def test_former_certificates_are_removed_but_for_one(home: Home) -> None:
    for round_ in range(1, 5):
        renew(home, NOW + round_ * 70 * DAY)
    left = sorted(path.name for path in home.certificates.iterdir())
    assert left == ["issued.json", "server-4.key", "server-4.pem", "server-5.key", "server-5.pem"]


def test_a_certificate_stays_in_use_while_the_key_of_the_ca_is_elsewhere(home: Home) -> None:
    home.ca_key.rename(home.root / "elsewhere")
    assert renew(home, NOW) == ""
    assert "cannot be renewed without" in renew(home, NOW + 61 * DAY)
    home.ca_key.write_text("absent")  # as systemd's SetCredential has it
    assert "cannot be renewed without" in renew(home, NOW + 61 * DAY)
    assert number(home) == 1


def test_a_new_ca_is_trusted_by_clients_of_the_former_one_until_the_rotation_is_finished(home: Home) -> None:
    former = home.ca_file.read_bytes()
    server_tls.rotate_ca(home, NOW)
    handshake(home, home.ca_file.read_bytes(), "localhost")  # NATS has the former one's certificate until its reload
    with pytest.raises(Conflict, match="--finish"):
        server_tls.rotate_ca(home, NOW)
    renew(home, NOW)
    new = server_tls.first_of(home.ca_file.read_bytes())
    assert new != former
    for ca in (former, new):
        handshake(home, ca, "localhost")
    server_tls.finish_rotation(home)
    renew(home, NOW)
    handshake(home, new, "localhost")
    with pytest.raises(ssl.SSLError):
        handshake(home, former, "localhost")
    with pytest.raises(Conflict):
        server_tls.finish_rotation(home)
    assert not list(home.keys.glob("ca-former*"))


def test_a_key_that_is_not_the_cas_signs_nothing(home: Home) -> None:
    home.ca_key.write_bytes(make_authority("other", datetime.now(UTC)).private)
    assert "is not the key of" in renew(home, NOW + 61 * DAY)
    with pytest.raises(ConfigError, match="is not the key of"):
        server_tls.rotate_ca(home, NOW)


def test_a_certificate_of_a_server_signs_no_other(home: Home) -> None:
    from writ_installation.server_access.cluster_certificate import Certificate

    public, private = ((home.certificates / f"server-1.{end}").read_bytes() for end in ("pem", "key"))
    made = issue(Certificate(public, private), ["localhost"], datetime.now(UTC))
    (home.certificates / "server-1.pem").write_bytes(made.public + public)
    (home.certificates / "server-1.key").write_bytes(made.private)
    with pytest.raises(ssl.SSLError):
        handshake(home, home.ca_file.read_bytes(), "localhost")


def test_an_earlier_installation_offers_tls_once_it_is_upgraded(tmp_path: Path) -> None:
    home = init(tmp_path / "home", OPEN, "off")
    home.tls_file.unlink()
    assert "`writ init --upgrade`" in server_tls.exposure(home, "0.0.0.0")
    assert any("mode: offered" in line for line in upgrade(home.root))
    assert "allow_non_tls: true" in configuration(home, ServerAddress(host="0.0.0.0", port=4222, monitor_port=8222))
    assert "mode: required" in server_tls.exposure(home, "0.0.0.0")
    assert upgrade(home.root) == []


def test_an_upgrade_replaces_a_lost_key_of_a_service_and_never_policys(tmp_path: Path) -> None:
    home = init(tmp_path / "home", OPEN, "off")
    before = {name: home.public(name) for name in ("executor", "audit")}
    home.seed_file("executor").unlink()
    home.params_key.unlink()
    lines = upgrade(home.root)
    assert f"{home.seed_file('executor')} is missing, so a new key is made" in lines
    assert any("stored parameters and outputs can no longer be read" in line for line in lines)
    after = yaml_file.read(home.public_file).data
    assert after["executor"] == home.public("executor") != before["executor"]
    assert after["audit"] == before["audit"]
    assert not any("is missing" in line for line in upgrade(home.root))
    home.seed_file("audit").unlink()
    home.make_key("audit")  # an upgrade that was killed then
    upgrade(home.root)
    assert yaml_file.read(home.public_file).data["audit"] == home.public("audit")
    home.seed_file("policy").unlink()
    with pytest.raises(ConfigError, match=r"policy\.seed"):
        upgrade(home.root)
    assert not home.seed_file("policy").exists()


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("nats://a:1,nats://b:2", "tls://a:1,tls://b:2"),
        ("a:4222", "tls://a:4222"),
        ("ws://a", "wss://a"),
        ("tls://a:1", "tls://a:1"),
    ],
)
def test_urls_of_a_server_with_tls_demand_it(urls: str, expected: str) -> None:
    assert encrypted(urls) == expected


def test_the_names_of_a_certificate_are_those_by_which_the_server_is_reached() -> None:
    found = own_names("10.0.0.5", "nats://hub.example.org:4222,tls://[2001:db8::1]:4222")
    assert found[:3] == ["hub.example.org", "2001:db8::1", "10.0.0.5"]
    assert {"localhost", "127.0.0.1", "::1"} < set(found)
    assert "0.0.0.0" not in own_names("0.0.0.0")


def test_an_address_without_tls_is_not_given_to_other_hosts() -> None:
    with pytest.raises(Invalid, match=r"tls\.md"):
        server_tls.check_exposed("nats://hub:4222", "", {})
    server_tls.check_exposed("nats://hub:4222", "", {"WRIT_NATS_PLAINTEXT": "allow"})
    server_tls.check_exposed("nats://127.0.0.1:4222", "", {})


def test_settings_that_are_wrong_are_refused_with_their_line(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.tls_file.write_text("mode: perhaps\n")
    with pytest.raises(FileErrors, match="perhaps"):
        set_up(home, "required", ["localhost"], NOW)
    unknown: Sequence[object] = server_tls.tls_state(home, NOW)
    assert unknown


def test_two_processes_that_renew_at_once_make_one_pair(home: Home) -> None:
    server_tls.rotate_ca(home, NOW)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: renew(home, NOW), range(4))) == [""] * 4
    assert number(home) == 2
    handshake(home, server_tls.first_of(home.ca_file.read_bytes()), "localhost")


def test_agents_elsewhere_get_each_certificate_of_the_named_file(tmp_path: Path) -> None:
    """A server's own certificate, which is no CA, is trusted as well."""
    home, authority, file = Home(tmp_path / "home"), make_authority("elsewhere", datetime.now(UTC)), tmp_path / "ca.pem"
    own = issue(authority, ["n1.example.org"], datetime.now(UTC)).public
    for there in ([own], [authority.public, own]):
        file.write_bytes(b"# ours\n" + b"".join(there))
        expected = pinned([ssl.PEM_cert_to_DER_cert(server_tls.first_of(one).decode()) for one in there])
        assert ca_elsewhere(home, {"WRIT_TLS_CA": str(file)}) == expected
    file.write_text("nothing\n")
    with pytest.raises(ConfigError, match=r"ca\.pem has no certificate"):
        ca_elsewhere(home, {"WRIT_TLS_CA": str(file)})

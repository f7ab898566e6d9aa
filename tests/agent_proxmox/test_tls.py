"""Pinned certificates: the CA of a PVE, which has no keyUsage; a node's own; a fingerprint; and no other."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.agent_proxmox.cluster import Cluster

from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.connection.credentials import parse_token
from writ_agent_proxmox.connection.tls import context_for
from writ_agent_proxmox.settings import ProxmoxConnection, connection_of
from writ_contracts.errors import Invalid, Untrusted, WritError
from writ_contracts.inventory import Target
from writ_testing.peers.proxmox import OWNER, SECRET, TOKEN, Proxmox

_PEM = serialization.Encoding.PEM
_FORMAT, _PLAIN = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
TOKEN_OF = parse_token(f"{OWNER}!{TOKEN}={SECRET}", "here")


async def version(connection: ProxmoxConnection) -> Any:
    api = Api(connection, TOKEN_OF)
    try:
        return (await api.get("version"))["version"]
    finally:
        api.close()


def made(server: Proxmox) -> tuple[str, Path, Path]:
    """Make a CA like Proxmox' own (CA:TRUE, no keyUsage), and a certificate by it."""
    now, key = dt.datetime.now(dt.UTC), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Proxmox Virtual Environment")])
    own = ec.generate_private_key(ec.SECP256R1())

    def build(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    root = build(name, key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    authority = root.sign(key, hashes.SHA256())
    leaf = build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pve1")]), own.public_key())
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    node = leaf.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
    pem, private = server.folder / "node.pem", server.folder / "node.key"
    pem.write_bytes(node.public_bytes(_PEM))
    private.write_bytes(own.private_bytes(_PEM, _FORMAT, _PLAIN))
    return authority.public_bytes(_PEM).decode(), pem, private


async def test_a_pinned_ca_without_key_usage_is_trusted(cluster: Cluster) -> None:
    server = cluster.server
    ca, pem, key = made(server)
    server.stop()
    server.run(server.pve.start(str(pem), str(key)))
    assert await version(ProxmoxConnection(host="127.0.0.1", port=server.pve.port, ca=ca))
    assert await version(ProxmoxConnection(host="127.0.0.1", port=server.pve.port, ca=pem.read_text()))
    server.stop()
    server.start()


async def test_a_pinned_certificate_of_a_node_is_trusted(cluster: Cluster) -> None:
    server = cluster.server
    assert await version(ProxmoxConnection(host="127.0.0.1", port=server.pve.port, ca=server.certificate))
    assert await version(ProxmoxConnection(host="127.0.0.1", port=server.pve.port, fingerprint=server.fingerprint))


async def test_no_other_certificate_is_trusted(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    server = cluster.server
    other, _, _ = made(server)
    wrong = server.fingerprint[:-1] + ("0" if server.fingerprint[-1] != "0" else "1")
    bundle = server.folder / "bundle.pem"
    bundle.write_text(server.certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    wrongly: tuple[dict[str, Any], ...] = ({"ca": other}, {"fingerprint": wrong}, {})
    for pinned in wrongly:
        with pytest.raises(Untrusted):
            await version(ProxmoxConnection(host="127.0.0.1", port=server.pve.port, **pinned))


async def test_no_proxy_of_the_environment_is_used(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server = cluster.server
    assert await version(ProxmoxConnection(host="127.0.0.1", port=server.pve.port, fingerprint=server.fingerprint))


def test_a_pinned_context_is_the_same_on_every_python() -> None:
    context = context_for(ProxmoxConnection(host="pve"))
    assert context.verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(Invalid, match="holds no certificate"):
        context_for(ProxmoxConnection(host="pve", ca="-----BEGIN CERTIFICATE-----\nnone\n"))


@pytest.mark.parametrize(
    "connection",
    [
        {},
        {"host": "pve", "verify": False},
        {"host": "pve/x"},
        {"host": "pve", "fingerprint": "aa:bb"},
        {"host": "pve", "fingerprint": ":".join(["AA"] * 32), "ca": "-----BEGIN CERTIFICATE-----"},
    ],
)
def test_a_connection_that_is_not_understood_is_refused(connection: dict[str, Any]) -> None:
    with pytest.raises(WritError) as error:
        connection_of(Target(id="pve", role="testing", backend="proxmox", connection=connection))
    assert error.value.code == "invalid_connection"


@pytest.mark.parametrize("text", ["", "root@pam", "root@pam!x", "a b@pam!x=12345678", "root@pam!x=1234 5678"])
def test_malformed_token_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(Invalid) as error:
        parse_token(text, "here")
    assert error.value.code == "no_credentials"
    assert not text or text not in str(error.value)

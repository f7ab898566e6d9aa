"""The host of a connection, for each backend that has one: a name, or an IPv6 address in any usual spelling."""

import pytest

from writ_agent_proxmox.settings import connection_of as proxmox
from writ_containers.engine.connection import connection_of as engine
from writ_contracts.errors import Invalid
from writ_contracts.host_addresses import bare_host, host_and_port
from writ_contracts.inventory import Target
from writ_testing.each_case import each_case


def target(host: str, **more: str) -> Target:
    return Target(id="a", role="testing", backend="docker", connection={"host": host, **more})


@each_case(
    ("given", "bare", "shown"),
    [
        ("web.example", "web.example", "web.example:1"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1:1"),
        ("::1", "::1", "[::1]:1"),
        ("[::1]", "::1", "[::1]:1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:1"),
        ("[fe80::1%eth0]", "fe80::1%eth0", "[fe80::1%eth0]:1"),
    ],
)
def test_address_is_kept_bare_and_shown_with_brackets(given: str, bare: str, shown: str) -> None:
    assert bare_host(given) == bare
    assert host_and_port(bare, 1) == shown


@pytest.mark.parametrize("given", ["::1", "[::1]"])
def test_engine_and_node_may_have_an_ipv6_address(given: str) -> None:
    assert engine(target(given, ca="x")).host == "::1"
    assert (proxmox(target(given)).host, proxmox(target(given)).where) == ("::1", "[::1]:8006")


@pytest.mark.parametrize("given", ["fe80::1%eth0", "1::2::3", "[web]", "web:2376", ""])
def test_engine_and_node_have_no_other_text(given: str) -> None:
    for connection_of in (engine, proxmox):
        with pytest.raises(Invalid):
            connection_of(target(given, **({"ca": "x"} if connection_of is engine else {})))

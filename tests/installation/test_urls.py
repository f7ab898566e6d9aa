"""Addresses of servers, as people name them for other hosts."""

import pytest

from writ_contracts.errors import Invalid
from writ_installation.server_access.urls import checked_servers


@pytest.mark.parametrize(
    "url",
    ["", "http://hub", "nats://a b", "nats://hub:99999", "nats://", "nats://hub,", 'nats://"hub"', "nats://u:p@hub"],
)
def test_malformed_server_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(Invalid, match="not an address of a NATS server"):
        checked_servers(url)


def test_addresses_of_servers_are_taken_as_they_are() -> None:
    for url in (
        "nats://writ.example.org:4222",
        "tls://hub",
        "wss://hub:443",
        "hub:4222",
        "nats://[::1]:4222",
        "nats://a:4222, nats://b:4222",
    ):
        assert checked_servers(url) == url

"""network_scan on loopback: only permitted networks, within the rate, and findings equal the listening sockets."""

import socket
import threading
import time

import pytest
from tests.hostops.conftest import Ask

from writ_hostops import CancelToken
from writ_testing.peers.nats_server import free_ports

LOOPBACK = {"scan_networks": ["127.0.0.0/8"]}


def test_ports_that_listen_are_found_and_others_are_not(ask: Ask) -> None:
    # Where no other test listens: with addresses of its own each port could be somebody's on the other one.
    ports = free_ports(2)  # two numbers: the system may give one of its own to both
    with socket.create_server(("127.9.9.1", ports[0])), socket.create_server(("127.9.9.2", ports[1])):
        result = ask("network_scan", target=LOOPBACK, cidr="127.9.9.0/29", ports=ports, rate=1000)
    assert (result["outcome"], result["effect"]) == ("succeeded", "none")
    assert result["output"]["open_ports"] == {"127.9.9.1": [ports[0]], "127.9.9.2": [ports[1]]}
    assert (result["output"]["tried"], result["output"]["complete"]) == (12, True)


@pytest.mark.parametrize(
    "cidr", ["10.0.0.0/24", "127.0.0.0/7", "0.0.0.0/0", "126.255.255.0/24", "128.0.0.0/32", "::1/128", "0.0.0.0/16"]
)
def test_nothing_outside_the_declared_networks_is_touched(ask: Ask, cidr: str) -> None:
    result = ask("network_scan", target=LOOPBACK, cidr=cidr)
    assert result["outcome"] == "failed"
    assert result["code"] in ("outside_networks", "invalid_parameter")


@pytest.mark.parametrize("cidr", ["::ffff:127.0.0.1/128", "::ffff:10.0.0.0/120", "::ffff:0:0/112"])
def test_ipv4_mapped_address_is_not_inside_ipv6(ask: Ask, cidr: str) -> None:
    for declared in ("::/0", "::ffff:0:0/96", "127.0.0.0/8"):
        result = ask("network_scan", target={"scan_networks": [declared]}, cidr=cidr, ports=[1])
        assert (result["outcome"], result["code"]) == ("failed", "outside_networks"), declared


@pytest.mark.parametrize("cidr", ["localhost/32", "web-1.example.org", "web-1.example.org/32", "::1%lo/128", "1/32"])
def test_network_scan_refuses_a_host_name_as_a_network(ask: Ask, cidr: str) -> None:
    everything = {"scan_networks": ["0.0.0.0/0", "::/0"]}
    assert ask("network_scan", target=everything, cidr=cidr, ports=[1])["code"] == "invalid_parameter"


def test_a_target_that_declares_none_is_not_scanned(ask: Ask) -> None:
    assert ask("network_scan", cidr="127.0.0.1/32")["code"] == "not_declared"


def test_scan_is_no_faster_than_its_rate(ask: Ask) -> None:
    began = time.monotonic()
    result = ask("network_scan", target=LOOPBACK, cidr="127.0.0.1/32", ports=list(range(1, 12)), rate=10)
    assert (result["output"]["tried"], result["output"]["complete"]) == (11, True)
    assert time.monotonic() - began >= 1.0


def test_scan_reports_what_it_found_when_its_time_is_up(ask: Ask) -> None:
    result = ask("network_scan", target=LOOPBACK, cidr="127.0.0.0/24", ports=[1], rate=1, timeout=2)
    assert (result["outcome"], result["output"]["complete"]) == ("succeeded", False)
    assert 0 < result["output"]["tried"] < 254


def test_cancel_ends_a_running_network_operation(ask: Ask) -> None:
    with CancelToken(30.0) as stop:
        threading.Timer(0.1, stop.cancel).start()
        result = ask("network_scan", target=LOOPBACK, stop=stop, cidr="127.0.0.0/24", ports=[1], rate=1)
    assert (result["outcome"], result["effect"]) == ("cancelled", "none")


@pytest.mark.parametrize(
    "parameters",
    [
        {"cidr": "127.0.0.1/8"},
        {"cidr": "127.0.0.1"},
        {"cidr": "127.0.0.0/8"},
        {"cidr": "127.0.0.1/32", "ports": [0]},
        {"cidr": "127.0.0.1/32", "ports": [True]},
        {"cidr": "127.0.0.1/32", "ports": ["22"]},
        {"cidr": "127.0.0.1/32", "ports": list(range(1, 1026))},
        {"cidr": "127.0.0.1/32", "rate": 0},
    ],
)
def test_malformed_or_oversized_scan_is_refused(ask: Ask, parameters: dict[str, object]) -> None:
    assert ask("network_scan", target=LOOPBACK, **parameters)["code"] == "invalid_parameter"

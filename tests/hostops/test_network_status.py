"""network_status agrees with the kernel's own view of this machine; its parsers survive arbitrary bytes."""

import socket
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hostops.conftest import Ask

from writ_hostops.network import netlink, sockets


def test_the_loopback_interface_is_there_with_its_address(ask: Ask) -> None:
    before = set(socket.if_nameindex())
    result = ask("network_status")
    after = set(socket.if_nameindex())  # containers of other tests come and go
    assert result["outcome"] == "succeeded"
    output = result["output"]
    assert set(output) == {"interfaces", "routes", "listening", "truncated"}
    loopback = next(item for item in output["interfaces"] if item["name"] == "lo")
    assert {"address": "127.0.0.1/8", "family": "ipv4", "scope": "host"} in loopback["addresses"]
    assert sorted(loopback) == ["addresses", "index", "mac", "mtu", "name", "state", "up"]
    observed = {(item["index"], item["name"]) for item in output["interfaces"]}
    assert before & after <= observed <= before | after


def test_a_listening_socket_is_there_with_its_process(ask: Ask) -> None:
    with socket.socket() as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        server.bind(("127.0.0.1", 0))
        server.listen()
        datagrams.bind(("127.0.0.1", 0))
        listening = ask("network_status")["output"]["listening"]
        found = {(item["protocol"], item["address"], item["port"]): item for item in listening}
        tcp = found["tcp", "127.0.0.1", server.getsockname()[1]]
        assert tcp["process"]
        assert tcp["pid"] > 0
        assert ("udp", "127.0.0.1", datagrams.getsockname()[1]) in found
    gone = ask("network_status")["output"]["listening"]
    assert tcp not in gone


def test_connected_socket_is_not_reported_as_listening(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        listening = ask("network_status")["output"]["listening"]
        ends = {(item["address"], item["port"]) for item in listening if item["protocol"] == "tcp"}
        assert server.getsockname() in ends
        assert client.getsockname() not in ends  # somebody's UDP socket may have its number


def test_network_status_refuses_parameters(ask: Ask) -> None:
    assert ask("network_status", interface="lo")["code"] == "invalid_parameter"


def test_the_addresses_of_proc_are_read_in_the_machines_order() -> None:
    word = struct.pack("=I", int.from_bytes(socket.inet_aton("127.0.0.1"), "little")).hex()
    if struct.pack("=I", 1) == struct.pack("<I", 1):
        assert sockets.parse_address("0100007F") == "127.0.0.1"
        assert sockets.parse_address("00000000000000000000000001000000") == "::1"
    assert len(word) == 8


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_of_netlink_are_survived(data: bytes) -> None:
    for _, body in netlink.parse_messages(data):
        assert body in data
    for value in netlink.parse_attributes(data).values():
        assert value in data


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=20), max_size=8))
def test_attributes_are_read_as_they_were_written(attributes: dict[int, bytes]) -> None:
    data = b""
    for kind, value in attributes.items():
        data += struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)
    assert netlink.parse_attributes(data) == attributes

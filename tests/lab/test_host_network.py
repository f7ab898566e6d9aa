"""The network of a real host, each way: answers there, and scans of declared networks only."""

import os

import pytest
from tests.lab.hosts import Host
from tests.lab.installation import Writ

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_the_network_is_that_of_the_host(writ: Writ, host: Host) -> None:
    output = writ.run("network_status")["output"]
    addresses = [one["address"] for interface in output["interfaces"] for one in interface["addresses"]]
    assert f"{host.address}/24" in addresses
    assert {"tcp"} <= {one["protocol"] for one in output["listening"] if one["port"] == 80}


def test_the_network_is_tried_and_scanned_where_it_is_declared(writ: Writ) -> None:
    reached = writ.run("network_test", "host=127.0.0.1", "port=80", "protocol=http", "count=1")["output"]
    assert (reached["reachable"], reached["received"]) == (True, 1)
    echoed = writ.run("network_test", f"host={os.environ['LAB_CONTROL']}", "count=2")["output"]
    assert echoed["received"] == 2
    found = writ.run("network_scan", "cidr=127.0.0.1/32", "ports=80,81")["output"]
    assert (found["open_ports"], found["complete"]) == ({"127.0.0.1": [80]}, True)
    refused = writ.run("network_scan", "cidr=10.0.0.0/30", status=1)
    assert (refused["outcome"], refused["code"]) == ("failed", "outside_networks")

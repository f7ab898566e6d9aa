"""Processes that run at the same time choose different ports, before anybody has bound them."""

import random
from itertools import combinations
from types import SimpleNamespace

import pytest

from writ_installation.nats import server
from writ_installation.server_access.server_address import LOOPBACK
from writ_testing.peers.nats_server import PORTS, own_ports


def of_worker(number: int, workers: int) -> set[int]:
    return set(own_ports({"PYTEST_XDIST_WORKER": f"gw{number}", "PYTEST_XDIST_WORKER_COUNT": str(workers)}))


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
def test_workers_choose_from_different_ports(workers: int) -> None:
    shares = [of_worker(number, workers) for number in range(workers)]
    assert all(one.isdisjoint(other) for one, other in combinations(shares, 2))
    assert set().union(*shares) == set(PORTS) == set(own_ports({}))
    assert all(len(one) >= 400 for one in shares)
    assert of_worker(workers, workers) == shares[0], "a worker in place of one that crashed has ports"


def test_tests_choose_no_port_that_an_installation_may_choose() -> None:
    assert set(PORTS).isdisjoint(server.QUIET_PORTS)


def test_clients_and_monitor_of_a_server_never_get_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are chosen before the server binds either; one of 13,000 servers had the same for both."""
    unlucky = SimpleNamespace(sample=lambda ports, number: list(ports)[:number])
    monkeypatch.setattr(random, "SystemRandom", lambda: unlucky)
    port = server.free_port()
    assert server.free_port(LOOPBACK, port) != port

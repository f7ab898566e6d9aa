"""A connection to the system bus: opened ahead, kept for the next question, given up when it is of no more use."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask
from tests.hostops.fake_systemd import FakeSystemd

from writ_hostops.systemd import bus


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bus.SystemdOnBus]]:
    """Keep the connection for the next question, as a serving process does."""
    kept: list[bus.SystemdOnBus] = []
    monkeypatch.setattr(bus, "_ahead", kept)
    monkeypatch.setattr(bus._keeping, "on", False)
    yield kept
    for one in kept:
        one.close()


def test_a_connection_is_opened_ahead_and_kept_for_the_next_question(
    ask: Ask, systemd: FakeSystemd, keeping: list[bus.SystemdOnBus]
) -> None:
    systemd.add("nginx.service")
    assert ask("service_status", service_name="nginx")["outcome"] == "succeeded"
    assert keeping == []
    bus.open_ahead()
    (first,) = keeping
    for _ in range(3):
        assert ask("service_status", service_name="nginx")["outcome"] == "succeeded"
        assert keeping == [first]


def test_connection_that_waited_for_a_job_is_not_kept(
    ask: Ask, systemd: FakeSystemd, keeping: list[bus.SystemdOnBus]
) -> None:
    systemd.add("nginx.service")
    bus.open_ahead()
    assert ask("service_restart", service_name="nginx")["outcome"] == "succeeded"
    assert keeping == []


def test_broken_connection_is_replaced(ask: Ask, systemd: FakeSystemd, keeping: list[bus.SystemdOnBus]) -> None:
    systemd.add("nginx.service")
    bus.open_ahead()
    (first,) = keeping
    first._connection.shutdown(socket.SHUT_RDWR)
    assert ask("service_status", service_name="nginx")["outcome"] == "succeeded"
    assert len(keeping) == 1
    assert keeping[0] is not first


def test_host_without_a_bus_gets_no_connection_ahead(
    keeping: list[bus.SystemdOnBus], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    bus.open_ahead()
    assert keeping == []

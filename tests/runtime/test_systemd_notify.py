"""Notifications of a service to systemd over its socket, and no error without a socket."""

import os
import socket
from pathlib import Path

import pytest

from writ_runtime.systemd_notify import READY, STOPPING, announce


@pytest.mark.parametrize("abstract", [False, True])
def test_listener_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"writ-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}" if abstract else str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else str(tmp_path / "notify"))
        for state in (READY, STOPPING):
            announce(state)
            assert listener.recv(100).decode() == state


@pytest.mark.parametrize("where", ["", "vsock:2:1234", "/nowhere/notify"])
def test_notification_needs_no_listener(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", where)
    announce(READY)

"""Listings of a host: services by bus and by command, ports as the kernel has them, the declared roots."""

import json
import socket
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask
from tests.hostops.fake_systemd import FakeSystemd

SYSTEMCTL = """#!/bin/sh
printf '%s\\n' "$*" >>{folder}/calls
case "$1" in
list-units) printf 'nginx.service loaded active running web\\nold.service not-found inactive dead old\\n' ;;
list-unit-files) printf '%s enabled -\\n' cron.service getty@.service
  printf 'web.service alias -\\nmasked.service masked enabled\\n' ;;
esac
exit {status}
"""


def test_services_are_those_that_are_loaded_or_could_be_by_their_own_names(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service")
    systemd.add("backup.timer")
    systemd.add("gone.service", load="not-found")
    systemd.add("home.mount")
    systemd.files = [
        ("/usr/lib/systemd/system/cron.service", "enabled"),
        ("/etc/systemd/system/web.service", "alias"),
        ("/etc/systemd/system/never.service", "masked"),
        ("/usr/lib/systemd/system/getty@.service", "enabled"),
    ]
    result = ask("list_services", "listing")
    assert (result["outcome"], result["effect"]) == ("succeeded", "none")
    assert result["output"]["names"] == ["backup.timer", "cron.service", "nginx.service"]


@pytest.mark.parametrize("status", [0, 1])
def test_listing_without_a_bus_uses_systemctl_and_reports_its_failure(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL.format(folder=folder, status=status))
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    result = ask("list_services", "listing")
    if status:
        assert (result["outcome"], result["code"], result["output"]) == ("failed", "unavailable", {})
    else:
        assert result["output"]["names"] == ["cron.service", "nginx.service"]
    assert "--all" in (folder / "calls").read_text()


def test_a_port_is_listed_while_something_listens_on_it(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert port in ask("list_ports", "listing")["output"]["names"]
    assert port not in ask("list_ports", "listing")["output"]["names"]


def test_the_file_roots_are_the_targets_own(ask: Ask, srv: Path) -> None:
    assert ask("list_file_roots", "listing")["output"]["names"] == [str(srv)]


def test_a_listing_is_no_operation_and_an_operation_no_listing(ask: Ask) -> None:
    assert ask("list_ports")["code"] == "unsupported"
    assert ask("file_read", "listing")["code"] == "unsupported"
    assert ask("list_ports", "listing", port=1)["code"] == "invalid_parameter"
    assert json.dumps(ask("list_stacks", "listing")["message"]) == '"hostops has no such listing"'

"""The lab's fixtures: one host with the agent on it, one Writ to ask. Made once, since they take seconds to make."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import installation
from tests.lab.hosts import Host, hosts
from tests.lab.installation import Writ


@pytest.fixture(scope="session")
def host() -> Host:
    """A Debian host with systemd and nginx."""
    return hosts()["host1"]


@pytest.fixture(scope="session")
def writ(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writ]:
    """Writ, up, with an agent on the host."""
    folder: Path = tmp_path_factory.mktemp("lab")
    writ = installation.start(folder / "home", os.environ["LAB_CONTROL"], hosts())
    try:
        installation.install_agent(writ, host, folder / "wheels")
        yield writ
    finally:
        print(host.attempt("journalctl", "--no-pager", "--unit", installation.AGENT)[1])
        writ.call("down")


SLOW = """[Unit]
Description=Takes its time to start: as many seconds as /run/slow says
StartLimitIntervalSec=0
[Service]
ExecStartPre=/bin/sh -c 'sleep "$(cat /run/slow)"'
ExecStart=/bin/sleep infinity
ExecStartPost=/bin/sh -c 'echo started >> /srv/slow-starts'
"""


@pytest.fixture
def slow(writ: Writ, host: Host) -> Iterator[str]:
    """A running unit whose restart takes 10 s."""
    host.write("/etc/systemd/system/slow.service", SLOW)
    host.write("/run/slow", "0")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "slow")
    host.write("/run/slow", "10")
    yield "slow"
    host.write("/run/slow", "0")
    host.attempt("systemctl", "kill", "--signal=KILL", "slow")
    host.run("systemctl", "stop", "slow")

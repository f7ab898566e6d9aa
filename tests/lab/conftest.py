"""The lab's fixtures: one installation and two hosts, one with an agent, one reached over SSH alone.

A test with `writ` and `host` runs once each way. Objects that take seconds to make are made once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.lab import installation, repository, targets, vault
from tests.lab.docker_host import make_images
from tests.lab.engine import Engine, bare_engine
from tests.lab.engine_network import in_network_of_the_lab
from tests.lab.hosts import VOLUME, Host, hosts
from tests.lab.installation import Writ
from tests.lab.repository import Repository
from tests.lab.ssh_agent import SshAgent, ssh_agent
from tests.lab.vault import Vault
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from writ_testing.peers.tailscale_local_api import Peer, TailscaleState, local_api

WAYS = {"local": "host1", "ssh": "host2"}
"""How an operation comes to which host."""


class ByWay(LoadScopeScheduling):  # type: ignore[misc]
    """Give each way a worker and an installation. Tests of no way use `host2`, or no host.

    The installation in containers, and the tests of engines and of the units, have the first free worker each. xdist's
    own groups have no effect with this pytest, whose items keep their node ids to themselves.
    """

    def _split_scope(self, nodeid: str) -> str:
        return part_of_the_lab(nodeid)


def part_of_the_lab(nodeid: str) -> str:
    """Return the part of the lab that a test uses."""
    parameters = nodeid.partition("[")[2].rstrip("]").split("-")
    if "/compose/" in nodeid:
        return "compose"
    if "/test_docker" in nodeid or "/test_podman" in nodeid:
        return "engines"
    if "/test_systemd.py" in nodeid:
        return "site"
    return "local" if "local" in parameters or "/test_snapshots.py" in nodeid else "ssh"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run the tests of other parts, and the making of their installations, in the network of the lab. Without this they
    would run in that of an engine, if their worker had its tests before.
    """
    if part_of_the_lab(item.nodeid) in ("compose", "engines"):
        return (yield)
    with in_network_of_the_lab():
        return (yield)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByWay:
    """See xdist's newhooks."""
    return ByWay(config, log)


@pytest.fixture(scope="session")
def near_host() -> Host:
    """A Debian host with systemd, nginx and sshd: the one with the local agent."""
    return hosts()["host1"]


@pytest.fixture(scope="session")
def far_host() -> Host:
    """Return another host, with nothing of Writ on it."""
    return hosts()["host2"]


@pytest.fixture(scope="session")
def site_hosts() -> tuple[Host, Host]:
    """Return hosts for an installation under systemd: one for its services, one for an agent."""
    return hosts()["host3"], hosts()["host4"]


@pytest.fixture(scope="session", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Return the way of carrying operations out. A module for one way says so with `asking.only`."""
    return str(request.param)


@pytest.fixture(scope="session")
def host(way: str) -> Host:
    """Return the host that `writ` acts on."""
    return hosts()[WAYS[way]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the files of one run."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def running_writ(folder: Path, near_host: Host, far_host: Host) -> Iterator[Writ]:
    """Writ, up, without an agent."""
    inventory = targets.inventory(near_host, far_host)
    writ = installation.start(folder / "home", os.environ["LAB_CONTROL"], inventory, targets.policy())
    try:
        yield writ
    finally:
        writ.call("down")


@pytest.fixture(scope="session")
def local_agent(running_writ: Writ, near_host: Host, folder: Path) -> Iterator[None]:
    installation.install_agent(running_writ, near_host, folder / "wheels")
    yield
    print(near_host.attempt("journalctl", "--no-pager", "--unit", installation.AGENT)[1])


@pytest.fixture(scope="session")
def tailnet(folder: Path, far_host: Host) -> Iterator[TailscaleState]:
    """Yield the tailnet of the SSH agent."""
    peer = Peer(name=targets.PEER, addresses=(far_host.address,), tags=("tag:lab",))
    with local_api(folder / "tailscaled.sock", peer) as api:
        yield api


@pytest.fixture(scope="session")
def over_ssh(
    running_writ: Writ, near_host: Host, far_host: Host, folder: Path, tailnet: TailscaleState
) -> Iterator[SshAgent]:
    """Yield the remote agent."""
    agent = SshAgent(running_writ, folder / "agent-ssh", near_host, far_host, tailnet.socket)
    agent.authorize(targets.inventory(near_host, far_host))
    with ssh_agent(agent):
        yield agent


@pytest.fixture(scope="session")
def writ(request: pytest.FixtureRequest, way: str, running_writ: Writ, host: Host) -> Writ:
    """Writ, which acts on the host, by the agent of this way."""
    request.getfixturevalue({"local": "local_agent", "ssh": "over_ssh"}[way])
    return Writ(running_writ.home, host.name)


@pytest.fixture(scope="session")
def packages(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The apt repository of the host, its index not fetched yet."""
    return repository.make(host, tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def backups(host: Host) -> Vault:
    """The restic repository of the host."""
    return vault.make(host)


@pytest.fixture
def subvolume(host: Host) -> Iterator[str]:
    """See new_subvolume; of the host with the agent."""
    with new_subvolume(host) as path:
        yield path


@contextmanager
def new_subvolume(host: Host) -> Iterator[str]:
    """Yield a subvolume of the host's btrfs with a file `a`, whose content is `before`."""
    path = f"{VOLUME}/data"
    host.run("btrfs", "subvolume", "create", path)
    host.write(f"{path}/a", "before")
    yield path
    listed = host.run("btrfs", "subvolume", "list", "-o", VOLUME).splitlines()
    for line in sorted((line.split(" path ", 1)[1] for line in listed), key=len, reverse=True):
        host.run("btrfs", "subvolume", "delete", f"{VOLUME}/{line}")
    host.run("find", VOLUME, "-mindepth", "1", "-delete")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A Docker engine with the small images of `docker_host`."""
    with bare_engine() as made:
        make_images(made)
        yield made


SLOW = """[Unit]
Description=Takes its time to start: as many seconds as /run/slow says, or until there is /run/slow-enough
StartLimitIntervalSec=0
[Service]
ExecStartPre=/bin/sh -c 'for turn in $(seq "$(cat /run/slow)0"); do [ -e /run/slow-enough ] || sleep 0.1; done'
ExecStart=/bin/sleep infinity
ExecStartPost=/bin/sh -c 'echo started >> /srv/slow-starts'
"""


@pytest.fixture
def slow(writ: Writ, host: Host) -> Iterator[str]:
    """A running unit whose restart takes a minute, or until `asking.let_go`: tests are in its middle till then."""
    host.run("rm", "-f", "/run/slow-enough")
    host.write("/etc/systemd/system/slow.service", SLOW)
    host.write("/run/slow", "0")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "slow")
    host.write("/run/slow", "60")
    yield "slow"
    host.write("/run/slow", "0")
    host.attempt("systemctl", "kill", "--signal=KILL", "slow")
    host.run("systemctl", "stop", "slow")
    host.attempt("systemctl", "reset-failed", "slow")

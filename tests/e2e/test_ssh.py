"""A host over SSH in a whole installation.

Its operations leave no trace on this machine, another host key is refused and recorded, and no secret appears anywhere,
there or here.
"""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding
from tests.e2e.test_first_operation import metrics_of
from tests.e2e.test_grants import security

from writ_client.client import Writ
from writ_hostops import processes
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation
from writ_testing.peers.sshd import Sshd, descendants, make_key, paused, sshd
from writ_testing.peers.tailscale_local_api import Peer, TailscaleState, local_api, node_key
from writ_testing.search import alive, cmdline, containing, contents, environ, files, pids

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "2", "WRIT_RATE": "100000", "WRIT_BURST": "100000"}
CANARY = "canary-3d9ae1"
AGENTS_OWN = "canary-77be20"
PEER = Peer(name="peer", addresses=("127.0.0.1",), tags=("tag:web",))


class SshInstallation:
    """The installation with its SSH agent under `writ up`, the host, and their common tailnet."""

    def __init__(self, installation: RunningInstallation, server: Sshd, tailnet: TailscaleState) -> None:
        self.installation, self.server, self.tailnet = installation, server, tailnet
        self.root = server.folder / "root"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ssh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SshInstallation]:
    folder = tmp_path_factory.mktemp("ssh")
    with local_api(folder / "tailscaled.sock", PEER) as tailnet:
        async with (
            sshd(folder / "host", "LogLevel DEBUG3") as server,
            ssh_installation(folder, server, tailnet) as installation,
        ):
            yield installation


@asynccontextmanager
async def ssh_installation(folder: Path, server: Sshd, tailnet: TailscaleState) -> AsyncIterator[SshInstallation]:
    """`web-1` and `web-2` are one host; `peer` is it as a peer of the tailnet."""
    pinned = {"host": PEER.name, "host_key_alias": "127.0.0.1", "tailscale_node_key": PEER.node_key}
    by_tailnet = {**server.connection(), "via": "tailscale", "tailscale_tags": ["tag:web"], **pinned}
    ways = {"web-1": server.connection(), "web-2": server.connection(), "peer": by_tailnet}
    root = server.folder / "root"
    root.mkdir()
    targets = [
        {"id": name, "role": "development", "backend": "ssh", "connection": way, "file_roots": [str(root)]}
        for name, way in ways.items()
    ]
    for name in ways:
        server.authorize(name)
    home = prepare(folder, targets=targets, policy=open_policy())
    own = {
        "WRIT_SSH_KEYS": str(server.keys),
        "WRIT_SSH_KNOWN_HOSTS": str(server.known_hosts),
        "WRIT_TAILSCALE_SOCKET": str(tailnet.socket),
        "LC_TOKEN": AGENTS_OWN,
    }
    async with running_installation(folder, home=home, environ={**ENVIRON, **own}) as installation:
        yield SshInstallation(installation, server, tailnet)


@pytest_asyncio.fixture(loop_scope="module")
async def writ(ssh: SshInstallation) -> AsyncIterator[Writ]:
    async with await ssh.installation.client() as client:
        yield client


async def test_an_operation_runs_on_the_host_and_not_beside_the_agent(ssh: SshInstallation, writ: Writ) -> None:
    path = ssh.root / "counted"
    parameters = {"path": str(path), "delay": 6.0}  # it is seen at work also when the machine stood still for a while
    run = asyncio.create_task(writ.run("test_count", "web-1", parameters, timeout=60))

    async def at_work() -> int | None:
        texts = [contents(mark) for mark in (ssh.server.host_folder / "marks").glob("*.begun")]
        marks = [json.loads(text) for text in texts if text]
        return next((mark["process"]["pid"] for mark in marks if mark["operation"] == "test_count"), None)

    worker = await eventually(at_work, within=30, what="its mark on the host")
    assert worker in ssh.server.sessions()
    assert descendants(ssh.installation.pid("agent-ssh") or 0) == []
    done = await run
    assert (done.outcome, path.read_text()) == ("succeeded", f"{done.operation_id}\n")


async def test_two_targets_on_one_host_have_a_connection_and_a_key_each(ssh: SshInstallation, writ: Writ) -> None:
    for target in ("web-1", "web-2", "web-1", "web-2"):
        assert (await writ.run("network_status", target, timeout=30)).outcome == "succeeded"
    let_in = {line.split("SHA256:")[1].split()[0] for line in _accepted(ssh.server)}
    assert len(let_in) == len(_accepted(ssh.server)) == 2


async def test_nothing_secret_is_found_anywhere(ssh: SshInstallation, writ: Writ) -> None:
    key = (ssh.server.keys / "web-1").read_text().splitlines()[2]
    long = CANARY * 5000
    with watching(ssh, [CANARY, AGENTS_OWN, key]) as leaks:
        for content in (CANARY, long):
            path = ssh.root / f"secret-{len(content)}"
            wrote = await writ.run("file_write", "web-1", {"file_path": str(path), "content": content}, timeout=30)
            read = await writ.run("file_read", "web-1", {"file_path": str(path)}, timeout=30)
            assert (wrote.outcome, read.outcome) == ("succeeded", "succeeded")
            assert (await writ.result(read.operation_id) or {})["content"] == content
            path.unlink()
        kept = await writ.run("test_secret", "web-1", {"secret": long[:99_000]}, timeout=30)
        assert (await writ.result(kept.operation_id) or {})["echo"] == long[:99_000]
        away = await writ.run("file_write", "web-1", {"file_path": "/etc/motd", "content": CANARY}, timeout=30)
        assert (away.outcome, away.code) == ("failed", "outside_roots")
    assert leaks == []
    for secret in (CANARY, AGENTS_OWN, key):
        assert (
            secret not in ssh.installation.logs() + await metrics_of(ssh.installation, 4) + ssh.server.log.read_text()
        )
        folders = (ssh.installation.home.root, ssh.server.host_folder, ssh.root)
        assert containing(files(*folders), secret) == []


async def test_another_host_key_is_refused_and_recorded(ssh: SshInstallation, writ: Writ) -> None:
    known = ssh.server.known_hosts.read_text()
    make_key(ssh.server.folder / "other")
    other = (ssh.server.folder / "other.pub").read_text()
    sessions = ssh.server.sessions()
    for pid in sessions:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
    await eventually(lambda: gone(sessions), what="the end of its connections")
    ssh.server.known_hosts.write_text(f"[127.0.0.1]:{ssh.server.port} {other}")
    let_in = len(_accepted(ssh.server))
    try:
        done = await writ.run("test_count", "web-1", {"path": str(ssh.root / "never")}, timeout=60)
        assert (done.outcome, done.code) == ("failed", "host_key_changed")
        async with holding(ssh.installation, "executor") as bus:
            event = await security(bus, done.operation_id)
        assert (event.kind, event.principal) == ("host_key_changed", "operator")
        assert "web-1" in event.detail
        assert len(_accepted(ssh.server)) == let_in
        assert not (ssh.root / "never").exists()
    finally:
        ssh.server.known_hosts.write_text(known)
    assert (await writ.run("test_count", "web-1", {"path": str(ssh.root / "again")}, timeout=60)).outcome == "succeeded"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": node_key("thief")}, "tailscale_wrong_node"),
        ({"tags": ("tag:other",)}, "tailscale_wrong_tags"),
        ({"tags": ()}, "tailscale_wrong_tags"),
    ],
)
async def test_a_peer_that_is_another_one_is_refused_and_recorded(
    ssh: SshInstallation, writ: Writ, change: dict[str, Any], code: str
) -> None:
    let_in = len(_accepted(ssh.server))
    ssh.tailnet.put(replace(PEER, **change))
    try:
        done = await writ.run("test_count", "peer", {"path": str(ssh.root / "stolen")}, timeout=60)
        assert (done.outcome, done.code) == ("failed", code)
        async with holding(ssh.installation, "executor") as bus:
            event = await security(bus, done.operation_id)
        assert (event.kind, event.principal) == ("wrong_peer", "operator")
        assert event.detail == f"test_count on peer ended with {code}"
        assert len(_accepted(ssh.server)) == let_in
    finally:
        ssh.tailnet.put(PEER)
    assert not (ssh.root / "stolen").exists()


async def test_operation_runs_on_the_expected_tailscale_peer(ssh: SshInstallation, writ: Writ) -> None:
    done = await writ.run("test_count", "peer", {"path": str(ssh.root / "by-tailnet")}, timeout=60)
    assert (done.outcome, (ssh.root / "by-tailnet").read_text()) == ("succeeded", f"{done.operation_id}\n")


async def test_run_reports_a_host_that_hangs_and_how_the_operation_ends(ssh: SshInstallation, writ: Writ) -> None:
    """Also without a terminal."""
    assert (await writ.run("network_status", "web-1", timeout=30)).outcome == "succeeded"
    path = ssh.root / "hanging"
    words = ("run", "test_count", "-t", "web-1", f"path={path}", "delay=5", "timeout=30")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("writ")),
        *words,
        env={**os.environ, "WRIT_HOME": str(ssh.installation.home.root)},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        await eventually(lambda: is_at_work(ssh), within=30)
        with paused(ssh.server.sessions()):
            reported = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        assert re.fullmatch(
            r"writ: web-1 has not replied for more than \d s\. If it stays silent, its outcome is unknown at the"
            r" timeout, 30 s after the start\n",
            reported,
        ), reported
        out, err = await asyncio.wait_for(process.communicate(), 40)
        assert (process.returncode, err) == (0, b""), out
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def is_at_work(ssh: SshInstallation) -> bool:
    """Return whether a change runs on the host."""
    texts = [contents(mark) for mark in (ssh.server.host_folder / "marks").glob("*.begun")]
    return any(processes.alive(json.loads(text)["process"]) for text in texts if text)


@contextmanager
def watching(ssh: SshInstallation, secrets: Iterable[str]) -> Iterator[list[str]]:
    """Collect everything that `ps` could show: arguments of all processes, and the environment of those on the host."""
    encoded, leaks, over = [secret.encode() for secret in secrets], list[str](), Event()

    def check() -> None:
        while not over.wait(0.005):
            processes = [(pid, cmdline(pid)) for pid in pids()] + [(pid, environ(pid)) for pid in ssh.server.sessions()]
            for pid, words in processes:
                if any(secret in words for secret in encoded):
                    leaks.append(f"of {pid}: {words[:200]!r}")

    thread = Thread(target=check)
    thread.start()
    try:
        yield leaks
    finally:
        over.set()
        thread.join()


async def gone(processes: list[int]) -> bool:
    return not any(alive(pid) for pid in processes)


def _accepted(server: Sshd) -> list[str]:
    return [line for line in server.log.read_text().splitlines() if "Accepted publickey" in line]

"""`writ target test` and `writ target add` on a real sshd, with all of Writ: table, permissions, health, metrics."""

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.journal import SecurityEvent
from writ_contracts.wire import decode
from writ_installation.processes.readiness import read_run_file
from writ_testing.eventually import eventually
from writ_testing.installations.commands import WritResult
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.peers.programs import program
from writ_testing.peers.sshd import USER, Sshd, make_key, sshd
from writ_testing.peers.tailscale_local_api import Peer, TailscaleState, local_api, node_key

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
TESTERS = {"name": "testers", "operations": ["backend_test", "audit_read"], "user_roles": ["operator"], "allowed": True}
PICKY = {
    "name": "not_this_one",
    "operations": ["backend_test"],
    "allowed": False,
    "parameter_constraints": {"target": {"type": "string", "pattern": "secret-.*"}},
}


class World:
    """Yield an installation, and a server under several names: `web1`, and targets with a mistake each."""

    def __init__(self, installation: RunningInstallation, server: Sshd, api: TailscaleState) -> None:
        self.installation, self.server, self.api = installation, server, api

    async def test(self, *targets: str, status: int = 0, principal: str = "operator") -> dict[str, Any]:
        ended = await self.installation.writ("target", "test", *targets, "--as", principal, "-o", "json")
        assert ended.status == status, ended
        return {row["target"]: row for row in json.loads(ended.out)}

    async def fingerprint(self, public: Path) -> str:
        """Return the fingerprint as ssh-keygen prints it."""
        process = await asyncio.create_subprocess_exec(
            program("ssh-keygen"), "-lf", str(public), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return out.decode().split()[1]

    async def security(self, kind: str) -> SecurityEvent:
        """The last event of this kind on record."""
        async with holding(self.installation, "executor") as bus:
            return await eventually(lambda: _last(bus, kind), what=f"a security event {kind}")

    async def ssh_agent(self, path: str) -> str:
        """Return a page of the SSH agent's health endpoint."""
        found = read_run_file(self.installation.home.run / "agent-ssh.json", self.installation.pid("agent-ssh"))
        assert found is not None
        return (await asyncio.to_thread(_get, f"http://127.0.0.1:{found.health_port}/{path}")).decode()


async def _last(bus: Bus, kind: str) -> SecurityEvent | None:
    stored = await bus.journal.last(subjects.security_event(kind))
    return decode(stored.data, SecurityEvent) if stored else None


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return bytes(answer.read())


PINNED_TAGS = ["tag:web"]
PEERS = (
    Peer(name="peer", addresses=("127.0.0.1",), tags=("tag:web",)),
    Peer(name="asleep", addresses=("127.0.0.2",), tags=("tag:web",), online=False),
    Peer(name="expired", addresses=("127.0.0.3",), tags=("tag:web",), expired=True),
    Peer(name="impostor", addresses=("127.0.0.4",), tags=("tag:web",), key=node_key("thief")),
    Peer(name="untagged", addresses=("127.0.0.5",)),
)
TAILNET = {
    "asleep": ("tailscale_offline", "tailscaled on it"),
    "expired": ("tailscale_expired", "--force-reauth"),
    "impostor": ("tailscale_wrong_node", "do not connect"),
    "untagged": ("tailscale_wrong_tags", "do not connect"),
    "nobody": ("tailscale_unknown_peer", "connection.host"),
}


def peer(name: str, server: Sshd) -> dict[str, Any]:
    pins = {"tailscale_node_key": node_key(name), "tailscale_tags": PINNED_TAGS}
    return entry(name, server, host=name, via="tailscale", **pins)


def entry(name: str, server: Sshd, **connection: Any) -> dict[str, Any]:
    own = (server.folder / "host_key.pub").read_text().rpartition(" ")[0]
    settings = {"host_keys": [own], "connect_timeout": 30, **connection}
    return {"id": name, "role": "testing", "backend": "ssh", "connection": server.connection(**settings)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("backends")
    async with sshd(folder / "host") as server:
        make_key(folder / "other")
        other = (folder / "other.pub").read_text().rpartition(" ")[0]
        targets = [
            local_target("here", folder / "files"),
            entry("web1", server),
            entry("changed", server, host_keys=[other]),
            entry("stranger", server, host_keys=[]),
            entry("locked", server),
            entry("keyless", server),
            entry("away", server, port=1),
            *(peer(name, server) for name in ("peer", "asleep", "expired", "impostor", "untagged", "nobody")),
            entry("secret-1", server),
            {"id": "unserved", "role": "testing", "backend": "docker"},
        ]
        home = prepare(
            folder,
            targets=targets,
            policy=open_policy(TESTERS, PICKY),
            principals=[("guest", {"roles": []})],
        )
        for name in ("web1", "changed", "stranger", "away", "peer", "secret-1", *TAILNET):
            server.authorize(name)
        make_key(server.keys / "locked")
        socket = folder / "tailscaled.sock"
        environ = {"WRIT_SSH_KEYS": str(server.keys), "WRIT_TAILSCALE_SOCKET": str(socket)}
        with local_api(socket, *PEERS) as api:
            async with running_installation(folder, home=home, environ=environ) as installation:
                yield World(installation, server, api)


EXPECTED = {
    "changed": ("host_key_changed", "do not connect"),
    "stranger": ("host_key_unknown", "connection.host_keys"),
    "locked": ("auth_failed", "authorized_keys"),
    "keyless": ("no_credentials", "WRIT_SSH_KEYS"),
    "away": ("unreachable", "sshd answers"),
    **TAILNET,
    "unserved": ("no_agent", "writ agent env docker"),
    "secret-1": ("denied", "backend_test"),
}


async def test_each_target_is_reported_with_what_to_do(world: World) -> None:
    rows = await world.test(status=1)
    assert {name: row["code"] for name, row in rows.items()} == {
        "here": "",
        "web1": "",
        "peer": "",
        **{name: code for name, (code, _) in EXPECTED.items()},
    }
    for name, (_, todo) in EXPECTED.items():
        assert todo in rows[name]["advice"], name
        assert rows[name]["message"], name
    for name in ("here", "web1", "peer"):
        visit = rows[name]["visit"]
        assert visit["steps"][0]["detail"] == visit["instance"]
        assert "python" in visit["versions"]
        assert "network_status" in visit["operations"]
        assert "network_scan" in visit["lacking"]
    here = {step["name"]: step["detail"] for step in rows["here"]["visit"]["steps"]}
    assert (here["connection"], here["credentials"]) == (f"on {os.uname().nodename} itself", f"as {USER}")
    assert rows["web1"]["visit"]["pool"] == "ssh"
    assert rows["peer"]["visit"]["steps"][1]["detail"] == f"peer:{world.server.port} via tailscale"


async def test_missing_tailscaled_is_reported(world: World) -> None:
    world.api.state = "Stopped"
    assert (await world.test("peer", status=1))["peer"]["code"] == "tailscale_down"
    world.api.state, world.api.permit_read = "Running", False
    assert (await world.test("peer", status=1))["peer"]["code"] == "tailscale_refused"
    world.api.permit_read = True
    assert (await world.test("peer"))["peer"]["well"]


async def test_backends_test_prints_one_table(world: World) -> None:
    ended = await world.installation.writ("target", "test", "web1", "changed", "unserved")
    assert ended.status == 1
    heading, _, *lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert heading == "target connection host key credentials versions operations what to do"
    assert lines[0].startswith(f"web1 127.0.0.1:{world.server.port} ok as {USER} python 3.")
    assert lines[1].startswith("changed ok host_key_changed – – – do not connect")
    assert lines[2].startswith("unserved no_agent – – – – start an agent of pool docker")
    assert any(line.startswith("changed: ") and "does not show the host key" in line for line in lines)
    assert any(line.startswith("web1 has no network_scan: no scan_networks are declared") for line in lines)


async def test_target_test_without_permission_is_denied_and_recorded(world: World) -> None:
    rows = await world.test("web1", "here", status=3, principal="guest")
    assert {row["code"] for row in rows.values()} == {"no_rule"}
    refused = await world.security("read_refused")
    assert refused.principal == "guest"
    assert refused.detail.startswith("backend_test of target ")


async def test_unknown_target_is_reported_before_any_request(world: World) -> None:
    ended = await world.installation.writ("target", "test", "web1", "web2")
    assert (ended.status, ended.out) == (2, "")
    assert "web2" in ended.err


async def test_target_test_is_no_operation(world: World) -> None:
    await world.test("web1")
    ended = await world.installation.writ("run", "backend_test", "--target", "writ", "target=web1")
    assert ended.status == 2, ended
    async with await world.installation.client() as writ:
        assert await writ.open_operations() == []


async def test_health_and_metrics_say_the_same(world: World) -> None:
    await world.test(status=1)
    ready = json.loads(await world.ssh_agent("readyz"))
    assert ready["status"] == "ready"
    text = ready["checks"]["targets"]
    ill = sorted(["changed", "stranger", "locked", "keyless", "away", *TAILNET])
    assert text.endswith(f"{', '.join(f'{name} ({EXPECTED[name][0]})' for name in ill[:8])} and {len(ill) - 8} more")
    assert "web1" not in text
    status = await world.installation.writ("status")
    # The pool of `unserved` has no agent, which the executor says after a lease; hosts out of reach degrade nothing.
    assert (status.status, "degraded" in status.out) in ((0, False), (1, "no agent of pool docker" in status.out))
    assert f"agent-ssh: targets: {text}" in status.out
    metrics = await world.ssh_agent("metrics")
    assert 'writ_check_ok{check="targets"} 0.0' in metrics
    assert 'writ_check_ok{check="ssh"} 1.0' in metrics
    assert 'writ_agent_target_reachable{reason="ok",target="web1"} 1.0' in metrics
    for name in ill:
        assert f'writ_agent_target_reachable{{reason="{EXPECTED[name][0]}",target="{name}"}} 0.0' in metrics


async def test_a_changed_host_key_is_a_security_event(world: World) -> None:
    await world.test("changed", status=1)
    event = await world.security("host_key_changed")
    assert (event.pool, event.detail) == ("ssh", "a test of changed ended with host_key_changed")


async def add(world: World, name: str, *more: str) -> WritResult:
    where = f"{USER}@127.0.0.1:{world.server.port}"
    return await world.installation.writ("target", "add", name, "--ssh", where, "--role", "testing", *more)


async def test_a_target_is_added_with_the_fingerprint_that_somebody_gave(world: World) -> None:
    fingerprint = Path(world.server.folder / "host_key.pub")
    shown = await world.fingerprint(fingerprint)
    ended = await add(world, "new1", "--host-key", shown, "--file-root", str(world.server.folder))
    if ended.status != 0:
        raise AssertionError(ended)
    assert "ssh-copy-id" in ended.out
    assert (await world.test("new1", status=1))["new1"]["code"] == "no_credentials"  # WRIT_SSH_KEYS is elsewhere here


async def test_without_a_terminal_there_is_no_prompt_and_nothing_is_added(world: World) -> None:
    before = world.installation.home.inventory.read_text()
    ended = await add(world, "new2")
    assert (ended.status, ended.out) == (2, "")
    assert "SHA256:" in ended.err
    assert "--host-key" in ended.err
    assert world.installation.home.inventory.read_text() == before


async def test_another_key_than_the_given_one_is_refused_and_nothing_is_added(world: World) -> None:
    before = world.installation.home.inventory.read_text()
    ended = await add(world, "new3", "--host-key", "SHA256:" + "A" * 43)
    assert ended.status == 6, ended
    assert "nothing was changed" in ended.err
    assert world.installation.home.inventory.read_text() == before
    assert not (world.installation.home.ssh / "new3").exists()


async def test_a_file_root_that_is_no_absolute_path_is_refused_before_anything_is_added(world: World) -> None:
    before = world.installation.home.inventory.read_text()
    ended = await add(world, "new4", "--host-key", "SHA256:x", "--file-root", "srv")
    assert (ended.status, ended.out) == (2, "")
    assert "'srv' is not an absolute path" in ended.err
    assert world.installation.home.inventory.read_text() == before

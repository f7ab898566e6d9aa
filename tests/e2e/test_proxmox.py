"""A Proxmox VE in a whole installation: added by `writ target add`, used, tested. Its agent is killed in the middle of
a task, and its token is found nowhere but in its file.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_documents.readers import read_inventory
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, running_installation
from writ_testing.peers.proxmox import OWNER, SECRET, TOKEN, Proxmox, proxmox
from writ_testing.search import containing, files

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
TESTERS = {"name": "testers", "operations": ["backend_test", "audit_read"], "user_roles": ["operator"], "allowed": True}
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "2"}
WEB = 100
GOOD_TOKEN = f"{OWNER}!{TOKEN}={SECRET}\n"


class World:
    """An installation and a Proxmox VE."""

    def __init__(self, installation: RunningInstallation, server: Proxmox, folder: Path) -> None:
        self.installation, self.server, self.folder = installation, server, folder
        self.web: Any = server.vm(WEB, "web")
        self.token = GOOD_TOKEN

    async def add(self, name: str, *more: str) -> Any:
        """Run `writ target add`, with the token in a file outside of the installation."""
        token = self.folder / "token"
        token.write_text(self.token)
        where = f"127.0.0.1:{self.server.pve.port}"
        line = ("target", "add", name, "--proxmox", where, "--role", "testing", "--key", str(token), *more)
        return await self.installation.writ(*line)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("proxmox")
    (folder / "pve").mkdir()
    with proxmox(folder / "pve") as server:
        async with running_installation(folder, policy=open_policy(TESTERS), environ=ENVIRON) as installation:
            world = World(installation, server, folder)
            added = await world.add("cluster", "--host-key", server.fingerprint, "--tag", "pve")
            assert added.status == 0, added
            assert read_inventory(installation.home.inventory).targets[-1].tags == ["pve"]
            yield world


@pytest_asyncio.fixture(loop_scope="module")
async def writ(world: World) -> AsyncIterator[Writ]:
    async with await world.installation.client() as client:
        yield client


async def test_a_guest_of_an_added_target_is_started_and_inspected(world: World, writ: Writ) -> None:
    done = await writ.run("container_start", "cluster", {"container_name": "web"}, timeout=30)
    assert (done.outcome, world.web.status) == ("succeeded", "running")
    inspected = await writ.run("container_inspect", "cluster", {"container_name": "web"}, timeout=30)
    assert (inspected.outcome, (inspected.output or {})["container_id"]) == ("succeeded", "qemu/100")


async def test_a_dry_run_shows_what_would_be_sent(world: World, writ: Writ) -> None:
    world.web.status = "stopped"
    done = await writ.run("container_start", "cluster", {"container_name": "web"}, timeout=30, dry_run=True)
    assert done.outcome == "previewed"
    assert world.web.status == "stopped"


async def test_the_target_is_tested_and_missing_rights_are_named(world: World) -> None:
    ended = await world.installation.writ("target", "test", "cluster", "-o", "json")
    (row,) = json.loads(ended.out)
    assert (row["target"], row["well"]) == ("cluster", True), row


async def test_killed_in_the_middle_of_a_task_it_has_one_effect_and_one_outcome(world: World, writ: Writ) -> None:
    pve = world.server.pve
    pve.time_scale, world.web.status, world.web.start_secs = 1.0, "stopped", 3
    pve.requests.clear()
    pve.tasklog.clear()
    run = asyncio.create_task(writ.run("container_start", "cluster", {"container_name": "web"}, timeout=60))

    async def sent() -> bool:
        return any(one["type"] == "qmstart" for one in list(pve.tasklog))

    await eventually(sent)
    world.installation.kill("agent-proxmox")
    done = await run
    pve.time_scale, world.web.start_secs = 0.0, 0
    assert (done.outcome, world.web.status) == ("succeeded", "running"), done
    assert [one["type"] for one in pve.tasklog] == ["qmstart"]


async def test_another_certificate_than_the_given_one_is_refused_and_nothing_is_added(world: World) -> None:
    shown = world.server.fingerprint
    wrong = ("00" if shown[:2] != "00" else "01") + shown[2:]
    ended = await world.add("other", "--host-key", wrong)
    assert ended.status != 0
    assert "not the certificate that you gave" in ended.err
    assert "other" not in world.installation.home.inventory.read_text()


async def test_add_refuses_an_unconfirmed_certificate_and_names_its_fingerprint(world: World) -> None:
    ended = await world.add("other")
    assert ended.status == 2
    assert world.server.fingerprint in ended.err


async def test_malformed_token_is_refused(world: World) -> None:
    world.token = "root@pam\n"
    ended = await world.add("other", "--host-key", world.server.fingerprint)
    world.token = GOOD_TOKEN
    assert (ended.status, "is not an API token" in ended.err) == (2, True), ended


async def test_the_token_is_found_nowhere_but_in_its_file(world: World, writ: Writ) -> None:
    world.server.pve.fail("POST", "/status/start", 500, f"boom {SECRET}", times=1)
    world.web.status = "stopped"
    done = await writ.run("container_start", "cluster", {"container_name": "web"}, timeout=30)
    assert done.outcome == "failed"
    assert SECRET not in str(done)
    root = world.installation.home.root
    assert [str(path.relative_to(root)) for path in containing(files(root), SECRET)] == ["keys/proxmox/cluster"]

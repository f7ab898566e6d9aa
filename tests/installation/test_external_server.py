"""`writ up` with a NATS server of somebody else's, whose operator loads each new configuration."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from writ_bus.errors import Unreachable
from writ_bus.nats.monitoring import STATE
from writ_contracts.errors import Denied
from writ_installation.files.home import host_token
from writ_installation.nats import external_server
from writ_installation.nats.external_server import LOAD_AGAIN, ExternalServer
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation
from writ_testing.peers.nats_cluster import Cluster, cluster_for

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
LATE = "these NATS servers have another configuration and may accept removed keys: n1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Cluster, RunningInstallation]]:
    folder = tmp_path_factory.mktemp("own")
    home = prepare(folder)
    async with (
        cluster_for(home, folder, names=("n1",)) as cluster,
        running_installation(folder, home=home, environ={"NATS_URL": cluster.url}) as installation,
    ):
        yield cluster, installation


async def problem_is(installation: RunningInstallation, words: str) -> None:
    """Wait until `writ up` reports this problem; without words, until it reports none."""

    async def is_reported() -> bool | None:
        problem = installation.report.problem
        return (words in problem if words else not problem) or None

    await eventually(is_reported, within=60, what=words or "no problem")


async def test_new_principal_is_accepted_after_each_server_loaded_the_file_once(
    world: tuple[Cluster, RunningInstallation],
) -> None:
    cluster, installation = world
    await problem_is(installation, "")
    added = await installation.writ("principal", "add", "bob", "--role", "operator", "--new-role")
    assert (added.status, LOAD_AGAIN in added.err) == (4, True), added
    await problem_is(installation, LATE)
    status = await installation.writ("status")
    assert (status.status, "n1" in status.out) == (1, True), status
    cluster.load(installation.home, *cluster.nodes)
    await problem_is(installation, "")
    async with await installation.client("bob") as writ:  # its account is new: NATS serves it from the second reload on
        assert (await writ.run("network_status", "web-1", timeout=30)).outcome == "succeeded"


async def test_removed_principal_is_reported_until_the_server_refuses_its_key(
    world: tuple[Cluster, RunningInstallation],
) -> None:
    cluster, installation = world
    await installation.writ("principal", "add", "eve", "--role", "operator", "--new-role")
    cluster.load(installation.home, *cluster.nodes)
    await problem_is(installation, "")
    seed = installation.home.seed_file("principal-eve").read_bytes()
    removed = await installation.writ("principal", "remove", "eve", "--yes")
    assert "its key still connects to NATS" in removed.out
    assert LOAD_AGAIN in removed.out
    await problem_is(installation, LATE)
    installation.home.seed_file("principal-eve").write_bytes(seed)
    async with await installation.client("eve"):
        pass  # the text above is true
    cluster.load(installation.home, *cluster.nodes)
    await problem_is(installation, "")
    with pytest.raises(Denied):
        await installation.client("eve", wait=5)


async def test_rotation_waits_for_a_load_of_the_new_key_and_needs_another_to_refuse_the_old_one(
    world: tuple[Cluster, RunningInstallation],
) -> None:
    cluster, installation = world
    cluster.load(installation.home, *cluster.nodes)
    await problem_is(installation, "")
    before = installation.home.public("audit")
    rotation = asyncio.create_task(installation.writ("keys", "rotate", "audit"))
    await problem_is(installation, LATE)
    assert installation.home.public("audit") == before, "NATS does not know the new key yet"
    cluster.load(installation.home, *cluster.nodes)

    async def is_retired() -> bool | None:
        return (installation.home.keys_of("audit") == [installation.home.public("audit")] != [before]) or None

    await eventually(is_retired, within=60, what="the end of the rotation")
    await problem_is(installation, LATE)
    cluster.load(installation.home, *cluster.nodes)
    assert (done := await rotation).status == 0, done
    await problem_is(installation, "")


async def test_token_is_made_although_the_server_does_not_accept_it_yet(
    world: tuple[Cluster, RunningInstallation],
) -> None:
    _, installation = world
    made = await installation.writ("agent", "token", f"local-{host_token()}")
    assert (made.status, made.out.startswith("writ-enrol-1.")) == (0, True), made
    assert LOAD_AGAIN in made.err


async def test_file_with_an_error_is_reported_and_ends_nothing(world: tuple[Cluster, RunningInstallation]) -> None:
    cluster, installation = world
    cluster.load(installation.home, *cluster.nodes)
    await problem_is(installation, "")
    server = ExternalServer(installation.home, cluster.url, print, {})
    principals = installation.home.principals
    before = principals.read_bytes()
    principals.write_bytes(before + b"\n- not: [closed\n")
    await server.check()
    assert str(principals) in server.warning
    await problem_is(installation, "a file has an error")
    principals.write_bytes(before)
    await server.check()
    assert server.warning == ""
    await problem_is(installation, "")


async def test_servers_that_do_not_reply_do_not_count_as_servers_with_the_configuration(
    world: tuple[Cluster, RunningInstallation], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, installation = world
    cluster.load(installation.home, *cluster.nodes)
    await problem_is(installation, "")
    server = ExternalServer(installation.home, cluster.url, print, {})
    monkeypatch.setattr(external_server, "PINGED", {STATE: "$SYS.REQ.SERVER.PING.NOBODY"})
    with pytest.raises(Unreachable, match="no NATS server replies"):
        await server.adapt()
    monkeypatch.undo()
    assert await server.adapt()

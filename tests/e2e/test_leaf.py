"""A site behind NAT: a leaf node with the files of `writ leaf add`, isolated agents, and a link cut during work."""

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.leaf_site import ENVIRON, POOL, node_without_rules, reaches, site_of, wait_for_log

from writ_bus.port import Delivery
from writ_client.client import Writ
from writ_client.operations.operation_events import Event
from writ_contracts import subjects
from writ_contracts.agents import Heartbeat, Progress
from writ_contracts.requests import OperationView
from writ_contracts.wire import encode
from writ_nats_server.leaf import next_of
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import load, settled
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.tcp_proxy import TcpProxy, tcp_proxy
from writ_testing.plugin.handlers import AT_WORK

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
YARD = "local-yard"
WORKS = 6.0
"""Seconds, in which its start is seen and the link is cut, also when all of the machine stood still for a while."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with two targets without a local agent: one at the depot, one in the yard."""
    folder = tmp_path_factory.mktemp("leaf")
    files = folder / "files"
    targets = [
        local_target("depot-1", files, connection={"host": "depot"}),
        local_target("yard-1", files, connection={"host": "yard"}),
    ]
    home = prepare(folder, targets=targets)
    async with running_installation(folder, home=home, environ=ENVIRON) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(installation: RunningInstallation) -> AsyncIterator[TcpProxy]:
    """The site's one way to us."""
    hub = free_port()
    installation.home.leaves.write_text(f"{{listen: 127.0.0.1, port: {hub}, leaves: []}}\n")
    async with tcp_proxy(hub) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    installation: RunningInstallation, proxy: TcpProxy, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Path]:
    """Yield the depot, linked while the installation runs."""
    async with site_of(installation, tmp_path_factory.mktemp("depot"), f"nats://127.0.0.1:{proxy.port}") as folder:
        yield folder


async def test_an_agent_behind_a_leaf_node_carries_out_an_operation(site: Path, writ: Writ, files: Path) -> None:
    done = await writ.run("test_count", "depot-1", {"path": str(files / "counted")}, timeout=60)
    assert done.outcome == "succeeded"
    assert (files / "counted").read_text().split() == [done.operation_id]
    secret = await writ.run("test_secret", "depot-1", {"secret": "over the link"}, timeout=60)
    assert secret.outcome == "succeeded"


async def test_files_of_a_site_are_readable_for_their_owner_alone(site: Path) -> None:
    names = ("leaf.conf", f"agent-{POOL}.seed", f"agent-{POOL}.env")
    assert [stat.S_IMODE((site / name).stat().st_mode) for name in names] == [0o600] * 3


async def test_operation_ends_once_after_its_leaf_link_was_cut(
    site: Path, proxy: TcpProxy, writ: Writ, files: Path
) -> None:
    path = files / "cut"
    operation_id, run = await at_work(writ, {"path": str(path), "delay": WORKS, "timeout": 30})
    with cut(proxy):
        await eventually(lambda: _exists(path), what="its effect")
    assert (await run).outcome == "succeeded"
    assert path.read_text().split() == [operation_id]


@pytest.mark.exhaustive
async def test_a_link_that_stays_cut_makes_it_unknown_until_it_is_back(
    site: Path, proxy: TcpProxy, writ: Writ, files: Path
) -> None:
    path = files / "stays-cut"
    operation_id, run = await at_work(writ, {"path": str(path), "delay": WORKS, "timeout": 10})
    with cut(proxy):
        assert (await run).outcome == "unknown"
    assert await settled(writ, operation_id) == "succeeded"
    kinds = [event.kind for event in (await writ.trace(operation_id=operation_id)).events]
    assert (kinds.count("granted"), kinds.count("unknown"), kinds.count("resolved")) == (1, 1, 1)
    assert path.read_text().split() == [operation_id]


@contextmanager
def cut(proxy: TcpProxy) -> Iterator[None]:
    """Cut the link within the block."""
    proxy.cut()
    try:
        yield
    finally:
        proxy.flow()


async def at_work(writ: Writ, parameters: Mapping[str, Any]) -> tuple[str, asyncio.Task[OperationView]]:
    """Start an operation behind the link; return once its agent reports progress, as `started` precedes the grant."""
    begun: asyncio.Queue[str] = asyncio.Queue()

    def heard(event: Event) -> None:
        if isinstance(event, Progress) and event.message == AT_WORK:
            begun.put_nowait(event.operation_id)

    run = asyncio.create_task(writ.run("test_count", "depot-1", parameters, timeout=90, on_event=heard))
    return await asyncio.wait_for(begun.get(), 60), run


async def _exists(path: Path) -> bool:
    return path.exists()


FORBIDDEN = (
    subjects.claim(YARD),
    subjects.receipt(YARD),
    subjects.host_read(YARD),
    subjects.request("operator", "test_noop"),
    "writ.query.operator.targets",
    subjects.POLICY_DECIDE,
    "$JS.API.STREAM.INFO.WRIT_JOURNAL",
    "$JS.API.STREAM.NAMES",
    "writ.api.journal",
    "$SYS.REQ.SERVER.PING.VARZ",
)


async def test_leaf_link_reaches_its_own_pool_and_nothing_else(
    site: Path, proxy: TcpProxy, installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    url, seed = f"nats://127.0.0.1:{proxy.port}", installation.home.key(f"leaf-depot-{POOL}").seed
    async with node_without_rules(url, seed, tmp_path, f"agent-{POOL}") as bus:
        await eventually(lambda: reaches(bus, subjects.claim(POOL)), what="an answer over the link")
        assert abs(await bus.server_time(timeout=10) - time.time()) < 5.0  # of the hub, not of the leaf node
        ghost = Heartbeat(pool=POOL, instance="ghost", running=[], free_slots=1, operations=[], version="x")

        async def ghost_counts() -> bool:  # for a lease after each of its heartbeats
            await bus.publish(subjects.heartbeat(POOL), encode(ghost))
            return await counts(writ, 2)

        await eventually(ghost_counts, what="an agent that does not exist")
        waiting = await writ.submit("test_noop", "yard-1")
        delivered: list[str] = []

        async def take(delivery: Delivery) -> None:
            delivered.append(delivery.message.subject)

        await bus.pull(subjects.consumer(YARD), subjects.JOURNAL_STREAM, take, slots=1)
        request = b'{"batch":1,"expires":1000000000}'
        for pull in (next_of(YARD), f"$JS.API.CONSUMER.MSG.NEXT.WRIT_JOURNAL.{subjects.consumer(YARD)}"):
            assert not await reaches(bus, pull, request), pull
        for subject in FORBIDDEN:
            assert not await reaches(bus, subject), subject
        assert (await writ.get(waiting.operation_id or "")).state == "dispatched"
        assert not delivered


async def test_a_principals_key_makes_no_link(
    site: Path, proxy: TcpProxy, installation: RunningInstallation, tmp_path: Path
) -> None:
    url, seed = f"nats://127.0.0.1:{proxy.port}", installation.home.key("principal-operator").seed
    async with node_without_rules(url, seed, tmp_path, "operator") as bus:
        await wait_for_log(tmp_path, "Authorization Violation")
        assert not await reaches(bus, "writ.query.operator.targets")


@pytest.mark.exhaustive
async def test_the_key_of_a_link_is_rotated_while_the_site_works(
    site: Path, proxy: TcpProxy, installation: RunningInstallation, writ: Writ, files: Path, tmp_path: Path
) -> None:
    name, url = f"leaf-depot-{POOL}", f"nats://127.0.0.1:{proxy.port}"
    old = installation.home.key(name)
    for folder in ("new", "old"):
        (tmp_path / folder).mkdir()
    async with load(writ, ["depot-1"], files / "rotated") as ran:
        switched = await installation.writ("keys", "rotate", name)
        assert (switched.status, "make the site's files again" in switched.out) == (0, True), switched
        new = installation.home.key(name)
        await ran.more(2)  # over the old link, which counts until it is retired
        async with node_without_rules(url, new.seed, tmp_path / "new", f"agent-{POOL}") as bus:
            await eventually(lambda: reaches(bus, subjects.claim(POOL)), what="an answer over the new link")
    await ran.check(writ)
    assert (await installation.writ("keys", "rotate", name)).status == 0
    async with node_without_rules(url, old.seed, tmp_path / "old", f"agent-{POOL}"):
        await wait_for_log(tmp_path / "old", "Authorization Violation")
    assert old.public not in installation.home.leaves.read_text()


async def counts(writ: Writ, agents: int) -> bool:
    return {one.pool: one.agents for one in await writ.targets()}[POOL] == agents

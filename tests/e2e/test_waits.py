"""What an operation waits for is in the replies to each query: op list, show and watch, the client, and MCP."""

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import pytest_asyncio
from tests.e2e.test_silence import line, running_command

from writ_client.client import Writ
from writ_client.tools.results import operation_result
from writ_contracts.requests import OperationView, WaitingReason
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation
from writ_testing.peers.sshd import Sshd, paused, sshd

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
SILENT = "web-1 has not replied for more than"


class World:
    """An installation of two executors with `web-1` and `web-2` on one SSH host."""

    def __init__(self, installation: RunningInstallation, server: Sshd, writ: Writ) -> None:
        self.installation, self.server, self.writ = installation, server, writ

    async def start(self, target: str, name: str, *, delay: float = 0.0, timeout: float = 120.0) -> str:
        """Request a change of the target. Return its id."""
        parameters = {"path": str(self.server.folder / "root" / name), "delay": delay}
        answer = await self.writ.submit("test_count", target, parameters, timeout=timeout)
        assert answer.operation_id, answer
        return answer.operation_id

    async def until_state(self, operation_id: str, state: str) -> None:
        async def reached() -> bool:
            return (await self.writ.get(operation_id)).state == state

        await eventually(reached, within=60)

    async def until_waiting(self, operation_id: str, text: str, within: float = 60) -> WaitingReason:
        """Wait until both executors name this reason: a query goes to any of them."""
        told: list[WaitingReason] = []

        async def both() -> bool:
            views = [await self.writ.get(operation_id) for _ in range(6)]
            reasons = [view.waiting for view in views if view.waiting is not None and text in view.waiting.text]
            told[:] = reasons
            return len(reasons) == len(views)

        await eventually(both, within=within)
        return told[0]

    async def until_not_waiting(self, operation_id: str) -> None:
        async def none() -> bool:
            return not any([(await self.writ.get(operation_id)).waiting for _ in range(6)])

        await eventually(none, within=60)

    async def ended(self, operation_id: str) -> OperationView:
        return await self.writ.wait(operation_id, timeout=90)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("waits")
    async with sshd(folder / "host") as server:
        root = server.folder / "root"
        root.mkdir()
        names = ("web-1", "web-2")
        targets = [
            {
                "id": name,
                "role": "development",
                "backend": "ssh",
                "connection": server.connection(),
                "file_roots": [str(root)],
            }
            for name in names
        ]
        for name in names:
            server.authorize(name)
        home = prepare(folder, targets=targets, policy=open_policy())
        environ = {"WRIT_SSH_KEYS": str(server.keys), "WRIT_SSH_KNOWN_HOSTS": str(server.known_hosts)}
        environ |= {"WRIT_RATE": "100000", "WRIT_BURST": "100000", "WRIT_HEARTBEAT": "1", "WRIT_LEASE": "4"}
        async with (
            running_installation(folder, home=home, executors=2, environ=environ) as installation,
            await installation.client() as writ,
        ):
            yield World(installation, server, writ)


async def shown_everywhere(world: World, operation_id: str, text: str) -> None:
    """Assert that all ways to ask name the reason."""
    installation, writ = world.installation, world.writ
    [listed] = [one for one in await writ.open_operations() if one.operation_id == operation_id]
    assert listed.waiting is not None
    assert text in listed.waiting.text
    table, shown = await installation.writ("op", "list"), await installation.writ("op", "show", operation_id)
    assert text in " ".join(table.out.split()), table.out
    assert text in " ".join(shown.out.split()), shown.out
    assert text in (await installation.json("op", "show", operation_id, status=4))["waiting"]["text"]
    assert text in operation_result(await writ.get(operation_id))["message"]
    async with running_command(installation, "op", "watch", operation_id) as command:
        assert await line(command.stdout, lambda words: text in words)


async def test_silent_host_is_named_by_every_way_to_ask_until_it_replies(world: World) -> None:
    operation_id = await world.start("web-1", "silent", delay=3.0)
    await world.until_state(operation_id, "started")
    with paused(world.server.sessions()):
        reason = await world.until_waiting(operation_id, SILENT)
        assert (reason.kind, reason.silent) == ("host", "web-1")
        assert "If it stays silent, its outcome is unknown at the timeout, " in reason.text
        await shown_everywhere(world, operation_id, SILENT)
    await world.until_not_waiting(operation_id)
    assert (await world.ended(operation_id)).outcome == "succeeded"


async def test_executors_that_start_during_a_silence_name_the_host(world: World) -> None:
    operation_id = await world.start("web-1", "restarts", delay=3.0)
    await world.until_state(operation_id, "started")
    with paused(world.server.sessions()):
        await world.until_waiting(operation_id, SILENT)
        for name in ("executor-1", "executor-2"):
            killed = world.installation.kill(name)
            await world.installation.until(name, other_than=killed)
        await world.until_waiting(operation_id, SILENT)
    assert (await world.ended(operation_id)).outcome == "succeeded"


async def test_host_that_is_silent_while_the_agent_connects_is_named(world: World) -> None:
    process = world.server.process
    assert process is not None
    killed = world.installation.kill("agent-ssh")  # the next one has no connection yet
    await world.installation.until("agent-ssh", other_than=killed)
    with paused([process.pid]):
        operation_id = await world.start("web-1", "connects")
        assert (await world.until_waiting(operation_id, SILENT)).silent == "web-1"
    view = await world.ended(operation_id)
    assert view.outcome in ("succeeded", "failed")  # a slow machine reaches the time to connect


async def test_read_on_a_silent_host_is_told(world: World) -> None:
    """The agent may read it while its claim is under way."""
    assert (await world.writ.run("network_status", "web-1", timeout=60)).outcome == "succeeded"
    with paused(world.server.sessions()):
        answer = await world.writ.submit("network_status", "web-1", timeout=60)
        await world.until_waiting(answer.operation_id or "", SILENT)
    assert (await world.ended(answer.operation_id or "")).outcome == "succeeded"


async def test_operation_without_a_grant_names_policy_or_its_claim(world: World) -> None:
    first = await world.start("web-1", "holds", delay=4.0)
    await world.until_state(first, "started")
    with ExitStack() as policy_paused:
        with paused(world.server.sessions()):  # the first keeps its lock until policy is paused
            second = await world.start("web-1", "granted-late")
            assert (await world.until_waiting(second, f"{first} holds its lock")).operation_id == first
            policy_paused.enter_context(world.installation.paused("policy"))
        await shown_everywhere_but_watch(world, second, "waits for its grant: ")
    assert (await world.ended(second)).outcome == "succeeded"


async def shown_everywhere_but_watch(world: World, operation_id: str, text: str) -> None:
    await world.until_waiting(operation_id, text)
    table = await world.installation.writ("op", "list")
    assert text.removeprefix("waits for ") in " ".join(table.out.split()), table.out

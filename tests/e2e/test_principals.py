"""Operations add, change, disable and remove principals of a running installation, in NATS too."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_contracts.errors import Denied, Unreachable, WritError
from writ_contracts.installation.gateway_tokens import GatewayToken, GatewayTokens
from writ_contracts.requests import OperationView
from writ_documents.atomic_files import save
from writ_installation.files.gateway_tokens import read_tokens
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation
from writ_trust.keys import Key, generate_seed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
GOVERN: dict[str, Any] = {
    "name": "admins_govern",
    "operations": [
        *("principal_manage", "audit_read", "policy_publish", "policy_rollback", "stop_lift", "journal_archive")
    ],
    "user_roles": ["governor"],
    "allowed": True,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    people: list[tuple[str, dict[str, Any]]] = [
        ("alice", {"roles": ["governor"]}),
        ("bob", {}),
        ("copilot", {"kind": "agent", "acts_for": "alice", "roles": ["governor"]}),
        ("helper", {"kind": "agent", "acts_for": "bob"}),
    ]
    home = prepare(folder, policy=open_policy(GOVERN), principals=people)
    async with running_installation(folder, home=home, executors=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("alice") as client:
        yield client


async def changed(alice: Writ, action: str, name: str, **values: Any) -> OperationView:
    done = await alice.principals.change(action, name, values, reason="a test")
    assert done.view is not None, done
    assert done.view.outcome == "succeeded", done.view
    return done.view


async def connected(installation: RunningInstallation, name: str) -> Bus:
    context = Context(principal=name, url=installation.url)
    return await open_bus(context, installation.home.key(f"principal-{name}").seed, wait=5.0)


async def connects(installation: RunningInstallation, name: str, seed: bytes) -> bool:
    try:
        bus = await open_bus(Context(principal=name, url=installation.url), seed, wait=10.0)
    except (Denied, Unreachable, WritError):
        return False
    await bus.drain(0.5)
    return True


async def test_a_disabled_principal_loses_access_at_once_and_its_operations_end(
    installation: RunningInstallation, alice: Writ
) -> None:
    buses = [await connected(installation, name) for name in ("bob", "helper")]
    bob, helper = (Writ(bus, None, name) for bus, name in zip(buses, ("bob", "helper"), strict=True))
    blocking = await alice.submit("test_sleep", "web-1", {"seconds": 60, "timeout": 60})
    queued = await bob.submit("test_sleep", "web-1", {"seconds": 1, "timeout": 5})
    of_agent = await helper.submit("test_sleep", "web-1", {"seconds": 1, "timeout": 5})
    assert (blocking.state, queued.outcome, of_agent.outcome) == ("dispatched", None, None)
    disabling = asyncio.create_task(changed(alice, "disable", "bob"))

    async def cut_off() -> bool:
        return not any(bus.connected for bus in buses)

    await eventually(cut_off)
    view = await disabling
    cancelled = await alice.cancel(blocking.operation_id or "")
    assert cancelled.output["result"] == "stopped", cancelled  # nothing has waited for its end
    assert sorted(view.output["ended"]) == sorted([queued.operation_id or "", of_agent.operation_id or ""])
    assert not await connects(installation, "bob", installation.home.key("principal-bob").seed)
    listed = {one["id"]: one for one in await installation.json("principal", "list", by="alice")}
    assert listed["bob"]["disabled"] is True
    await changed(alice, "enable", "bob")
    async with await installation.client("bob") as again:
        ended = await again.get(queued.operation_id or "")
        assert (ended.outcome, ended.code) == ("denied", "principal_disabled")
        assert (await again.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"
    for bus in buses:
        await bus.close()


async def test_a_principal_is_added_rotated_and_removed_by_operations(
    installation: RunningInstallation, alice: Writ
) -> None:
    first, second = Key(generate_seed()), Key(generate_seed())
    await changed(alice, "add", "carol", kind="human", key=first.public, roles=["dev"])
    assert await connects(installation, "carol", first.seed)
    await changed(alice, "rotate", "carol", key=second.public)
    assert not await connects(installation, "carol", first.seed)
    assert await connects(installation, "carol", second.seed)
    await changed(alice, "remove", "carol")
    assert not await connects(installation, "carol", second.seed)
    assert "carol" not in installation.home.principals.read_text()


async def test_changes_outlive_a_restart_of_everything(installation: RunningInstallation, alice: Writ) -> None:
    await changed(alice, "remove", "helper")
    await installation.stop()
    await installation.start()
    assert not await connects(installation, "helper", installation.home.key("principal-helper").seed)
    assert await connects(installation, "bob", installation.home.key("principal-bob").seed)


async def test_lost_file_of_changes_is_written_again(installation: RunningInstallation) -> None:
    file, key = installation.home.principal_changes, Key(generate_seed())
    async with await installation.client("alice") as alice:
        await changed(alice, "add", "visitor", kind="agent", acts_for="alice", key=key.public)
        await changed(alice, "disable", "visitor")
    before = file.read_bytes()
    file.unlink()
    await eventually(lambda: asyncio.sleep(0, file.exists()))
    assert file.read_bytes() == before
    assert not await connects(installation, "visitor", key.seed)


async def test_older_file_of_changes_that_is_put_back_gives_nobody_access(installation: RunningInstallation) -> None:
    file, key = installation.home.principal_changes, Key(generate_seed())
    async with await installation.client("alice") as alice:
        await changed(alice, "add", "guest", kind="agent", acts_for="alice", key=key.public)
        older = file.read_bytes()
        await changed(alice, "disable", "guest")
    present = file.read_bytes()
    save(file, older)
    await eventually(lambda: asyncio.sleep(0, file.read_bytes() == present))
    assert not await connects(installation, "guest", key.seed)
    await installation.stop()
    save(file, older)
    await installation.start()
    assert file.read_bytes() == present
    assert not await connects(installation, "guest", key.seed)


async def test_token_of_an_earlier_release_is_bound_by_the_changes_of_the_journal(
    installation: RunningInstallation,
) -> None:
    key, home = Key(generate_seed()), installation.home
    async with await installation.client("alice") as alice:
        await changed(alice, "add", "crawler", kind="agent", acts_for="alice", key=key.public)
    token = GatewayToken(id="a" * 8, principal="crawler", digest="0" * 64, created=0.0, expires=1.0)
    await installation.stop()
    save(home.gateway_tokens, msgspec.json.encode(GatewayTokens(tokens=[token])))
    home.principal_changes.unlink()
    await installation.start()
    assert [one.key for one in read_tokens(home.gateway_tokens)] == [key.public]


async def test_an_agent_gives_nobody_roles(installation: RunningInstallation) -> None:
    async with await installation.client("copilot") as copilot:
        for name in ("copilot", "bob"):
            done = await copilot.principals.set_roles(name, ["governor"])
            assert (done.answer.outcome, done.answer.verdict and done.answer.verdict.code) == ("denied", "people_only")


async def test_a_change_under_which_nobody_could_govern_is_denied(installation: RunningInstallation) -> None:
    async with await installation.client("alice") as alice:
        done = await alice.principals.set_roles("alice", [])
        assert (done.answer.outcome, done.answer.verdict and done.answer.verdict.code) == ("denied", "lock_out")


async def test_the_command_changes_principals_by_operations_and_in_the_files(
    installation: RunningInstallation,
) -> None:
    added = await installation.json(
        "principal", "add", "dave", "--role", "dev", "--new-role", "--request", "-r", "new", by="alice"
    )
    assert added["outcome"] == "succeeded"
    assert await connects(installation, "dave", installation.home.key("principal-dave").seed)
    await installation.json("principal", "roles", "dave", "ops", "--new-role", "--request", by="alice")
    shown = await installation.json("principal", "show", "dave")
    assert (shown["roles"], shown["disabled"]) == (["ops"], False)
    first = installation.home.key("principal-dave").seed
    rotated = await installation.json("principal", "rotate", "dave")
    own = await installation.writ("op", "list", environ={"WRIT_PRINCIPAL": "dave"})  # the next command, at once
    assert (rotated["admitted"], own.status) == (True, 0), own
    assert not await connects(installation, "dave", first)
    changed_here = await installation.json("principal", "disable", "dave")
    assert changed_here["principal"]["disabled"] is True
    assert "dave" in installation.home.principals.read_text()
    disabled = await installation.writ("principal", "rotate", "dave")
    assert disabled.out.splitlines()[1] == "  dave stays disabled until `writ principal enable dave`"
    refused = await installation.json("principal", "remove", "bob", "--yes", "--request", by="bob", status=3)
    assert refused["outcome"] == "denied"

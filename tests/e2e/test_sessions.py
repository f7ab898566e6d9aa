"""Sessions in a whole installation: a key for some hours, its rights, and each of its ends."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.governed import governed

from writ_bus.errors import Forbidden, Unreachable
from writ_cli.context.session_files import SessionFile, SessionFiles
from writ_client.client import Writ
from writ_client.context import Context
from writ_contracts.errors import WritError
from writ_contracts.history.audit import SearchQuery
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
)
from writ_trust.keys import Key, generate_seed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

CROWD = ("carol", "dave", "erin", "frank", "grace")
PEOPLE: dict[str, dict[str, Any]] = {name: {"roles": ["admin"]} for name in ("alice", "bob", *CROWD)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("sessions")
    async with governed(folder, PEOPLE, [local_target("web-1", folder / "files")]) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("alice") as client:
        yield client


async def by_key(installation: RunningInstallation, key: Key, principal: str) -> Writ:
    context = Context(principal=principal, url=installation.url, installation=installation.home.installation)
    return await Writ.within(context, key.seed, wait=5)


async def opened(installation: RunningInstallation, writ: Writ, seconds: int = 600) -> tuple[Writ, str, Key]:
    """A connection by a new session of the principal, its id and its key."""
    key = Key(generate_seed())
    reply = await writ.sessions.open(key.public, seconds=seconds)
    assert reply.view is not None, reply
    assert reply.view.outcome == "succeeded", reply
    return await by_key(installation, key, writ.principal), reply.operation_id, key


async def test_login_acts_by_a_key_of_its_own_and_the_record_finds_it(
    installation: RunningInstallation, alice: Writ, tmp_path: Path
) -> None:
    environ = {"WRIT_PRINCIPAL": "alice", "WRIT_SESSIONS": str(tmp_path)}

    async def writ(*words: str) -> Any:
        ended = await installation.writ(*words, "-o", "json", environ=environ)
        assert ended.status == 0, ended
        return json.loads(ended.out)

    made = await writ("login", "--for", "10m")
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    own = installation.home.seed_file("principal-alice")
    hidden = own.with_suffix(".away")
    own.rename(hidden)  # it need not be here any more
    try:
        ran = await writ("run", "test_noop", "-t", "web-1")
    finally:
        hidden.rename(own)

    async def found() -> bool:
        rows = (await alice.search(SearchQuery(session=made["session"]))).rows
        return [row.operation_id for row in rows] == [ran["operation_id"]]

    await eventually(found)
    [listed] = await writ("sessions", "list")
    assert (listed["id"], listed["principal"], listed["here"]) == (made["session"], "alice", True)
    ended = await installation.writ("logout", environ=environ)
    assert ended.status == 0, ended
    assert list(tmp_path.iterdir()) == []

    async def over() -> bool:
        return (await alice.sessions.open_ones()).sessions == []

    await eventually(over)


async def test_an_ended_session_locks_nobody_out_of_the_commands(
    installation: RunningInstallation, alice: Writ, tmp_path: Path
) -> None:
    """It is revoked from here, which is as a logout, and from elsewhere, after which a logout forgets it."""
    environ = {"WRIT_PRINCIPAL": "alice", "WRIT_SESSIONS": str(tmp_path)}

    async def login() -> str:
        made = await installation.writ("login", "--for", "10m", "-o", "json", environ=environ)
        assert made.status == 0, made
        return str(json.loads(made.out)["session"])

    number = await login()
    revoked = await installation.writ("sessions", "revoke", number, "--reason", "done", environ=environ)
    assert (revoked.status, revoked.out) == (0, f"session {number} is over\n"), revoked
    assert list(tmp_path.iterdir()) == []
    listed = await installation.writ("op", "list", environ=environ)
    assert listed.status == 0, listed

    number = await login()
    ended = await alice.sessions.end(number)
    assert ended.view is not None
    refused = await installation.writ("op", "list", environ=environ)
    hint = "your session has ended: `writ login` begins another; until then `writ logout` returns to your own key"
    known = f"{installation.url} does not know"
    assert (refused.status, refused.err.startswith(f"writ: {hint} ({known} the key of")) == (6, True), refused
    out = await installation.writ("logout", environ=environ)
    assert (out.status, out.out) == (0, f"session {number} is forgotten: NATS at {known} its key\n"), out
    listed = await installation.writ("op", "list", environ=environ)
    assert listed.status == 0, listed


async def test_an_expired_session_without_the_own_key_leads_to_login(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    file = SessionFile(
        session="s", principal="alice", installation=installation.home.installation, seed="S", until=time.time() - 1
    )
    context = Context(principal="alice", url=installation.url, installation=installation.home.installation)
    SessionFiles(tmp_path).save(context, file)
    environ = {"WRIT_PRINCIPAL": "alice", "WRIT_SESSIONS": str(tmp_path)}
    own = installation.home.seed_file("principal-alice")
    hidden = own.with_suffix(".away")
    own.rename(hidden)
    try:
        refused = await installation.writ("op", "list", environ=environ)
    finally:
        hidden.rename(own)
    assert (refused.status, "your session has ended: `writ login` begins another" in refused.err) == (2, True), refused


async def test_a_session_is_revoked_by_the_beginning_of_its_id(installation: RunningInstallation, alice: Writ) -> None:
    session, number, _ = await opened(installation, alice)
    await session.close()
    environ = {"WRIT_PRINCIPAL": "alice"}
    mistaken = await installation.writ("sessions", "revoke", "999", environ=environ)
    assert (mistaken.status, "no session id begins with '999'" in mistaken.err) == (2, True), mistaken
    ended = await installation.writ("sessions", "revoke", number[:12], environ=environ)
    assert ended.status == 0, ended
    assert number not in [one.id for one in (await alice.sessions.open_ones()).sessions]
    async with await installation.client("bob") as bob:
        session, number, _ = await opened(installation, bob)
    await session.close()
    ended = await installation.writ("sessions", "revoke", number[:12], environ=environ)
    assert ended.status == 0, ended


async def test_a_session_has_its_principals_rights_on_nats_and_no_others(
    installation: RunningInstallation, alice: Writ
) -> None:
    session, number, key = await opened(installation, alice)
    async with session:
        assert (await session.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"
        bob = Writ(session._bus, key, "bob")
        with pytest.raises(Forbidden):
            await bob.submit("test_noop", "web-1")
        another = await session.sessions.open(Key(generate_seed()).public, seconds=60)
        assert another.answer.outcome == "denied"
    with pytest.raises(Forbidden):
        await by_key(installation, Key(generate_seed()), "alice")
    await alice.sessions.end(number)


async def test_a_revoked_session_is_cut_off_and_comes_back_no_more(
    installation: RunningInstallation, alice: Writ
) -> None:
    async with await installation.client("bob") as bob:
        session, number, key = await opened(installation, bob)
    assert [one.id for one in (await alice.sessions.open_ones()).sessions] == []  # bob's are not alice's
    began = time.monotonic()
    ended = await alice.sessions.end(number, reason="lost")
    print(f"NATS followed {time.monotonic() - began:.2f} s after the request")
    assert ended.view is not None
    assert ended.view.outcome == "succeeded"
    with pytest.raises(WritError):
        await session.run("test_noop", "web-1", timeout=5)
    with pytest.raises(Forbidden):
        await by_key(installation, key, "bob")
    await session.close()


@pytest.mark.exhaustive
async def test_sessions_of_a_disabled_principal_end_and_those_of_others_go_on(
    installation: RunningInstallation, alice: Writ
) -> None:
    async with await installation.client("bob") as bob:
        bobs, _, key = await opened(installation, bob)
    own, number, _ = await opened(installation, alice)
    disabled = await alice.request(
        "principal_manage", "writ", {"action": "disable", "principal_id": "bob"}, wait=30, reason="left"
    )
    assert disabled.view is not None
    assert disabled.view.outcome == "succeeded", disabled
    with pytest.raises(Forbidden):
        await by_key(installation, key, "bob")
    with pytest.raises(WritError):
        await bobs.run("test_noop", "web-1", timeout=5)
    await bobs.close()
    async with own:
        assert (await own.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"
    await alice.sessions.end(number)
    await alice.request("principal_manage", "writ", {"action": "enable", "principal_id": "bob"}, wait=30)


@pytest.mark.exhaustive
async def test_a_hundred_logins_succeed_and_no_other_operation_is_lost(
    installation: RunningInstallation, alice: Writ
) -> None:
    """Five people at once open and end sessions during other work. NATS is reloaded for each session and its end."""
    done = asyncio.Event()

    async def work() -> list[str | None]:
        return [(await alice.run("test_noop", "web-1", timeout=20)).outcome async for _ in until(done)]

    async def log_in_and_out(name: str) -> None:
        async with await installation.client(name) as person:
            for _ in range(20):  # fewer than one person may open at once
                session, number, _ = await opened(installation, person)
                await session.close()
                await person.sessions.end(number)

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work())
        async with asyncio.TaskGroup() as people:
            for name in CROWD:
                people.create_task(log_in_and_out(name))
        seconds = time.monotonic() - began
        done.set()
    print(f"100 logins and logouts in {seconds:.1f} s beside {len(working.result())} operations")
    assert set(working.result()) == {"succeeded"}


async def until(done: asyncio.Event) -> AsyncIterator[None]:
    while not done.is_set():
        yield


@pytest.mark.exhaustive
async def test_an_idle_session_ends_and_one_in_use_does_not(tmp_path: Path) -> None:
    targets, idle_limit = [local_target("web-1", tmp_path / "files")], "  sessions: {idle: 4s}\n"
    async with governed(tmp_path, PEOPLE, targets, idle_limit) as running, await running.client("alice") as alice:
        idle, number, key = await opened(running, alice)
        used, _, _ = await opened(running, alice)

        async def is_over() -> bool:
            await used.run("test_noop", "web-1", timeout=20)
            return number not in [one.id for one in (await used.sessions.open_ones()).sessions]

        async with used:
            await eventually(is_over)
            assert (await used.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"

        async def is_shut_out() -> bool:
            try:
                await (await by_key(running, key, "alice")).close()
            except Forbidden:
                return True
            except Unreachable:  # cut off after its connection, before its first message: it may still be accepted
                return False
            return False

        await eventually(is_shut_out)
        await idle.close()

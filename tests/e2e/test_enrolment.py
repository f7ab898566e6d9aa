"""An agent on another host: enrolled by a one-time token, at work at once, without a restart of any process."""

import asyncio
import base64
import os
import stat
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import json, structs

from writ_bus.errors import Forbidden, TimedOut, Unreachable
from writ_bus.private_files import read_private
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.journal import ControlEvent, SecurityEvent
from writ_contracts.wire import decode_event
from writ_documents.atomic_files import write_atomically
from writ_documents.readers import read_agents
from writ_installation.files import tokens
from writ_installation.files.home import host_token
from writ_installation.processes.child import tie
from writ_testing.eventually import eventually
from writ_testing.installations.commands import WritResult
from writ_testing.installations.count_load import load
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust import enrolment_tickets
from writ_trust.keys import Key, generate_seed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
POOL, TARGET = "local-far", "far-1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with a target on another host; its pool has no key yet."""
    folder = tmp_path_factory.mktemp("installation")
    targets = [
        local_target("web-1", folder / "files"),
        {**local_target(TARGET, folder / "far-files"), "connection": {"host": "far"}},
    ]
    home = prepare(folder, targets=targets, policy=open_policy())
    async with running_installation(folder, home=home, environ={"WRIT_HEARTBEAT": "0.5"}) as running:
        yield running


async def token_of(installation: RunningInstallation, *words: str) -> dict[str, Any]:
    ended = await installation.writ("agent", "token", POOL, *words, "-o", "json")
    assert ended.status == 0, ended
    return dict(json.decode(ended.out))


async def enrol(folder: Path, token: str, *command: str, environ: Mapping[str, str] | None = None) -> WritResult:
    """Enrol on a host that has only the command and the token."""
    command = command or ("writ_cli", "agent", "enrol")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WRIT_", "NATS_", "SYSTEMM"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, "--to", str(folder)),
        cwd=folder.parent,
        env={**kept, **(environ or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(token.encode()), 90)
    return WritResult(process.returncode or 0, out.decode(), err.decode())


def environment(folder: Path) -> dict[str, str]:
    lines = (folder / f"agent-{POOL}.env").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@asynccontextmanager
async def agent(folder: Path) -> AsyncIterator[None]:
    """Run an agent within the block, with the files of that folder only."""
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    own = {"WRIT_KEY_FILE": str(folder / f"agent-{POOL}.seed"), "WRIT_STATE_DIR": str(state), "WRIT_HEARTBEAT": "0.5"}
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ["PYTHONPATH"], "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *(*tie(), sys.executable, "-P", "-m", "writ_agent_local"), env={**kept, **environment(folder), **own}
    )
    try:
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def events(installation: RunningInstallation, filter_: str) -> list[Any]:
    seed = installation.home.key("executor").seed
    bus = await open_bus(Context(principal="executor", url=installation.url), seed, wait=10)
    try:
        return [decode_event(record.data) for record in await bus.journal.read(filter_)]
    finally:
        await bus.close()


async def test_a_host_enrols_and_its_agent_works_and_nobody_was_restarted(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    before = {one.name: one.pid for one in installation.report.processes}
    made = await token_of(installation)
    folder = tmp_path / "etc"
    folder.mkdir()
    folder.chmod(0o2750)  # as /etc/writ is on the machine of the services: its group reads what is in it, but keys
    ended = await enrol(folder, made["token"])
    assert ended.status == 0, ended
    private = read_private(folder / f"agent-{POOL}.seed").decode()
    assert stat.S_IMODE((folder / f"agent-{POOL}.seed").stat().st_mode) == 0o600
    assert private not in f"{ended}{installation.logs()}{environment(folder)}"
    assert not any(
        private in path.read_text(errors="replace") for path in installation.home.keys.iterdir() if path.is_file()
    )
    async with agent(folder), await installation.client() as writ:
        done = await writ.run("test_noop", TARGET, timeout=60)
        assert done.outcome == "succeeded"
    assert {one.name: one.pid for one in installation.report.processes} == before

    async def recorded() -> list[Any] | None:
        found = await events(installation, subjects.CONTROL)
        return [one for one in found if isinstance(one, ControlEvent) and one.body.get("token") == made["id"]] or None

    (event,) = await eventually(recorded, what="the enrolment is on record")
    assert (event.kind, event.body["pool"]) == ("agent_enrolled", POOL)
    assert event.body["key"] in {one.key for one in read_agents(installation.home.agents).agents if one.pool == POOL}


@pytest.mark.exhaustive
async def test_an_enrolled_key_is_rotated_by_the_command_while_operations_run(
    installation: RunningInstallation, tmp_path: Path, files: Path
) -> None:
    home, folder = installation.home, tmp_path / "etc"
    folder.mkdir()
    machine = {"WRIT_MACHINE_ID": str(folder / "machine-id")}
    (folder / "machine-id").write_text("a" * 32 + "\n")
    assert (await enrol(folder, (await token_of(installation))["token"], environ=machine)).status == 0
    old = Key(read_private(folder / f"agent-{POOL}.seed"), home.installation)
    rotate = ("keys", "rotate", f"agent-{POOL}", "--key", old.public)
    async with await installation.client() as writ, AsyncExitStack() as loads:
        async with agent(folder):
            ran = await loads.enter_async_context(load(writ, [TARGET], files / "rotated"))
            await ran.more(2)
            issued = await installation.writ(*rotate)
            assert issued.status == 0, issued
            (folder / "machine-id").write_text("b" * 32 + "\n")
            elsewhere = await enrol(folder, issued.out, environ=machine)
            assert (elsewhere.status, "bound to another host" in elsewhere.err) == (3, True), elsewhere
            (folder / "machine-id").write_text("a" * 32 + "\n")
            assert (await enrol(folder, issued.out, environ=machine)).status == 0
            await ran.more(2)  # by the old key, which counts until it is retired
        async with agent(folder):
            await ran.more(2)
            assert (await installation.writ(*rotate)).status == 0
            await ran.more(2)
            await loads.aclose()
        await ran.check(writ)
    new = Key(read_private(folder / f"agent-{POOL}.seed"))
    hosts = {one.key: one.host for one in read_agents(home.agents).agents}
    assert (old.public in hosts, hosts[new.public] is not None) == (False, True)
    with pytest.raises(Forbidden):
        await (await open_bus(Context(principal=f"agent-{POOL}", url=installation.url), old.seed, wait=2)).close()
    listed = json.decode((await installation.writ("keys", "list", "-o", "json")).out)["keys"]
    assert {one["public"]: one["state"] for one in listed}[old.public] == "former"


async def test_a_host_without_the_command_enrols_by_writ_enrol(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    folder, made = tmp_path / "etc", await token_of(installation)
    folder.mkdir()
    ended = await enrol(folder, made["token"], "writ_enrolment")
    assert ended.status == 0, ended
    assert f"this host's agent is enrolled for pool {POOL}" in ended.out
    assert Key(read_private(folder / f"agent-{POOL}.seed")).public in ended.out
    async with agent(folder), await installation.client() as writ:
        assert (await writ.run("test_noop", TARGET, timeout=60)).outcome == "succeeded"
    again = await enrol(tmp_path / "second", made["token"], "writ_enrolment")
    assert (again.status, again.out) == (1, "")
    assert again.err.startswith("writ-enrol: ")
    assert "it was used, has expired or was revoked" in again.err


async def test_a_token_that_was_used_opens_nothing_any_more(installation: RunningInstallation, tmp_path: Path) -> None:
    made = await token_of(installation)
    assert (await enrol(tmp_path / "first", made["token"])).status == 0
    again = await enrol(tmp_path / "second", made["token"])
    assert (again.status, again.out) == (3, "")
    assert "it was used, has expired or was revoked" in again.err
    assert not (tmp_path / "second" / f"agent-{POOL}.env").exists()


@pytest.mark.exhaustive
async def test_an_enrolment_that_broke_off_is_finished_by_the_same_command(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    made, folder = await token_of(installation), tmp_path / "etc"
    in_its_way = folder / f"agent-{POOL}.env"
    in_its_way.mkdir(parents=True)
    assert (await enrol(folder, made["token"])).status == 1
    private = read_private(folder / f"agent-{POOL}.seed")
    in_its_way.rmdir()
    ended = await enrol(folder, made["token"])
    assert ended.status == 0, ended
    assert (environment(folder)["NATS_URL"], environment(folder)["WRIT_POOL"]) == (made["url"], POOL)
    assert read_private(folder / f"agent-{POOL}.seed") == private
    for token in (made, await token_of(installation)):
        again = await enrol(folder, token["token"])
        assert (again.status, "is enrolled already" in again.err) == (2, True), again


@pytest.mark.exhaustive
async def test_an_environment_of_an_installation_before_is_no_sign_of_an_enrolment(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    made, folder = await token_of(installation), tmp_path / "etc"
    assert (await enrol(folder, made["token"])).status == 0
    expected = environment(folder)
    (folder / f"agent-{POOL}.env").write_text("WRIT_POLICY_KEY=another\n")
    assert (await enrol(folder, made["token"])).status == 0
    assert environment(folder) == expected


@pytest.mark.exhaustive
async def test_key_whose_enrolment_the_provisioner_died_in_is_enrolled_by_its_token_alone(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    made, folder = await token_of(installation), tmp_path / "etc"
    folder.mkdir()
    key = Key(generate_seed())
    (folder / f"agent-{POOL}.seed").write_bytes(key.seed)
    (folder / f"agent-{POOL}.seed").chmod(0o600)
    token = next(one for one in tokens.known(installation.home) if one.id == made["id"])
    tokens.use(installation.home, token, key.public)
    await token_of(installation)  # NATS has loaded its configuration again
    assert (await enrol(tmp_path / "other", made["token"])).status == 3
    ended = await enrol(folder, made["token"])
    assert ended.status == 0, ended
    assert tokens.is_done(installation.home, made["id"])


async def test_one_of_several_hosts_with_the_same_token_is_enrolled(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    made = await token_of(installation)
    before = len(read_agents(installation.home.agents).agents)
    ended = await asyncio.gather(*(enrol(tmp_path / str(number), made["token"]) for number in range(3)))
    assert sorted(one.status for one in ended) == [0, 3, 3], ended
    assert len(read_agents(installation.home.agents).agents) == before + 1
    won = next(number for number, one in enumerate(ended) if one.status == 0)
    key = tokens.used_for(installation.home, made["id"])
    assert key is not None
    assert f'"{key}"' not in "".join(one.err for one in ended)
    assert [(tmp_path / str(number) / f"agent-{POOL}.env").exists() for number in range(3)] == [
        number == won for number in range(3)
    ]


@pytest.mark.exhaustive
async def test_a_token_that_expired_or_was_taken_back_opens_nothing(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    expired, revoked = await token_of(installation), await token_of(installation)
    token = next(one for one in tokens.known(installation.home) if one.id == expired["id"])
    write_atomically(
        installation.home.tokens / f"{token.id}.json", json.encode(structs.replace(token, until=time.time()))
    )
    assert (await installation.writ("agent", "revoke", revoked["id"])).status == 0
    for number, made in enumerate((expired, revoked)):

        async def refused(made: dict[str, Any] = made) -> bool:
            ticket = enrolment_tickets.read_ticket(made["token"])
            context = Context(principal=f"enrol-{ticket.token}", url=installation.url)
            try:
                bus = await open_bus(context, ticket.key.seed, wait=5)
            except Forbidden:
                return True
            except (Unreachable, TimedOut):
                return False
            await bus.close()
            return False

        await eventually(refused, what="NATS knows it no more")
        assert (await enrol(tmp_path / str(number), made["token"])).status == 3


async def test_token_for_another_host_warns_of_a_loopback_address(installation: RunningInstallation) -> None:
    shown = await installation.writ("agent", "token", POOL)
    assert "writ: warning: far cannot reach this address: `writ up --listen ADDRESS`" in shown.err
    for words in ((POOL, "--url", "nats://127.0.0.1:4222"), (f"local-{host_token()}",)):
        made = await installation.writ("agent", "token", *words)
        assert (made.status, "warning" in made.err) == (0, False), made


@pytest.mark.exhaustive
async def test_the_command_says_what_there_is_and_takes_no_pool_that_no_target_has(
    installation: RunningInstallation,
) -> None:
    made = await token_of(installation)
    listed = await installation.writ("agent", "list")
    assert made["id"] in listed.out
    assert made["token"] not in listed.out
    listed_tokens = json.decode((await installation.writ("agent", "list", "-o", "json")).out)["tokens"]
    assert [one["until"] for one in listed_tokens if one["token"] == made["id"]] == [made["until"]]
    assert (await installation.writ("agent", "token", POOL, "--url", "nats://a b")).status == 2
    assert len(tokens.known(installation.home)) == len(listed_tokens)
    refused = await installation.writ("agent", "token", "nobodys")
    assert (refused.status, refused.out) == (2, "")
    assert (await installation.writ("agent", "token", POOL, "--expires", "30d")).status == 2
    assert (await installation.writ("agent", "revoke", "nothing")).status == 2


async def test_refused_attempts_are_on_record(installation: RunningInstallation, tmp_path: Path) -> None:
    made = await token_of(installation)
    ticket = enrolment_tickets.read_ticket(made["token"])
    other = (await token_of(installation))["id"]
    bus = await open_bus(Context(principal=f"enrol-{ticket.token}", url=installation.url), ticket.key.seed, wait=10)
    try:
        with pytest.raises(Forbidden):
            await bus.request(subjects.enrol(other), b"{}", timeout=5)
        answer = await bus.request(subjects.enrol(ticket.token), b"{}", timeout=10)
        assert b'"code":"invalid"' in answer.data
    finally:
        await bus.close()
    (tmp_path / "x").mkdir()
    tampered = enrolment_tickets.HEAD + _with_pool(ticket, "local-web-1")
    assert (await enrol(tmp_path / "x" / "etc", tampered)).status in (3, 6)

    async def recorded() -> bool:
        found = await events(installation, subjects.SECURITY)
        return any(isinstance(one, SecurityEvent) and one.kind == "enrolment_refused" for one in found)

    await eventually(recorded, what="the refusal is on record")


def _with_pool(ticket: enrolment_tickets.Ticket, pool: str) -> str:
    return base64.urlsafe_b64encode(json.encode(structs.replace(ticket, pool=pool))).decode().rstrip("=")

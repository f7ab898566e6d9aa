"""Principals added to an installation and removed from it, while it runs, starts, or is down."""

import asyncio
import os
import signal
import stat
from pathlib import Path

import pytest
from tests.installation.stand_in_installations import AGENT, WITHIN, Up, start, up

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_client.context import Context, open_bus
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import Conflict, Invalid
from writ_contracts.installation.known_changes import KnownChanges, VerifiedChange
from writ_contracts.wire import encode
from writ_documents import atomic_files, yaml_file
from writ_documents.atomic_files import DRAFT
from writ_documents.readers import read_principals
from writ_installation.administration.principals import add_principal, admitted
from writ_installation.files import list_edits
from writ_installation.files.home import Home
from writ_installation.processes.report import read_report
from writ_testing.eventually import eventually


async def test_added_principal_has_access_at_once(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        operator = Context(principal="operator", url=one.report.url)
        bus = await open_bus(operator, one.home.key("principal-operator").seed, wait=20)
        added = await add_principal(one.home, "copilot", "agent", ["assistant"], "operator")
        assert added.admitted is True
        assert bus.connected
        await bus.drain(1.0)
        known = read_principals(one.home.principals).principals
        assert [(who.id, who.kind, who.acts_for) for who in known] == [
            ("operator", "human", None),
            ("copilot", "agent", "operator"),
        ]
        assert "# The principals" in one.home.principals.read_text()
        assert stat.S_IMODE(Path(added.key_file).stat().st_mode) == 0o600
        assert stat.S_IMODE(one.home.principals.stat().st_mode) == 0o600


async def test_a_principal_that_is_added_while_the_installation_starts_is_accepted(tmp_path: Path) -> None:
    one = await start(Home(tmp_path / "home"), tmp_path / "said")
    try:
        await one.until(lambda: read_report(one.home.report_file) is not None)
        operator = Context(principal="operator", url=one.report.url)
        await (await open_bus(operator, one.home.key("principal-operator").seed, wait=30)).close()
        entry = {"id": "bob", "kind": "human", "roles": [], "key": one.home.make_key("principal-bob").public}
        list_edits.append(one.home.principals, "principals", entry, unique="id")
        await one.until(lambda: "READY" in one.printed)
        assert await admitted(one.home, "bob", one.home.key("principal-bob").seed)
    finally:
        one.process.terminate()
        await asyncio.wait_for(one.process.wait(), WITHIN)


async def test_a_mistake_in_a_list_that_is_made_during_the_start_does_not_end_it(tmp_path: Path) -> None:
    one = await start(Home(tmp_path / "home"), tmp_path / "said", {"WRIT_STANDIN_POLICY": "wait"})
    try:
        await one.until(lambda: "agent-local" in one.printed and "is ready" in one.printed)
        good = one.home.principals.read_text()
        one.home.principals.write_text(f"{good}- id: broken\n")
        (one.home.run / "go").touch()
        await one.until(lambda: "READY" in one.printed or one.process.returncode is not None)
        await one.until(lambda: one.report.state == "ready" and "principals.yaml" in one.report.problem)
        one.home.principals.write_text(good)
        await one.until(lambda: one.report.problem == "")
    finally:
        if one.process.returncode is None:
            one.process.terminate()
        await asyncio.wait_for(one.process.wait(), WITHIN)


async def test_older_file_of_changes_is_written_again_before_the_services_start(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        home = one.home
    present = home.principal_changes.read_bytes()
    change = PrincipalManage(action="disable", principal_id="operator", replaces="x.0", timeout=30)
    atomic_files.save(
        home.principal_changes, encode(KnownChanges(changes=[VerifiedChange(operation_id="a" * 26, change=change)]))
    )
    one = await start(home, tmp_path / "again", {"WRIT_STANDIN_POLICY": "wait"})
    try:
        await one.until(lambda: home.principal_changes.read_bytes() == present)
        assert "READY" not in one.printed
        (home.run / "go").touch()
        await one.until(lambda: "READY" in one.printed)
    finally:
        one.process.terminate()
        await asyncio.wait_for(one.process.wait(), WITHIN)


async def test_a_lost_file_of_changes_is_written_before_the_services_start(tmp_path: Path) -> None:
    one = await start(Home(tmp_path / "home"), tmp_path / "said", {"WRIT_STANDIN_POLICY": "wait"})
    try:
        await one.until(one.home.principal_changes.exists)
        assert "READY" not in one.printed
        (one.home.run / "go").touch()
        await one.until(lambda: "READY" in one.printed)
    finally:
        one.process.terminate()
        await asyncio.wait_for(one.process.wait(), WITHIN)


DAMAGES = pytest.mark.parametrize("content", [b"", b'{"changes": ['], ids=["empty", "cut off"])


@DAMAGES
async def test_damaged_files_of_what_the_journal_has_are_written_again(tmp_path: Path, content: bytes) -> None:
    async with up(tmp_path) as one:
        changes, sessions = one.home.principal_changes, one.home.sessions
        present = changes.read_bytes()
        sessions.write_bytes(content)
        changes.write_bytes(content)
        await one.until(lambda: changes.exists() and changes.read_bytes() == present)
        await one.until(lambda: one.report.problem == "" and not sessions.exists())
        assert await admitted(one.home, "operator", one.home.key("principal-operator").seed)
        assert one.printed.count("keeper.file_damaged") == 2


@DAMAGES
async def test_damaged_files_of_what_the_journal_has_do_not_keep_an_installation_from_starting(
    tmp_path: Path, content: bytes
) -> None:
    async with up(tmp_path) as one:
        home = one.home
    present = home.principal_changes.read_bytes()
    for file in (home.sessions, home.principal_changes):
        file.write_bytes(content)
    (tmp_path / "said").unlink()
    async with up(tmp_path) as one:
        assert home.principal_changes.read_bytes() == present
        assert one.report.problem == ""


async def test_a_lost_file_of_changes_is_written_again_once_the_journal_can_be_read(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        config, unread = one.home.server_config.read_bytes(), one.home.run / "no-journal"
        unread.touch()
        one.home.principal_changes.unlink()
        entry = {"id": "bob", "kind": "human", "roles": [], "key": one.home.make_key("principal-bob").public}
        list_edits.append(one.home.principals, "principals", entry, unique="id")
        await one.until(lambda: "no reply from the journal" in one.report.problem)
        assert one.home.server_config.read_bytes() == config  # nobody gets access by the list alone
        unread.unlink()
        await one.until(one.home.principal_changes.exists)
        await one.until(lambda: one.report.problem == "")
        assert await admitted(one.home, "bob", one.home.key("principal-bob").seed)


async def test_nats_that_dies_while_a_file_is_damaged_starts_again_as_it_was(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        config, unread, server = one.home.server_config.read_bytes(), one.home.run / "no-journal", one.pid("nats")
        assert server is not None
        unread.touch()
        entry = {"id": "bob", "kind": "human", "roles": [], "key": one.home.make_key("principal-bob").public}
        one.home.principal_changes.write_bytes(b"{")
        list_edits.append(one.home.principals, "principals", entry, unique="id")
        await one.until(lambda: "no reply from the journal" in one.report.problem)
        os.kill(server, signal.SIGKILL)
        await one.until(lambda: one.pid("nats") not in {None, server})
        assert one.home.server_config.read_bytes() == config
        assert one.home.principal_changes.read_bytes() == b"{"
        unread.unlink()
        await one.until(lambda: one.report.problem == "")
        assert await admitted(one.home, "bob", one.home.key("principal-bob").seed)


async def let_in(installation: Up, bob: Context) -> Bus:
    """Open a bus as a newly admitted principal."""

    async def opened() -> Bus | None:
        try:
            return await open_bus(bob, installation.home.key("principal-bob").seed, wait=20)
        except Forbidden:  # by NATS on a busy machine, while it reloads once more
            return None

    return await eventually(opened)


async def test_a_principal_that_is_removed_is_shut_out(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        assert (await add_principal(one.home, "bob", "human", [], None)).admitted is True
        bob = Context(principal="bob", url=one.report.url)
        bus = await let_in(one, bob)
        data = yaml_file.read(one.home.principals).data
        list_edits.write(one.home.principals, "", {"principals": data["principals"][:1]})
        # Reported when bob was added, and again once NATS has loaded his removal, not before.
        await one.until(lambda: one.printed.count("match the files again") > 1 and not bus.connected)
        with pytest.raises(Forbidden):
            await open_bus(bob, one.home.key("principal-bob").seed, wait=20)
        await bus.close()


async def test_a_principal_that_is_removed_while_an_agent_does_not_end_is_shut_out(tmp_path: Path) -> None:
    async with up(tmp_path, {"WRIT_STANDIN_AGENT": "stay"}, stop_seconds=20) as one:
        agent = one.pid(AGENT)
        assert agent is not None
        assert (await add_principal(one.home, "bob", "human", [], None)).admitted is True
        bus = await let_in(one, Context(principal="bob", url=one.report.url))
        inventory = yaml_file.read(one.home.inventory).data
        list_edits.write(one.home.inventory, "", {**inventory, "targets": []})
        await one.until(lambda: f"{AGENT} is no longer needed" in one.printed)
        data = yaml_file.read(one.home.principals).data
        list_edits.write(one.home.principals, "", {"principals": data["principals"][:1]})
        await one.until(lambda: not bus.connected)
        os.kill(agent, 0)  # it still is there: nobody waited for its end
        os.kill(agent, signal.SIGKILL)
        await bus.close()


async def test_two_principals_added_at_once_both_count(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        added = await asyncio.gather(*(add_principal(one.home, f"p{i}", "human", [], None) for i in range(4)))
        assert all(item.admitted for item in added)


async def test_principals_can_be_added_while_nothing_runs(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert (await add_principal(home, "bob", "human", ["operator"], None)).admitted is None
    with pytest.raises(Conflict):
        await add_principal(home, "bob", "human", [], None)
    with pytest.raises(Invalid, match="human"):
        await add_principal(home, "bot", "agent", [], "nobody")
    assert [who.id for who in read_principals(home.principals).principals] == ["operator", "bob"]


async def test_a_report_that_cannot_be_written_keeps_no_removed_principal_in(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        assert (await add_principal(one.home, "bob", "human", [], None)).admitted is True
        file = one.home.report_file
        draft = file.with_name(f".{file.name}.{one.report.pid}{DRAFT}")
        draft.mkdir()  # writing the report fails from now on, as on a full disk
        killed = one.pid("policy")
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await one.until(lambda: "could not be written" in one.printed)
        data = yaml_file.read(one.home.principals).data
        list_edits.write(one.home.principals, "", {"principals": data["principals"][:1]})
        await one.until(lambda: one.printed.count("match the files again") > 1)
        with pytest.raises(Forbidden):
            await open_bus(Context(principal="bob", url=one.report.url), one.home.key("principal-bob").seed, wait=20)
        assert one.printed.count("could not be written") == 1
        draft.rmdir()
        await one.until(lambda: one.pid("policy") not in (None, killed))

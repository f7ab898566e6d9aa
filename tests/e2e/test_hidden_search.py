"""Searches by values that the journal does not have, at audit level minimal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding

from writ_contracts import subjects
from writ_contracts.history.audit import SearchQuery
from writ_contracts.journal import RecordRead
from writ_contracts.wire import decode_event
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUDITORS = {"name": "auditors_read", "operations": ["audit_read"], "allowed": True, "user_roles": ["auditor"]}
NO_DELETES = {"name": "no_deletes", "operations": ["file_delete"], "allowed": False}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("hidden")
    people: list[tuple[str, dict[str, Any]]] = [("alice", {}), ("bob", {}), ("carol", {"roles": ["auditor"]})]
    home = prepare(folder, policy=open_policy(AUDITORS, NO_DELETES), principals=people)
    level = {"SYSTEMMANAGER_AUDIT_LEVEL": "minimal"}
    async with running_installation(folder, home=home, environ=level) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def path(installation: RunningInstallation) -> str:
    """Return a path that alice read and bob tried to delete; others read another one."""
    file = Path(installation.home.root.parent / "files" / "sought.conf")
    file.write_text("text")
    async with await installation.client("alice") as alice:
        for name in (file, file.with_name("other.conf")):
            await alice.run("file_read", "web-1", {"file_path": str(name)})
    async with await installation.client("bob") as bob:
        assert (await bob.run("file_delete", "web-1", {"file_path": str(file)})).outcome == "denied"
    return str(file)


def found(rows: list[Any]) -> list[tuple[str, str]]:
    return [(row.principal, row.operation) for row in rows]


async def test_requests_with_a_value_are_found_though_no_event_has_it(
    installation: RunningInstallation, path: str
) -> None:
    async with await installation.client("carol") as carol:
        answer = await carol.search(SearchQuery(parameters={"file_path": path}))
        assert found(answer.rows) == [("bob", "file_delete"), ("alice", "file_read")]
        assert [row.parameters for row in answer.rows] == ["", ""]
        nothing = await carol.search(SearchQuery(parameters={"file_path": f"{path}.old"}))
    assert nothing.rows == []
    assert nothing.hidden is not None
    assert (nothing.hidden.since, nothing.hidden.problem) == (answer.rows[-1].requested_at, "")
    async with await installation.client("bob") as bob:
        assert found((await bob.search(SearchQuery(parameters={"file_path": path}))).rows) == [("bob", "file_delete")]
    async with holding(installation, "audit") as audit:
        records = await audit.journal.read(subjects.JOURNAL)
    assert [record.subject for record in records if b"sought.conf" in record.data] == []
    reads = [event for record in records if isinstance(event := decode_event(record.data), RecordRead)]
    assert {(event.principal, tuple(event.sought)) for event in reads} == {("carol", ("file_path",))}


async def test_command_finds_hidden_values_and_refuses_secret_ones(
    installation: RunningInstallation, path: str
) -> None:
    async with await installation.client("alice") as alice:
        await alice.run("file_write", "web-1", {"file_path": path, "content": "pin 4711"})
    seed = {"WRIT_PRINCIPAL": "carol"}
    done = await installation.writ("audit", "search", "-p", f"file_path={path}", "-o", "csv", environ=seed)
    assert done.status == 0, done
    assert len(done.out.splitlines()) == 4
    done = await installation.writ("audit", "search", "-p", "content=pin 4711", environ=seed)
    assert done.status == 2, done
    assert "values of content cannot be searched: a search would confirm guesses of a secret" in done.err
    done = await installation.writ("audit", "search", "-p", "file_path=/nowhere", environ=seed)
    assert "hidden values can be found in requests since 2" in done.err


async def test_search_during_a_stop_of_the_executors_finds_what_is_in_clear(installation: RunningInstallation) -> None:
    with installation.paused("executor"):
        async with await installation.client("alice") as alice:
            answer = await alice.search(SearchQuery(parameters={"file_path": "/nowhere"}))
    assert answer.hidden is not None
    assert "no executor replied" in answer.hidden.problem


async def test_guesses_of_one_principal_are_limited(installation: RunningInstallation) -> None:
    async with await installation.client("alice") as alice:
        guesses = [SearchQuery(parameters={"file_path": f"/{number}"}) for number in range(200)]
        answers = await asyncio.gather(*map(alice.search, guesses))
    problems = {answer.hidden.problem for answer in answers if answer.hidden}
    assert problems == {"", "too many searches by values of parameters: retry later (rate_limited)"}

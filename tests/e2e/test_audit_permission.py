"""Principals read their own record and that of their agents; the policy in force decides about all others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from writ_contracts.errors import WritError
from writ_contracts.history.audit import SearchQuery
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUDITORS = {"name": "auditors_read", "operations": ["audit_read"], "allowed": True, "user_roles": ["auditor"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("record")
    people: list[tuple[str, dict[str, Any]]] = [
        ("alice", {}),
        ("bob", {}),
        ("carol", {"roles": ["auditor"]}),
        ("copilot", {"kind": "agent", "acts_for": "alice"}),
    ]
    home = prepare(folder, policy=open_policy(AUDITORS), principals=people)
    async with running_installation(folder, home=home) as running:
        yield running


async def run(installation: RunningInstallation, principal: str, correlation_id: str | None = None) -> str:
    """Run an operation of this principal; return its id."""
    async with await installation.client(principal) as writ:
        done = await writ.run("test_noop", "web-1", correlation_id=correlation_id)
    assert done.outcome == "succeeded"
    return done.operation_id


async def reads(installation: RunningInstallation, principal: str, operation_id: str) -> str:
    """`whole`, or why not."""
    async with await installation.client(principal) as writ:
        try:
            answer = await writ.trace(operation_id=operation_id)
        except WritError as error:
            return error.code
    return "whole" if {"requested", "finished"} <= {event.kind for event in answer.events} else "in part"


async def test_own_and_agents_records_are_open_and_others_by_policy(installation: RunningInstallation) -> None:
    own, agents = await run(installation, "alice"), await run(installation, "copilot")
    assert [await reads(installation, who, own) for who in ("alice", "bob", "carol", "copilot")] == [
        "whole",
        "not_found",
        "whole",
        "not_found",
    ]
    assert [await reads(installation, who, agents) for who in ("alice", "bob", "carol", "copilot")] == [
        "whole",
        "not_found",
        "whole",
        "whole",
    ]


async def test_a_search_stays_among_what_one_may_read(installation: RunningInstallation) -> None:
    for principal in ("alice", "bob", "copilot"):
        await run(installation, principal)

    async def visible_principals(principal: str) -> set[str]:
        async with await installation.client(principal) as writ:
            return {row.principal for row in (await writ.search(SearchQuery(limit=1000))).rows}

    assert await visible_principals("bob") == {"bob"}
    assert await visible_principals("alice") == {"alice", "copilot"}
    assert await visible_principals("carol") >= {"alice", "bob", "copilot"}
    async with await installation.client("bob") as writ:
        with pytest.raises(WritError) as caught:
            await writ.search(SearchQuery(principal="alice"))
    assert caught.value.code == "denied"


async def test_an_audit_service_that_is_killed_answers_again_with_all_of_it(installation: RunningInstallation) -> None:
    before = await run(installation, "alice")
    gone = installation.kill("audit")
    after = await run(installation, "alice")
    await installation.until("audit", other_than=gone)
    assert [await reads(installation, "alice", one) for one in (before, after)] == ["whole", "whole"]


async def test_an_index_that_was_deleted_is_made_again(installation: RunningInstallation) -> None:
    operation = await run(installation, "alice", correlation_id="lost-index")
    index = installation.home.state / "audit/audit.sqlite"
    gone = installation.kill("audit")
    await asyncio.to_thread(index.unlink)
    await installation.until("audit", other_than=gone)
    async with await installation.client("alice") as writ:

        async def found() -> bool:
            rows = (await writ.search(SearchQuery(principal="alice"))).rows
            return operation in [row.operation_id for row in rows]

        await eventually(found, what="an index with all of it")
        kinds = [event.kind for event in (await writ.trace(correlation_id="lost-index")).events]
    assert kinds[0] == "requested"
    assert kinds[-1] == "finished"

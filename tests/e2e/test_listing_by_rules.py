"""An agent lists only things within reach of its rules, in every way; errors, counts and suggestions reveal no more."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner
from tests.gateway.conftest import call, serving

from writ_cli.main import cli
from writ_client.client import Writ
from writ_contracts.errors import Denied, WritError
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
RULES: list[dict[str, Any]] = [
    {"name": "payroll_reports", "operations": ["file_read"], "allowed": True, "users": ["alice"]},
    {"name": "bot_counts", "operations": ["test_count"], "allowed": True, "users": ["bot"], "targets": ["web-*"]},
    {"name": "bot_reads", "operations": ["file_read"], "allowed": True, "users": ["bot"], "target_tags": ["logs"]},
]
FILE, PATH = {"file_path": "/x"}, {"path": "x"}
OF_REQUEST = ("operation_id", "correlation_id", "requested_at", "updated_at")
GUESSES = ("db-1", "db-9")
"""A target that the bot may not list, and one that does not exist."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield two targets: the agent `bot` reaches `web-1`; the pool of `db-1` lacks most operations."""
    folder = tmp_path_factory.mktemp("listing")
    targets = [local_target("web-1", folder), local_target("db-1", folder, role="production", tags=["payroll"])]
    people: Any = [("alice", {}), ("bot", {"kind": "agent", "acts_for": "alice", "roles": []})]
    policy = open_policy(*RULES).replace("allowed: true", "user_roles: [operator]\n    allowed: true", 1)
    home = prepare(folder, targets=targets, policy=policy, principals=people)
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("bot") as client:
        yield client


async def test_agent_lists_the_targets_and_operations_in_reach(installation: RunningInstallation, bot: Writ) -> None:
    assert [(one.id, one.operations) for one in await bot.targets()] == [("web-1", ["test_count"])]
    async with await installation.client() as operator:
        assert [one.id for one in await operator.targets()] == ["db-1", "web-1"]


async def test_command_suggests_no_target_in_place_of_the_hidden_one_itself(installation: RunningInstallation) -> None:
    runner = CliRunner(env={"WRIT_HOME": str(installation.home.root), "WRIT_PRINCIPAL": "bot", "NATS_URL": ""})
    words = ["policy", "can-i", "test_count", "-t"]
    hidden = await asyncio.to_thread(runner.invoke, cli, [*words, "db-1", "path=x"])
    absent = await asyncio.to_thread(runner.invoke, cli, [*words, "db-9", "path=x"])
    assert (hidden.exit_code, absent.exit_code) == (2, 2)
    assert hidden.stderr.endswith("the file has it, so perhaps no rule reaches it for this principal\n")
    assert absent.stderr.endswith("did you mean 'db-1'?\n")


async def test_tools_of_an_agent_name_no_target_out_of_reach(installation: RunningInstallation) -> None:
    async with serving(installation, principal="bot") as client:
        listed = await call(client, "list_targets")
        assert [target["target_id"] for target in listed["targets"]] == ["web-1"]
        answers = [
            [
                await call(client, "search_operations", target_id=target),
                await call(
                    client, "read", operation_type="file_read", target_id=target, parameters={"file_path": "/x"}
                ),
                await call(client, "explain_decision", operation_type="test_count", target_id=target, parameters=PATH),
            ]
            for target in GUESSES
        ]
    for hidden, absent in zip(*answers, strict=True):
        known = [{key: answer[key] for key in answer if key not in OF_REQUEST} for answer in (hidden, absent)]
        assert _alike(known[0], "db-1") == _alike(known[1], "db-9")


async def test_errors_are_those_of_a_target_that_does_not_exist(bot: Writ) -> None:
    for operation, parameters in (
        ("test_count", PATH),
        ("file_read", FILE),
        ("container_stop", {"container_name": "x"}),
    ):
        for ask in (bot.run, bot.simulate, bot.policy.can_i, bot.policy.explain):
            answers = [await _outcome(ask, operation, target, parameters) for target in GUESSES]
            assert answers[0] == answers[1], (operation, ask)


async def test_command_of_an_agent_suggests_and_counts_no_target_out_of_reach(
    installation: RunningInstallation,
) -> None:
    listed = await installation.writ("target", "list", "--as", "bot", "-o", "json")
    assert [one["id"] for one in json.loads(listed.out)] == ["web-1"]
    status = await installation.writ("policy", "status", "--as", "bot", "-o", "json")
    assert json.loads(status.out)["rules"] == 2


async def test_agent_reads_of_its_own_rules_alone(bot: Writ) -> None:
    denied = await bot.run("file_read", "web-1", FILE, timeout=20)
    assert denied.outcome == "denied"
    trace = await bot.trace(operation_id=denied.operation_id)
    assert "bot_reads" in repr(trace.events)
    assert "payroll_reports" not in repr((denied, trace.events))
    with pytest.raises(Denied):
        await bot.policy.who_can("file_read")


async def _outcome(ask: Any, operation: str, target: str, parameters: dict[str, Any]) -> str:
    try:
        answer = await ask(operation, target, parameters)
    except WritError as error:
        return _alike([error.code, str(error)], target)
    return _alike([answer.outcome, answer.code, answer.message], target)


def _alike(answer: Any, target: str) -> str:
    return repr(answer).replace(target, "TARGET")

"""Names in a policy that the installation lacks: those of a large one are found by another process."""

import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.policy.replica import RULES, files, replica
from tests.rules.asking import CATALOGUE

from writ_documents.readers import read_inventory, read_principals
from writ_policy.analysis_process import job_handlers, pool
from writ_policy.analysis_process.jobs import MOST_NAMES, Job, MissingNamesReply
from writ_policy.analysis_process.pool import AnalysisPool
from writ_policy.state import missing_names
from writ_rules import policy_reader
from writ_rules.engine.compile import Policy
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

UNKNOWN = {**RULES[0], "name": "of nobody", "user_roles": ["astronomer"]}
WARNING = "no principal has role 'astronomer'"


@pytest.mark.parametrize(("small", "jobs"), [(0, ["names"]), (policy_reader.SMALL, [])], ids=["large", "small"])
async def test_missing_names_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, small: int, jobs: list[str]
) -> None:
    work, done = AnalysisPool.work, list[str]()

    async def counted(pool: AnalysisPool, job: Any, kind: Any) -> Any:
        done.append(job.kind)
        return await work(pool, job, kind)

    async def is_warned() -> bool:
        return any(WARNING in str(getattr(record, "finding", vars(record))) for record in caplog.records)

    monkeypatch.setattr(AnalysisPool, "work", counted)
    monkeypatch.setattr(policy_reader, "SMALL", small)
    known, broker = files(tmp_path), Broker()
    known.policy(*RULES, UNKNOWN)
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as asking:
        assert await asking.code(asking.subject()) == "allowed"
        await eventually(is_warned, what="the warning in the log")
    assert done == jobs


async def test_files_are_read_while_the_warnings_wait_behind_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_reader, "SMALL", 0)
    known, broker = files(tmp_path), Broker()
    known.policy(*RULES, UNKNOWN)
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as asking, asking.service._analysis_pool._turn:
        asking.files.write("policy", "policies: 7")

        async def noticed() -> bool:
            return asking.service._sources.file.error is not None

        await eventually(noticed, what="the mistake in the file")


async def test_search_that_waits_keeps_no_earlier_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def policies() -> list[Policy]:
        gc.unfreeze()
        return [one for one in gc.get_objects() if isinstance(one, Policy) and one.rules == 2]

    async def is_gone() -> bool:
        await asking.code(asking.subject())
        gc.collect()
        return len(policies()) == earlier

    monkeypatch.setattr(policy_reader, "SMALL", 0)
    known, broker, earlier = files(tmp_path), Broker(), len(policies())
    known.policy(RULES[0], UNKNOWN)
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as asking, asking.service._analysis_pool._turn:
        assert len(policies()) == earlier + 1

        async def waits() -> bool:
            return asking.service._analysis_pool._waiting == 1

        await eventually(waits, what="the search")
        asking.files.policy(RULES[0])
        await eventually(is_gone, what="the end of the earlier policy")


async def test_search_that_failed_is_reported_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def logged(text: str) -> Callable[[], Awaitable[bool]]:
        async def is_logged() -> bool:
            return any(text in str(vars(record)) for record in caplog.records)

        return is_logged

    monkeypatch.setattr(policy_reader, "SMALL", 0)
    monkeypatch.setattr(missing_names, "FIRST_PAUSE", 0.01)
    known, broker = files(tmp_path), Broker()
    known.policy(*RULES, UNKNOWN)
    monkeypatch.setattr(pool, "CHECK_SECONDS", 0.001)
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as asking:
        assert await asking.code(asking.subject()) == "allowed"
        await eventually(logged("policy.lint_undone"), what="the failure in the log")
        monkeypatch.setattr(pool, "CHECK_SECONDS", 60.0)
        await eventually(logged(WARNING), what="the warning in the log")


def test_reply_has_the_first_of_many_and_the_number_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_handlers, "LARGEST_ANSWER", 8_000)
    known = files(tmp_path)
    known.policy(*RULES, *({**UNKNOWN, "name": f"{number}"} for number in range(300)))
    job = Job(
        kind="names",
        query=Raw(b"null"),
        now=0.0,
        mode="permissive",
        policy=known.path("policy").read_text(),
        targets=[*read_inventory(known.path("inventory")).targets],
        principals=[*read_principals(known.path("principals")).principals],
    )
    result = job_handlers.perform(job, CATALOGUE)
    reply = msgspec.json.decode(result.answer, type=MissingNamesReply)
    assert (len(reply.findings), reply.count) == (MOST_NAMES, 300)

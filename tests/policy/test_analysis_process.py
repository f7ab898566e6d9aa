"""Policy's analysis process: one job at a time, killed after its time limit."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec import Raw, structs
from tests.rules.asking import ALICE, NOON, at, rule

from writ_contracts.errors import Full, Invalid, WritError
from writ_contracts.inventory import Target
from writ_contracts.policy.access import (
    PolicyAllowedQuery,
    PolicyAllowedReply,
    PolicyDiffQuery,
    PolicyDiffReply,
    PolicyWhoCanQuery,
    PolicyWhoCanReply,
)
from writ_contracts.policy.questions import (
    PolicyTestQuery,
    PolicyTestReply,
    PolicyValidateQuery,
    PolicyValidateReply,
)
from writ_documents import yaml_file
from writ_policy.analysis_process import pool
from writ_policy.analysis_process.job_handlers import fitting
from writ_policy.analysis_process.jobs import LARGEST_ANSWER, Job
from writ_policy.analysis_process.pool import MOST_WAITING, AnalysisPool
from writ_testing.eventually import eventually


def text(*rules: dict[str, Any]) -> str:
    return yaml_file.dump({"policies": {"name": "test", "global_policies": [*rules]}})


IN_FORCE = text(rule("restarts", "service_restart"))
SUITE = yaml_file.dump(
    {
        "policy": "any.yaml",
        "inventory": "inventory.yaml",
        "principals": "principals.yaml",
        "now": NOON,
        "cases": [
            {
                "name": "restarts",
                "callers": ["alice"],
                "targets": ["web-1"],
                "operations": ["service_restart"],
                "parameters": {"service_name": "nginx"},
                "decision": "allow",
            }
        ],
    }
)


def job(kind: Any, query: Any, **changed: Any) -> Job:
    made = Job(
        kind=kind,
        query=Raw(msgspec.json.encode(query)),
        now=at(NOON),
        mode="strict",
        policy=IN_FORCE,
        targets=[Target(id="web-1", role="production", backend="local")],
        principals=[ALICE],
    )
    return structs.replace(made, **changed)


@pytest.fixture
async def bench() -> AsyncIterator[AnalysisPool]:
    made = AnalysisPool()
    yield made
    await made.close()


async def test_every_kind_of_job_is_done(bench: AnalysisPool) -> None:
    valid = await bench.work(job("validate", PolicyValidateQuery(document=IN_FORCE)), PolicyValidateReply)
    assert (valid.valid, valid.name, valid.rules) == (True, "test", 1)
    wrong = PolicyValidateQuery(document=IN_FORCE.replace("allowed", "alowed"))
    found = await bench.work(job("validate", wrong), PolicyValidateReply)
    assert any("did you mean 'allowed'" in problem.message for problem in found.problems)
    tested = await bench.work(job("test", PolicyTestQuery(suite=SUITE)), PolicyTestReply)
    assert (tested.cases, tested.failed, tested.percent) == (1, 0, 100.0)
    other = PolicyTestQuery(suite=SUITE, document=text(rule("stops", "service_stop")))
    assert (await bench.work(job("test", other), PolicyTestReply)).failures[0].wrong == [
        "decision: expected allow, got deny"
    ]
    allowed = await bench.work(job("allowed", PolicyAllowedQuery(principal="alice")), PolicyAllowedReply)
    assert {access.operation for access in allowed.accesses if access.allowed == "always"} == {"service_restart"}
    able = await bench.work(job("who_can", PolicyWhoCanQuery(operation="service_restart")), PolicyWhoCanReply)
    assert [access.principals for access in able.accesses] == [["alice"]]
    sides = [IN_FORCE, text(rule("stops", "service_stop"))]
    changes = await bench.work(job("diff", PolicyDiffQuery(new=2), others=sides), PolicyDiffReply)
    assert {(one.kind, one.operation) for one in changes.changes} == {
        ("newly_denied", "service_restart"),
        ("newly_allowed", "service_stop"),
    }


async def test_reply_names_the_mistake_of_a_query(bench: AnalysisPool) -> None:
    with pytest.raises(Invalid, match="no operation 'reboot'") as raised:
        await bench.work(job("who_can", PolicyWhoCanQuery(operation="reboot")), PolicyWhoCanReply)
    assert raised.value.code == "unknown_operation"
    broken = await bench.work(job("diff", PolicyDiffQuery(new=2), others=["{", IN_FORCE]), PolicyDiffReply)
    assert broken.problems[0].file == "old"
    suite = await bench.work(job("test", PolicyTestQuery(suite="cases: []")), PolicyTestReply)
    assert {problem.file for problem in suite.problems} == {"suite"}


async def test_long_job_is_killed_and_the_next_one_done() -> None:
    bench = AnalysisPool(seconds=0.001)
    question = job("who_can", PolicyWhoCanQuery(operation="service_restart"))
    try:
        with pytest.raises(Invalid) as raised:
            await bench.work(question, PolicyWhoCanReply)
        assert raised.value.code == "too_much"
        bench._seconds = 60.0
        assert (await bench.work(question, PolicyWhoCanReply)).accesses
    finally:
        await bench.close()


async def test_job_that_takes_too_much_processor_time_ends_its_process(bench: AnalysisPool) -> None:
    code = "import sys; from writ_policy.analysis_process import __main__ as one; one.CPU_SECONDS = 0.01; one.main()"
    command, bench._command = bench._command, (sys.executable, "-c", code, "0")
    endless = text(*(rule(f"rule-{at}", "service_restart") for at in range(1000)))
    with pytest.raises(Invalid, match="longer than 30 s of processor time") as raised:
        await bench.work(job("validate", PolicyValidateQuery(document=endless)), PolicyValidateReply)
    assert raised.value.code == "too_much"
    bench._command = command
    assert (await bench.work(job("validate", PolicyValidateQuery(document=IN_FORCE)), PolicyValidateReply)).valid


async def test_a_process_that_died_is_replaced(bench: AnalysisPool) -> None:
    question = job("who_can", PolicyWhoCanQuery(operation="service_restart"))
    await bench.work(question, PolicyWhoCanReply)
    process = bench._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(bench.work(question, PolicyWhoCanReply))
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait([waiting])
    assert isinstance(waiting.exception(), WritError) or waiting.result().accesses
    assert (await bench.work(question, PolicyWhoCanReply)).accesses


async def test_idle_process_is_started_again_and_waiting_jobs_are_limited(
    bench: AnalysisPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = job("who_can", PolicyWhoCanQuery(operation="service_restart"))
    await bench.work(question, PolicyWhoCanReply)
    first = bench._process
    bench._stop_when_idle()
    assert (await bench.work(question, PolicyWhoCanReply)).accesses
    assert bench._process is not first
    waiting = [asyncio.create_task(bench.work(question, PolicyWhoCanReply)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Full):
        await bench.work(question, PolicyWhoCanReply)
    assert all(answer.accesses for answer in await asyncio.gather(*waiting))
    assert pool.IDLE_SECONDS > 0


def test_an_answer_fits_into_a_message() -> None:
    found = msgspec.json.decode(fitting(PolicyDiffReply(notes=["x" * 1000] * 4000)), type=PolicyDiffReply)
    assert (len(found.notes), found.bounded) == (1000, ["1000 of 2000 notes listed", "2000 of 4000 notes listed"])
    assert len(fitting(PolicyAllowedReply(bounded=["x" * 1000] * 4000))) <= LARGEST_ANSWER
    with pytest.raises(Invalid):
        fitting(PolicyValidateReply(name="x" * 2_000_000))


async def test_what_a_plugin_prints_is_no_result(bench: AnalysisPool) -> None:
    code = """
import runpy
from writ_runtime.plugins import entry_points
load = entry_points.load_catalogue
def printing(**options):
    print("a plugin was loaded", flush=True)
    return load(**options)
entry_points.load_catalogue = printing
runpy.run_module("writ_policy.analysis_process", run_name="__main__")
"""
    bench._command = sys.executable, "-c", code, "0"
    reply = await bench.work(job("validate", PolicyValidateQuery(document=IN_FORCE)), PolicyValidateReply)
    assert reply.problems == []


async def test_it_is_reported_why_the_process_cannot_be_started(bench: AnalysisPool) -> None:
    bench._command = "/nonexistent", "0"
    with pytest.raises(WritError, match="cannot be started: No such file or directory"):
        await bench.work(job("validate", PolicyValidateQuery(document=IN_FORCE)), PolicyValidateReply)


FAULTY = """
import sys
pipe = sys.stdin.buffer
pipe.read(int.from_bytes(pipe.read(4), "big"))
sys.stdout.buffer.write(len(sys.argv[1]).to_bytes(4, "big") + sys.argv[1].encode())
sys.stdout.flush()
pipe.read(4)
"""


async def test_process_that_sends_a_malformed_frame_is_replaced(bench: AnalysisPool) -> None:
    correct = bench._command
    question = job("who_can", PolicyWhoCanQuery(operation="service_restart"))
    for frame in ("", "[]", "{", '{"answer":{"accesses":7}}'):
        bench._command = sys.executable, "-S", "-c", FAULTY, frame
        with pytest.raises(WritError, match="sent something unreadable"):
            await bench.work(question, PolicyWhoCanReply)
    bench._command = correct
    assert (await bench.work(question, PolicyWhoCanReply)).accesses


async def test_process_that_is_closed_under_a_job_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    made = AnalysisPool()
    process = await made._running()
    os.kill(process.pid, signal.SIGSTOP)
    task = asyncio.create_task(made.work(job("validate", PolicyValidateQuery(document=IN_FORCE)), PolicyValidateReply))
    await eventually(lambda: asyncio.sleep(0, made._waiting == 1), what="the job")
    await made.close()
    with pytest.raises(WritError, match="the service stops"):
        await task
    assert "policy.analysis_died" not in [record.getMessage() for record in caplog.records]


async def test_pipes_are_closed_with_the_process() -> None:
    made = AnalysisPool()
    process = await made._running()
    await made.close()
    assert process.stdout is not None
    assert process.stdout.at_eof()

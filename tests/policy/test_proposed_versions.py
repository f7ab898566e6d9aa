"""Proposed policies are checked in a process of their own: a slow or failing check delays no decision."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from msgspec import Raw
from tests.policy.publishing import OPEN, PUBLISHES, decided, document, publish, publishable
from tests.policy.replica import RULES, Asking
from tests.rules.asking import ALICE, CATALOGUE, NOON, at

from writ_contracts.decisions import DecideReply
from writ_policy.analysis_process import job_handlers
from writ_policy.analysis_process.job_handlers import perform
from writ_policy.analysis_process.jobs import DocumentCheck, Job, ProposedDocument
from writ_policy.state import loading
from writ_policy.versions import proposed_versions
from writ_rules import policy_reader
from writ_rules.engine.compile import Policy
from writ_rules.loading import compile_document
from writ_testing.eventually import eventually

PATTERN = {"parameter_constraints": {"service_name": {"pattern": r"[\pL]{80}"}}}
LARGE = document(*RULES, {**RULES[0], "name": "large", **PATTERN})
WITH_APPROVAL = document(*RULES, {**PUBLISHES, "name": "approved", "requires_approval": True})


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as made:
        yield made


async def error_of(asking: Asking, text: str = OPEN) -> tuple[str, str]:
    """Return the code and message of the answer to a proposal."""
    _, answer = await decided(asking, "policy_publish", document=text)
    assert answer.error is not None
    return answer.error.code, answer.error.message


async def stopped_process(asking: Asking) -> tuple[int, asyncio.Task[Any]]:
    """Stop the process that checks, and return its id and a proposal that it has received."""
    pool = asking.service._proposal_pool
    await decided(asking, "policy_publish", document=OPEN)
    process = pool._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    proposal = asyncio.create_task(decided(asking, "policy_publish", document=LARGE))

    async def is_sent() -> bool:
        return pool._waiting == 1

    await eventually(is_sent)
    return process.pid, proposal


async def test_decisions_go_on_while_a_proposal_is_checked(asking: Asking) -> None:
    pid, proposal = await stopped_process(asking)
    try:
        assert [await asking.code(asking.subject()) for _ in range(20)] == ["allowed"] * 20
        _, repeated = await decided(asking, "policy_publish", document=OPEN)
        assert repeated.error is None, "it passed the check a moment ago"
        assert not proposal.done()
    finally:
        os.kill(pid, signal.SIGCONT)
    _, answer = await proposal
    assert answer.error is None


async def test_proposer_is_told_that_the_process_died(asking: Asking) -> None:
    pid, proposal = await stopped_process(asking)
    os.kill(pid, signal.SIGKILL)
    _, answer = await proposal
    reply: DecideReply = answer
    assert reply.error is not None
    assert (reply.error.code, "died by signal 9" in reply.error.message) == ("internal", True)
    _, answer = await decided(asking, "policy_publish", document=LARGE)
    assert answer.error is None


async def test_proposer_is_told_that_the_check_takes_too_long(asking: Asking) -> None:
    pool = asking.service._proposal_pool
    pool._seconds, seconds = 0.001, pool._seconds
    expected = "it takes longer than 0.001 s: write fewer rules, or smaller patterns"
    assert await error_of(asking) == ("too_much", expected)
    pool._seconds = seconds
    _, answer = await decided(asking, "policy_publish", document=LARGE)
    assert answer.error is None


async def test_queries_do_not_hold_up_a_proposal(asking: Asking) -> None:
    async with asking.service._analysis_pool._turn:
        _, answer = await decided(asking, "policy_publish", document=OPEN)
    assert answer.error is None


async def test_service_compiles_a_proposal_only_once_nothing_but_its_record_is_missing(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = list[str]()

    def counted(text: Any, *arguments: Any, **keys: Any) -> Any:
        compiled.append(text.name)
        return compile_document(text, *arguments, **keys)

    monkeypatch.setattr(policy_reader, "compile_document", counted)
    subject = asking.signed(
        asking.subject("policy_publish", "writ", parameters={"document": LARGE, "reason": "r"}, simulate=True)
    )
    assert (await asking.decide(subject)).error is None
    assert compiled == []
    await publish(asking, WITH_APPROVAL)
    assert compiled == ["document"], "its version needs no second compilation"
    _, answer = await decided(asking, "policy_publish", document=LARGE)
    assert answer.error is None
    assert compiled == ["document"], "it waits for an approval, which may never come"


async def test_large_proposal_is_compiled_from_what_its_check_prepared(asking: Asking) -> None:
    def not_again(**_: object) -> None:
        raise AssertionError("it was parsed again")

    listed = ({**RULES[0], "name": f"rule-{at}", "targets": [f"app{at}-{'x' * 40}-*"]} for at in range(1000))
    many = document(*RULES, *listed)
    assert len(many) > policy_reader.SMALL
    asking.service._compiler._read._run = not_again  # type: ignore[assignment]
    await publish(asking, many)
    versions = asking.service._versions
    assert versions is not None
    await versions.read()
    current = versions.current
    assert current is not None
    assert (current.policy.rules > 1000, current.policy.file) == (True, None)
    assert current.stored.document == many


async def test_documents_with_mistakes_are_not_compiled_in_the_service(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_reader, "compile_document", None)
    code, message = await error_of(asking, document({"name": "odd", "operations": ["service_burn"], "allowed": True}))
    assert (code, message) == ("invalid_document", "the document does not load: a mistake in line 14, column 7")


def check(text: str) -> Any:
    query = Raw(msgspec.json.encode(ProposedDocument(document=text, name="document")))
    job = Job(kind="check", query=query, now=at(NOON), mode="strict", principals=[ALICE])
    return perform(job, CATALOGUE)


@pytest.mark.parametrize("error", [TypeError("no such type"), MemoryError()], ids=["defect", "memory"])
def test_check_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    assert msgspec.json.decode(check(OPEN).answer, type=DocumentCheck).reason == ""
    monkeypatch.setattr(job_handlers, "compile_proposal", failing)
    done = check(OPEN)
    if isinstance(error, MemoryError):
        assert (done.code, "too much memory: write fewer rules" in done.message) == ("oversize", True)
    else:
        [problem] = msgspec.json.decode(done.answer, type=DocumentCheck).problems
        assert problem == (1, 1, "document: can't be read for a defect in writ: TypeError: no such type")


def test_compilation_in_the_service_pauses_after_large_patterns_and_collects_no_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused = list[bool]()

    def pause(_: float) -> None:
        paused.append(gc.isenabled())

    monkeypatch.setattr(time, "sleep", pause)
    compiler = loading.Compiler(CATALOGUE, "strict")
    policy: Policy = compiler(LARGE, "large")
    assert (policy.rules, paused, gc.isenabled()) == (5, [False], True)
    compiler(OPEN, "open")
    assert paused == [False]


async def test_a_disabled_person_is_nobody_who_could_approve_the_next_version(asking: Asking) -> None:
    _, answer = await decided(asking, "policy_publish", document=WITH_APPROVAL)
    assert answer.error is None
    listed = yaml.safe_load(asking.files.path("principals").read_text())["principals"]
    disabled = [{**one, "disabled": True} if one["id"] == "bob" else one for one in listed]
    asking.files.write("principals", {"principals": disabled})
    code, message = await error_of(asking, WITH_APPROVAL)
    assert (code, "would lock this installation" in message) == ("invalid_document", True)


async def test_what_changed_during_a_check_counts_for_the_decision(asking: Asking) -> None:
    pid, proposal = await stopped_process(asking)
    try:
        listed = yaml.safe_load(asking.files.path("principals").read_text())["principals"]
        disabled = [{**one, "disabled": True} if one["id"] == "alice" else one for one in listed]
        asking.files.write("principals", {"principals": disabled})
        assert await asking.code(asking.subject()) == "principal_disabled"
    finally:
        os.kill(pid, signal.SIGCONT)
    _, answer = await proposal
    assert answer.error is not None
    assert answer.error.code == "principal_disabled"


async def test_slow_check_counts_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instants = iter([0.0, 50.0])
    monkeypatch.setattr(proposed_versions, "time", SimpleNamespace(monotonic=lambda: next(instants)))
    async with publishable(tmp_path) as asking:
        _, first = await decided(asking, "policy_publish", document=OPEN)
        asking.clock.now += 50 + proposed_versions.PASSED_SECONDS / 2
        _, second = await decided(asking, "policy_publish", document=OPEN)
    assert (first.error, second.error) == (None, None), "it was not checked again"
    assert next(instants, None) is None

"""A stolen executors' key starts nothing twice and nothing without a request (V3), and cannot hide events."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.attacks.rogue import Rogue, alarm, events
from tests.e2e.stolen_keys import decided, holding, subject

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_client.client import Writ
from writ_client.operations import request_signing
from writ_contracts import subjects
from writ_contracts.agents import Claim, ReportMessage, SecurityReport
from writ_contracts.decisions import Decision, GrantReply, Subject
from writ_contracts.ids import operation_id
from writ_contracts.journal import Dispatched, Granted, Requested
from writ_contracts.requests import RequestReply
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_trust.sealing import SealKey
from writ_trust.statements import read, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")


def claim(installation: RunningInstallation, about: Subject, attempt: int = 1) -> Signed:
    """Return a claim as an agent of the pool signs it."""
    unsigned = Claim(
        operation_id=about.operation_id,
        attempt=attempt,
        pool="a",
        instance="one",
        nonce=secrets.token_hex(32),
        seal_to=SealKey().public,
    )
    return sign(installation.home.key("agent-a"), unsigned)


async def deleted(installation: RunningInstallation, path: Path) -> Subject:
    """Return alice's signed request to delete the file, after it was carried out, and the question to policy."""
    number = secrets.token_hex(8)
    request = request_signing.unsigned("web-1", {"file_path": str(path)}, idempotency_key=number)
    signed = request_signing.signed(
        request,
        installation.home.key("principal-alice"),
        "alice",
        "file_delete",
        salt=request_signing.new_salt(),
        now=time.time(),
    )
    async with holding(installation, "principal-alice") as bus:
        reply = await bus.request(subjects.request("alice", "file_delete"), encode(signed), timeout=20)
        answer = decode(reply.data, RequestReply)
    assert answer.operation_id == operation_id("alice", number), answer

    async def gone() -> bool:
        return not path.exists()

    await eventually(gone)
    return subject(
        installation,
        "file_delete",
        "web-1",
        signed.parameters,
        operation_id=answer.operation_id,
        idempotency_key=number,
        statement=signed.statement,
        salt=signed.salt,
    )


async def test_one_signed_request_is_carried_out_once(
    installation: RunningInstallation, executor: Bus, alice: Writ, files: Path
) -> None:
    path = files / "once"
    path.write_text("x")
    about = await deleted(installation, path)
    await alice.wait(about.operation_id, timeout=20)
    path.write_text("made anew")
    rogue = Rogue(executor)
    with installation.paused("executor"):
        await rogue.listen()
        for attempt in (2, 3, 4):
            await rogue.dispatch(about, attempt)
            await rogue.answered(attempt - 1)
    assert [answer.grant for answer in rogue.answers] == [None] * 3
    assert {answer.error.code for answer in rogue.answers if answer.error} == {"forged_start"}
    assert path.read_text() == "made anew"
    own = subjects.operation_filter("alice", about.operation_id)
    assert sum(isinstance(event, Granted) for event in await events(executor, own)) == 1
    await alarm(executor, "forged_start", about.operation_id)  # by policy
    await alarm(executor, "broken_record", about.operation_id, "dispatched of an operation that is ended")  # by audit


async def test_nothing_starts_that_was_not_requested(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    about = subject(installation, "file_write", "web-1", {"file_path": str(files / "never"), "content": "x"})
    rogue = Rogue(executor)
    with installation.paused("executor"):
        await rogue.listen()
        await rogue.dispatch(about)
        await rogue.answered(1)
    assert [(answer.grant, answer.error and answer.error.code) for answer in rogue.answers] == [(None, "forged_start")]
    assert not (files / "never").exists()
    await alarm(executor, "forged_start", about.operation_id)
    await alarm(executor, "broken_record", about.operation_id, "dispatched of an operation that is absent")


async def test_no_grant_without_an_event_and_none_on_an_event_that_says_something_else(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    parameters = {"file_path": str(files / "never"), "content": "x"}
    rogue = Rogue(executor)

    async def code(about: Subject, attempt: int = 1) -> str:
        answer = await rogue.grant(about, claim(installation, about, attempt))
        assert answer.grant is None
        assert answer.error is not None
        return answer.error.code

    absent = subject(installation, "file_write", "web-1", parameters)
    assert await code(absent) == "forged_start"
    requested = subject(installation, "file_write", "web-1", parameters)
    answer = await decided(executor, requested)
    assert answer.decision is not None
    await rogue.append(requested, rogue.requested(requested, answer.decision))
    assert await code(requested) == "moved_on"  # it waits for nobody
    await rogue.append(requested, dispatched_elsewhere(rogue, requested))
    assert await code(requested) == "forged_start"

    simulated = subject(installation, "file_write", "web-1", parameters)
    of_simulated = await decided(executor, structs.replace(simulated, simulate=True))
    another = subject(installation, "file_write", "web-1", parameters)
    of_another = await decided(executor, another)
    assert of_another.decision is not None
    forged = sign(installation.home.key("executor"), read(of_another.decision, Decision))
    for decision in (of_simulated.decision, of_another.decision, forged):
        assert decision is not None
        wrong = (
            subject(installation, "file_write", "web-1", parameters)
            if decision is not of_simulated.decision
            else simulated
        )
        await rogue.append(wrong, rogue.requested(wrong, decision))
        await rogue.append(wrong, dispatched_at(rogue, wrong))
        assert await code(wrong) == "forged_start"
    assert not (files / "never").exists()


def dispatched_at(rogue: Rogue, about: Subject, **changed: Any) -> Dispatched:
    """Dispatch it so that it waits for the first claim."""
    event = Dispatched(**rogue._common(about), id=secrets.token_hex(16), attempt=1)
    return structs.replace(event, **changed)


def dispatched_elsewhere(rogue: Rogue, about: Subject) -> Dispatched:
    """Dispatch it to another target than requested."""
    return dispatched_at(rogue, about, target="db-1")


async def test_a_request_that_policy_allowed_starts_once_for_one_claim(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    """An executors' key can still send requests of principals without signatures. Even such a request starts once."""
    rogue = Rogue(executor)
    about = subject(installation, "file_write", "web-1", {"file_path": str(files / "counted"), "content": "x"})
    decision = (await decided(executor, about)).decision
    assert decision is not None
    with installation.paused("agent-a"):  # it would claim, too
        await rogue.append(about, rogue.requested(about, decision))
        await rogue.append(about, dispatched_at(rogue, about))
        first = claim(installation, about)
        answer = await rogue.grant(about, first)
        assert answer.grant is not None, answer.decision and read(answer.decision, Decision).reason
        for again in (first, claim(installation, about)):
            answer = await rogue.grant(about, again)
            assert (answer.grant, answer.error and answer.error.code) == (None, "moved_on")
        await rogue.append(about, dispatched_at(rogue, about, attempt=2))
        answer = await rogue.grant(about, claim(installation, about, 2))
        assert answer.grant is None
        assert answer.error is not None
        assert answer.error.code in ("forged_start", "too_soon")


async def test_a_start_has_the_parameters_of_the_decision_on_record(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    """Otherwise the record would show a harmless request, and the host another operation."""
    rogue = Rogue(executor)
    own = {"file_path": str(files / "harmless"), "content": "x", "mode": "0600", "timeout": 5}
    about = subject(installation, "file_write", "web-1", own)
    decision = (await decided(executor, about)).decision
    assert decision is not None
    with installation.paused("agent-a"):
        await rogue.append(about, rogue.requested(about, decision))
        await rogue.append(about, dispatched_at(rogue, about))
        altered = [{**own, **one} for one in ({"file_path": str(files / "evil")}, {"content": "y"}, {"mode": "0777"})]
        fewer = [{name: value for name, value in own.items() if name != one} for one in ("mode", "timeout")]
        for parameters in (*altered, *fewer):
            other = structs.replace(about, parameters=parameters)
            answer = await rogue.grant(other, claim(installation, other))
            assert (answer.grant, answer.error and answer.error.code) == (None, "forged_start"), parameters
        await alarm(executor, "forged_start", about.operation_id, "other parameters than policy decided on")
        assert (await rogue.grant(about, claim(installation, about))).grant is not None


@asynccontextmanager
async def started_as_recorded(
    installation: RunningInstallation, rogue: Rogue, about: Subject, requested: Requested
) -> AsyncIterator[GrantReply]:
    """Record the request and its dispatch, and yield the reply of policy to its start."""
    with installation.paused("agent-a"), installation.paused("executor"):
        await rogue.append(about, requested)
        await rogue.append(about, dispatched_at(rogue, about))
        yield await rogue.grant(about, claim(installation, about), values=False)


async def test_nothing_starts_whose_record_shows_other_parameters_than_policy_decided_on(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    """The digest in a decision has a key of executors: nobody else could find out what was really carried out."""
    rogue = Rogue(executor)
    evil = {"file_path": str(files / "evil"), "content": "x", "mode": "0600"}
    harmless = {**evil, "file_path": str(files / "harmless")}
    shown = {name: value for name, value in evil.items() if name != "content"}
    hidden = {"hidden": ["content"], "effective": shown}
    records: list[dict[str, Any]] = [
        {"parameters": harmless},
        {"parameters": {**shown, "group": "root"}, "hidden": ["content"], "effective": shown},
        {"parameters": {"mode": "0600"}, **hidden},
        {"parameters": {**shown, "mode": 600}, **hidden},
    ]
    for changed in records:
        about = subject(installation, "file_write", "web-1", evil)
        decision = (await decided(executor, about)).decision
        assert decision is not None
        async with started_as_recorded(
            installation, rogue, about, rogue.requested(about, decision, **changed)
        ) as answer:
            assert (answer.grant, answer.error and answer.error.code) == (None, "forged_start"), changed
            await rogue.append(about, rogue.finished(about))
        await alarm(executor, "forged_start", about.operation_id, "the record shows other parameters")
    for changed in ({"effective": harmless}, {"hidden": [*evil], "parameters": {}, "effective": harmless}):
        about = subject(installation, "file_write", "web-1", evil)
        decision = (await decided(executor, about)).decision
        assert decision is not None
        async with started_as_recorded(
            installation, rogue, about, rogue.requested(about, decision, **changed)
        ) as answer:
            assert answer.grant is None, changed
            assert answer.decision is not None
            assert read(answer.decision, Decision).code == "stale"
            await rogue.append(about, rogue.finished(about))
    assert not (files / "evil").exists()


async def test_the_executors_key_does_not_write_a_start(installation: RunningInstallation, executor: Bus) -> None:
    about = subject(installation, "test_noop", "web-1", {})
    where = subjects.operation_event("alice", about.operation_id, "granted")
    with pytest.raises(Forbidden):
        await executor.request(where, b"{}", timeout=5)
    for key in ("audit", "principal-alice", "status"):
        async with holding(installation, key) as bus:
            with pytest.raises(Forbidden):
                await bus.request(where, b"{}", timeout=5)


async def test_a_report_that_an_executor_drops_is_recorded_by_audit(
    installation: RunningInstallation, executor: Bus
) -> None:
    number = subject(installation, "test_noop", "web-1", {}).operation_id
    rogue = Rogue(executor)
    report = SecurityReport(
        kind="path_escape", pool="a", instance="one", detail="seen by the agent", operation_id=number, principal="alice"
    )
    body = encode(ReportMessage(report=sign(installation.home.key("agent-a"), report)))
    with installation.paused("executor"):
        await rogue.listen()
        async with holding(installation, "agent-a") as agent:
            await agent.request(subjects.report("a"), body, timeout=10)
        assert rogue.dropped == [body]
        event = await alarm(executor, "path_escape", number)
    assert event.report is not None
    assert event.report.key == installation.home.key("agent-a").public

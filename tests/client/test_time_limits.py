"""The time that a caller gives bounds the whole call, and the error says whether the request may be on record."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_client.client import Writ
from writ_client.operations.operation_events import EventFollower
from writ_client.operations.operation_wait import StillOpen
from writ_client.operations.target_runs import ManyTargets, each_request, key_of
from writ_client.people.ssh_keygen import SshKey
from writ_contracts import errors
from writ_contracts.ids import operation_id
from writ_contracts.people.credentials import Evidence
from writ_contracts.requests import Failure, RequestReply
from writ_testing.eventually import eventually

BELOW_THE_DEFAULT = 20.0
"""Seconds; a request without a limit of its own is repeated for 30."""
DISTRUST = Failure(code="unavailable", message="this service does not trust the journal", retry=True)


async def silent() -> RequestReply:
    await asyncio.Event().wait()
    raise AssertionError


async def test_run_ends_in_its_time_while_executors_refuse(writ: Writ, executor: ScriptedApi) -> None:
    executor.script.extend([DISTRUST] * 200)
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        with pytest.raises(errors.Unreachable, match="does not trust the journal"):
            await writ.run("service_restart", "a", timeout=0.3)
    assert not executor.lives


async def test_run_without_a_reply_in_its_time_names_the_operation_that_may_be_on_record(
    writ: Writ, executor: ScriptedApi
) -> None:
    executor.script.extend([silent] * 50)
    number = operation_id("alice", "k")
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        with pytest.raises(errors.TimedOut, match=f"the request was sent, and may be on record as {number}") as caught:
            await writ.run("service_restart", "a", idempotency_key="k", timeout=0.3)
    assert not isinstance(caught.value, StillOpen)


async def test_run_that_hears_no_events_in_its_time_has_requested_nothing(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it requests, it subscribes to the events: a server that does not reply delays that."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(executor.bus.__class__, "subscribe", never)
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        with pytest.raises(errors.TimedOut, match=r"no reply in 0\.3 s; nothing was changed or requested"):
            await writ.run("service_restart", "a", timeout=0.3)
    assert not executor.requests


async def test_time_of_the_submission_counts_for_the_outcome(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = None
    executor.script.append(DISTRUST)
    with pytest.raises(StillOpen, match="is still dispatched after 1 s") as caught:
        await writ.run("service_restart", "a", idempotency_key="k", timeout=1.0)
    assert caught.value.operation_id == operation_id("alice", "k")
    assert len(executor.requests) == 2


async def test_run_on_many_targets_bounds_the_request_of_each(writ: Writ, executor: ScriptedApi) -> None:
    executor.script.extend([DISTRUST] * 200)
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        refused = await writ.run_on("service_restart", ["a", "b"], timeout=0.3)
    assert [(one.outcome, one.operation_id) for one in refused.results] == [("error", "")] * 2
    executor.script.clear()
    executor.script.extend([silent] * 200)
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        lost = await ManyTargets(writ, each_request("service_restart", key="one", timeout=0.3), ["a"]).run()
    assert [(one.outcome, one.operation_id) for one in lost.results] == [
        ("unknown", operation_id("alice", key_of("one", "a")))
    ]


class AbsentPerson:
    """A signer that nobody touches."""

    id = "a-key"

    async def sign(self, data: bytes) -> Evidence:
        await asyncio.Event().wait()
        raise AssertionError(data)


async def test_proof_of_presence_counts_in_the_time_of_the_request(writ: Writ, executor: ScriptedApi) -> None:
    by, expected = AbsentPerson(), r"no proof of presence in 0\.3 s; nothing was changed or requested$"
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        with pytest.raises(errors.TimedOut, match=expected):
            await writ.run("service_restart", "a", timeout=0.3, by=by)
        with pytest.raises(errors.TimedOut, match=expected):
            await writ.submit("service_restart", "a", timeout=0.3, by=by)
        recap = await writ.run_on("service_restart", ["a"], timeout=0.3, by=by)
    assert [(one.outcome, one.operation_id) for one in recap.results] == [("error", "")]
    assert not executor.requests


async def test_wait_that_hears_no_events_ends_in_its_time(writ: Writ, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(EventFollower, "start", never)
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        with pytest.raises(StillOpen, match=r"operation abc has no outcome that was seen after 0\.3 s") as caught:
            await writ.wait("abc", timeout=0.3)
    assert caught.value.operation_id == "abc"


async def test_request_that_cannot_hear_events_has_requested_nothing(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unconfirmed(*_: object, **__: object) -> None:
        raise errors.TimedOut("no pong in 5 s")

    monkeypatch.setattr(EventFollower, "start", unconfirmed)
    with pytest.raises(errors.TimedOut, match=r"no pong in 5 s; nothing was changed or requested$"):
        await writ.request("service_restart", "a", wait=0.3)
    assert not executor.requests


async def test_caller_that_gives_up_ends_ssh_keygen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on waiting for a touch."""
    program, started = tmp_path / "ssh-keygen", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {started}.new && mv {started}.new {started}\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    signing = asyncio.create_task(SshKey(file=tmp_path / "key", line="", id="a-key").sign(b""))

    async def waits() -> bool:
        return started.exists()

    await eventually(waits, what="ssh-keygen")
    signing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await signing
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)

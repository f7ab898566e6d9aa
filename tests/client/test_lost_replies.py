"""A request whose first attempt had no reply may be on record: a later refusal does not say that nothing was done."""

import asyncio
from types import SimpleNamespace

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_client.client import Writ
from writ_client.operations.target_runs import ManyTargets, each_request, key_of
from writ_client.queries import service_calls
from writ_contracts.errors import TimedOut
from writ_contracts.ids import operation_id
from writ_contracts.requests import Failure, RequestReply

LIMITED = Failure(code="rate_limited", message="too fast", retry=True)


class Pauses:
    """The pauses between the attempts of a request, five seconds each. Time passes with them alone: a slow machine uses
    up none. An attempt that is `lost` ends soon; those after it may take long. A pause lasts until `go_on`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.go_on = 0.0, asyncio.Event()
        self.go_on.set()
        monkeypatch.setattr(service_calls, "FIRST_PAUSE", 5.0)
        monkeypatch.setattr(service_calls, "LONGEST_PAUSE", 5.0)
        monkeypatch.setattr(service_calls, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(service_calls, "asyncio", SimpleNamespace(sleep=self._pass))
        self._monkeypatch = monkeypatch
        self._limit(0.1)

    async def lost(self) -> RequestReply:
        self._limit(60.0)
        await asyncio.Event().wait()
        raise AssertionError

    def _limit(self, seconds: float) -> None:
        self._monkeypatch.setattr(service_calls, "ATTEMPT_SECONDS", seconds)

    async def _pass(self, seconds: float) -> None:
        self.now += seconds
        await self.go_on.wait()


@pytest.fixture
async def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    return Pauses(monkeypatch)


async def test_a_target_whose_request_may_have_been_taken_is_unknown(
    writ: Writ, executor: ScriptedApi, pauses: Pauses
) -> None:
    """The first attempt has no reply; then one executor replies that policy is silent."""
    executor.script.extend([pauses.lost, Failure(code="policy_silent", message="policy does not reply", retry=True)])
    await is_unknown(writ, "policy does not reply")


async def test_a_target_whose_request_may_have_been_taken_is_unknown_where_no_executor_is_left(
    writ: Writ, executor: ScriptedApi, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_testing.memory.bus.NO_RESPONDERS_PATIENCE", 0.0)
    executor.script.append(pauses.lost)
    pauses.go_on.clear()
    running = asyncio.create_task(is_unknown(writ, "nobody listens on writ.request.alice.service_restart"))
    await executor.wait_for_requests(1)
    await executor.bus.drain(0.0)
    pauses.go_on.set()
    await running


async def is_unknown(writ: Writ, why: str) -> None:
    (one,) = (await ManyTargets(writ, each_request("service_restart", key="one"), ["web-1"]).run()).results
    assert (one.outcome, one.code) == ("unknown", "timeout"), one
    assert one.operation_id == operation_id("alice", key_of("one", "web-1"))
    assert one.message == f"{why}; an earlier attempt had no reply, and may have been taken"


async def test_request_that_may_have_been_taken_is_repeated_when_a_replica_refuses_for_its_limits(
    writ: Writ, executor: ScriptedApi, pauses: Pauses
) -> None:
    """`Full` would say that nothing was done, although the first attempt may be carried out."""
    executor.script.extend([pauses.lost, LIMITED, LIMITED])
    reply = await writ.submit("service_restart", "web-1", idempotency_key="one")
    assert (reply.outcome, len(executor.requests)) == ("succeeded", 4)


async def test_request_that_may_have_been_taken_and_is_refused_until_its_time_is_over_is_no_refusal(
    writ: Writ, executor: ScriptedApi, pauses: Pauses
) -> None:
    executor.script.extend([pauses.lost, *[LIMITED] * 100])
    with pytest.raises(TimedOut, match="too fast; an earlier attempt had no reply"):
        await writ.submit("service_restart", "web-2", idempotency_key="two")
    assert len(executor.requests) > 3

"""One operation on many targets: each has its own request, and failures stop the others only on demand."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_bus import workers
from writ_client.client import Writ
from writ_client.many_targets import on_targets
from writ_client.operations import target_runs
from writ_client.operations.request_signing import REUSED_SECONDS, RequestProof, unsigned
from writ_client.operations.target_runs import ManyTargets, TargetResult, each_request, key_of
from writ_client.operations.target_selection import TargetSelector
from writ_client.queries import service_calls
from writ_contracts.errors import Invalid, TimedOut
from writ_contracts.ids import operation_id
from writ_contracts.people.credentials import SshEvidence
from writ_contracts.requests import Failure, OperationView, RequestReply, TargetView
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed

KEY = Key(generate_seed())
HOSTS = [f"web-{number}" for number in range(6)]


async def silent() -> RequestReply:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
async def writ(executor: ScriptedApi) -> AsyncIterator[Writ]:
    async with Writ(MemoryBus(executor.bus.broker), KEY, "alice") as client:  # type: ignore[attr-defined]
        yield client


async def test_each_target_has_an_operation_of_its_own_under_one_correlation_id(
    writ: Writ, executor: ScriptedApi
) -> None:
    executor.outcomes = {"web-1": "failed", "web-2": "denied", "web-3": "unknown"}
    heard: list[TargetResult] = []
    recap = await writ.run_on("service_restart", HOSTS, {"service_name": "nginx"}, on_result=heard.append)
    assert [one.target for one in recap.results] == HOSTS
    assert recap.counts == {"succeeded": 3, "failed": 1, "denied": 1, "unknown": 1}
    assert {one.target for one in heard} == set(HOSTS)
    assert len({one.operation_id for one in recap.results}) == len(HOSTS)
    assert {request.correlation_id for _, request in executor.requests} == {recap.correlation_id}
    assert all(request.statement for _, request in executor.requests)


async def test_a_text_is_no_list_of_targets(writ: Writ, executor: ScriptedApi) -> None:
    with pytest.raises(Invalid, match=r"targets are a list of names, such as \['web-1'\], not a text"):
        await writ.run_on("service_restart", "web-1", {"service_name": "nginx"})
    with pytest.raises(Invalid, match="a list of names"):
        await on_targets("web-1", lambda target: writ.run("network_status", target))
    assert executor.requests == []


async def test_a_limit_of_a_run_that_was_rounded_to_0_is_refused(writ: Writ, executor: ScriptedApi) -> None:
    with pytest.raises(Invalid, match="serial is 0, and must be 1 or more"):
        await writ.run_on("service_restart", HOSTS, {"service_name": "nginx"}, serial=len(HOSTS) // 10)
    with pytest.raises(Invalid, match="max_failures is 0"):
        await writ.run_on("service_restart", HOSTS, {"service_name": "nginx"}, max_failures=0)
    with pytest.raises(Invalid, match="at_once is 0"):
        await on_targets(HOSTS, lambda target: writ.run("network_status", target), at_once=0)
    assert executor.requests == []


async def test_a_reason_or_key_that_cannot_be_recorded_is_refused_before_it_is_sent(
    writ: Writ, executor: ScriptedApi
) -> None:
    with pytest.raises(Invalid, match="the reason has 1,001 characters, and 1,000 at most are recorded"):
        await writ.run("network_status", "web-1", reason="x" * 1001)
    with pytest.raises(Invalid, match="an idempotency key has 1 to 128 printable"):
        await writ.run("network_status", "web-1", idempotency_key="a b")
    assert executor.requests == []


class Touched:
    """A signer that proves presence, and counts."""

    id = "a-security-key"

    def __init__(self) -> None:
        self.signed: set[bytes] = set()

    async def sign(self, data: bytes) -> SshEvidence:
        self.signed.add(data)
        return SshEvidence(armored="touched")


async def test_run_on_many_targets_proves_presence_for_each(writ: Writ, executor: ScriptedApi) -> None:
    touched = Touched()
    recap = await writ.run_on("service_restart", HOSTS, by=touched)
    assert recap.counts == {"succeeded": 6}
    assert len(touched.signed) == len(HOSTS)
    assert all(request.presence and request.presence.credential == touched.id for _, request in executor.requests)


async def test_busy_executors_cost_no_second_proof_of_presence(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_runs, "BUSY_SECONDS", 0.01)
    executor.script.extend([Failure(code="rate_limited", message="too fast")] * 3)
    touched = Touched()
    recap = await writ.run_on("service_restart", HOSTS[:1], by=touched)
    assert recap.counts == {"succeeded": 1}
    assert (len(executor.requests), len(touched.signed)) == (4, 1)
    assert len({request.salt for _, request in executor.requests}) == 1


async def test_proof_that_policy_would_find_too_old_is_made_again() -> None:
    touched, proof = Touched(), RequestProof()
    request = unsigned("web-1", {}, idempotency_key="one")
    for now in (100.0, 100.0 + REUSED_SECONDS - 1, 100.0 + REUSED_SECONDS, 90.0):
        made = await proof.of(request, KEY, "alice", "service_restart", touched, now)
        assert made.presence is not None
    assert len(touched.signed) == 3


async def test_serial_begins_the_next_targets_when_the_ones_before_have_ended(
    writ: Writ, executor: ScriptedApi
) -> None:
    executor.outcome = None
    running = asyncio.create_task(writ.run_on("service_restart", HOSTS, serial=2))
    for batch in (HOSTS[:2], HOSTS[2:4], HOSTS[4:]):
        await executor.wait_for_requests(HOSTS.index(batch[-1]) + 1)
        assert {request.target for _, request in executor.requests[-2:]} == set(batch)
        opened = [view.operation_id for view in await writ.open_operations()]
        assert len(opened) == 2
        for number in opened:
            await executor.end(number, "succeeded")
    assert (await running).counts == {"succeeded": 6}


async def test_serial_begins_no_target_while_one_goes_on_after_its_timeout(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = None
    recap = await writ.run_on("service_restart", HOSTS, serial=2, timeout=0.1)
    assert [one.outcome for one in recap.results] == ["pending", "pending", *["skipped"] * 4]
    assert recap.results[-1].message.startswith("it was not started: web-")
    assert len(executor.requests) == 2


async def test_no_target_is_begun_after_the_most_failures(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = "failed"
    recap = await writ.run_on("service_restart", HOSTS, serial=1, max_failures=2)
    assert [one.outcome for one in recap.results] == ["failed", "failed", *["skipped"] * 4]
    assert len(executor.requests) == 2


async def test_a_refusal_is_the_result_of_its_target_alone(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_runs, "BUSY_SECONDS", 0.01)
    executor.script.append(Failure(code="full", message="the journal is full"))
    executor.script.append(Failure(code="rate_limited", message="too fast"))
    recap = await writ.run_on("service_restart", HOSTS, serial=1)
    first, *others = recap.results
    assert (first.outcome, first.code, first.operation_id) == ("error", "full", "")
    assert {one.outcome for one in others} == {"succeeded"}


async def test_requests_that_are_too_many_bytes_at_once_are_repeated(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a large file on many targets: an executor holds so many bytes of one principal, and refuses more."""
    monkeypatch.setattr(workers, "MOST_RUNNING_BYTES", 1)
    monkeypatch.setattr(workers, "MOST_WAITING_BYTES", 0)
    monkeypatch.setattr(service_calls, "LONGEST_PAUSE", 0.05)
    assert (await writ.run_on("service_restart", HOSTS)).counts == {"succeeded": len(HOSTS)}
    monkeypatch.setattr(service_calls, "ATTEMPT_SECONDS", 0.1)
    executor.script.append(silent)
    with pytest.raises(TimedOut, match="overloaded; an earlier attempt had no reply"):  # that one is still open
        await writ.submit("service_restart", "web-1", timeout=0.5)
    await executor.bus.drain(0.0)


async def test_targets_wait_for_the_room_that_the_runs_own_operations_take(writ: Writ, executor: ScriptedApi) -> None:
    """As with a large file on many targets: the bytes of one principal's open operations are limited."""
    executor.outcome, executor.most_open = None, 2
    running = asyncio.create_task(writ.run_on("service_restart", HOSTS[:4]))
    for requests, opened in ((4, 2), (5, 2), (6, 2), (6, 1)):  # each end is followed by one request
        await executor.wait_for_requests(requests)

        async def as_many() -> list[OperationView] | None:
            found = await writ.open_operations()
            return found if len(found) == opened else None  # noqa: B023 - awaited below

        await executor.end((await eventually(as_many))[0].operation_id, "succeeded")
    assert (await asyncio.wait_for(running, 10)).counts == {"succeeded": 4}
    assert len(executor.requests) == 6


async def test_run_waits_a_limited_time_for_other_open_operations(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_runs, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(target_runs, "MOST_BUSY", 3)
    too_many = Failure(code="too_many_open", message="principal alice has 1000 open operations")
    executor.script.extend([too_many] * 2)
    assert (await writ.run_on("service_restart", HOSTS[:1])).counts == {"succeeded": 1}
    executor.script.extend([too_many] * 9)
    [result] = (await writ.run_on("service_restart", HOSTS[:1])).results
    assert (result.outcome, result.code, len(executor.script)) == ("error", "too_many_open", 5)


async def test_a_denial_that_is_only_counted_is_an_error_and_nothing_that_goes_on(
    writ: Writ, executor: ScriptedApi
) -> None:
    """Executors record no more than so many refusals a second of one principal."""
    executor.script.append(RequestReply(outcome="denied", error=Failure(code="no_rule", message="no rule allows it")))
    recap = await asyncio.wait_for(writ.run_on("service_restart", HOSTS[:1]), 10)
    [one] = recap.results
    assert (one.outcome, one.code, one.operation_id) == ("error", "no_rule", "")


async def test_a_cancelled_run_shows_what_goes_on_and_what_was_not_begun(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcomes = {"web-1": None}
    many = ManyTargets(writ, each_request("service_restart"), HOSTS, serial=1)
    running = asyncio.create_task(many.run())
    await executor.wait_for_requests(2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert many.recap.counts == {"skipped": 4, "succeeded": 1, "pending": 1}
    [pending] = [one for one in many.recap.results if one.outcome == "pending"]
    assert (await writ.open_operations())[0].operation_id == pending.operation_id


async def test_a_target_that_was_not_accepted_before_the_cancel_is_skipped(writ: Writ, executor: ScriptedApi) -> None:
    executor.script.extend(Failure(code="rate_limited", message="too fast") for _ in HOSTS)
    many = ManyTargets(writ, each_request("service_restart"), HOSTS[:2])
    running = asyncio.create_task(many.run())
    await executor.wait_for_requests(2)

    async def both_are_refused() -> bool:
        return many.recap.counts == {"skipped": 2}

    await eventually(both_are_refused)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert many.recap.counts == {"skipped": 2}
    assert await writ.open_operations() == []


async def test_the_same_key_is_the_same_operations(writ: Writ, executor: ScriptedApi) -> None:
    for _ in range(2):
        await ManyTargets(writ, each_request("service_restart", key="k"), HOSTS[:2]).run()
    assert len(executor.lives) == 2


KNOWN = [
    TargetView(id="db-1", role="production", backend="ssh", pool="ssh", tags=["eu"]),
    TargetView(id="web-1", role="production", backend="ssh", pool="ssh", tags=["eu", "web"]),
    TargetView(id="web-2", role="staging", backend="ssh", pool="ssh", tags=["web"]),
]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (TargetSelector(), ["db-1", "web-1", "web-2"]),
        (TargetSelector(globs=("web-*",)), ["web-1", "web-2"]),
        (TargetSelector(globs=("web-2", "db-1")), ["db-1", "web-2"]),
        (TargetSelector(globs=("web-*",), roles=("production",)), ["web-1"]),
        (TargetSelector(roles=("production", "staging"), tags=("web",)), ["web-1", "web-2"]),
    ],
)
def test_values_of_one_kind_add_up_and_kinds_restrict(selector: TargetSelector, expected: list[str]) -> None:
    assert selector.of(KNOWN) == expected


@pytest.mark.parametrize(
    ("selector", "missing"),
    [
        (
            TargetSelector(globs=("web-1", "wbe-*")),
            "there is no target 'wbe-\\*' in the inventory; did you mean 'web-\\*'",
        ),
        (
            TargetSelector(roles=("testing",)),
            "no target of role 'testing' in the inventory; there are production, staging$",
        ),
        (TargetSelector(tags=("us",)), "no target with tag 'us' in the inventory; there are eu, web$"),
        (TargetSelector(tags=("wbe",)), "no target with tag 'wbe' in the inventory; did you mean 'web'"),
        (TargetSelector(globs=("db-1",), tags=("web",)), "no target matches all"),
    ],
)
def test_a_value_that_covers_no_target_is_refused(selector: TargetSelector, missing: str) -> None:
    with pytest.raises(Invalid, match=missing):
        selector.of(KNOWN)


async def test_a_run_returns_the_whole_outputs_and_those_of_the_record_once_they_are_gone(
    writ: Writ, executor: ScriptedApi
) -> None:
    each = each_request("service_restart", key="k")
    first = operation_id("alice", key_of("k", HOSTS[0]))
    executor.results[first] = {"content": "whole"}
    recap = await ManyTargets(writ, each, HOSTS[:2]).run()
    assert [one.output for one in recap.results] == [{"content": "whole"}, executor.recorded]
    shown: list[TargetResult] = []
    recap = await ManyTargets(writ, each, HOSTS[:2], on_result=shown.append, keeps_outputs=False).run()
    assert {"content": "whole"} in [one.output for one in shown]
    assert [one.output for one in recap.results] == [{}, {}]

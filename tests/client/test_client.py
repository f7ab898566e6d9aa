"""The Python client against a scripted executor: lost answers, lost events, silence, and errors."""

import asyncio

import pytest
from tests.client.conftest import KEY
from tests.client.scripted_api import ScriptedApi

from writ_cli.operations.running.progress_line import event_text
from writ_client.client import Writ
from writ_client.operations import operation_wait, request_signing
from writ_client.queries import service_calls
from writ_contracts import errors, journal
from writ_contracts.agents import Progress
from writ_contracts.errors import CODES
from writ_contracts.failures import error_of
from writ_contracts.ids import operation_id
from writ_contracts.requests import Failure, RequestReply, RequestStatement, TargetView, WaitingReason
from writ_testing.each_case import each_case
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import keyed_digest
from writ_trust.statements import open_signed


async def test_a_request_carries_the_principals_signature_on_exactly_it(writ: Writ, executor: ScriptedApi) -> None:
    await writ.submit("service_restart", "a", {"service_name": "nginx"}, reason="why", idempotency_key="k1")
    operation, request = executor.requests[0]
    assert request.statement is not None
    assert request.salt is not None
    statement = open_signed(request.statement, RequestStatement, {KEY.public}, "")
    assert (statement.principal, statement.operation, statement.target) == ("alice", "service_restart", "a")
    assert (statement.idempotency_key, statement.dry_run, statement.issued_at) == ("k1", False, 1000.0)
    assert statement.parameters_digest == keyed_digest(request.salt, {"service_name": "nginx"})
    assert (operation, request.reason) == ("service_restart", "why")


async def test_an_unsigned_request_has_a_key_of_its_own_all_the_same(writ: Writ, executor: ScriptedApi) -> None:
    await writ.submit("service_restart", "a", sign=False)
    await writ.submit("service_restart", "a", sign=False)
    first, second = (request for _, request in executor.requests)
    assert first.statement is None
    assert first.idempotency_key
    assert first.idempotency_key != second.idempotency_key


async def test_a_request_with_a_lost_reply_is_repeated_with_the_same_key(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_calls, "ATTEMPT_SECONDS", 1.0)  # enough for the second one on a slow machine

    async def lost() -> RequestReply:
        _, request = executor.requests[-1]
        await executor.accept("alice", "service_restart", request)
        await asyncio.Event().wait()
        raise AssertionError

    executor.script.append(lost)
    answer = await writ.submit("service_restart", "a")
    assert answer.outcome == "succeeded"
    assert len({request.idempotency_key for _, request in executor.requests}) == 1
    assert len(executor.requests) == 2
    assert len(executor.lives) == 1


@pytest.mark.parametrize("code", ["unavailable", "behind", "timeout"])
async def test_request_is_repeated_after_a_passing_error(writ: Writ, executor: ScriptedApi, code: str) -> None:
    executor.script.append(Failure(code=code, message="soon", retry=True))
    assert (await writ.submit("service_restart", "a")).outcome == "succeeded"


async def test_error_that_does_not_pass_in_time_is_raised(writ: Writ, executor: ScriptedApi) -> None:
    executor.script.extend([Failure(code="unavailable", message="policy is away", retry=True)] * 50)
    with pytest.raises(errors.Unreachable, match="policy is away"):
        await writ.submit("service_restart", "a", timeout=0.3)


async def test_missing_service_is_unreachable(executor: ScriptedApi) -> None:
    async with Writ(MemoryBus(), KEY, "alice") as lonely:
        with pytest.raises(errors.Unreachable):
            await lonely.submit("service_restart", "a", timeout=0.2)


async def test_a_denial_is_an_answer_and_not_an_error(writ: Writ, executor: ScriptedApi) -> None:
    refused = Failure(code="denied", message="rule x denies it")
    executor.script.append(
        RequestReply(operation_id=operation_id("alice", "k"), state="ended", outcome="denied", error=refused)
    )
    answer = await writ.submit("service_restart", "a", idempotency_key="k")
    assert (answer.outcome, answer.error) == ("denied", refused)


@each_case("code", sorted(CODES))
def test_every_code_of_the_contracts_has_an_error(code: str) -> None:
    error = error_of(Failure(code=code, message=f"about {code}"))
    assert error.code == code
    assert str(error) == f"about {code}"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_parameters", errors.Invalid),
        ("no_principal", errors.Invalid),
        ("no_rule", errors.Denied),
        ("bad_signature", errors.Untrusted),
        ("conflict", errors.Conflict),
        ("rate_limited", errors.Full),
        ("a_code_of_tomorrow", errors.WritError),
    ],
)
async def test_a_refusal_without_record_is_raised_as_its_kind(
    writ: Writ, executor: ScriptedApi, code: str, kind: type[errors.WritError]
) -> None:
    executor.script.append(Failure(code=code, message="because"))
    with pytest.raises(kind) as caught:
        await writ.submit("service_restart", "a")
    assert type(caught.value) is kind
    assert caught.value.code == code


async def test_run_returns_on_the_event_without_waiting_for_a_poll(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_wait, "POLL_SECONDS", 60.0)
    executor.outcome = None
    heard: list[str] = []
    async with asyncio.timeout(30):
        running = asyncio.create_task(
            writ.run("service_restart", "a", idempotency_key="k", on_event=lambda event: heard.append(str(event)))
        )
        await executor.wait_for_requests()
        await executor.end(operation_id("alice", "k"), "failed")
        view = await running
    assert (view.outcome, view.operation) == ("failed", "service_restart")
    assert len(heard) == 4
    assert executor.queries["operation"] == 0
    assert await writ.get(view.operation_id) == view


async def test_run_finds_the_outcome_though_every_event_was_lost(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_wait, "POLL_SECONDS", 0.05)
    executor.mute = True
    async with asyncio.timeout(30):
        assert (await writ.run("service_restart", "a")).outcome == "succeeded"


async def test_run_queries_when_an_event_in_the_middle_was_lost(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = None
    async with asyncio.timeout(30):
        running = asyncio.create_task(writ.run("service_restart", "a", idempotency_key="k"))
        await executor.wait_for_requests()
        executor.mute = True
        await executor.start(operation_id("alice", "k"))
        executor.mute = False
        await executor.end(operation_id("alice", "k"), "succeeded")
        assert (await running).outcome == "succeeded"


async def test_waiting_ends_at_unknown(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = "unknown"
    view = await writ.run("service_restart", "a", timeout=5)
    assert (view.outcome, view.code) == ("unknown", "lost")


async def test_wait_that_times_out_names_the_state(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = None
    await writ.submit("service_restart", "a", idempotency_key="k")
    with pytest.raises(errors.TimedOut, match="still dispatched after 1 s"):
        await writ.wait(operation_id("alice", "k"), timeout=1.0)


async def test_wait_for_an_unknown_operation_is_invalid(writ: Writ) -> None:
    with pytest.raises(errors.Invalid) as caught:
        await writ.wait(operation_id("alice", "nothing"), timeout=5)
    assert caught.value.code == "not_found"


async def test_wait_ends_as_unreachable_after_a_long_silence(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_wait, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr("writ_client.queries.operation_queries.QUERY_SECONDS", 0.05)
    async with Writ(MemoryBus(), KEY, "alice") as lonely:
        with pytest.raises(errors.Unreachable):
            await lonely.wait(operation_id("alice", "k"))


async def test_events_come_whole_and_in_order_with_progress_between(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = None
    await writ.submit("service_restart", "a", idempotency_key="k")
    number = operation_id("alice", "k")
    kinds: list[str] = []
    async with asyncio.timeout(10):
        async for event in writ.events(number):
            kinds.append("progress" if isinstance(event, Progress) else str(event.__struct_config__.tag))
            if kinds[-1] == "dispatched":
                await executor.start(number)
                await executor.progress(number, "half way")
            if kinds[-1] == "progress":
                await executor.end(number, "succeeded")
    assert kinds == ["requested", "dispatched", "granted", "progress", "finished"]


async def test_events_after_a_dispatch_with_the_request_are_read_from_no_record(
    writ: Writ, executor: ScriptedApi
) -> None:
    executor.outcome, executor.at_once = None, True
    await writ.submit("service_restart", "a", idempotency_key="k")
    number = operation_id("alice", "k")
    async with asyncio.timeout(10):
        events = writ.events(number)
        await anext(events)
        await executor.start(number)
        queries = executor.queries["trace"]
        assert isinstance(await anext(events), journal.Granted)
        assert executor.queries["trace"] == queries


async def test_events_that_were_missed_are_filled_from_the_record(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = None
    await writ.submit("service_restart", "a", idempotency_key="k")
    number = operation_id("alice", "k")
    kinds: list[str] = []
    async with asyncio.timeout(10):
        async for event in writ.events(number):
            assert not isinstance(event, Progress)
            kinds.append(str(event.__struct_config__.tag))
            if kinds[-1] == "dispatched":
                executor.mute = True
                await executor.start(number)  # nobody hears this one
                executor.mute = False
                await executor.end(number, "succeeded")
    assert kinds == ["requested", "dispatched", "granted", "finished"]


async def test_events_end_though_the_record_cannot_be_read(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_wait, "POLL_SECONDS", 0.1)
    executor.audit_away = True
    await writ.submit("service_restart", "a", idempotency_key="k")
    async with asyncio.timeout(10):
        assert [event async for event in writ.events(operation_id("alice", "k"))] == []


async def test_cancel_is_an_operation_of_its_own(writ: Writ, executor: ScriptedApi) -> None:
    number = operation_id("alice", "k")
    await writ.cancel(number, reason="wrong host")
    operation, request = executor.requests[0]
    assert (operation, request.target, request.parameters) == ("operation_cancel", "writ", {"operation_id": number})


async def test_stops_are_set_and_lifted(writ: Writ, executor: ScriptedApi) -> None:
    await writ.stop_set(["prod-*"], reason="incident", until=5000.0)
    await writ.stop_lift("s1")
    assert [(operation, request.parameters) for operation, request in executor.requests] == [
        ("stop_set", {"scope": ["prod-*"], "reason": "incident", "until": 5000.0}),
        ("stop_lift", {"stop_id": "s1"}),
    ]


async def test_queries_return_what_was_requested(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome = None
    await writ.submit("service_restart", "a", idempotency_key="k")
    number = operation_id("alice", "k")
    executor.results[number] = {"content": "secret"}
    assert [view.operation_id for view in await writ.open_operations()] == [number]
    assert await writ.result(number) == {"content": "secret"}
    assert [target.id for target in await writ.targets()] == ["a"]
    simulated = await writ.simulate("service_restart", "forbidden")
    assert simulated.verdict is not None
    assert simulated.verdict.decision == "deny"
    assert {event.kind for event in (await writ.trace(operation_id=number)).events} == {"requested", "dispatched"}


@pytest.mark.parametrize("name", ["-", "-0", "a", "a-", "b0", "web-1", "web-10", "z", "z" * 64])
async def test_one_target_of_many_is_found_by_one_page(writ: Writ, executor: ScriptedApi, name: str) -> None:
    others = [f"{letter}{number}" for letter in "aAbwz" for number in range(100)]
    executor.targets = [TargetView(id=one, role="r", backend="ssh", pool="ssh") for one in {*others, name}]
    assert await writ.lists_target(name)
    assert not await writ.lists_target(name[:-1] + "_")
    assert executor.queries["targets"] == 2


async def test_each_of_many_listeners_gets_the_events_of_its_own_operation(writ: Writ, executor: ScriptedApi) -> None:
    views = await asyncio.gather(
        *(writ.run("service_restart", "a", idempotency_key=f"k{i}", timeout=10) for i in range(50))
    )
    assert [view.operation_id for view in views] == [operation_id("alice", f"k{i}") for i in range(50)]


def test_keys_and_salts_are_never_the_same_twice() -> None:
    assert (
        len({request_signing.new_key() for _ in range(100)} | {request_signing.new_salt() for _ in range(100)}) == 200
    )


def test_an_event_that_is_not_known_is_passed_over() -> None:
    from writ_client.operations.operation_events import of_trace, read

    assert read("of_tomorrow", b"{}", {}) is None
    assert of_trace(1, "security", {"id": "1"}) is None
    assert isinstance(journal.Outcome, object)


WAITING = WaitingReason(kind="target", text="waits for a: service_stop is started there", operation_id="b" * 26)


async def test_reason_of_a_wait_is_reported_once(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_wait, "POLL_SECONDS", 0.05)
    executor.outcome, executor.waiting = None, WAITING
    heard: list[str] = []
    running = asyncio.create_task(
        writ.run("service_restart", "a", idempotency_key="k", on_event=lambda event: heard.append(event_text(event)))
    )
    await executor.until_queries("operation", 3)
    await executor.end(operation_id("alice", "k"), "succeeded")
    assert (await running).outcome == "succeeded"
    assert heard.count(WAITING.text) == 1


async def test_a_wait_that_times_out_shows_the_reason(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome, executor.waiting = None, WAITING
    answer = await writ.submit("service_restart", "a")
    with pytest.raises(errors.TimedOut, match="is still dispatched \\(waits for a: service_stop is started there\\)"):
        await writ.wait(answer.operation_id or "", timeout=0.5)


async def test_the_events_of_an_operation_show_what_it_waits_for(writ: Writ, executor: ScriptedApi) -> None:
    executor.outcome, executor.waiting = None, WAITING
    number = (await writ.submit("service_restart", "a")).operation_id or ""
    async with asyncio.timeout(10):
        async for event in writ.events(number):
            if isinstance(event, Progress):
                assert event.message == WAITING.text
                break

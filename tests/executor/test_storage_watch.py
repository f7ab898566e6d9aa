"""A server that answers but stores nothing is reported to requesters and operators within two seconds."""

import pytest
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.errors import Full, Unreachable
from writ_contracts.journal import RefusedSummary
from writ_contracts.requests import OperationQuery, ResultReply
from writ_contracts.wire import decode, encode
from writ_executor.journal.hidden_values import NOT_KEPT
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import Recorder
from writ_executor.metrics import metrics
from writ_executor.service import Executor
from writ_runtime.journal import storage_watch
from writ_testing.eventually import eventually
from writ_testing.stopwatch import stopwatch

PARAMS, RESULTS = subjects.PARAMS.removesuffix(".>"), subjects.RESULTS.removesuffix(".>")
RESTART = {"parameters": {"service_name": "nginx"}}
WRITE = {"parameters": {"file_path": "/srv/app/a", "content": "x"}}


async def problem(one: Executor) -> str | None:
    return await one.checks()["journal"]()


async def test_requests_are_refused_with_the_reason_within_two_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = metrics()
    one = await world.executor(measured)
    assert await problem(one) is None
    world.broker.disk.stores.clear()
    with stopwatch() as seconds:
        answer = await world.ask("service_restart", **RESTART)
        assert seconds() < 2.0
    assert answer.error is not None
    assert answer.error.code == "not_stored"
    assert "stores nothing" in answer.error.message
    assert "stores nothing" in (await problem(one) or "")
    assert b"writ_journal_not_stored 1" in measured.exposition("")[0]
    monkeypatch.setattr(storage_watch, "UNANSWERED", 60.0)
    with stopwatch() as seconds:
        again = await world.ask("file_write", **WRITE)
        assert seconds() < 10.0
    assert again.error is not None
    assert again.error.code == "not_stored"


async def test_parameters_that_cannot_be_kept_are_reported_as_well(world: World) -> None:
    await world.executor()
    world.broker.disk.stores.clear()
    answer = await world.ask("file_write", **WRITE)
    assert answer.error is not None
    assert answer.error.code == "not_stored"


@pytest.mark.parametrize("stream", [PARAMS, RESULTS])
async def test_a_dead_store_is_reported_before_anybody_writes_to_it(
    world: World, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "IDLE", 0.1)
    one = await world.executor()
    world.broker.disk.storing(stream).clear()

    async def noticed() -> bool:
        return "stores nothing" in (await problem(one) or "")

    await eventually(noticed, what="the problem")
    assert await world.events(subjects.JOURNAL) == []


async def test_service_resumes_once_an_event_is_stored_and_records_refusals(world: World) -> None:
    one = await world.executor()
    world.broker.disk.stores.clear()
    await world.ask("service_restart", **RESTART)
    world.broker.disk.stores.set()

    async def well() -> bool:
        return await problem(one) is None

    await eventually(well)
    assert (await world.ask("service_restart", **RESTART)).error is None
    [summary] = await world.events(subjects.refused_summary("writ"))
    assert isinstance(summary, RefusedSummary)
    assert summary.codes["not_stored"] >= 1


async def test_parameters_stay_refused_while_the_journal_stores(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await world.executor()
    world.broker.disk.storing(PARAMS).clear()
    with stopwatch() as seconds:
        answer = await world.ask("file_write", **WRITE)
        assert seconds() < 2.0
    assert answer.error is not None
    assert (answer.error.code, "in WRIT_PARAMS" in answer.error.message) == ("not_stored", True)
    monkeypatch.setattr(storage_watch, "UNANSWERED", 60.0)
    for _ in range(3):
        assert (await world.ask("service_restart", **RESTART)).error is None
        with stopwatch() as seconds:
            again = await world.ask("file_write", **WRITE)
            assert seconds() < 10.0
        assert again.error is not None
        assert again.error.code == "not_stored"
    assert "in WRIT_PARAMS" in (await problem(one) or "")
    world.broker.disk.storing(PARAMS).set()

    async def well() -> bool:
        return await problem(one) is None

    async def is_summarised() -> bool:
        summaries = await world.events(subjects.refused_summary("writ"))
        return sum(one.codes["not_stored"] for one in summaries if isinstance(one, RefusedSummary)) >= 4

    await eventually(well)
    await eventually(is_summarised)


async def test_operation_whose_output_cannot_be_kept_ends_and_says_so(world: World) -> None:
    measured = metrics()
    one = await world.executor(measured)
    answer = await world.ask("file_read", parameters={"file_path": "/srv/app/a"})
    operation_id = answer.operation_id or ""
    work = await world.work(operation_id)
    held = await world.hands.claim(work)
    world.broker.disk.storing(RESULTS).clear()
    with stopwatch() as seconds:
        await world.hands.finish(work, held, {"content": "words", "size": 5}, output={"size": 5})
        assert seconds() < 2.0
    assert await world.outcome(operation_id) == "succeeded"
    data = encode(OperationQuery(operation_id=operation_id))
    reply = decode((await world.bus.request("writ.query.alice.result", data, timeout=10)).data, ResultReply)
    assert reply.output == {"size": 5, "note": NOT_KEPT}
    await world.executor()  # a replica that has not received the output
    for _ in range(8):
        again = decode((await world.bus.request("writ.query.alice.result", data, timeout=10)).data, ResultReply)
        assert again.output == reply.output
    assert "in WRIT_RESULTS" in (await problem(one) or "")
    assert b"writ_journal_not_stored 1" in measured.exposition("")[0]


async def test_request_whose_output_could_not_be_kept_is_refused_before_it_starts(world: World) -> None:
    one = await world.executor()
    world.broker.disk.storing(RESULTS).clear()
    with pytest.raises(Unreachable):
        await one.base.bus.results.put("alice.one", b"x", ttl=60)
    answer = await world.ask("file_read", parameters={"file_path": "/srv/app/a"})
    assert answer.error is not None
    assert (answer.error.code, "in WRIT_RESULTS" in answer.error.message) == ("not_stored", True)
    assert (await world.ask("service_restart", **RESTART)).error is None


async def test_changes_are_accepted_while_their_output_cannot_be_kept(world: World) -> None:
    one = await world.executor()
    world.broker.disk.storing(RESULTS).clear()
    with pytest.raises(Unreachable):
        await one.base.bus.results.put("alice.one", b"x", ttl=60)
    assert (await world.ask("container_stop", parameters={"container_name": "web"})).error is None
    assert (await world.ask("file_delete", parameters={"file_path": "/srv/app/a"})).error is None


async def test_repeated_request_has_its_earlier_answer_while_nothing_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await world.executor()
    wish = {"parameters": {"file_path": "/srv/app/a"}, "idempotency_key": "k-1"}
    first = await world.ask("file_read", **wish)
    monkeypatch.setattr(OperationTable, "known", lambda *_: None)  # it is no longer in memory
    world.broker.disk.storing(RESULTS).clear()
    with pytest.raises(Unreachable):
        await one.base.bus.results.put("alice.one", b"x", ttl=60)
    again = await world.ask("file_read", **wish)
    assert (again.error, again.operation_id) == (None, first.operation_id)
    other = await world.ask("file_read", parameters={"file_path": "/srv/app/b"}, idempotency_key="k-1")
    assert other.error is not None
    assert other.error.code == "conflict"
    new = await world.ask("file_read", parameters={"file_path": "/srv/app/b"}, idempotency_key="k-2")
    assert new.error is not None
    assert new.error.code == "not_stored"


async def test_parameters_are_stored_again_even_if_the_refusals_cannot_be_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = await world.executor()
    world.broker.disk.storing(PARAMS).clear()
    answer = await world.ask("file_write", **WRITE)
    assert answer.error is not None
    assert answer.error.code == "not_stored"

    async def full(*_: object) -> None:
        raise Full("the journal is full")

    monkeypatch.setattr(Recorder, "append_last", full)
    world.broker.disk.storing(PARAMS).set()

    async def well() -> bool:
        return await problem(one) is None and "storage.refusals_not_recorded" in caplog.text

    await eventually(well)


async def test_publications_wait_for_their_stream_and_none_is_refused(world: World) -> None:
    one = await world.executor()
    world.broker.policies.stores.clear()
    wish = {"document": "policies: {name: a}", "reason": "a test"}
    first = await world.ask("policy_publish", target="writ", parameters=wish)

    async def known() -> bool:
        return "in WRIT_POLICIES" in (await problem(one) or "")

    await eventually(known)
    second = await world.ask("policy_publish", target="writ", parameters=wish)
    assert second.error is None
    world.broker.policies.stores.set()
    for one_of_them in (first, second):
        assert await world.outcome(one_of_them.operation_id or "") == "succeeded"
    assert await problem(one) is None

"""Metrics of an executor: each end once, each stage, the state of pools; their number does not grow with targets."""

import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec import structs
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import POOL, WEB, World
from tests.executor.test_overdue import life as life_of

from writ_contracts import subjects
from writ_contracts.history.audit import AuditStanding, JournalQuery, JournalReply
from writ_contracts.inventory import Target
from writ_contracts.journal import Granted
from writ_contracts.life import AcceptedLife, State
from writ_contracts.wire import decode, encode
from writ_executor import readiness
from writ_executor.journal import own_violations
from writ_executor.journal.audit_services import SILENCE, AuditServices
from writ_executor.metrics import ExecutorMeasures, deadline_of, metrics
from writ_executor.success_rate import FEWEST, SECONDS, SuccessRate
from writ_runtime.health import Attention
from writ_runtime.metric_series import POOLS
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually

RESTART = {"parameters": {"service_name": "nginx"}}


class Counted:
    """One executor of the world, and its counts."""

    def __init__(self, world: World, measured: Metrics) -> None:
        self.world, self._measured = world, measured

    def rows(self, prefix: str = "writ_") -> dict[str, float]:
        lines = self._measured.exposition()[0].decode().splitlines()
        rows = (line.rpartition(" ") for line in lines if line.startswith(prefix))
        return {name: float(value) for name, _, value in rows}

    def of(self, name: str, **labels: str) -> float:
        label_text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        return self.rows().get(f"{name}{{{label_text}}}" if label_text else name, 0.0)

    def stage(self, stage: str, pool: str = POOL) -> float:
        return self.of("writ_operation_stage_seconds_count", pool=pool, stage=stage)

    async def checks(self) -> dict[str, str | None]:
        return {name: await check() for name, check in self.world.executors[0].checks().items()}


async def counting(world: World, targets: list[Target] | None = None) -> Counted:
    world.targets = targets or world.targets
    world.policy.know(world.targets)
    measured = metrics()
    await world.executor(measured=measured)
    return Counted(world, measured)


async def one(world: World, outcome: str = "succeeded") -> str:
    answer = await world.ask("service_restart", **RESTART)
    assert answer.operation_id
    work = await world.work(answer.operation_id)
    await world.hands.finish(work, await world.hands.claim(work), outcome=outcome)
    return answer.operation_id


async def test_an_end_is_counted_once_with_outcome_pool_and_operation(world: World) -> None:
    counted = await counting(world)
    await one(world)
    await one(world, "failed")
    world.policy.effects["service_restart"] = "deny"
    await world.ask("service_restart", **RESTART)
    await world.ask("service_restart", parameters={"service": "nginx"})
    ended = {name: value for name, value in counted.rows("writ_operations_total").items() if value}
    assert ended == {
        f'writ_operations_total{{operation="service_restart",outcome="succeeded",pool="{POOL}"}}': 1,
        f'writ_operations_total{{operation="service_restart",outcome="failed",pool="{POOL}"}}': 1,
        'writ_operations_total{operation="service_restart",outcome="denied",pool=""}': 1,
        'writ_operations_total{operation="service_restart",outcome="invalid",pool=""}': 1,
    }


async def test_denials_are_counted_from_0_on_and_also_those_that_are_not_recorded_singly(world: World) -> None:
    measured = metrics()
    await world.executor(measured=measured, refusal_rate=0.0001, refusal_burst=2)
    counted = Counted(world, measured)
    assert counted.rows('writ_outcomes_total{outcome="denied"}').popitem()[1] == 0
    await one(world)
    world.policy.effects["service_restart"] = "deny"
    for _ in range(5):
        assert (await world.ask("service_restart", **RESTART)).outcome == "denied"
    assert counted.of("writ_requests_turned_away_total", code="denied") == 3
    assert counted.of("writ_outcomes_total", outcome="denied") == 5
    assert counted.of("writ_outcomes_total", outcome="succeeded") == 1


async def test_every_stage_of_a_way_is_timed(world: World) -> None:
    counted = await counting(world)
    await one(world)
    assert [counted.stage(stage) for stage in ("wait", "claim", "run", "whole")] == [1, 1, 1, 1]
    assert counted.stage("record") == 3  # one append for each event but `granted`, which is policy's
    assert [counted.stage(stage, "") for stage in ("decide", "grant")] == [1, 1]


async def test_operation_that_waits_long_is_named_and_one_that_runs_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = await counting(world)
    first = await world.ask("service_restart", **RESTART)
    await world.ask("service_restart", **RESTART)
    assert (await counted.checks())["operations"] is None
    monkeypatch.setattr(readiness, "LONG", 0.0)
    detail = str((await counted.checks())["operations"])
    assert detail.startswith("2 operations not running, the oldest for ")
    assert detail.endswith(f": {first.operation_id}")
    assert "service_restart" not in detail  # `/readyz` needs no login
    await world.hands.claim(await world.work(str(first.operation_id)))
    assert str((await counted.checks())["operations"]).startswith("1 operation not running, ")


async def test_wait_of_an_operation_is_that_of_its_state_and_one_past_its_end_is_overdue(world: World) -> None:
    """It waited for two days for its approval, and was dispatched just now."""
    counted = await counting(world)
    operation_id = str((await world.ask("service_restart", **RESTART)).operation_id)
    base = world.executors[0].base
    [dispatched], now = base.index.open(), base.time.now()
    base.index._open[operation_id] = structs.replace(dispatched, first_time=now - 172800.0, time=now)
    assert (await counted.checks())["operations"] is None
    await world.hands.claim(await world.work(operation_id))
    [running] = base.index.open()
    assert isinstance(running.phase, Granted)
    past = structs.replace(running.phase, deadline=base.time.now() - 125.0)
    base.index._open[operation_id] = structs.replace(running, phase=past)
    detail = str((await counted.checks())["operations"])
    assert detail == f"1 operation overdue, the oldest for 2 min 5 s: {operation_id}"


async def test_a_pool_is_reported_with_its_queue_its_agents_and_their_slots(world: World) -> None:
    counted = await counting(world)
    for _ in range(3):
        await world.ask("service_restart", **RESTART)
    queues = {state: counted.of("writ_pool_operations", pool=POOL, state=state) for state in ("waiting", "dispatched")}
    assert queues == {"waiting": 2, "dispatched": 1}
    assert counted.of("writ_pool_oldest_dispatched_seconds", pool=POOL) > 0
    assert counted.of("writ_pool_agents", pool=POOL) == 0
    await heartbeat(world)

    async def there() -> bool:
        return counted.of("writ_pool_agents", pool=POOL) == 1

    await eventually(there)
    assert counted.of("writ_pool_free_slots", pool=POOL) == 1
    assert (counted.of("writ_operations_open"), counted.of("writ_operations_overdue")) == (3, 0)


async def test_operations_past_their_deadline_are_counted(world: World) -> None:
    counted = await counting(world)
    answer = await world.ask("service_restart", **RESTART)
    life = world.executors[0].index.get(answer.operation_id or "")
    assert isinstance(life, AcceptedLife)
    measured = metrics()
    measures = ExecutorMeasures(measured, world.catalogue, time.time)
    for now, overdue in ((deadline_of(life) - 1, 0.0), (deadline_of(life) + 1, 1.0)):
        measures.see(iter([life]), {POOL: []}, now)
        assert Counted(world, measured).of("writ_operations_overdue") == overdue
    read, change = life_of(State.STARTED, risk="read"), life_of(State.STARTED)
    for runs, late, overdue in ((change, 1.0, 1.0), (read, 119.0, 0.0), (read, 121.0, 1.0)):  # 120 s: a read's queue
        measures.see(iter([runs]), {POOL: []}, deadline_of(runs) + late)
        assert Counted(world, measured).of("writ_operations_overdue") == overdue
    assert counted.of("writ_operations_overdue") == 0


async def test_a_security_event_is_counted_by_its_kind_from_nought_on_and_logged(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_violations, "AUDIT_WITHIN", 0.0)
    counted = await counting(world)
    assert counted.rows('writ_security_events_total{kind="forged_receipt"}').popitem()[1] == 0
    world.executors[0].violation("publish", "_r_.late.answer")
    world.executors[0].violation("publish", "writ.other")
    await world.executors[0].background.settle()
    assert counted.of("writ_security_events_total", kind="permission_violation") == 1
    assert [record.message for record in caplog.records].count("security.recorded") == 1


async def test_lookups_are_counted_by_the_place_of_the_operation(world: World) -> None:
    counted = await counting(world)
    await one(world)
    assert counted.of("writ_index_lookups_total", result="hit") >= 1


async def test_ten_thousand_targets_in_as_many_pools_have_as_many_series_as_a_hundred(world: World) -> None:
    def local(number: int) -> Target:
        return Target(id=f"host-{number}", role="production", backend="local", connection={"host": f"h{number}"})

    counted = await counting(world, [WEB, *map(local, range(10_000))])
    few = POOLS + 20
    for number in range(few):
        answer = await world.ask("service_restart", target=f"host-{number}", **RESTART)
        assert answer.error is None
    rows = counted.rows()
    pools = {name.partition('pool="')[2].partition('"')[0] for name in rows if 'pool="' in name}
    assert "other" in pools
    assert len(pools - {"", "other"}) == POOLS
    assert sum(value for name, value in rows.items() if name.startswith("writ_pool_operations")) == few
    stages_and_gauges = POOLS * (4 * 18 + 6)
    assert len(rows) < stages_and_gauges + 600


async def test_a_pool_without_an_agent_is_named_once_it_was_listened_for_a_lease(world: World) -> None:
    measured = metrics()
    await world.executor(measured=measured, lease=0.05)
    counted = Counted(world, measured)

    async def problem() -> str | None:
        return (await counted.checks())["pools"]

    reason = await eventually(problem)
    assert reason == f"no agent of pool {POOL}"
    assert isinstance(reason, Attention)


async def test_many_failures_are_reported_and_do_not_make_the_executor_unready(world: World) -> None:
    counted = await counting(world)
    assert (await counted.checks())["success"] is None
    for _ in range(FEWEST):
        await one(world, "failed")
    last = (await world.bus.journal.usage()).last_sequence
    assert await world.executors[0].follower.reached(last)
    reason = (await counted.checks())["success"]
    assert reason == f"{FEWEST} of the {FEWEST} operations that ended within 5 minutes did not succeed"
    assert isinstance(reason, Attention)
    assert counted.of("writ_success_ratio") == 0


async def test_an_audit_service_that_is_silent_or_behind_is_reported(world: World) -> None:
    counted = await counting(world)
    await world.bus.publish(subjects.AUDIT_STANDING, encode(AuditStanding(position=5, lag=4_000)))

    async def behind() -> str | None:
        return (await counted.checks())["audit"]

    reason = await eventually(behind)
    assert reason == "audit is 4000 events behind the journal"
    assert isinstance(reason, Attention)


async def test_a_policy_that_does_not_answer_is_reported_until_it_does(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(world.close)
        counted = await counting(world)
        assert (await counted.checks())["decisions"] is None
        answer = await world.ask("service_restart", **RESTART)
        assert (answer.error and answer.error.code) == "unavailable"
        reason = (await counted.checks())["decisions"]
        assert str(reason).startswith("policy does not answer: ")
        assert isinstance(reason, Attention)
        await world.policy.serve(world.bus)
        assert (await world.ask("service_restart", **RESTART)).error is None
        assert (await counted.checks())["decisions"] is None


async def test_a_journal_that_takes_no_new_operations_is_reported_before_it_is_full(world: World) -> None:
    counted = await counting(world)
    admission = world.executors[0].admission
    admission.measure_fill = admission.summarise  # type: ignore[method-assign]
    assert (await counted.checks())["journal"] is None
    admission.fill, admission._each = 0.8, 0.06
    assert (await world.ask("service_restart", **RESTART)).error is None
    reason = (await counted.checks())["journal"]
    assert reason == "the journal is 80% full: new operations are refused until `writ journal archive`"
    assert isinstance(reason, Attention)
    admission.fill = 1.0
    assert not isinstance((await counted.checks())["journal"], Attention)


async def test_an_executor_without_a_report_of_audit_yet_reports_nothing_of_the_journal(world: World) -> None:
    await counting(world)

    async def query_journal() -> JournalReply:
        message = await world.bus.request(subjects.query("alice", "journal"), encode(JournalQuery()), timeout=5)
        return decode(message.data, JournalReply)

    early = (await query_journal()).error
    assert early is not None
    assert (early.code, early.retry) == ("behind", True)
    await world.bus.publish(subjects.AUDIT_STANDING, encode(AuditStanding(position=5, lag=0)))

    async def problem() -> JournalReply | None:
        return answer if (answer := await query_journal()).error is None else None

    assert (await eventually(problem)).held_by


def test_the_best_audit_service_counts_and_silence_only_after_a_while() -> None:
    now = [0.0]
    audit_services = AuditServices(lambda: now[0])
    now[0] = SILENCE - 1
    assert audit_services.problem() is None
    now[0] = SILENCE + 1
    assert audit_services.problem() == "no audit service has reported for 20 s"
    for lag in (5_000, 0, 7_000):
        audit_services.record(AuditStanding(position=1, lag=lag))
    assert audit_services.problem() is None
    now[0] += SILENCE + 1
    assert audit_services.problem() == "no audit service has reported for 20 s"


def test_audit_position_is_that_of_the_service_that_has_read_most() -> None:
    now = [0.0]
    audit_services = AuditServices(lambda: now[0])
    assert audit_services.position() is None
    for instance, position in (("a", 10), ("b", 5), ("a", 20), ("b", 15)):
        audit_services.record(AuditStanding(position=position, lag=0, instance=instance))
    assert audit_services.position() == 15
    now[0] = SILENCE / 2
    audit_services.record(AuditStanding(position=30, lag=0, instance="a"))
    now[0] = SILENCE + 1
    assert audit_services.position() == 30  # the other one is gone; what it missed it reads within WRIT_JOURNAL_KEEP


@pytest.mark.parametrize("refused", ["denied", "invalid", "cancelled", "rejected", "stale"])
def test_a_refusal_is_neither_success_nor_failure(refused: str) -> None:
    success = SuccessRate(time.time)
    success.ended(time.time(), refused)
    assert (success.counts(), success.ratio(), success.problem()) == ((0, 0), 1.0, None)


def test_after_five_minutes_a_failure_counts_no_more() -> None:
    now = [1_000_000.0]
    success = SuccessRate(lambda: now[0])
    for _ in range(FEWEST):
        success.ended(now[0], "failed")
    assert success.problem()
    now[0] += SECONDS + 1
    assert (success.counts(), success.problem()) == ((0, 0), None)
    success.ended(now[0], "succeeded")
    assert success.ratio() == 1.0

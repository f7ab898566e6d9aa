"""Limits of a decision are never exceeded in a race; operations take turns, and others do not wait for them."""

import asyncio
import itertools
from collections.abc import Iterable

import pytest
from msgspec import structs
from tests.executor.conftest import WEB, World

from writ_contracts import subjects
from writ_contracts.decisions import RuleLimit
from writ_contracts.errors import WritError
from writ_contracts.journal import Dispatched, Finished, LimitTaken
from writ_contracts.wire import decode_event
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder

STATUS = {"parameters": {"service_name": "nginx"}}
THREE = RuleLimit("at most three", "max_concurrent", 3)
HELD = ("dispatched", "granted")
ENDS = ("finished", "unknown")


@pytest.fixture
def many(world: World) -> World:
    """Return a world with four more targets of the same pool."""
    targets = [structs.replace(WEB, id=f"t-{number}", agent=world.hands.pool) for number in range(4)]
    world.targets += targets
    world.policy.know(targets)
    return world


async def inside(world: World) -> list[set[str]]:
    """Return the running operations after each event of the journal."""
    now: dict[str, bool] = {}
    history = []
    for record in await world.records("writ.journal.op.>"):
        where = subjects.parse_event(record.subject)
        assert where is not None
        if where.event in HELD:
            now[where.operation_id] = True
        elif where.event in ENDS:
            now.pop(where.operation_id, None)
        history.append(set(now))
    return history


async def carry_out(world: World, ids: Iterable[str]) -> None:
    """Claim and finish each operation as soon as it is dispatched."""

    async def one(operation_id: str) -> None:
        work = await world.work(operation_id)
        held = await world.hands.claim(work)
        await world.hands.finish(work, held)
        assert await world.outcome(operation_id) == "succeeded"

    await asyncio.gather(*(one(operation_id) for operation_id in ids))


async def request_many(world: World, operation: str, count: int, *, targets: Iterable[str] = ("web-1",)) -> list[str]:
    """Send so many requests, one after the other; return their ids."""
    turns = itertools.cycle(targets)
    answers = [await world.ask(operation, **STATUS, target=next(turns)) for _ in range(count)]
    assert {answer.error for answer in answers} == {None}
    return [answer.operation_id or "" for answer in answers]


@pytest.mark.parametrize("limits", [[], [THREE]])
async def test_dispatch_is_not_older_than_its_locks(world: World, limits: list[RuleLimit]) -> None:
    world.policy.limits["service_restart"] = limits
    await world.executor()
    [operation_id] = await request_many(world, "service_restart", 1)
    await world.work(operation_id)
    locks = await world.events("writ.journal.limit.>")
    [sent] = [one for one in await world.events() if isinstance(one, Dispatched)]
    assert len(locks) == 1 + len(limits)
    assert all(one.at <= sent.at for one in locks)


async def dispatched(world: World) -> list[str]:
    """Return the ids in the order of their dispatch."""
    events = [decode_event(record.data) for record in await world.records("writ.journal.op.*.*.dispatched.>")]
    return [event.operation_id for event in events if isinstance(event, Dispatched)]


@pytest.mark.parametrize("operation", ["service_status", "service_restart"])
async def test_eight_racing_executors_never_admit_more_than_the_limit(many: World, operation: str) -> None:
    many.policy.limits[operation] = [THREE]
    for _ in range(8):
        await many.executor()
    wishes = [many.ask(operation, **STATUS, target=f"t-{number % 4}") for number in range(24)]
    answers = await asyncio.gather(*wishes)
    await carry_out(many, [answer.operation_id or "" for answer in answers])
    sizes = [len(now) for now in await inside(many)]
    assert max(sizes) == 3
    assert sizes[-1] == 0


async def test_max_targets_limits_targets_at_once(many: World) -> None:
    many.policy.limits["service_status"] = [RuleLimit("two hosts", "max_targets", 2)]
    for _ in range(4):
        await many.executor()
    ids = [await request_many(many, "service_status", 4, targets=[f"t-{number}"]) for number in range(4)]
    await carry_out(many, itertools.chain(*ids))
    target_of = {event.operation_id: event.target for event in await many.events() if isinstance(event, Dispatched)}
    assert max(len({target_of[one] for one in now}) for now in await inside(many)) == 2
    assert max(len(now) for now in await inside(many)) > 2


async def test_operations_under_a_limit_start_in_the_order_of_requests(world: World) -> None:
    world.policy.limits["service_status"] = [RuleLimit("one", "max_concurrent", 1)]
    for _ in range(3):
        await world.executor()
    ids = await request_many(world, "service_status", 6)
    await carry_out(world, ids)
    assert await dispatched(world) == ids


async def test_nobody_without_the_limit_waits_for_it(many: World) -> None:
    many.policy.limits["service_status"] = [RuleLimit("one", "max_concurrent", 1)]
    many.policy.limits["network_status"] = [RuleLimit("another", "max_concurrent", 1)]
    await many.executor()
    first, second = await request_many(many, "service_status", 2)
    other = (await many.ask("network_status", target="web-1")).operation_id
    change = (await many.ask("service_restart", **STATUS, target="t-0")).operation_id
    assert await dispatched(many) == [first, other, change]
    await carry_out(many, [first])
    await many.work(second)


async def test_operation_that_waits_for_its_target_holds_up_nobody_under_its_limit(many: World) -> None:
    many.policy.limits["service_stop"] = [RuleLimit("two", "max_concurrent", 2)]
    await many.executor()
    (busy,) = await request_many(many, "service_restart", 1, targets=["t-0"])
    (waits,) = await request_many(many, "service_stop", 1, targets=["t-0"])
    (goes,) = await request_many(many, "service_stop", 1, targets=["t-1"])
    assert await dispatched(many) == [busy, goes]
    await carry_out(many, [busy, waits, goes])


async def test_on_one_target_the_order_of_requests_holds_for_what_waits_for_a_limit_too(many: World) -> None:
    many.policy.limits["service_stop"] = [RuleLimit("one", "max_concurrent", 1)]
    await many.executor()
    (inside_now,) = await request_many(many, "service_stop", 1, targets=["t-1"])
    (waits,) = await request_many(many, "service_stop", 1, targets=["t-0"])
    (behind,) = await request_many(many, "service_start", 1, targets=["t-0"])
    assert await dispatched(many) == [inside_now]
    await carry_out(many, [inside_now, waits, behind])
    assert await dispatched(many) == [inside_now, waits, behind]


async def test_operation_that_waits_too_long_expires_and_names_the_limit(world: World) -> None:
    world.policy.limits["service_status"] = [RuleLimit("one", "max_concurrent", 1)]
    await world.executor(queue_window=0.5, start_window=30.0)
    _, waits = await request_many(world, "service_status", 2)
    assert await world.outcome(waits) == "expired"
    end = (await world.life(waits)).end
    assert isinstance(end, Finished)
    assert end.code == "limit_reached"
    assert "rule 'one' allows 1 operations at once" in end.message


async def test_a_limit_that_is_lowered_counts_for_all_who_are_not_yet_inside(world: World) -> None:
    world.policy.limits["service_status"] = [THREE]
    await world.executor()
    running = await request_many(world, "service_status", 3)
    (waits,) = await request_many(world, "service_status", 1)
    world.policy.limits["service_status"] = [structs.replace(THREE, most=1)]
    (after,) = await request_many(world, "service_status", 1)
    await carry_out(world, running)
    await carry_out(world, [waits])
    await carry_out(world, [after])
    history = await inside(world)
    assert max(len(now) for now in history if waits in now or after in now) == 1


@pytest.mark.parametrize("snapshot", [True, False])
async def test_a_new_replica_knows_which_operations_hold_places(world: World, snapshot: bool) -> None:
    world.policy.limits["service_status"] = [THREE]
    one = await world.executor()
    running = await request_many(world, "service_status", 3)
    await one.follower.reached((await world.bus.journal.usage()).last_sequence)
    if snapshot:
        await one.follower.save()
    other = await world.executor()
    line = subjects.limit_line(THREE.rule, THREE.kind)
    life = await world.accepted(running[0])
    assert not other.index.has_room(line, life, None)
    await carry_out(world, running)
    await other.follower.reached((await world.bus.journal.usage()).last_sequence)
    assert other.index.has_room(line, life, None)


async def test_a_place_is_taken_together_with_the_dispatch_or_not_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.policy.limits["service_restart"] = [THREE]
    original = Recorder.dispatch_with_locks
    lost: list[str] = []

    async def dies(self: Recorder, *arguments: object) -> None:
        if not lost:
            lost.append("once")
            raise WritError("this replica is gone")
        await original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "dispatch_with_locks", dies)
    await world.executor()
    (restart,) = await request_many(world, "service_restart", 1)
    assert await world.events("writ.journal.limit.>") == []
    await carry_out(world, [restart])
    taken = await world.events("writ.journal.limit.>")
    assert [type(event).__name__ for event in taken] == ["LockTaken", "LimitTaken"]
    limit = taken[1]
    assert isinstance(limit, LimitTaken)
    assert (limit.rule, limit.kind, limit.most, limit.operation_id) == (THREE.rule, "max_concurrent", 3, restart)


async def test_operation_without_a_limit_writes_no_further_event(world: World) -> None:
    await world.executor(dispatch_at_once=False)
    (status,) = await request_many(world, "service_status", 1)
    await carry_out(world, [status])
    kinds = [record.subject.split(".")[2] for record in await world.records()]
    assert kinds == ["op"] * 4


def test_a_line_is_named_by_its_rule_and_kind_whatever_the_rule_is_called() -> None:
    odd = "rule *. > with\nodd ünïcode" * 20
    names = {subjects.limit_line(rule, kind) for rule in ("a", odd) for kind in ("max_concurrent", "max_targets")}
    assert len(names) == 4
    assert all(name.startswith("writ.journal.limit.rule.") and len(name.split(".")) == 5 for name in names)
    assert Index().next_in(names.pop()) is None

"""Every principal and every pool has a quota of each shared amount, and a refusal names limit, use and owner."""

import asyncio
import time
from itertools import product
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.executor.conftest import POOL, World

from writ_bus.port import Usage as StreamUsage
from writ_contracts.requests import Failure
from writ_executor.admission.quotas import QUOTAS, Quota
from writ_executor.config import ExecutorConfig
from writ_executor.journal.usage import Amount, Owner, OwnerUsage
from writ_executor.metrics import metrics
from writ_runtime.journal.watched_bus import WatchedBus
from writ_testing.eventually import eventually

STATUS = {"parameters": {"service_name": "nginx"}}
WRITE = {"parameters": {"file_path": "/srv/app/x", "content": "x" * 4_000}}
SIZE = 1_000_000


@pytest.mark.parametrize(("owner", "amount"), list(product(get_args(Owner), get_args(Amount))))
def test_every_owner_has_one_quota_of_every_amount(owner: str, amount: str) -> None:
    assert len([one for one in QUOTAS if (one.owner, one.amount) == (owner, amount)]) == 1


@pytest.mark.parametrize("quota", QUOTAS, ids=lambda one: one.variable)
def test_every_quota_has_a_setting_with_a_finite_default(quota: Quota) -> None:
    fields = {field.name: field for field in structs.fields(ExecutorConfig)}
    setting = fields[quota.setting]
    assert 0 < setting.default < 1 << 40
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(0, setting.type)


@pytest.mark.parametrize("setting", ["most_open", "most_hidden", "journal_share"])
def test_a_pool_has_room_for_several_principals(setting: str) -> None:
    fields = {field.name: field.default for field in structs.fields(ExecutorConfig)}
    assert fields[f"{setting}_pool"] >= 2 * fields[setting]


def used_up(world: World, quota: Quota) -> dict[str, Any]:
    """Return the setting with which the second request of an owner is one too many."""
    if quota.amount == "journal_bytes":
        half_full(world)
        return {quota.setting: 0.0001}
    return {quota.setting: 1 if quota.amount == "open_operations" else 6_000}


def half_full(world: World) -> None:
    async def usage() -> StreamUsage:
        last = len(world.broker.disk.records)
        return StreamUsage(SIZE * 6 // 10, SIZE, last, last, 1, "")

    world.bus.journal.usage = usage  # type: ignore[method-assign]


@pytest.mark.parametrize("quota", QUOTAS, ids=lambda one: one.variable)
async def test_refusal_names_limit_use_and_owner_and_others_go_on(world: World, quota: Quota) -> None:
    measured = metrics()
    other = structs.replace(world.targets[0], id="web-2", connection={"host": "web-2"})
    world.targets.append(other)
    world.policy.know([other])
    one = await world.executor(measured, **used_up(world, quota))
    one.admission._bus = WatchedBus(world.bus, time.time)
    await one.admission.measure_fill()

    async def write(principal: str, target: str) -> Failure | None:
        return (await world.ask("file_write", principal, target=target, **WRITE)).error

    assert await write("alice", "web-1") is None
    assert await one.follower.reached(len(world.broker.disk.records))
    refused = await write("alice" if quota.owner == "principal" else "bob", "web-1")
    assert refused is not None
    assert (refused.code, refused.retry) == (quota.code, True)
    named = "principal alice" if quota.owner == "principal" else f"pool {POOL}"
    assert refused.message.startswith(f"{named} has ")
    limit = one.admission.quotas.limit(quota)
    assert f"at most {limit:.0f} are allowed ({quota.variable})" in refused.message
    assert await write("bob", "web-2" if quota.owner == "pool" else "web-1") is None
    series = f'{{amount="{quota.amount}",owner="{quota.owner}"}}'
    shown = measured.exposition()[0].decode()
    assert f"writ_quota_refusals_total{series} 1.0" in shown
    assert f"writ_quota_used_ratio{series} " in shown
    assert await world.events("writ.journal.op.bob.*.refused") == []


async def test_requests_under_way_count_so_that_a_burst_does_not_pass_a_limit(world: World) -> None:
    await world.executor(most_open_pool=5)
    answers = await asyncio.gather(*(world.ask("service_status", f"p-{n}", **STATUS) for n in range(40)))
    codes = [one.error.code if one.error else "" for one in answers]
    assert (codes.count(""), codes.count("too_many_open")) == (5, 35)


async def test_stops_and_cancels_pass_used_up_quotas(world: World) -> None:
    one = await world.executor(most_open=1, most_open_pool=1)
    operation_id = (await world.ask("service_restart", **STATUS)).operation_id or ""
    assert (refused := (await world.ask("service_restart", **STATUS)).error)
    assert refused.code == "too_many_open"
    stop = await world.ask("stop_set", target="writ", parameters={"reason": "it burns"})
    assert stop.error is None
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": operation_id})
    assert cancel.error is None

    async def ended() -> bool:
        return one.index.count() == 0

    await eventually(ended, what="the ends")
    assert (await world.ask("service_restart", **STATUS)).error is None


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 9), st.booleans()), max_size=40)
)
def test_usage_of_an_owner_is_the_sum_of_its_open_operations(steps: list[tuple[str, str, int, bool]]) -> None:
    usage, known = OwnerUsage(), dict[tuple[str, str], int]()
    for owner, one, hidden, opens in steps:
        if opens:
            usage.opened(owner, one, hidden)
            known.setdefault((owner, one), hidden)
        else:
            usage.ended(owner, one)
            known.pop((owner, one), None)
    for owner in "ab":
        mine = [size for (whose, _), size in known.items() if whose == owner]
        assert (usage.of(owner, "open_operations"), usage.of(owner, "hidden_bytes")) == (len(mine), sum(mine))
    assert set(usage._hidden) == set(usage._open) == {owner for owner, _ in known}

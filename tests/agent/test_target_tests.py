"""A target test needs a read grant of policy for that purpose, and reports every finding."""

import asyncio
import secrets
import time
from typing import Any

import pytest
from tests.agent.conftest import POOL, TARGET, World

from writ_agent.backends.port import TargetTestResult
from writ_agent.backends.target_health import KEPT, MOST_NAMED, MOST_TARGETS, TargetHealth
from writ_agent.reporting.metrics import ENDPOINTS, show_target_health
from writ_agent.service import targets_check
from writ_contracts.agents import ReadReply, ReadRequest
from writ_contracts.errors import Unreachable
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.target_tests import TargetReport, TargetTestStep
from writ_runtime.health import Attention
from writ_runtime.metrics import Metrics
from writ_trust.keys import Key, generate_seed

KEY = "ab" * 32


async def ask_visit(world: World, **changed: Any) -> ReadReply:
    operation_id = encode_id(secrets.token_bytes(16))
    target, actions = changed.pop("target", TARGET), changed.pop("actions", ["visit"])
    within = changed.pop("within", 10.0)
    look = world.executor.read_grant(
        operation_id, "backend_test", target, actions, {}, KEY, **{"pool": POOL, **changed}
    )
    ask = ReadRequest(look=look, action="visit", parameters={}, look_key=KEY, timeout=within)
    return await world.executor.request_read(ask, POOL)


async def found(world: World, **changed: Any) -> TargetReport:
    looked = await ask_visit(world, **changed)
    assert looked.error is None
    assert looked.visit is not None
    return looked.visit


async def test_target_test_reports_findings_with_their_agent(world: World) -> None:
    agent = await world.agent()
    visit = await found(world)
    assert agent is not None
    assert (visit.target, visit.pool, visit.code) == ("host-1", POOL, "")
    assert visit.well
    assert visit.operations == sorted(world.backend.operations)
    assert visit.versions == {"fake": "1"}
    assert [step.name for step in visit.steps] == ["agent"]
    assert visit.steps[0].detail == visit.instance
    assert world.backend.looks == ["visit"]
    assert world.backend.effects == []


async def test_target_test_that_fails_or_times_out_shows_in_health_and_metrics(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(target: Target) -> TargetTestResult:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def break_down(target: Target) -> TargetTestResult:
        raise RuntimeError

    await world.agent()
    world.backend.target_health.record(TARGET.id, "")
    for way, code, within in ((hang, "timeout", 0.5), (break_down, "internal", 20.0)):
        monkeypatch.setattr(world.backend, "test_target", way)
        assert (await found(world, within=within)).code == code
        assert [(name, one.reason) for name, one in world.backend.target_health] == [(TARGET.id, code)]


async def test_only_what_the_target_offers_is_reported(world: World) -> None:
    await world.agent()
    world.backend.found = TargetTestResult(
        operations=["test_noop", "test_count"], lacking={"test_sleep": "no bed", "x": "no y"}
    )
    narrow = Target(id="host-1", role="testing", backend="fake", agent=POOL, capabilities=["test_noop", "test_sl*"])
    visit = await found(world, target=narrow)
    assert (visit.operations, visit.lacking) == (["test_noop"], {"test_sleep": "no bed"})


async def test_target_test_of_an_ill_target_is_a_finding_and_no_error(world: World) -> None:
    await world.agent()
    ill = TargetTestStep(name="connection", well=False, detail="nobody answers")
    world.backend.found = TargetTestResult(steps=[ill], code="unreachable", message="nobody answers")
    visit = await found(world)
    assert (visit.code, visit.message, visit.steps[1]) == ("unreachable", "nobody answers", ill)
    assert not visit.well


@pytest.mark.parametrize(
    ("error", "code"), [(Unreachable("gone", code="gone_away"), "gone_away"), (ValueError("x"), "internal")]
)
async def test_a_backend_that_breaks_is_found_broken(
    error: Exception, code: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Target) -> TargetTestResult:
        raise error

    monkeypatch.setattr(world.backend, "test_target", broken)
    await world.agent()
    assert (await found(world)).code == code


REFUSED: dict[str, dict[str, Any]] = {
    "signed by another key": {"signer": Key(generate_seed())},
    "for another pool": {"pool": "pool-2"},
    "for a target of another pool": {"target": Target(id="host-1", role="testing", backend="fake", agent="pool-2")},
    "for other parameters": {"parameters_digest": "0" * 64},
    "for all that a look can be but this": {"actions": ["baseline", "probe", "preview", "listing"]},
}


@pytest.mark.parametrize("changed", REFUSED.values(), ids=REFUSED.keys())
async def test_read_grant_that_is_invalid_is_refused(changed: dict[str, Any], world: World) -> None:
    await world.agent()
    looked = await ask_visit(world, **dict(changed))
    assert looked.error is not None
    assert looked.error.code == "grant_refused"
    assert looked.visit is None
    assert world.backend.looks == []
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_look"])


async def test_an_expired_read_grant_is_refused_and_no_attack(world: World) -> None:
    await world.agent()
    looked = await ask_visit(world, expires_at=time.time() - 1)
    assert looked.error is not None
    assert looked.error.code == "look_expired"
    assert (world.backend.looks, world.executor.reports) == ([], [])


async def test_a_read_grant_for_a_test_permits_no_other_read(world: World) -> None:
    await world.agent()
    look = world.executor.read_grant(encode_id(b"l" * 16), "backend_test", TARGET, ["visit"], {}, KEY, pool=POOL)
    for action in ("baseline", "preview", "probe", "listing"):
        ask = ReadRequest(look=look, action=action, parameters={}, look_key=KEY)
        looked = await world.executor.request_read(ask, POOL)
        assert looked.error is not None
        assert looked.error.code == "grant_refused"
    assert world.backend.looks == []


async def test_agent_refuses_to_test_a_target_of_another_backend(world: World) -> None:
    await world.agent()
    looked = await ask_visit(world, target=Target(id="host-1", role="testing", backend="ssh", agent=POOL))
    assert looked.error is not None
    assert looked.error.code == "unsupported"
    assert world.backend.looks == []


async def test_a_changed_host_key_is_a_security_event_here_as_well(world: World) -> None:
    await world.agent()
    world.backend.found = TargetTestResult(code="host_key_changed", message="another key")
    assert (await found(world)).code == "host_key_changed"
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["host_key_changed"])


async def test_health_names_the_targets_that_were_not_reached_and_stays_ready() -> None:
    target_health = TargetHealth()
    check = targets_check(target_health)
    assert await check() is None
    target_health.record("a", "")
    target_health.record("b", "auth_failed")
    attention = await check()
    assert isinstance(attention, Attention)
    assert attention.endswith(": b (auth_failed)")
    target_health.record("b", "")
    assert await check() is None


def test_target_test_of_yesterday_says_nothing_of_a_target() -> None:
    now = 1_000_000.0
    target_health = TargetHealth(lambda: now)
    target_health.record("gone", "unreachable")
    now += KEPT - 1
    target_health.record("there", "")
    assert (target_health.problem() or "").endswith(": gone (unreachable)")
    now += 1
    assert target_health.problem() is None
    assert [name for name, _ in target_health] == ["there"]


def test_target_health_is_bounded_and_keeps_failures_longest() -> None:
    target_health = TargetHealth()
    target_health.record("first", "unreachable")
    for number in range(MOST_TARGETS + 10):
        target_health.record(f"t{number}", "")
    names = [name for name, _ in target_health]
    assert len(names) == MOST_TARGETS
    assert "first" in names
    for number in range(MOST_TARGETS + 10):
        target_health.record(f"u{number}", "unreachable")
    assert len(list(target_health)) == MOST_TARGETS
    assert (target_health.problem() or "").endswith(f" and {MOST_TARGETS - MOST_NAMED} more")


def test_an_agent_that_went_to_ten_thousand_targets_shows_no_more_of_them_than_it_keeps() -> None:
    """Each target has one series, with its present reason, whether it was reached or not."""
    target_health, metrics = TargetHealth(), Metrics(ENDPOINTS)
    show_target_health(metrics, target_health)
    for _ in range(2):
        for number in range(10_000):
            target_health.record(f"host-{number}", "unreachable" if number % 3 else "")
            if number % 2_500 == 0:
                metrics.exposition()
    lines = metrics.exposition()[0].decode().splitlines()
    shown = [line for line in lines if line.startswith("writ_agent_target_reachable{")]
    assert len(shown) == MOST_TARGETS
    assert len({line.partition('target="')[2].partition('"')[0] for line in shown}) == MOST_TARGETS


async def test_operations_of_another_build_of_a_plugin_are_lacking_with_the_reason(world: World) -> None:
    await world.agent()
    visit = await found(world, plugins={"writ-example-plugin": ["0" * 64]})
    assert visit.operations == []
    assert visit.lacking.keys() == set(world.backend.operations)
    assert "policy accepts 000000000000" in visit.lacking["test_noop"]

"""The journal at each SYSTEMMANAGER_AUDIT_LEVEL: all events, with more or less of their content."""

from typing import Any

import pytest
from msgspec import to_builtins
from tests.executor.agent_requests import serve_agent
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_executor.journal.audit_level import LEVELS, AuditLevel
from writ_trust.sealing import SealKey

PARAMETERS = {"service_name": "nginx"}
ALL = {"service_name": "nginx", "timeout": 60}
STATUS = {"service_name": "nginx", "timeout": 10}
SHOWN = {"output": {"active_state": "active"}, "state": {"active_state": "active"}}
NOTHING: dict[str, Any] = {"output": {}, "state": {}}

GOLDEN: dict[AuditLevel, dict[str, Any]] = {
    "minimal": {
        "restart": {
            "requested": {"parameters": {}, "effective": ALL, "hidden": ["service_name"]},
            "dispatched": {"parameters": ALL},  # the agent looks at the service before it starts
            "granted": {"parameters": {"timeout": 60}},
            "finished": NOTHING,
        },
        "status": {
            "requested": {"parameters": {}, "effective": {}, "hidden": ["service_name"]},
            "dispatched": {"parameters": {}},
            "granted": {"parameters": {"timeout": 10}},
            "finished": NOTHING,
        },
        "refused": {"parameters": {}, "hidden": ["service_name"]},
        "traced": 0,
    },
    "standard": {
        "restart": {
            "requested": {"parameters": PARAMETERS, "effective": ALL, "hidden": []},
            "dispatched": {"parameters": ALL},
            "granted": {"parameters": ALL},
            "finished": SHOWN,
        },
        "status": {
            "requested": {"parameters": PARAMETERS, "effective": STATUS, "hidden": []},
            "dispatched": {"parameters": STATUS},
            "granted": {"parameters": STATUS},
            "finished": SHOWN,
        },
        "refused": {"parameters": PARAMETERS, "hidden": []},
        "traced": 40,
    },
}
GOLDEN["full"] = {**GOLDEN["standard"], "traced": 150}


async def kept(world: World, operation: str) -> dict[str, Any]:
    """Return the parameters and outputs in the events of one such operation."""
    answer = await world.ask(operation, parameters=PARAMETERS)
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    assert held.parameters["service_name"] == "nginx"
    shown = SHOWN if held.answer.outputs else NOTHING  # as an agent does
    await world.hands.finish(work, held, {"active_state": "active"}, **shown)
    events = await world.events(subjects.any_operation_filter(answer.operation_id or ""))
    kinds = [str(event.__struct_config__.tag) for event in events]
    assert kinds == ["requested", "dispatched", "granted", "finished"]
    fields = ("parameters", "effective", "hidden", "output", "state")
    return {
        kind: {name: to_builtins(getattr(event, name)) for name in fields if hasattr(event, name)}
        for kind, event in zip(kinds, events, strict=True)
    }


@pytest.mark.parametrize("level", GOLDEN)
async def test_audit_level_decides_what_is_recorded(world: World, level: AuditLevel) -> None:
    await world.executor(audit_level=level, dispatch_at_once=False)
    found: dict[str, Any] = {
        "restart": await kept(world, "service_restart"),
        "status": await kept(world, "service_status"),
    }
    world.policy.effects["service_stop"] = "deny"
    refused = await world.ask("service_stop", parameters=PARAMETERS)
    (event,) = await world.events(subjects.any_operation_filter(refused.operation_id or ""))
    found["refused"] = {name: getattr(event, name) for name in ("parameters", "hidden")}
    found["traced"] = world.policy.decides[0].traced
    assert {ask.traced for ask in world.policy.decides} == {found["traced"]}
    assert {ask.traced for ask in world.policy.grants} == {found["traced"]}
    assert found == GOLDEN[level]


def test_every_level_has_its_golden_part() -> None:
    assert set(GOLDEN) == set(LEVELS)


async def test_content_that_the_journal_omits_reaches_requester_and_agent(world: World) -> None:
    one = await world.executor(audit_level="minimal")
    answer = await world.ask("service_status", parameters=PARAMETERS)
    work = await world.work(answer.operation_id or "")
    seal = SealKey()
    claim = world.hands.claim_for(work, seal)
    first = await world.hands.send_claim(claim, "alice", seal)
    again = await world.hands.send_claim(claim, "alice", seal)
    assert first.parameters == again.parameters == STATUS
    await world.hands.finish(work, again, {"active_state": "active"}, **NOTHING)
    assert await one.queries._vault.result("alice", answer.operation_id or "") == {"active_state": "active"}


async def test_control_operations_are_kept_whole_at_every_level(world: World) -> None:
    await world.executor(audit_level="minimal")
    wish = {"target": "writ", "parameters": {"scope": ["web-*"], "reason": "tests"}}
    answer = await world.ask("stop_set", **wish)
    assert await world.outcome(answer.operation_id or "") == "succeeded"
    life = await world.accepted(answer.operation_id)
    assert life.requested.effective["scope"] == ["web-*"]
    assert life.end is not None
    assert to_builtins(life.end)["output"]["id"] == answer.operation_id


async def test_a_preview_goes_to_the_requester_alone_where_outputs_are_not_kept(world: World) -> None:
    one = await world.executor(audit_level="minimal")
    await serve_agent(world)
    answer = await world.ask("service_restart", parameters=PARAMETERS, dry_run=True)
    assert await world.outcome(answer.operation_id or "") == "previewed"
    life = await world.life(answer.operation_id or "")
    assert to_builtins(life.end)["output"] == {}
    assert await one.queries._vault.result("alice", answer.operation_id or "") == {"action": "preview"}


@pytest.mark.parametrize("level", LEVELS)
async def test_a_preview_that_is_too_large_for_the_journal_reaches_its_requester(
    world: World, level: AuditLevel
) -> None:
    one = await world.executor(audit_level=level)
    packages = {"packages": [f"package-{number}" for number in range(3_000)]}
    await serve_agent(world, observed=packages)
    answer = await world.ask("service_restart", parameters=PARAMETERS, dry_run=True)
    assert await world.outcome(answer.operation_id or "") == "previewed"
    life = await world.life(answer.operation_id or "")
    assert "packages" not in to_builtins(life.end)["output"]
    assert await one.queries._vault.result("alice", answer.operation_id or "") == packages

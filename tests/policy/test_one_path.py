"""Simulation, decision and `writ policy eval` agree on the same request."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.policy.replica import Asking, files, replica
from tests.rules import generate
from tests.rules.asking import CATALOGUE, NOON
from tests.rules.small_world import PARAMETERS, REQUIRED

from writ_contracts.decisions import Decision
from writ_policy.decisions import rulings
from writ_rules.json_lines import reply_line
from writ_rules.setting import Setting, read_policy, read_setting
from writ_testing.call_path import recorded_path
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

QUESTIONS = [
    ("service_restart", "web-a"),
    ("service_status", "web-b"),
    ("file_write", "web-a"),
    ("file_delete", "web-b"),
]
WORLDLY = ("target_roles", "targets", "target_tags", "users", "user_roles", "scans", "effective_from", "expires_at")


def policy(r: Random) -> list[dict[str, Any]]:
    """Return rules for this installation: its one role, its people, no facts."""
    names = [f"r{number}" for number in range(4)]
    rules = [generate.rule(r, name, section="global") for name in names]
    return [{key: value for key, value in rule.items() if key not in WORLDLY} for rule in rules]


def without_facts(rule: dict[str, Any]) -> dict[str, Any]:
    constraints = {
        name: {key: value for key, value in (constraint or {}).items() if key not in ("allowlist_source", "max_age")}
        for name, constraint in rule.get("parameter_constraints", {}).items()
    }
    return {**rule, "parameter_constraints": constraints}


def decision_fields(decision: Decision) -> tuple[Any, ...]:
    return decision.effect, decision.code, decision.rules, decision.reason, decision.trace, decision.timeout


def setting_of(asking: Asking) -> Setting:
    folder = asking.files
    source = read_policy(folder.path("policy"), CATALOGUE, "permissive")
    return read_setting(source.policy, CATALOGUE, folder.path("inventory"), folder.path("principals"))


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    """A client of a service that accepts policies as they come."""
    broker = Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), files(tmp_path), mode="permissive") as one:
        yield one


async def test_simulation_decision_and_eval_agree(asking: Asking) -> None:
    effects = set()
    for seed in range(40):
        r = Random(seed)
        asking.files.policy(*map(without_facts, policy(r)), deny_by_default=r.random() < 0.7, list_by_rules=[])
        here = setting_of(asking)
        for operation, target in QUESTIONS:
            known = PARAMETERS[operation]
            parameters = {
                name: r.choice(values) for name, values in known.items() if name in REQUIRED or r.random() < 0.4
            }
            principal = r.choice(("alice", "bob", "copilot"))
            subject = asking.subject(operation, target, principal=principal, parameters=parameters)
            real = await asking.decision(asking.signed(subject))
            simulated = await asking.decision(
                asking.subject(operation, target, principal=principal, parameters=parameters, simulate=True)
            )
            assert decision_fields(simulated) == decision_fields(real)
            question = {"principal": principal, "operation": operation, "target": target, "parameters": parameters}
            evaluated = json.loads(reply_line(here, json.dumps({**question, "at": NOON}).encode(), now=0))
            assert evaluated["decision"] == real.effect
            assert (evaluated["rules"], evaluated["reason"]) == (real.rules, real.reason)
            effects.add(real.effect)
    assert effects == {"allow", "deny", "require_approval"}


async def test_decide_endpoint_has_a_short_path_to_its_core(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded_path(monkeypatch, rulings, "decide")
    await asking.decision(asking.signed(asking.subject("service_restart", "web-a")))
    assert path.is_short, path

"""Cedar, by cedarpy: roles and operation in each policy's scope, the limit in its condition; all parsed once."""

import json
from collections.abc import Sequence
from typing import Any

from bench.peers.engine import Loaded, module
from bench.peers.model import CALLERS, TARGETS, Question, Rule


class Cedar:
    """`permit` and `forbid`; a `forbid` wins by Cedar's own semantics."""

    name = "Cedar (cedarpy)"
    answer = "answers with the ids of the policies that decided; each call crosses to Rust and back as JSON"

    def load(self, rules: Sequence[Rule]) -> Loaded:
        """Return PolicySet and Entities as handles, so that no call parses them."""
        cedarpy = module("cedarpy")
        policies = cedarpy.PolicySet.from_str("\n".join(map(_policy, rules)))
        entities = cedarpy.Entities.from_json_str(json.dumps(_entities()))
        return Loaded(_request, lambda request: bool(cedarpy.is_authorized(request, policies, entities).allowed))


def _policy(rule: Rule) -> str:
    effect = "permit" if rule.allowed else "forbid"
    return (
        f'@id("{rule.name}") {effect}(principal in CallerRole::"{rule.caller}", action == Action::"{rule.operation}", '
        f'resource in TargetRole::"{rule.target}") when {{ context.timeout <= {rule.limit} }};'
    )


def _entities() -> list[dict[str, Any]]:
    callers = [_entity("Caller", role, "CallerRole") for role in CALLERS]
    return callers + [_entity("Target", role, "TargetRole") for role in TARGETS]


def _entity(kind: str, role: str, parent: str) -> dict[str, Any]:
    return {"uid": {"type": kind, "id": f"a-{role}"}, "attrs": {}, "parents": [{"type": parent, "id": role}]}


def _request(question: Question) -> dict[str, Any]:
    return {
        "principal": {"type": "Caller", "id": f"a-{question.caller}"},
        "action": {"type": "Action", "id": question.operation},
        "resource": {"type": "Target", "id": f"a-{question.target}"},
        "context": {"timeout": question.timeout},
    }

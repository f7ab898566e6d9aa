"""The effect of an operation on a Compose stack, judged by its baselines before and after; pure.

A baseline has `containers` and `parts` (networks and volumes); that of a deploy also `expected`: the number of
containers of each service. The file is gone by the time of a probe, so a container that was there before may be one
that the operation was yet to replace.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from writ_containers.compose.canonical_stack import replicas
from writ_containers.compose.types import Stack
from writ_containers.containers.container_judgement import Judgement
from writ_containers.containers.container_view import STACK_OPERATION_LABEL, stack_mark
from writ_containers.containers.container_view import baseline as container_baseline
from writ_containers.stacks.stack_view import judged, services_of

Raw = Mapping[str, Any]
MOST_BYTES = 1200
"""Of each of its three parts: a baseline has 4096 bytes at most. Beyond that a list has a digest of all its items."""


def snapshot(containers: Sequence[Raw], parts: Sequence[str]) -> dict[str, Any]:
    """Return the state by which a later one shows a change; public and small."""
    baselines = map(container_baseline, containers)
    shown = sorted([one["container_id"][:12], one["started"], one["state"]] for one in baselines)
    return {"containers": _bounded(shown), "parts": _bounded(sorted(parts))}


def expected(stack: Stack) -> dict[str, int]:
    """Return the number of containers of each service."""
    return {name: replicas(service) for name, service in stack.services.items()}


def expected_in_baseline(stack: Stack) -> dict[str, int]:
    """Return `expected`; empty where it is too long for a baseline, so the operation stays `unknown` after a crash."""
    counts = expected(stack)
    return counts if len(json.dumps(counts)) <= MOST_BYTES else {}


def is_unchanged(before: Raw, after: Raw) -> bool:
    """Return True where both baselines show the same containers, networks and volumes."""
    return all(before.get(key) == after[key] for key in ("containers", "parts"))


def is_complete(operation_id: str, counts: Mapping[str, int], containers: Sequence[Raw]) -> bool:
    """Return True where every service is up and every container is of this operation."""
    services = services_of(containers)
    if not counts or services.keys() != {name for name, count in counts.items() if count}:
        return False
    of_others = [one for one in containers if not is_made_by(operation_id, one)]
    return not of_others and not judged(counts, services).message


def judge_apply(operation_id: str, before: Raw, containers: Sequence[Raw], parts: Sequence[str]) -> Judgement:
    """Return the verdict on stack_deploy and stack_update."""
    ours = sum(is_made_by(operation_id, one) for one in containers)
    reason = f"{ours} of {len(containers)} containers of the stack are of this operation"
    if is_complete(operation_id, before.get("expected") or {}, containers):
        return Judgement("took_effect", f"every service is up; {reason}")
    if not ours and is_unchanged(before, snapshot(containers, parts)):
        return Judgement("no_effect", "nothing of the stack has changed")
    return Judgement("unknown", reason)


def judge_remove(before: Raw, containers: Sequence[Raw], parts: Sequence[str]) -> Judgement:
    """Return the verdict on stack_remove. `parts`: those that it was to remove."""
    if not containers and not parts:
        return Judgement("took_effect", "nothing of the stack is left")
    left = ", ".join((*(str(one.get("Name", "")).removeprefix("/") for one in containers), *parts))
    if is_unchanged(before, snapshot(containers, parts)):
        return Judgement("no_effect", "nothing of the stack has changed")
    return Judgement("unknown", f"of the stack is left: {left[:400]}")


def is_made_by(operation_id: str, raw: Raw) -> bool:
    """Return True for a container that the operation has created."""
    return (raw["Config"].get("Labels") or {}).get(STACK_OPERATION_LABEL) == stack_mark(operation_id)


def _bounded(items: list[Any]) -> list[Any]:
    """Return the items; from the first without room on, the digest of all."""
    kept = list[Any]()
    for one in items:
        if len(json.dumps([*kept, one])) > MOST_BYTES:
            return [*kept, hashlib.sha256(json.dumps(items).encode()).hexdigest()]
        kept.append(one)
    return kept

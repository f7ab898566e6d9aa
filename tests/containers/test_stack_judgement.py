"""The engine's state after an operation on a stack shows its effect: all, nothing, or not known."""

import json
from typing import Any

import pytest

from writ_containers.compose.parse import parse
from writ_containers.containers.container_view import PROJECT_LABEL, STACK_OPERATION_LABEL, stack_mark
from writ_containers.stacks.stack_judgement import expected, judge_apply, judge_remove, snapshot
from writ_containers.stacks.stack_view import SERVICE
from writ_testing.each_case import each_case

OPERATION, FORMER = "01j" + "a" * 23, "01j" + "b" * 23
STACK = parse("services: {web: {image: a, scale: 2}, db: {image: a}, off: {image: a, scale: 0}}", {}, "shop")
PARTS = ["network shop_default"]


def container(service: str, operation_id: str = OPERATION, state: str = "running", number: int = 1) -> dict[str, Any]:
    labels = {PROJECT_LABEL: "shop", SERVICE: service, STACK_OPERATION_LABEL: stack_mark(operation_id)}
    return {
        "Id": f"{service}{number}{operation_id}",
        "Name": f"/shop-{service}-{number}",
        "State": {"Status": state, "Running": state == "running", "StartedAt": "2026-01-01T00:00:01Z", "ExitCode": 0},
        "Config": {"Labels": labels, "Image": "a"},
        "HostConfig": {},
    }


WEB, WEB2, DB = container("web"), container("web", number=2), container("db")
FORMER_DB, FORMER_WEB = container("db", FORMER), container("web", FORMER)
NOTHING: dict[str, Any] = {**snapshot([], []), "expected": expected(STACK)}
RAN = {**snapshot([FORMER_WEB, FORMER_DB], PARTS), "expected": expected(STACK)}
APPLIED = {
    "all of it is there": (NOTHING, [WEB, WEB2, DB], PARTS, "took_effect"),
    "one service is not there yet": (NOTHING, [WEB, WEB2], PARTS, "unknown"),
    "a service has too few containers": (NOTHING, [WEB, DB], PARTS, "unknown"),
    "one is created and not started": (
        NOTHING,
        [WEB, container("web", state="created", number=2), DB],
        PARTS,
        "unknown",
    ),
    "one service is the former one": (RAN, [WEB, WEB2, FORMER_DB], PARTS, "unknown"),
    "an orphan is left": (RAN, [WEB, WEB2, DB, container("old", FORMER)], PARTS, "unknown"),
    "only a network is there": (NOTHING, [], PARTS, "unknown"),
    "nothing is there": (NOTHING, [], [], "no_effect"),
    "the former stack runs on": (RAN, [FORMER_WEB, FORMER_DB], PARTS, "no_effect"),
    "a former container is stopped": (RAN, [container("web", FORMER, "exited"), FORMER_DB], PARTS, "unknown"),
    "the baseline could not be read": ({}, [WEB, WEB2, DB], PARTS, "unknown"),
    "nothing is there, and no baseline": ({}, [], [], "unknown"),
}
REMOVED = {
    "nothing is left": ([], [], "took_effect"),
    "a network is left": ([], PARTS, "unknown"),
    "all are stopped": ([container("web", FORMER, "exited"), container("db", FORMER, "exited")], PARTS, "unknown"),
    "one is gone": ([FORMER_DB], PARTS, "unknown"),
    "all run on": ([FORMER_WEB, FORMER_DB], PARTS, "no_effect"),
}


@each_case(("before", "after", "parts", "verdict"), APPLIED.values(), ids=APPLIED)
def test_effect_of_a_deploy_is_read_from_its_own_containers(
    before: dict[str, Any], after: list[dict[str, Any]], parts: list[str], verdict: str
) -> None:
    assert judge_apply(OPERATION, before, after, parts).verdict == verdict


@pytest.mark.parametrize(("after", "parts", "verdict"), REMOVED.values(), ids=REMOVED)
def test_effect_of_a_removal_is_read_from_the_remaining_containers(
    after: list[dict[str, Any]], parts: list[str], verdict: str
) -> None:
    assert judge_remove(RAN, after, parts).verdict == verdict


def test_baseline_of_a_large_stack_shows_a_change_beyond_its_bound() -> None:
    many = [container("web", number=number) for number in range(130)]
    changed = [*many[:-1], {**many[-1], "State": {**many[-1]["State"], "Status": "exited"}}]
    assert len(json.dumps(snapshot(many, [f"volume {'x' * 200}{number}" for number in range(100)]))) < 2700
    assert snapshot(many, []) != snapshot(changed, [])

"""The effect of an operation on a container, judged by its baselines before and after; pure.

`before` is a baseline (`container_view.baseline`), `after` the same later, or None without a container of the name.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Verdict = Literal["took_effect", "no_effect", "unknown"]
ContainerFacts = Mapping[str, Any]
RUNS = frozenset({"running", "paused", "restarting"})


class Judgement(NamedTuple):
    """The verdict, and the reason in a few words."""

    verdict: Verdict
    reason: str


def judge(verb: str, before: ContainerFacts, after: ContainerFacts | None) -> Judgement:
    """Return the verdict on `container_<verb>`. Another container of the same name says nothing about ours."""
    if verb == "delete":
        return _deleted(before, after)
    if after is None:
        return Judgement("unknown", "the container is gone")
    if after["container_id"] != before.get("container_id"):
        return Judgement("unknown", "another container has the name now")
    return {"start": _started, "stop": _stopped, "restart": _restarted}[verb](before, after)


def created(operation_id: str, label: str | None, *, is_reached: bool) -> Judgement:
    """Return the verdict on container_create by the operation's label on the container of that name. `is_reached`: it
    is as it was to be, started and well.
    """
    if label is None:
        return Judgement("no_effect", "no container has the name")
    if label != operation_id:
        return Judgement("no_effect", "the container of that name was not created by this operation")
    if not is_reached:
        return Judgement("unknown", "this operation created the container, which is not started or not healthy")
    return Judgement("took_effect", "the container bears the label of this operation")


def _deleted(before: ContainerFacts, after: ContainerFacts | None) -> Judgement:
    if after is None or after["container_id"] != before.get("container_id"):
        return Judgement("took_effect", "the container is gone")
    if after["state"] in ("removing", "dead"):
        return Judgement("unknown", f"its state is {after['state']}")
    return Judgement("no_effect", "the container is still there")


def _started(before: ContainerFacts, after: ContainerFacts) -> Judgement:
    if after["state"] in RUNS:
        return Judgement("took_effect", "it runs")
    if after["started"] != before.get("started"):
        return Judgement("took_effect", "it was started, and has ended since")
    return Judgement("no_effect", f"it is {after['state']}, and was not started since")


def _stopped(before: ContainerFacts, after: ContainerFacts) -> Judgement:
    if after["state"] not in RUNS:
        return Judgement("took_effect", f"it is {after['state']}")
    if after["started"] != before.get("started"):
        return Judgement("unknown", "it was started again since")
    return Judgement("no_effect", f"it is {after['state']}")


def _restarted(before: ContainerFacts, after: ContainerFacts) -> Judgement:
    if after["started"] != before.get("started"):
        return Judgement("took_effect", "it was started since")
    if after["state"] != before.get("state"):
        return Judgement("unknown", f"it was {before.get('state')}, is {after['state']}, and was not started since")
    return Judgement("no_effect", "it was not started since")

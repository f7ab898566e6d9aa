"""The services of a stack in a swarm: what runs, and whether it is in the expected state; pure.

A service counts as up by tasks of its present specification alone: right after an update its former tasks still run,
and the state of the update is that of the one before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from writ_containers.stacks.stack_view import StackService

Raw = Mapping[str, Any]
FAILED = frozenset({"failed", "rejected", "orphaned"})
GIVEN_UP = frozenset({"paused", "rollback_started", "rollback_paused", "rollback_completed"})
MOST_FAILURES = 3
"""Tasks of a service that failed in a row before it is not waited for any more; a swarm starts others without end."""


def services_of(stack: str, services: Sequence[Raw], tasks: Sequence[Raw]) -> dict[str, StackService]:
    """Return the services by their names in the file."""
    found = {}
    for one in services:
        name = str(one["Spec"]["Name"]).removeprefix(f"{stack}_")
        found[name] = _service(one, [task for task in tasks if task.get("ServiceID") == one["ID"]])
    return dict(sorted(found.items()))


def has_failures(services: Sequence[Raw], tasks: Sequence[Raw]) -> bool:
    """Return whether a task of a present specification has failed: one that runs now may be the next to fail."""
    specs = {one["ID"]: one["Spec"]["TaskTemplate"]["ContainerSpec"] for one in services}
    failed = [task for task in tasks if task["Status"].get("State") in FAILED]
    return any(task["Spec"].get("ContainerSpec") == specs.get(task.get("ServiceID")) for task in failed)


def snapshot(services: Sequence[Raw]) -> dict[str, Any]:
    """Return the public and small facts that show a later change."""
    versions = sorted([str(one["ID"])[:12], str((one.get("Version") or {}).get("Index", ""))] for one in services)
    return {"containers": versions[:100]}


def desired(service: Raw) -> int:
    """Return the expected number of tasks."""
    replicated = (service["Spec"].get("Mode") or {}).get("Replicated") or {}
    return int(replicated.get("Replicas", 1))


def _service(service: Raw, tasks: Sequence[Raw]) -> StackService:
    expected, template = desired(service), service["Spec"]["TaskTemplate"]
    ours = [task for task in tasks if task["Spec"].get("ContainerSpec") == template["ContainerSpec"]]
    done = [task for task in ours if _is_up(task, template)]
    failures = [task for task in ours if task["Status"].get("State") in FAILED]
    update = str((service.get("UpdateStatus") or {}).get("State", ""))
    is_up = len(done) >= expected and update not in GIVEN_UP
    has_failed = not is_up and (update in GIVEN_UP or len(failures) >= max(MOST_FAILURES, expected))
    text = f"{len(done)}/{expected} running"
    if not is_up and failures:
        text += f", {_reason(failures[-1])}"
    if update in GIVEN_UP:
        text += f", its update is {update}"
    return StackService(
        containers=max(len(done), expected) if is_up else len(done),
        images=(_image(template),),
        text=text,
        up=is_up,
        ended=has_failed,
    )


def _is_up(task: Raw, template: Raw) -> bool:
    state = task["Status"].get("State")
    if state == "running":
        return task.get("DesiredState") == "running"
    return state == "complete" and (template.get("RestartPolicy") or {}).get("Condition") in ("none", "on-failure")


def _image(template: Raw) -> str:
    """Return the image without the digest that the command line has added to a tag."""
    image = str(template["ContainerSpec"].get("Image", ""))
    name, _, digest = image.partition("@")
    return name if digest and ":" in name.rpartition("/")[2] else image


def _reason(task: Raw) -> str:
    """Return the swarm's word for a failed task; its text may hold a part of the command."""
    code = (task["Status"].get("ContainerStatus") or {}).get("ExitCode")
    return f"{task['Status']['State']}{f' with {code}' if code else ''}"

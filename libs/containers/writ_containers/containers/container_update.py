"""container_update: the same container from another image; the former one is restored if the new one is not healthy."""

from collections.abc import Mapping
from typing import Any

from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult
from writ_containers.checks.settings_check import check_settings
from writ_containers.containers import container_recreate, container_view
from writ_containers.containers.container_replace import names_for, replace_container
from writ_containers.containers.created_container import labelled
from writ_containers.engine.api import Engine
from writ_containers.engine.host_paths import host_paths
from writ_contracts.agents import PULLS
from writ_contracts.catalogue.containers import ContainerUpdate
from writ_contracts.errors import Conflict

Raw = Mapping[str, Any]


async def update(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    parameters: ContainerUpdate = task.arguments()
    raw = await _checked(engine, parameters, task)
    image = await engine.image(parameters.image)
    if image is None or parameters.pull:
        progress(f"{PULLS}{parameters.image}")
        end = await engine.pull(parameters.image, progress)
        image = await engine.image(parameters.image)
        end.check(image)
    if image is not None and image.get("Id") == raw.get("Image") and not parameters.recreate:
        message = "it has this image already"
        return TaskResult(outcome="succeeded", output=container_view.state(raw), message=message, effect="none")
    return await replace_container(engine, task, raw, await _body(engine, parameters, task, raw), progress, until)


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the API calls."""
    parameters: ContainerUpdate = task.arguments()
    raw = await _checked(engine, parameters, task)
    image = await engine.image(parameters.image)
    pulls = [f"POST /images/create?fromImage={parameters.image}"] if image is None or parameters.pull else []
    shown = {"container": container_view.baseline(raw), "image": parameters.image}
    if not pulls and image is not None and image.get("Id") == raw.get("Image") and not parameters.recreate:
        return {**shown, "calls": []}
    names, path = names_for(parameters.container_name, task.operation_id), f"/containers/{raw['Id']}"
    calls = [*pulls, f"POST /containers/create?name={names.new}"]
    calls += [f"POST {path}/stop"] if container_view.is_running(raw) else []
    calls += [f"POST {path}/rename?name={names.former}", f"POST /containers/{{id}}/rename?name={names.name}"]
    calls += ["POST /containers/{id}/start"] if container_view.is_running(raw) else []
    return {**shown, "calls": [*calls, f"DELETE {path}"]}


async def probe(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return whether it took effect: by the label of the operation and the former id."""
    name = str(task.parameters["container_name"])
    raw = await engine.find_or_none(name)
    observed = {} if raw is None else container_view.baseline(raw)
    former = await engine.find_or_none(names_for(name, task.operation_id).former)
    if raw is not None and container_view.operation_of(raw) == task.operation_id and _as_well(raw, before, former):
        kept = "" if former is None else f"; the former one is left as {names_for(name, task.operation_id).former}"
        reason = f"the container was made by this operation{kept}"
        return ProbeResult(verdict="took_effect", observed={**observed, "reason": reason})
    left = await labelled(engine, task.operation_id)
    same = observed.get("container_id") == before.get("container_id") and observed.get("state") == before.get("state")
    if not left and (same or not before):
        return ProbeResult(verdict="no_effect", observed={**observed, "reason": "it is the former container"})
    return ProbeResult(
        verdict="unknown", observed={**observed, "reason": _halfway(name, task.operation_id, bool(left), raw)}
    )


async def _checked(engine: Engine, parameters: ContainerUpdate, task: Task) -> Raw:
    """Return the container, if its settings are allowed by the current flags: the new image gets all of them."""
    raw = await engine.find(parameters.container_name)
    known = task.baseline.get("container_id")
    if known and known != raw.get("Id"):
        raise Conflict("since the decision, another container has taken the name", code="container_changed")
    container_recreate.check_recreatable(raw)
    judged = container_recreate.settings(raw, await engine.info(), parameters.image)
    check_settings([judged], parameters, await host_paths(engine, task.target))
    return raw


async def _body(engine: Engine, parameters: ContainerUpdate, task: Task, raw: Raw) -> Raw:
    former = await engine.image(str(raw.get("Image")))
    return container_recreate.recreated(raw, former, parameters.image, task.operation_id)


def _as_well(raw: Raw, before: Mapping[str, Any], former: Raw | None) -> bool:
    """Return true if it is well or not meant to run.

    Without a baseline, as in a restore, it is meant to run while the former container exists.
    """
    meant = before.get("state") == "running" if before else former is not None
    return container_view.is_well(raw) if meant else True


def _halfway(name: str, operation_id: str, created: bool, raw: Raw | None) -> str:
    names = names_for(name, operation_id)
    if raw is None:
        return f"no container has the name; the former one is {names.former}"
    return f"it was begun: look for {names.new} and {names.former}" if created else "its state changed since"

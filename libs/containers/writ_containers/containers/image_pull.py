"""image_pull: fetch an image, judged by the engine's image afterwards."""

import re
from collections.abc import Mapping
from typing import Any

from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult, Verdict
from writ_containers.engine.api import Engine
from writ_contracts.agents import PULLS
from writ_contracts.errors import WritError

Raw = Mapping[str, Any]
_DEFAULT = re.compile("^docker[.]io/(library/)?")


async def pull(engine: Engine, task: Task, progress: Progress) -> TaskResult:
    """Pull the image. Raises WritError without any effect: an engine keeps no image of a broken pull."""
    reference = str(task.parameters["image"])
    before = await baseline(engine, task)
    progress(f"{PULLS}{reference}")
    end = await engine.pull(reference, progress)
    try:
        image = await engine.image(reference)
    except WritError as error:
        message = f"the pull has ended, but the image could not be read: {error}"
        return TaskResult(outcome="unknown", code=error.code, message=message, effect="maybe")
    end.check(image)
    if image is None:
        raise WritError(f"after the pull of {reference} the engine has no such image", code="not_confirmed")
    output = {**state(reference, image), "changed": before.get("image_digest") != str(image.get("Id"))}
    return TaskResult(
        outcome="succeeded", output=output, state=_observed(image), effect="done" if output["changed"] else "none"
    )


async def baseline(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the engine's image of this name; nothing without one."""
    image = await engine.image(str(task.parameters["image"]))
    return {} if image is None else _observed(image)


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the API call, and the current image."""
    return {"calls": [f"POST /images/create?fromImage={task.parameters['image']}"], **await baseline(engine, task)}


async def probe(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return whether the engine has another image by this name than before."""
    after = await baseline(engine, task)
    verdict: Verdict = "no_effect" if after == dict(before) else "took_effect" if after else "unknown"
    reason = "the engine has the image that it had" if verdict == "no_effect" else "the engine has another image"
    return ProbeResult(verdict=verdict, observed={**after, "reason": reason})


def state(reference: str, image: Raw) -> dict[str, Any]:
    """Return the fields of ImageState."""
    return {
        "image": reference,
        "image_digest": str(image.get("Id", "")),
        "repo_digests": [str(one) for one in image.get("RepoDigests") or ()][:20],
        "size": image.get("Size"),
    }


def _observed(image: Raw) -> dict[str, Any]:
    return {"image_digest": str(image.get("Id", ""))}


def references(image: Raw) -> list[str]:
    """Return the names of an entry of GET /images/json as parameters have them: `:latest` is left out, and the default
    registry, which Podman names.
    """
    tags = [str(one).removesuffix(":latest") for one in image.get("RepoTags") or ()]
    names = [*tags, *map(str, image.get("RepoDigests") or ())]
    return [_DEFAULT.sub("", one) for one in names if not one.startswith("<none>")]

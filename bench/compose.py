"""Measure containers: the time from nothing to a first operation, the size of the images, and the memory of each
container.

In the lab, as root: `tests/lab/lab.sh with env PATH=… .venv/bin/python -m bench compose`. Base images and packages are
on the machine already, so building and starting is measured without the network.
"""

import asyncio
import time
from typing import Any

from tests.lab.compose.composed import Composed, cloned
from tests.lab.compose.readme import typed
from tests.lab.engine import PYTHON, Engine, engine

STEPS = ("`init`, with building its image", "`up`, with building the others, until all is ready", "the first operation")
AGAIN = "`up` again after `down`, images built, until all is ready"
IMAGES = ("policy", "executor", "audit", "agent-local", "agent-ssh", "client", "nats")
MEGABYTE = 1e6


async def run() -> dict[str, Any]:
    """Return the figures by table."""
    return await asyncio.to_thread(_measure)


def _measure() -> dict[str, Any]:
    with engine() as docker, cloned(docker, "writ-bench") as composed:
        try:
            seconds = {step: _timed(composed, line) for step, line in zip(STEPS, typed("In containers"), strict=True)}
            sizes, memory = _sizes(docker), _memory(composed)
            composed.compose("down")
            seconds[AGAIN] = _timed(composed, "docker compose up --detach --wait")
            return {"seconds": seconds, "images": sizes, "memory": memory}
        finally:
            composed.down()


def _timed(composed: Composed, line: str) -> float:
    began = time.perf_counter()
    composed.type(line, timeout=600.0)
    return time.perf_counter() - began


def _sizes(docker: Engine) -> dict[str, tuple[float, float]]:
    """Return each image's whole size, and its addition to the base image."""
    (base,) = docker.inspect(PYTHON)
    found = {name: docker.inspect(f"writ/{name}")[0]["Size"] for name in IMAGES}
    return {name: (size / MEGABYTE, (size - base["Size"]) / MEGABYTE) for name, size in found.items()}


def _memory(composed: Composed) -> dict[str, float]:
    """Return the resident megabytes of each container's process."""
    found = {}
    for one in composed.engine.inspect(*composed.containers()):
        status = composed.engine.docker("exec", one["Id"], "cat", "/proc/1/status")
        resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        found[one["Config"]["Labels"]["com.docker.compose.service"]] = int(resident) / 1024
    return found


def table(measured: dict[str, Any]) -> str:
    """Return the tables for docs/performance.md."""
    lines = ["| from nothing to a first operation | s |", "|---|--:|"]
    lines += [f"| {step} | {seconds:.1f} |" for step, seconds in measured["seconds"].items()]
    lines += ["", "| image | MB | beyond its base | resident MB, idle |", "|---|--:|--:|--:|"]
    resident = {**measured["memory"], "client": measured["memory"]["keeper"]}
    for name, (size, own) in measured["images"].items():
        lines.append(f"| writ/{name} | {size:.0f} | {own:.0f} | {resident[name]:.0f} |")
    return "\n".join(lines)

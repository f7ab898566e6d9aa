"""Every process of an installation reports its health, on loopback only."""

import asyncio
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from writ_installation.processes.readiness import read_run_file
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
KINDS = ("policy", "audit", "executor-1", "executor-2", "agent-")


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
        return bytes(answer.read())


async def test_every_service_runs_on_uvloop(installation: RunningInstallation) -> None:
    services = [one for one in installation.report.processes if one.name.startswith(KINDS)]
    assert len(services) >= len(KINDS)
    for one in services:
        log = installation.home.log / f"{one.name}.log"

        async def ready_line(log: Path = log) -> dict[str, Any] | None:
            whole = log.read_bytes().splitlines(keepends=True)
            lines = [json.decode(line) for line in whole if line.endswith(b"\n")]
            return next((line for line in lines if line["event"] == "service.ready"), None)

        assert (await eventually(ready_line, what=f"the start of {one.name}"))["event_loop"] == "uvloop"


async def test_every_process_serves_its_health(installation: RunningInstallation) -> None:
    services = [one for one in installation.report.processes if one.name != "nats"]
    assert all(any(one.name.startswith(kind) for one in services) for kind in KINDS)
    for one in services:
        found = read_run_file(installation.home.run / f"{one.name}.json", one.pid)
        assert found is not None, one.name
        assert await asyncio.to_thread(get, found.health_port, "healthz") == b'{"status":"ok"}'
        ready = json.decode(await asyncio.to_thread(get, found.health_port, "readyz"))
        assert ready["status"] == "ready", one.name
        metrics = (await asyncio.to_thread(get, found.health_port, "metrics")).decode()
        assert "writ_handled_total" in metrics, one.name
        assert "process_resident_memory_bytes" in metrics, one.name

"""The logs of all services have the correlation id of a request, so one search follows it through them."""

from pathlib import Path

import pytest
from msgspec import json

from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


def logged(installation: RunningInstallation, correlation_id: str) -> set[str]:
    """Return the services and events of the log lines with this correlation id."""
    lines = [line for file in installation.home.log.glob("*.log") for line in file.read_text().splitlines()]
    found = [json.decode(line) for line in lines if line.startswith("{") and correlation_id in line]
    return {f"{one['service']} {one['event']}" for one in found if one.get("correlation_id") == correlation_id}


async def test_log_lines_of_all_services_about_a_request_have_its_correlation_id(tmp_path: Path) -> None:
    home = prepare(tmp_path, targets=[local_target("web-1", tmp_path / "files")])
    async with running_installation(tmp_path, home=home) as installation, await installation.client() as writ:
        parameters = {"file_path": str(tmp_path / "files" / "x"), "content": "x"}
        view = await writ.run("file_write", "web-1", parameters)
        expected = {
            "policy decide.handled",
            "executor request.handled",
            "policy grant.handled",
            "agent-local operation.handled",
        }

        async def all_have_it() -> bool:
            return expected <= logged(installation, view.correlation_id)

        await eventually(all_have_it, what="a line of each service with the correlation id")

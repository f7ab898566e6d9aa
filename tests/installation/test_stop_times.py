"""The time that an agent's stop is given by its variables."""

from pathlib import Path

import pytest

from writ_installation.files.create import create_installation
from writ_installation.files.home import Home, host_token
from writ_installation.processes.report import STOP_SECONDS
from writ_installation.processes.services import ProcessTable, agents


@pytest.mark.parametrize("grace", ["inf", "1e400", "nan", "soon"])
def test_variable_that_an_agent_refuses_changes_no_time(tmp_path: Path, grace: str) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    environ = {"WRIT_STOP_GRACE": "1", "WRIT_KILL_GRACE": grace}
    (agent,) = agents(ProcessTable(), home, "nats://127.0.0.1", {f"local-{host_token()}": "local"}, environ)
    assert agent.stop_seconds == STOP_SECONDS

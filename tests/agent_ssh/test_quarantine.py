"""A host whose bytes were being read when the agent was killed is set aside; all others are served."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent_ssh.conftest import SshHost

from writ_agent.reporting.security_reports import ALARMS
from writ_agent_ssh.host_sessions.quarantine import FIRST_SECONDS, LONGEST_SECONDS, HostQuarantine
from writ_contracts.errors import Untrusted, WritError

KILLED = """
import os, signal, sys
from pathlib import Path
from writ_agent_ssh.host_sessions.quarantine import HostQuarantine
aside = HostQuarantine(Path(sys.argv[1]))
with aside.reading("web2"):
    pass
with aside.reading(sys.argv[2]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_while_reading(folder: Path, target: str) -> None:
    """Run an agent in its own process, and let the kernel kill it."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder), target], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL


def seconds_aside(folder: Path, target: str) -> float:
    """Return for how many seconds the next agent sets it aside."""
    now = 1_800_000_000.0
    clock = [now]
    aside = HostQuarantine(folder, lambda: clock[0])
    for seconds in (0.0, FIRST_SECONDS, 2 * FIRST_SECONDS, LONGEST_SECONDS):
        clock[0] = now + seconds + 1.0
        try:
            aside.check(target)
        except Untrusted:
            continue
        return seconds
    raise AssertionError("set aside for ever")


def test_the_host_that_was_read_is_set_aside_and_no_other(tmp_path: Path) -> None:
    kill_while_reading(tmp_path, "web1")
    aside = HostQuarantine(tmp_path)
    aside.check("web2")
    with pytest.raises(Untrusted) as refused:
        aside.check("web1")
    assert refused.value.code == "set_aside"
    assert ALARMS["set_aside"] == "host_set_aside"


def test_an_agent_that_ends_between_two_readings_blames_nobody(tmp_path: Path) -> None:
    with HostQuarantine(tmp_path).reading("web1"):
        pass
    HostQuarantine(tmp_path).check("web1")


def test_each_time_it_is_set_aside_for_longer_and_never_without_end(tmp_path: Path) -> None:
    found = []
    for _ in range(10):
        kill_while_reading(tmp_path, "web1")
        found.append(seconds_aside(tmp_path, "web1"))
    assert found[:2] == [FIRST_SECONDS, 2 * FIRST_SECONDS]
    assert found[-1] == LONGEST_SECONDS


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"web1": 1}'])
def test_a_torn_file_is_no_reason_not_to_start(tmp_path: Path, torn: str) -> None:
    (tmp_path / "set_aside.json").write_text(torn)
    HostQuarantine(tmp_path).check("web1")


async def test_no_connection_is_made_to_a_host_that_is_set_aside(host: SshHost, tmp_path: Path) -> None:
    kill_while_reading(tmp_path / "state", host.target.id)
    aside = host.pool._set_aside = HostQuarantine(tmp_path / "state")
    with pytest.raises(WritError) as refused:
        await host.run("network_status")
    assert refused.value.code == "set_aside"
    assert "Accepted" not in host.server.log.read_text()
    aside.close()

"""The SSH backend passes the suite of all backends, through a real sshd."""

import pytest
from tests.agent_ssh.conftest import SshHost

from writ_testing.suites.backend import BackendSuite


@pytest.mark.usefixtures("patient")
class TestSshBackend(BackendSuite):
    """The fixture `host` comes from conftest.py."""


async def test_a_service_is_looked_at_over_one_connection_that_is_kept(host: SshHost) -> None:
    for number in range(3):
        done = await host.run("network_status", "d" * 25 + "abc"[number])
        assert (done.outcome, done.effect) == ("succeeded", "none")
    assert host.server.log.read_text().count("Accepted publickey") == 1

"""The SSH backend and a host whose python3 is a real 3.9: the same suite, the same effects."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.agent_ssh.conftest import SshHost, ssh_host
from tests.hostops.old_python import VERSION, old_python

from writ_testing.suites.backend import BackendHost, BackendSuite


@pytest.mark.usefixtures("patient")
class TestSshBackendWithAnOldPython(BackendSuite):
    @pytest.fixture
    async def host(self, tmp_path: Path) -> AsyncIterator[SshHost]:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python3").symlink_to(old_python())
        # After what root's own profile says of PATH.
        forced = f'ForceCommand exec env PATH="{tmp_path}/bin:$PATH" sh -c "$SSH_ORIGINAL_COMMAND"'
        async with ssh_host(tmp_path / "host", forced) as host:
            session = await host.pool.session(host.target)
            assert str(session.hello["python"]).startswith(f"{VERSION}.")
            yield host

    @pytest.mark.exhaustive  # what tests/agent_local and tests/hostops show of the same code in the same Python
    async def test_each_operation_that_it_claims_shows_on_the_host(self, host: BackendHost) -> None:
        await super().test_each_operation_that_it_claims_shows_on_the_host(host)

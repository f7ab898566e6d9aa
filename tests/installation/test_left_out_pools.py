"""`writ up --no-agent POOL`: a pool that does not exist is refused, since nothing would be left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from writ_contracts.errors import Invalid
from writ_installation.backends import AGENT_KINDS
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home, host_token
from writ_installation.processes.served_targets import check_left_out


def test_up_without_an_unknown_pool_is_refused_and_leaves_no_folder(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WRIT_", "NATS_", "SYSTEMM"))}
    for detach in ([], ["--detach"]):
        done = subprocess.run(
            [sys.executable, "-m", "writ_cli", "up", "--nats-port", "0", "--no-agent", "local", *detach],
            cwd=tmp_path,
            env=kept,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        expected = f"writ: --no-agent: there is no pool 'local'; did you mean 'local-{host_token()}'?\n"
        assert (done.returncode, done.stderr) == (2, expected)
        assert not (tmp_path / ".writ").exists()


def test_pools_of_targets_agents_and_backends_can_be_left_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    check_left_out({f"local-{host_token()}", "ssh", "docker", "proxmox"}, home, AGENT_KINDS)
    with pytest.raises(Invalid, match="there is no pool 'dokcer'; did you mean 'docker'"):
        check_left_out({"ssh", "dokcer"}, home, AGENT_KINDS)
    with pytest.raises(Invalid, match="there is no pool 'elsewhere'; there are docker, local-"):
        check_left_out({"elsewhere"}, home, AGENT_KINDS)

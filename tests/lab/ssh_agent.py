"""The SSH agent on the control side, set up as an operator would."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.hosts import Host, until, user_key
from tests.lab.installation import Writ

POOL = "ssh"


class SshAgent:
    """A process of the pool `ssh`. Its keys are files named after its targets."""

    def __init__(self, writ: Writ, folder: Path, near: Host, far: Host, tailscale: Path) -> None:
        self.known_hosts = folder / "known_hosts"
        self.log = folder / "agent-ssh.log"
        self._writ = writ
        self._state = folder / "state"
        self._keys = folder / "keys"
        self._tailscale = tailscale
        self._process: subprocess.Popen[bytes] | None = None
        self._keys.mkdir(mode=0o700, parents=True)
        self._state.mkdir(mode=0o700)
        self.known_hosts.write_text("".join(f"{host.address} {host.host_key}\n" for host in (near, far)))

    def authorize(self, targets: list[dict[str, Any]]) -> None:
        """A key for each target of the pool, and for the hosts on its way."""
        for target in targets:
            if target["backend"] == POOL:
                way = ["", *([".jump"] if target["connection"].get("jump") else [])]
                for suffix in way:
                    shutil.copy(user_key(), self._keys / f"{target['id']}{suffix}")

    def put_secret(self, name: str, text: str) -> None:
        """Write a file beside the keys, as the agent alone may read it."""
        path = self._keys / name
        path.write_text(text)
        path.chmod(0o600)

    def drop_secret(self, name: str) -> None:
        (self._keys / name).unlink(missing_ok=True)

    def start(self) -> None:
        """Start it, and wait for its first heartbeat."""
        status, told, errors = self._writ.call("agent", "env", POOL, "--state-dir", str(self._state))
        assert status == 0, errors
        environment = dict(line.split("=", 1) for line in told.splitlines())
        environment |= {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "WRIT_SSH_KEYS": str(self._keys),
            "WRIT_SSH_KNOWN_HOSTS": str(self.known_hosts),
            "WRIT_TAILSCALE_SOCKET": str(self._tailscale),
            "WRIT_HEALTH_PORT": "0",
        }
        command = [sys.executable, "-P", "-m", "writ_agent_ssh"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: self._writ.agents(POOL) == 1, 30.0, f"the agent is heard of: {self.log.read_text()[-2000:]}")

    def end(self, how: signal.Signals) -> None:
        """End it and wait; only SIGTERM lets it end in order."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None


@contextmanager
def ssh_agent(agent: SshAgent) -> Iterator[SshAgent]:
    """Run the agent within the block."""
    try:
        agent.start()
        yield agent
    finally:
        agent.end(signal.SIGTERM)
        print(agent.log.read_text()[-20_000:])

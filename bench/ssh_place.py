"""The host that `bench.ssh` measures on: one of the lab's, with systemd, or else a real sshd on loopback, without.

In the lab: `tests/lab/lab.sh with env PATH=… .venv/bin/python -m bench ssh`, as root.
"""

import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
from msgspec import Struct
from tests.lab.hosts import hosts, user_key

from writ_agent_ssh.connection.algorithms import HOST_KEYS, KEX, MACS
from writ_testing.peers.sshd import USER, sshd

FOLDER = "/srv/writ-bench"
SERVICE = "nginx"


class Place(Struct, frozen=True, kw_only=True):
    """The host: its address, its features, the operation that is measured there, and the equivalent bare command."""

    name: str
    address: str
    port: int
    user: str
    key: Path
    host_key: str
    folder: str
    code: str
    """The folder of hostops after an agent's first connection."""
    operation: str
    parameters: dict[str, Any]
    bare: str

    @property
    def systemd(self) -> bool:
        """Return true if the host has systemd, so that the status of services can be read."""
        return self.operation == "service_status"

    def connection(self) -> dict[str, Any]:
        """Return the `connection` of a target, as the inventory has it."""
        return {"host": self.address, "port": self.port, "user": self.user, "host_keys": [self.host_key]}

    def entry(self, target: str) -> dict[str, Any]:
        """Return the inventory's entry of one target on this host. There may be many, each with a connection of its
        own.
        """
        roots = [{"path": self.folder, "allow_system_root": True}]
        return {
            "id": target,
            "role": "development",
            "backend": "ssh",
            "connection": self.connection(),
            "file_roots": roots,
        }

    def keys(self, folder: Path, targets: list[str]) -> None:
        """Write the key of each of these targets where the agent looks for it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for target in targets:
            path = folder / target
            path.write_bytes(self.key.read_bytes())
            path.chmod(0o600)

    def options(self) -> Mapping[str, Any]:
        """Return the options of asyncssh: the agent's algorithms, but asyncssh's own choice of a cipher."""
        names = {name.decode() for name in asyncssh.kex.get_kex_algs()}
        return {
            "username": self.user,
            "client_keys": [str(self.key)],
            "known_hosts": asyncssh.import_known_hosts(f"* {self.host_key}\n"),
            "config": None,
            "agent_path": None,
            "server_host_key_algs": list(HOST_KEYS),
            "kex_algs": [name for name in KEX if name in names],
            "mac_algs": list(MACS),
            "compression_algs": None,
        }


@asynccontextmanager
async def place(scratch: Path) -> AsyncIterator[Place]:
    """Return the lab's `host1` inside the lab, else loopback."""
    if os.environ.get("LAB_HOSTS"):
        yield _lab()
        return
    async with sshd(scratch / "host", "MaxSessions 100", "Subsystem sftp internal-sftp") as server:
        server.authorize("bench")
        folder = scratch / "files"
        folder.mkdir()
        (folder / "small").write_text("small\n")
        yield Place(
            name="a real sshd on loopback, no systemd",
            address="127.0.0.1",
            port=server.port,
            user=USER,
            key=server.keys / "bench",
            host_key=(server.folder / "host_key.pub").read_text().rpartition(" ")[0],
            folder=str(folder),
            code=str(
                Path("/var/lib/writ-hostops" if os.geteuid() == 0 else "~/.local/state/writ-hostops").expanduser()
            ),
            operation="file_read",
            parameters={"file_path": f"{folder}/small"},
            bare=shlex.join(["cat", f"{folder}/small"]),
        )


def _lab() -> Place:
    host = hosts()["host1"]
    host.run("mkdir", "-p", FOLDER)
    host.write("/etc/ssh/sshd_config.d/bench.conf", "MaxStartups 100\nMaxSessions 100\n")
    host.run("systemctl", "reload", "ssh")
    return Place(
        name="a Debian host of the lab, systemd",
        address=host.address,
        port=22,
        user="root",
        key=user_key(),
        host_key=host.host_key,
        folder=FOLDER,
        code="/var/lib/writ-hostops",
        operation="service_status",
        parameters={"service_name": SERVICE},
        bare=shlex.join(["systemctl", "is-active", SERVICE]),
    )

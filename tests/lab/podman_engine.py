"""Podman's compatible socket: a service with its own storage, networks and namespaces, of which nothing is left."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.engine import Engine, lab_folder
from tests.lab.hosts import until

from writ_testing.peers.programs import program

START_SECONDS = 60.0
STORAGE = """[storage]
driver = "vfs"
runroot = "{folder}/run"
graphroot = "{folder}/storage"
"""
CONTAINERS = """[network]
firewall_driver = "iptables"
network_config_dir = "{folder}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
"""
CGROUP = "libpod_parent"
SERVICE = 'ip link set lo up && exec "$0" system service --time=0 "unix://$1"'


class PodmanEngine(Engine):
    """Podman, which `docker` on its socket takes for a Docker engine."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        files = {"CONTAINERS_STORAGE_CONF": STORAGE, "CONTAINERS_CONF": CONTAINERS}
        for name, text in files.items():
            (self.folder / name).write_text(text.format(folder=self.folder))
        loaded = self.folder / "loaded"  # podman leaves there what it loads; by default in /var/tmp
        loaded.mkdir(exist_ok=True)
        environ = {**self.environ, **{name: str(self.folder / name) for name in files}, "TMPDIR": str(loaded)}
        apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*apart, "sh", "-c", SERVICE, program("podman"), str(self.socket)],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, START_SECONDS, f"podman answers: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop it with all its containers, which are processes of its namespace."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
        until(_no_cgroups, 30.0, "the cgroups of its containers are gone")


def _no_cgroups() -> bool:
    """Remove empty control groups; a process takes a moment to die."""
    for tree in Path("/sys/fs/cgroup").glob(f"*/{CGROUP}"):
        for folder in sorted((path for path in (tree, *tree.rglob("*")) if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
    return not [*Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")]


@contextmanager
def podman_engine() -> Iterator[Engine]:
    """Run it within the block, without any image."""
    folder = lab_folder("podman")
    made = PodmanEngine(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)

"""Podman's compatible socket: a service with its own storage, networks and namespaces, of which nothing is left."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.engine import APART, Engine, lab_folder, running
from tests.lab.engine_network import engine_network
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
REGISTRY_PORT = 5055
REGISTRIES = """[[registry]]
location = "127.0.0.1:{port}"
insecure = true
"""
OWN_STATE = 'for one in /run/containers /run/netns; do mkdir -p $one && mount -t tmpfs tmpfs $one; done; exec "$@"'
"""Podman keeps names and namespaces of networks there whatever its settings say: a killed one left them to the next."""
CGROUP = "libpod_parent"


class PodmanEngine(Engine):
    """Podman, which `docker` on its socket takes for a Docker engine."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        files = {
            "CONTAINERS_STORAGE_CONF": STORAGE,
            "CONTAINERS_CONF": CONTAINERS,
            "CONTAINERS_REGISTRIES_CONF": REGISTRIES,
        }
        for name, text in files.items():
            (self.folder / name).write_text(text.format(folder=self.folder, port=REGISTRY_PORT))
        loaded = self.folder / "loaded"  # podman leaves there what it loads; by default in /var/tmp
        loaded.mkdir(exist_ok=True)
        environ = {**self.environ, **{name: str(self.folder / name) for name in files}, "TMPDIR": str(loaded)}
        own_state = ["sh", "-ec", OWN_STATE, "sh"]
        service = [program("podman"), "system", "service", "--time=0", f"unix://{self.socket}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.network.inside, *APART, *own_state, *service],
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
    with engine_network() as network, running(PodmanEngine(folder, network, {})) as made:
        yield made

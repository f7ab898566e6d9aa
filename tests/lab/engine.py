"""A container engine of the lab's own: dockerd in its own namespaces of processes and mounts, so that no part remains.

Its network, too, is its own (`engine_network.py`), and linked to that of the lab: its containers reach the hosts of the
lab and no others, and no registry. Public images are made here, from `base_image` and from programs of this machine.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.lab import base_image
from tests.lab.engine_network import EngineNetwork, engine_network
from tests.lab.hosts import until

from writ_testing.peers.programs import program

PYTHON = "python:3.13-slim-trixie"
BUILDER = "writ-lab/builder"
START_SECONDS = 60.0
MONITORS = {
    "prom/prometheus:v2.53.3": ("prometheus", {"prometheus": "prometheus", "promtool": "promtool"}),
    "prom/alertmanager:v0.28.1": ("alertmanager", {"alertmanager": "prometheus-alertmanager", "amtool": "amtool"}),
}
"""Public images of programs that Debian has too, in the very version; entry point, programs and user as there."""
# Without the mounts of labs: copies would keep another lab's loop devices, and its folder, until the engine ends.
APART = (
    *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
    *("sh", "-c", 'for lab in /run/writ-lab/*; do umount --recursive "$lab"; done; exec "$@"', "sh"),
)
TEMPLATES = Path("/usr/share/prometheus/alertmanager")
"""Debian's Alertmanager reads them from there."""
MONITOR = """FROM {python}
COPY root /
RUN mkdir /{name} && chown 65534:65534 /{name}
USER 65534
ENTRYPOINT ["/bin/{name}"]
"""


class Engine:
    def __init__(self, folder: Path, network: EngineNetwork, more: dict[str, Any]) -> None:
        """`more`: settings of dockerd; its `hosts` are listened at besides the socket."""
        self.folder, self.network, self._more = folder, network, more
        self.socket = folder / "docker.sock"
        self.log = folder / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment for `docker` on it."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.folder / "cli"),
        }

    def docker(self, *words: str, stdin: bytes | None = None, timeout: float = 120.0) -> str:
        """Return the output of `docker …`; raise AssertionError with its errors if it fails."""
        done = subprocess.run(
            ["docker", *words], env=self.environ, input=stdin, capture_output=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr.decode()[-3000:]}"
        return done.stdout.decode()

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """Return the engine's description of these containers or images."""
        return list(json.loads(self.docker("inspect", *names))) if names else []

    def mounts(self) -> str:
        """Return the mounts in its namespace, as in /proc/PID/mountinfo."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/mountinfo").read_text()

    def remove_containers(self) -> None:
        """Remove all, also those that the engine removes for an earlier request: it refuses another one then."""
        until(self._has_none, 60.0, "the engine has no containers")

    def _has_none(self) -> bool:
        ids = self.docker("ps", "--all", "--quiet").split()
        if ids:
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", *ids], env=self.environ, capture_output=True, check=False
            )
        return not ids

    def start(self) -> None:
        """Start it and wait until it answers; after `stop` it starts like a rebooted machine, without old processes."""
        (self.folder / "pid").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        config = self.folder / "daemon.json"
        config.write_text(json.dumps(self._settings()))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.network.inside, *APART, program("dockerd"), f"--config-file={config}"],
                env={**self.environ, "TMPDIR": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, START_SECONDS, f"dockerd answers: {self.log.read_text()[-2000:]}")
        self.socket.chmod(0o666)

    def _settings(self) -> dict[str, Any]:
        return {
            **self._more,
            "hosts": [f"unix://{self.socket}", *self._more.get("hosts", ())],
            "data-root": str(self.folder / "data"),
            "exec-root": str(self.folder / "exec"),
            "pidfile": str(self.folder / "pid"),
            "cgroup-parent": f"/{self.network.name}",
            "bip": "10.201.0.1/24",
            "default-address-pools": [{"base": "10.202.0.0/16", "size": 24}],
        }

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"dockerd ended: {self.log.read_text()[-2000:]}"
        done = subprocess.run(["docker", "version"], env=self.environ, capture_output=True, check=False, timeout=30)
        return done.returncode == 0

    def stop(self) -> None:
        """Stop it with all its containers, processes of a namespace whose first one ends now."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
        until(self._no_cgroups, 30.0, "the cgroups of its containers are gone")

    def _no_cgroups(self) -> bool:
        """Remove empty control groups; a process takes a moment to die."""
        trees = [
            *Path("/sys/fs/cgroup").glob(self.network.name),
            *Path("/sys/fs/cgroup").glob(f"*/{self.network.name}"),
        ]
        for tree in trees:
            for folder in sorted((path for path in (tree, *tree.rglob("*")) if path.is_dir()), reverse=True):
                with suppress(OSError):
                    folder.rmdir()
        return not any(tree.exists() for tree in trees)

    def make_images(self) -> None:
        """Make the public images, and one that finds packages without a network."""
        self.docker("import", str(base_image.base()), PYTHON)
        with self._context(BUILDER, f"FROM {PYTHON}\nADD packages.tar /\n") as context:
            (context / "packages.tar").write_bytes(base_image.offline(base_image.packages()))
        for image, (name, programs) in MONITORS.items():
            with self._context(image, MONITOR.format(python=PYTHON, name=name)) as context:
                (context / "root" / "usr" / "bin").mkdir(parents=True)
                for known_as, binary in programs.items():
                    shutil.copy(program(binary), context / "root" / "usr" / "bin" / known_as)
                shutil.copytree(TEMPLATES, context / "root" / TEMPLATES.relative_to("/"))

    @contextmanager
    def _context(self, image: str, recipe: str) -> Iterator[Path]:
        """Build the image from the files in the folder at the end of the block."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            context = Path(folder)
            (context / "Dockerfile").write_text(recipe)
            yield context
            self.docker("build", "--quiet", "--tag", image, folder, timeout=300)


def lab_folder(name: str) -> Path:
    """Return a new folder of this lab, open to every user of a container; `lab.sh down` removes leftovers."""
    folder = Path(tempfile.mkdtemp(prefix=f"{os.environ['LAB_PREFIX']}-lab-{name}-", dir="/var/tmp"))
    folder.chmod(0o755)
    return folder


@contextmanager
def engine() -> Iterator[Engine]:
    """Run it within the block."""
    with bare_engine() as made:
        made.make_images()
        yield made


@contextmanager
def bare_engine(settings: Callable[[str], dict[str, Any]] = lambda _: {}) -> Iterator[Engine]:
    """Run one without any image, and enter its network. `settings`: of dockerd, for its address in the lab."""
    folder = lab_folder("engine")
    with engine_network() as network, running(Engine(folder, network, settings(network.address))) as made:
        yield made


@contextmanager
def running(made: Engine) -> Iterator[Engine]:
    """Run it within the block, then remove its folder."""
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.folder)

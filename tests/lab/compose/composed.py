"""An installation in containers, as after a clone of the tree on a machine with Docker alone."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.engine import BUILDER, Engine, lab_folder
from tests.lab.hosts import until

from writ_client.client import Writ
from writ_installation.files.home import Home
from writ_installation.provisioner import folders

REPOSITORY = Path(__file__).parents[3]
MINE = Path(__file__).with_name("lab.yaml")
COLLECTOR = Path(__file__).with_name("collector.py")
CLONED = ("docker-compose.yml", "requirements.lock", "LICENSE", "deploy", "libs", "services")
UID = 4711
"""Of somebody who is nobody on this machine."""
PORTS = {"NATS": 4222, "NATS_2": 4223, "NATS_3": 4224, "PROMETHEUS": 9090, "ALERTMANAGER": 9093, "MCP": 8321}
WITHIN = 400.0


class Composed:
    """An installation in containers. Its owner types commands in its folder."""

    def __init__(self, engine: Engine, folder: Path, project: str, offset: int) -> None:
        self.engine = engine
        self.folder = folder
        self._project = project
        self.shown: list[str] = []
        """What the lines of the text showed, that made it."""
        self.ports = {name: port + offset for name, port in PORTS.items()}

    @property
    def home(self) -> Home:
        """Return its folder, which only root and its owner may read."""
        return Home(self.folder / ".writ")

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment of its owner's terminal."""
        ports = {f"WRIT_{name}_PORT": str(port) for name, port in self.ports.items()}
        own = {"HOME": str(self.folder / "home"), "WRIT_BUILDER_IMAGE": BUILDER, "COMPOSE_ANSI": "never"}
        files = {"COMPOSE_FILE": f"docker-compose.yml:{self.folder / MINE.name}", "COMPOSE_PROJECT_NAME": self._project}
        theirs = {name: value for name, value in self.engine.environ.items() if name != "DOCKER_CONFIG"}
        return {**theirs, **ports, **own, **files}

    def type(self, line: str, status: int = 0, timeout: float = WITHIN) -> str:
        """Run a line in a shell; return its standard output."""
        done = subprocess.run(
            ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "bash", "-c", line],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == status, f"{line} gave {done.returncode}: {done.stdout}{done.stderr[-4000:]}"
        return done.stdout

    def compose(self, *words: str) -> str:
        """Run `docker compose …`, with words free of shell syntax."""
        return self.type(" ".join(("docker", "compose", *words)))

    def writ(self, *words: str, status: int = 0) -> Any:
        """Return the output of `writ … -o json`, in its own container."""
        quoted = " ".join(f"'{word}'" for word in words)
        return json.loads(self.type(f"docker compose run --rm -T writ {quoted} -o json", status))

    def up(self, **replicas: int) -> None:
        """Start so many of each of these services, and wait until all are ready."""
        scaled = " ".join(f"--scale {name.replace('_', '-')}={number}" for name, number in replicas.items())
        self.type(f"docker compose up --detach --wait {scaled}")

    def containers(self, service: str = "") -> list[str]:
        """Return the ids of one service's containers, or of all running ones."""
        return self.compose("ps", "--quiet", service).split()

    def restart(self, container: str) -> None:
        """Restart in order, and wait until all are ready again."""
        self.engine.docker("restart", container)
        self.ready(container)

    def ready(self, container: str) -> None:
        """Wait until it reports readiness."""

        def check() -> bool:
            state = self.engine.inspect(container)[0]["State"]
            return bool(state.get("Health", {}).get("Status") == "healthy")

        until(check, WITHIN, f"{container} is healthy")

    async def client(self) -> Writ:
        """Connect as its operator, from this machine, by the published ports."""
        seed = self.home.seed_file("principal-operator").read_bytes()
        ports = [self.ports[name] for name, _ in zip(PORTS, folders.names(self.home), strict=False)]
        url = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
        about = {"installation": self.home.installation, "tls_ca": str(self.home.ca_file)}
        return await Writ.connect(url, seed=seed, principal="operator", wait=10.0, **about)

    def down(self) -> None:
        """Remove all of it, with the volumes."""
        self.compose("--profile", "'*'", "down", "--volumes", "--timeout", "2")


@contextmanager
def cloned(engine: Engine, project: str, offset: int = 0) -> Iterator[Composed]:
    """Clone the tree into a folder of its owner."""
    folder = lab_folder(project)
    try:
        for name in CLONED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, folder / name)
        for mine in (MINE, COLLECTOR):
            shutil.copy(mine, folder / mine.name)
        (folder / "home").mkdir()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, UID, UID)
        yield Composed(engine, folder, project, offset)
    finally:
        shutil.rmtree(folder)

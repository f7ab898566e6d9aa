"""The Docker agent of docker-compose.yml with the socket of its engine: its image, and one operation end to end."""

import json
from collections.abc import Iterator

import pytest
from tests.lab.compose.composed import Composed
from tests.lab.docker_host import BOX, make_box
from tests.lab.engine import Engine
from tests.lab.hosts import until

from writ_documents import yaml_file

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
NAME = "made-by-writ"
OPERATIONS = ["container_create", "container_inspect"]


@pytest.fixture
def served(composed: Composed, docker: Engine) -> Iterator[Composed]:
    """`box` is the engine itself; there is no repository of Debian packages here, so no Compose in the image."""
    make_box(docker)
    policy = composed.home.policy.read_text()
    rules = yaml_file.read(composed.home.policy).data
    rules["policies"]["global_policies"] += [
        {"name": "containers", "operations": OPERATIONS, "allowed": True},
        {"name": "testers", "operations": ["backend_test"], "user_roles": ["operator"], "allowed": True},
    ]
    composed.home.policy.write_text(yaml_file.dump(rules))
    inventory = composed.home.inventory.read_text()
    files = f"COMPOSE_FILE={composed.environ['COMPOSE_FILE']}:deploy/docker-socket.yaml WRIT_DOCKER_PACKAGES="
    socket = f"DOCKER_SOCKET={docker.socket} DOCKER_GROUP={docker.socket.stat().st_gid}"
    composed.writ("target", "add", "box", "--docker", "/var/run/docker.sock", "--role", "development")
    composed.type(f"{files} {socket} docker compose --profile docker up --build --detach --wait agent-docker")
    try:
        yield composed
    finally:
        print(composed.type("docker compose --profile docker logs --no-color --tail 50 agent-docker"))
        composed.type("docker compose --profile docker rm --stop --force agent-docker")
        docker.docker("rm", "--force", NAME)
        composed.home.inventory.write_text(inventory)
        composed.home.policy.write_text(policy)


def test_container_is_created_by_the_agent_in_its_image(served: Composed, docker: Engine) -> None:
    versions = until(lambda: _versions(served), 60.0, "the target is served, and policy has read its file")
    assert {"engine", "api", "disk"} <= versions.keys()
    made = served.writ("run", "container_create", "-t", "box", f"container_name={NAME}", f"image={BOX}")
    assert made["outcome"] == "succeeded", made
    assert docker.inspect(NAME)[0]["State"]["Running"] is True
    (agent,) = served.containers("agent-docker")
    status = docker.docker("exec", agent, "cat", "/proc/1/status")
    assert "\nUid:\t0\t" not in status
    assert "\nCapEff:\t0000000000000000\n" in status


def _versions(served: Composed) -> dict[str, str] | None:
    """None where the target is not well."""
    (row,) = json.loads(served.type("docker compose run --rm -T writ target test box -o json || true"))
    return dict(row["visit"]["versions"]) if row["well"] else None

"""A Docker engine from `writ target add --docker` to a container, with all of Writ: policy, grant, agent, journal."""

import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from writ_testing.fakes.docker_engine import FakeEngine, fake_engine
from writ_testing.installations.commands import WritResult
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    running_installation,
)
from writ_testing.search import containing, files

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
TESTERS = {"name": "testers", "operations": ["backend_test"], "user_roles": ["operator"], "allowed": True}
NETWORKED = {
    "name": "networked",
    "operations": ["container_create"],
    "allowed": True,
    "parameter_constraints": {"allow_host_network": {"allowed_values": [True]}, "image": {"allowed_values": ["box:1"]}},
}
BOUNDED = {
    "name": "bounded",
    "operations": ["container_create"],
    "allowed": True,
    "parameter_constraints": {
        "container_name": {"pattern": "bounded-.*"},
        "only_images": {"allowed_items": ["docker.io/library/box"], "default": ["docker.io/library/box"]},
        "only_ports": {"allowed_items": ["127.0.0.1"], "default": ["127.0.0.1"]},
    },
}
APPROVED = {"name": "stacks", "operations": ["stack_deploy"], "allowed": True, "approval": {"approvers": ["lead"]}}
SECRET = "planted-4b1d77"


class World(NamedTuple):
    """An installation, and an engine outside its inventory at first."""

    installation: RunningInstallation
    engine: FakeEngine

    async def run(self, operation: str, *arguments: str) -> WritResult:
        return await self.installation.writ("run", operation, "-t", "box", *arguments, "-o", "json")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("docker")
    policy = open_policy(TESTERS, NETWORKED, BOUNDED, APPROVED)
    async with (
        fake_engine(folder / "engine.sock") as engine,
        running_installation(
            folder,
            targets=[local_target("here", folder / "files")],
            policy=policy,
            principals=[("bob", {"roles": ["lead"]})],
        ) as installation,
    ):
        socket = str(engine.socket)
        (folder / "stacks").mkdir()
        (folder / "stacks" / "shop.yaml").write_text(
            f"services: {{web: {{image: 'box:1', environment: {{A: {SECRET}}}}}}}"
        )
        added = ("target", "add", "box", "--docker", socket, "--role", "testing", "--stack-dir", str(folder / "stacks"))
        ended = await installation.writ(*added)
        assert ended.status == 0, ended
        yield World(installation, engine)


async def test_test_of_an_engine_target_shows_its_versions_and_operations(world: World) -> None:
    ended = await world.installation.writ("target", "test", "box", "-o", "json")
    assert ended.status == 0, ended
    (row,) = json.loads(ended.out)
    versions = row["visit"]["versions"]
    assert (versions["engine"], versions["api"], row["code"]) == ("26.1.5", "1.45", "")
    assert "container_create" in row["visit"]["operations"]


async def test_a_container_is_created_and_its_secret_is_nowhere_on_record(world: World) -> None:
    ended = await world.run("container_create", "container_name=web", "image=box:1", f"env=A={SECRET}")
    assert ended.status == 0, ended
    created = world.engine.named("web")
    assert created is not None
    assert created["Config"]["Env"] == [f"A={SECRET}"]
    assert SECRET not in world.installation.logs()
    assert containing(files(world.installation.home.root), SECRET) == []


async def test_a_breakout_needs_both_a_rule_and_a_flag(world: World) -> None:
    arguments = ("container_name=host", "image=box:1", "network=host")
    without = await world.run("container_create", *arguments)
    assert (without.status, "allow_host_network" in without.out + without.err) == (1, True), without
    denied = await world.run("container_create", *arguments, "allow_host_network=true", "allow_privileged=true")
    assert denied.status == 3, denied
    assert world.engine.named("host") is None
    allowed = await world.run("container_create", *arguments, "allow_host_network=true")
    assert allowed.status == 0, allowed


async def test_the_bounds_of_a_rule_hold_at_the_agent(world: World) -> None:
    elsewhere = await world.run("container_create", "container_name=bounded-a", "image=other.example/box:1")
    assert (elsewhere.status, "other.example/box:1 is outside only_images" in elsewhere.out) == (1, True), elsewhere
    assert world.engine.named("bounded-a") is None
    within = await world.run("container_create", "container_name=bounded-b", "image=box:1", "ports=127.0.0.1:80:80")
    assert within.status == 0, within


async def test_a_dry_run_shows_the_calls_and_makes_none(world: World) -> None:
    ended = await world.run("container_create", "container_name=dry", "image=box:1", "--dry-run")
    assert ended.status == 0, ended
    assert "POST /containers/create?name=dry" in ended.out
    assert world.engine.named("dry") is None


@pytest.mark.exhaustive
async def test_stack_is_deployed_after_another_person_has_approved_it(world: World) -> None:
    arguments = ("stack_name=shop", "source=shop.yaml")
    dry = await world.run("stack_deploy", *arguments, "--dry-run")
    assert (dry.status, "is created: 1 of box:1" in dry.out) == (0, True), dry
    requested = await world.run("stack_deploy", *arguments, "--no-wait")
    operation_id = json.loads(requested.out)["operation_id"]
    assert world.engine.named("shop-web-1") is None
    message = await world.installation.writ("approvals", "approve", operation_id, "--as", "bob", stdin=b"y\n")
    assert message.status == 0, message
    assert "web" in message.out
    assert SECRET not in message.out + dry.out
    async with await world.installation.client() as writ:
        done = await writ.wait(operation_id, timeout=60)
    assert done.outcome == "succeeded", done
    status = await world.run("stack_status", "stack_name=shop")
    assert json.loads(status.out)["output"]["services"] == {"web": "running"}
    made = world.engine.named("shop-web-1")
    assert made is not None
    assert f"A={SECRET}" in made["Config"]["Env"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give one of --ssh USER@HOST, --local HOST, --proxmox HOST and --docker SOCKET"),
        (("--docker", "docker.sock"), "neither a socket, such as /var/run/docker.sock, nor HOST:PORT"),
        (("--docker", "/run/x.sock", "--host-key", "k"), "--host-key does not apply to a Docker engine"),
        (("--docker", "/run/x.sock", "--mount-root", "srv"), "not an absolute path"),
        (("--docker", "engine.example:2376"), "an engine over TLS needs --docker-ca FILE and --key FILE"),
    ],
)
async def test_a_target_that_cannot_be_is_refused(world: World, options: tuple[str, ...], message: str) -> None:
    before = world.installation.home.inventory.read_text()
    ended = await world.installation.writ("target", "add", "other", "--role", "testing", *options)
    assert ended.status == 2, ended
    assert message in ended.err
    assert world.installation.home.inventory.read_text() == before

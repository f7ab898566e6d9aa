"""docker-compose.yml and the Dockerfile are true: the services, variables and files that they name are the code's."""

import json
import os
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.architecture.tree import ROOT, distributions

from writ_client.house.founding import found
from writ_client.house.home import Home, host_token
from writ_runtime.config import Variable, describe

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
POOL = f"local-{host_token()}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """What `writ up` makes of an empty folder."""
    home, umask = Home(tmp_path_factory.mktemp("home")), os.umask(0o077)
    found(home)
    os.umask(umask)
    return home


@pytest.fixture(scope="module")
def compose(home: Home) -> dict[str, Any]:
    """The file with its variables filled in, as compose would; this reads the few forms that it uses."""
    values = {"WRIT_HOME": str(home.root), "WRIT_POOL": POOL, "WRIT_POLICY_KEY": home.key("policy").public}
    text = COMPOSE.read_text().replace("${WRIT_HOME:-${PWD}/.writ}", str(home.root))
    text = text.replace("${WRIT_SANDBOX:-${PWD}/writ-sandbox}", str(home.sandbox))
    text = re.sub(r"\$\{(\w+)(?::?[-?]([^}]*))?\}", lambda found: values.get(found[1], found[2] or ""), text)
    return dict(yaml.safe_load(text))


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those that are services of Writ."""
    return {name: service for name, service in compose["services"].items() if "build" in service}


def variables(service: dict[str, Any]) -> list[Variable]:
    """What the code of that service reads from its environment."""
    module = import_module(f"writ_{service['build']['args']['SERVICE']}.config")
    return describe(module.Config)


def test_each_service_is_one_of_the_tree(compose: dict[str, Any]) -> None:
    known = {one.folder.name for one in distributions() if one.is_service}
    for service in ours(compose).values():
        assert service["build"]["args"]["SERVICE"] in known
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DOCKERFILE)


def test_every_image_that_runs_is_built_here(compose: dict[str, Any]) -> None:
    built = {service["image"] for service in ours(compose).values()}
    assert {service["image"] for service in compose["services"].values()} == built


def test_each_service_gets_all_that_it_needs_and_nothing_that_it_does_not_know(compose: dict[str, Any]) -> None:
    for name, service in ours(compose).items():
        known = variables(service)
        given = set(service["environment"])
        assert given <= {one.name for one in known}, name
        assert {one.name for one in known if one.default is None} <= given, name


def test_what_a_variable_names_is_mounted(compose: dict[str, Any]) -> None:
    for name, service in ours(compose).items():
        mounted = {f"/run/secrets/{one['target']}" for one in service.get("secrets", [])}
        mounted |= {one["target"] for one in service.get("configs", [])}
        mounted |= {volume.split(":")[1] for volume in service.get("volumes", [])}
        paths = {value for value in service["environment"].values() if value.startswith("/")}
        assert paths <= mounted, name


def test_every_key_and_file_is_one_that_writ_up_makes(compose: dict[str, Any], home: Home) -> None:
    for kind in ("secrets", "configs"):
        for name, entry in compose[kind].items():
            assert Path(entry["file"]).is_file(), name
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            folder = Path(volume.split(":")[0])
            assert folder in (home.nats, home.sandbox) or folder.parent == home.state, volume


def test_each_service_has_its_own_key_and_no_other(compose: dict[str, Any]) -> None:
    used = [one["source"] for service in ours(compose).values() for one in service["secrets"]]
    assert sorted(used) == sorted(set(used)) == sorted(compose["secrets"])


def test_nothing_is_privileged_and_nothing_is_open_to_the_network(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)
        assert service["user"].split(":")[0] not in ("", "0", "root")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_image_is_made_from_public_names_and_runs_as_nobody() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    assert {line.split()[1] for line in lines if line.startswith("FROM ")} == {"python:3.13-slim-trixie"}
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"


def test_compose_itself_takes_the_file(home: Home) -> None:
    if not has_compose():
        pytest.skip("no docker compose here; .ci/run installs it")
    environ = {**os.environ, "WRIT_HOME": str(home.root), "WRIT_POOL": POOL, "WRIT_POLICY_KEY": "U"}
    command = ["docker", "compose", "-f", str(COMPOSE), "config", "--format", "json"]
    seen = json.loads(subprocess.run(command, env=environ, capture_output=True, check=True, timeout=60).stdout)
    assert set(seen["services"]) >= {"nats", "policy", "executor", "audit", "agent-local"}


def has_compose() -> bool:
    """Whether the docker command is here, and its compose plugin."""
    command = ["docker", "compose", "version"]
    return bool(shutil.which("docker")) and subprocess.run(command, capture_output=True, check=False).returncode == 0

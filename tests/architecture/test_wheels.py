"""Each service, installed alone from wheels into a fresh environment: it works there, and carries nobody else's code.

Third parties come at the versions of the lock. Only this reaches for a package index, and only for what no cache has.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, Distribution, distributions

pytestmark = [pytest.mark.xdist_group("wheels"), pytest.mark.timeout(600)]
BY_NAME = {distribution.name: distribution for distribution in distributions()}
SERVICES = [distribution for distribution in distributions() if distribution.is_service]
ALONE = [*SERVICES, BY_NAME["writ-client"], BY_NAME["writ-hostops"]]
each_alone = pytest.mark.parametrize("distribution", ALONE, ids=lambda distribution: distribution.name)


def do(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=300)


def done(*command: str | Path, cwd: Path = ROOT) -> str:
    result = do(*command, cwd=cwd)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def closure(name: str) -> set[str]:
    """The distribution and all of ours that it stands on."""
    return {name}.union(*(closure(required) for required in BY_NAME[name].requires if required.startswith("writ-")))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of every distribution that is shipped."""
    folder = tmp_path_factory.mktemp("wheels")
    for distribution in distributions():
        if distribution.name != "writ-testing":
            done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=distribution.folder)
    return folder


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of the lock, as constraints; hashes are left out, since our own wheels have none there."""
    path = tmp_path_factory.mktemp("pins") / "constraints.txt"
    entries = (ROOT / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    path.write_text("\n".join(entry.partition("--hash")[0].strip() for entry in entries))
    return path


@pytest.fixture(scope="module")
def environments(wheels: Path, pins: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python for each distribution in which it alone is installed."""
    uv = Path(sys.executable).with_name("uv")
    made: dict[str, Path] = {}
    for distribution in ALONE:
        folder = tmp_path_factory.mktemp(distribution.name) / "venv"
        done(uv, "venv", "--quiet", "--python", sys.executable, folder)
        python = folder / "bin/python"
        done(uv, "pip", "install", "--quiet", "--python", python, "--find-links", wheels, "-c", pins, distribution.name)
        made[distribution.name] = python
    return made


def installed(python: Path) -> set[str]:
    listing = "import importlib.metadata as m; print(*(d.metadata['Name'].lower() for d in m.distributions()))"
    return set(done(python, "-I", "-c", listing).split())


@each_alone
def test_it_stands_alone(distribution: Distribution, environments: dict[str, Path]) -> None:
    here = installed(environments[distribution.name])
    assert {name for name in here if name.startswith("writ-")} == closure(distribution.name)


@each_alone
def test_every_module_of_it_can_be_imported(distribution: Distribution, environments: dict[str, Path]) -> None:
    script = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(package.__file__)
"""
    python = environments[distribution.name]
    place = done(python, "-I", "-W", "error", "-c", script, distribution.package).strip()
    assert Path(place).is_relative_to(python.parents[1]), "the tree's own code was imported"


@each_alone
def test_its_wheel_holds_its_package_and_its_types(distribution: Distribution, wheels: Path) -> None:
    (wheel,) = wheels.glob(f"{distribution.package}-*.whl")
    names = done(sys.executable, "-m", "zipfile", "-l", wheel)
    files = {line.split()[0] for line in names.splitlines()[1:]}
    assert f"{distribution.package}/py.typed" in files
    assert {name.split("/")[0] for name in files if ".dist-info" not in name} == {distribution.package}


def test_only_policy_and_who_judges_files_carry_its_pattern_engine(environments: dict[str, Path]) -> None:
    assert [name for name, python in environments.items() if "google-re2" in installed(python)] == [
        "writ-policy",
        "writ-client",
    ]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_without_configuration_it_says_what_it_needs(
    service: Distribution, environments: dict[str, Path], tmp_path: Path
) -> None:
    python = environments[service.name]
    result = do(python, "-m", service.package, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"writ \S+: NATS_URL is not set .*; WRIT_KEY_FILE is not set .*\n", result.stderr)


def test_the_command_of_the_client_is_there(environments: dict[str, Path], tmp_path: Path) -> None:
    writ = environments["writ-client"].with_name("writ")
    result = do(writ, "--help", cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert result.returncode == 0, result.stderr
    assert "Usage: writ" in result.stdout

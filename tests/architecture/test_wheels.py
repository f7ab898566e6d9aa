"""Each service, installed alone from wheels into a fresh environment: it works there, and carries nobody else's code.

The wheels are those of `make wheels`, third parties' at the versions of the lock. Only this reaches for a package
index, and only for what no cache has.
"""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, Distribution, distributions
from tests.lab.wheels import all_of_it

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
    """The folder of `make wheels`."""
    folder = tmp_path_factory.mktemp("made") / "wheels"
    all_of_it(folder, "{}.{}".format(*sys.version_info))
    return folder


@pytest.fixture(scope="module")
def environments(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python for each distribution in which it alone is installed."""
    uv = Path(sys.executable).with_name("uv")
    made: dict[str, Path] = {}
    for distribution in ALONE:
        folder = tmp_path_factory.mktemp(distribution.name) / "venv"
        done(uv, "venv", "--quiet", "--python", sys.executable, folder)
        python = folder / "bin/python"
        offline = ("--no-index", "--find-links", wheels)
        done(uv, "pip", "install", "--quiet", "--python", python, *offline, distribution.name)
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


def test_what_is_in_the_folder_is_of_this_tree_or_of_the_lock_by_its_hash(wheels: Path) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    digests = set(re.findall(r"--hash=sha256:(\w+)", lock))
    others = [wheel for wheel in wheels.glob("*.whl") if not wheel.name.startswith("writ_")]
    built = [wheel.name for wheel in others if hashlib.sha256(wheel.read_bytes()).hexdigest() not in digests]
    assert [name.partition("-")[0] for name in built] == ["nkeys"]  # published as source
    assert len(others) > 20
    named = {wheel.name.partition("-")[0].replace("_", "-") for wheel in wheels.glob("writ_*.whl")}
    assert named == {distribution.name for distribution in distributions()} - {"writ-testing"}


def test_no_text_leaves_it_to_an_index_what_writ_is() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("libs/**/*.md")]
    lines = [line for text in texts for line in text.read_text().splitlines() if "pip install" in line]
    assert len(lines) >= 2
    assert [line for line in lines if "--no-index --find-links wheels" not in line] == []

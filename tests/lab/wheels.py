"""Wheels for hosts without a package index: the lock's own, fetched by hash, and ours, built from this tree.

`make wheels` makes all of them. The lab's hosts get theirs from here, too: `make lab` runs this file before the lab
starts, since no download works inside it.
"""

import ensurepip
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import requires
from pathlib import Path

from deploy.build_distributions import build
from deploy.distributions import distributions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("LAB_CACHE", "/var/cache/writ-lab"))
HOST_PYTHON = "3.13"
AGENT = ("writops-agent",)
"""What an agent's host has, `writ-enrol` among it."""
SITE = ("writops[server,agent-ssh,agent-docker,agent-proxmox,mcp]",)
"""What the host of all the rest has."""
TRACES = "writops-runtime[otlp]"
"""What every image has besides its service."""


def all_of_it(folder: Path, python: str) -> None:
    """Fill a new folder with everything that any host installs, for that Python on machines like this one."""
    requirements = (*SITE, *AGENT, TRACES)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _fetch(folder, locked(_others(requirements, python)), python)
    _build(folder)
    shutil.copy(_pip_of_python(), folder)
    ours(folder, *requirements)


def _pip_of_python() -> Path:
    """The wheel of pip that Python itself installs into new environments: a pipx that has never run needs one."""
    debians = sysconfig.get_config_var("WHEEL_PKG_DIR")
    folders = [Path(ensurepip.__file__).with_name("_bundled"), *([Path(debians)] if debians else [])]
    return next(wheel for folder in folders for wheel in folder.glob("pip-*.whl"))


def closure(*requirements: str, python: str = HOST_PYTHON) -> set[str]:
    """Return everything to install for these requirements on a host, themselves included."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(one) for one in requirements]
    while waiting:
        requirement = waiting.pop()
        one = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if one not in found:
            found.add(one)
            waiting += _requirements(requirement, python)
    return {name for name, _ in found}


def _others(requirements: tuple[str, ...], python: str) -> set[str]:
    return closure(*requirements, python=python) - set(distributions())


def _requirements(requirement: Requirement, python: str) -> Iterator[Requirement]:
    host = {"python_version": python, "python_full_version": f"{python}.0"}
    for text in _declared(requirement):
        needed = Requirement(text)
        extras = requirement.extras or {""}
        if needed.marker is None or any(needed.marker.evaluate({**host, "extra": extra}) for extra in extras):
            yield needed


def _declared(requirement: Requirement) -> Iterable[str]:
    """Return its requirements: ours as in the tree, others as installed."""
    ours = distributions().get(canonicalize_name(requirement.name))
    if ours is None:
        return requires(requirement.name) or ()
    return (*ours.dependencies(), *(text for extra in requirement.extras for text in ours.dependencies(extra)))


def locked(names: set[str]) -> str:
    """The entries of the lock for these names, hashes and all, as a requirements file."""
    entries = (REPOSITORY / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    chosen = []
    for entry in entries:
        pin, _, _marker = entry.partition(" --hash")[0].partition(";")
        if pin and canonicalize_name(Requirement(pin).name) in names:
            chosen.append(" ".join([pin.strip(), *(word for word in entry.split() if word.startswith("--hash"))]))
    return "\n".join(chosen) + "\n"


def third_party(*required: str, as_published: bool = False) -> Path:
    """Return the folder with third-party wheels for these. It is kept, under a name that lists its content.

    `as_published`: packages without a wheel are there as source, for comparison of hashes.
    """
    requirements = locked(_others(required, HOST_PYTHON))
    kind = "published" if as_published else "wheels"
    folder = CACHE / f"{kind}-{hashlib.sha256(f'{HOST_PYTHON} {requirements}'.encode()).hexdigest()[:12]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=CACHE, prefix="wheels-", suffix=".part"))
        _fetch(part, requirements, HOST_PYTHON)
        if not as_published:
            _build(part)
        try:
            part.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(part)
    return folder


def _fetch(folder: Path, requirements: str, python: str) -> None:
    (folder / "requirements.txt").write_text(requirements)
    listed = ["--require-hashes", "--requirement", str(folder / "requirements.txt")]
    _pip("download", "--prefer-binary", "--python-version", python, "--dest", str(folder), *listed)


def _build(folder: Path) -> None:
    for source in folder.glob("*.tar.gz"):  # published without a wheel
        _pip("wheel", "--wheel-dir", str(folder), str(source))
        source.unlink()


def _pip(verb: str, *arguments: str) -> None:
    """Run pip; it builds source packages with the locked build requirements."""
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", *arguments], check=True, timeout=300)


def ours(folder: Path, *requirements: str) -> None:
    """Build our wheels among these; this needs no network, since the lock has the build tool."""
    names = closure(*requirements)
    build([one for one in distributions().values() if one.name in names], folder, ["wheel"])


if __name__ == "__main__":
    if sys.argv[1:]:
        all_of_it(Path(sys.argv[1]).absolute(), sys.argv[2])
    else:
        third_party(*AGENT)
        third_party(*SITE)

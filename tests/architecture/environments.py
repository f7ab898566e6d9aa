"""Fresh environments with wheels installed without an index, and a new user's first steps."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.architecture.tree import ROOT

from writ_contracts.version import VERSION
from writ_testing.installations.detached import down_if_killed

LISTING = "import importlib.metadata as m; print(*(d.metadata['Name'].lower() for d in m.distributions()))"


class Environment(NamedTuple):
    """An installed requirement, and its Python."""

    requirement: str
    python: Path

    @property
    def writ(self) -> Path:
        return self.python.with_name("writ")

    @property
    def installed(self) -> set[str]:
        return set(done(self.python, "-I", "-c", LISTING).split())


def do(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=300)


def done(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a command, which must succeed; return its output."""
    result = do(*command, cwd=cwd, env=env)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def install(folder: Path, wheels: Path, requirement: str, python: str = sys.executable) -> Environment:
    """Install into a new environment from the folder of wheels alone."""
    uv = Path(sys.executable).with_name("uv")
    done(uv, "venv", "--quiet", "--python", python, folder)
    made = folder / "bin/python"
    offline = ("--no-index", "--find-links", wheels)
    done(uv, "pip", "install", "--quiet", "--python", made, *offline, requirement, env=alone(folder.parent))
    return Environment(requirement, made)


def alone(home: Path) -> dict[str, str]:
    """Return the environment variables of a user without this tree."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}


def other_python() -> str | None:
    """Return a supported Python of another version than this one."""
    path = f"/usr/bin:{os.environ['PATH']}"
    found = [shutil.which(name, path=path) for name in ("python3", "python3.13", "python3.12", "python3.11")]
    for python in filter(None, found):
        if (3, 11) <= version_of(python) != sys.version_info[:2]:
            return python
    return None


def version_of(python: str) -> tuple[int, ...]:
    """Return major and minor version; (0,) where it does not run."""
    answer = do(python, "-I", "-c", "import sys; print(*sys.version_info[:2])", env=dict(os.environ))
    return tuple(map(int, answer.stdout.split())) if answer.returncode == 0 else (0,)


def first_steps(writ: Path, folder: Path) -> None:
    """Run `writ up`, an operation on a file and `writ down`, as a new user does."""
    env = {**alone(folder), "WRIT_NATS_PORT": "0"}
    assert done(writ, "--version", cwd=folder, env=env) == f"writ {VERSION}\n"
    with down_if_killed(folder / ".writ"):
        assert "Writ is ready on" in done(writ, "up", "--detach", cwd=folder, env=env)
        try:
            listed = json.loads(done(writ, "operations", "-o", "json", cwd=folder, env=env))
            text = json.dumps(listed)
            assert '"file_write"' in text
            assert re.search(r'"test_\w+"', text) is None
            path = folder / "writ-sandbox" / "motd"
            target = json.loads(done(writ, "target", "list", "-o", "json", cwd=folder, env=env))[0]["id"]
            output = done(
                writ, "run", "file_write", "-t", target, f"file_path={path}", "content=hello", cwd=folder, env=env
            )
            assert output.startswith("succeeded")
            assert path.read_text() == "hello"
        finally:
            done(writ, "down", cwd=folder, env=env)

"""The oldest Python supported by hostops, and hostops in it, without this machine's Python packages."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import jeepney

import writ_hostops
from writ_installation.processes.child import tie
from writ_testing.peers.programs import missing

VERSION = "3.9"
_KEPT = (
    ".pyenv/versions/{version}.*/bin/python{version}",
    ".local/share/uv/python/cpython-{version}.*/bin/python{version}",
)


def old_python() -> str:
    """Return its path, or skip."""
    return found() or missing(f"Python {VERSION}", f"uv python install {VERSION}")


@cache
def found() -> str:
    """Return its path, from PATH or from the folders of pyenv and uv; "" without one."""
    kept = [str(path) for pattern in _KEPT for path in sorted(Path.home().glob(pattern.format(version=VERSION)))]
    for path in filter(None, [shutil.which(f"python{VERSION}"), *kept]):
        if _version(path) == VERSION:
            return path
    return ""


def _version(path: str) -> str:
    """Return its version; "" for a command that does not start, like pyenv's stand-ins."""
    reported = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([path, "-c", reported], capture_output=True, text=True, check=False).stdout.strip()


def carried(folder: Path) -> Path:
    """Return a folder with the files sent to a host: hostops and jeepney."""
    folder.mkdir()
    for module in (writ_hostops, jeepney):
        source = Path(str(module.__file__)).parent
        (folder / source.name).symlink_to(source)
    return folder


@contextmanager
def old_hostops(folder: Path, **environ: str) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Run `python3.9 -m writ_hostops` with the folder's files; yield the result of a request. It prints no error."""
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONPYCACHEPREFIX": f"{folder}.compiled"}
    command = [*tie(), old_python(), "-s", "-m", "writ_hostops"]
    with (
        TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env={**given, **environ}
        ) as process,
    ):
        requests, replies = process.stdin, process.stdout
        assert requests is not None
        assert replies is not None

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            return next(reply for reply in map(json.loads, replies) if reply["event"] == "result")

        yield ask
        requests.close()
        assert process.wait(100) == 0
        errors.seek(0)
        assert errors.read() == b""


def ask_old(request: dict[str, Any], folder: Path, **environ: str) -> dict[str, Any]:
    with old_hostops(folder, **environ) as ask:
        return ask(request)


if __name__ == "__main__":
    sys.exit(0 if found() else f"no Python {VERSION} here")

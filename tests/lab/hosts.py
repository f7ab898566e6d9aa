"""The lab as its tests see it: hosts that take commands, and waiting that ends."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

LAB = Path(__file__).with_name("lab.sh")
Seen = TypeVar("Seen")


def until(look: Callable[[], Seen | None], within: float, what: str) -> Seen:
    """What `look` sees once it sees something; an AssertionError naming `what` after `within` seconds."""
    pause, deadline = threading.Event(), time.monotonic() + within
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        pause.wait(0.05)
    raise AssertionError(f"not within {within:g} s: {what}")


class Host:
    """One host of the lab. Commands run on it as root, by argument vector."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def run(self, *command: str, stdin: str = "", timeout: float = 60.0) -> str:
        """Its output; an AssertionError with what it said when it fails."""
        code, output, errors = self.attempt(*command, stdin=stdin, timeout=timeout)
        assert code == 0, f"{self.name}: {' '.join(command)} gave {code}: {errors or output}"
        return output.strip()

    def attempt(self, *command: str, stdin: str = "", timeout: float = 60.0) -> tuple[int, str, str]:
        """Exit status, output, errors."""
        done = _lab("run", self.name, *command, stdin=stdin, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    def write(self, path: str, content: str, mode: str = "0644") -> None:
        """A file on the host, with the folders above it."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=content)

    def copy(self, source: Path, path: str) -> None:
        """A file or folder of this machine, under that name on the host."""
        done = _lab("put", self.name, str(source), path)
        assert done.returncode == 0, done.stderr

    def show(self, unit: str, key: str) -> str:
        """One property of a unit, from systemd itself."""
        return self.run("systemctl", "show", "--value", "--property", key, unit)

    def boot_id(self) -> str:
        """Which boot this is; "" while it is down."""
        return self.attempt("cat", "/proc/sys/kernel/random/boot_id")[1].strip()

    def wait(self) -> None:
        """Until it has booted."""
        done = _lab("wait", self.name, timeout=120.0)
        assert done.returncode == 0, done.stderr

    def reset(self) -> None:
        """Power off and on again."""
        done = _lab("reset", self.name)
        assert done.returncode == 0, done.stderr


def _lab(*arguments: str, stdin: str = "", timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAB, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, check=False)


def hosts() -> dict[str, Host]:
    """The hosts of the lab that this process is inside of; an AssertionError when it is in none."""
    listed = os.environ.get("LAB_HOSTS", "")
    assert listed, "these tests run inside the lab: `make lab`, or `tests/lab/lab.sh with .venv/bin/pytest -m lab`"
    return {name: Host(name, address) for name, _, address in (entry.partition("=") for entry in listed.split())}

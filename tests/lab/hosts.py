"""The lab as its tests see it: hosts that run commands, and bounded waits."""

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

LAB = Path(__file__).with_name("lab.sh")
SHELLS = ("sh", "bash", "dash", "fish")
"""Each host has a user `login-SHELL` for each, whom the lab's user key lets in."""
SSH_PORT = 22
VOLUME = "/srv/volume"
"""On each host a btrfs of its own."""
_STILL = ("/etc", "/opt", "/root", "/home", "/srv", "/usr", "/var/lib/apt", "/var/lib/dpkg", "/var/cache", VOLUME)
Seen = TypeVar("Seen")


def until(look: Callable[[], Seen | None], within: float, what: str) -> Seen:
    """Return the first true result of `look`; raise AssertionError naming `what` after `within` seconds.

    The last call begins after that time, in case the machine stood still meanwhile.
    """
    pause, deadline = threading.Event(), time.monotonic() + within
    while True:
        late = time.monotonic() > deadline
        if seen := look():
            return seen
        if late:
            raise AssertionError(f"not within {within:g} s: {what}")
        pause.wait(0.05)


class Host:
    """A host of the lab. Commands run on it as root, by argument vector."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def run(self, *command: str, stdin: str = "", timeout: float = 60.0) -> str:
        """Return its output; raise AssertionError with its errors if it fails."""
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
        """Copy a file or folder of this machine to that name on the host."""
        done = _lab("put", self.name, str(source), path)
        assert done.returncode == 0, done.stderr

    def show(self, unit: str, key: str) -> str:
        """Return one property of a unit, from systemd itself."""
        return self.run("systemctl", "show", "--value", "--property", key, unit)

    def boot_id(self) -> str:
        """Which boot this is; "" while it is down."""
        return self.attempt("cat", "/proc/sys/kernel/random/boot_id")[1].strip()

    def state(self) -> list[str]:
        """Return files with owner, mode, size and modification time, which change with files or services.

        Volatile files are left out: logs, `/run`, `/tmp`, state of services.
        """
        shown = "%p %y %U:%G %m %s %C@ %l\\n"
        files = self.run("find", *_STILL, "-xdev", "-printf", shown, timeout=120.0).splitlines()
        units = self.run("systemctl", "show", "--property=Id,ActiveState,InvocationID", "nginx", "ssh").splitlines()
        return [*sorted(files), *units]

    @property
    def host_key(self) -> str:
        """The public one, as in known_hosts after the name: `ssh-ed25519 AAAA…`."""
        return public_key(self.name)

    def ssh(self, user: str, command: str, *, stdin: str = "", patience: int = 10) -> tuple[int, str, str]:
        """Exit status, output, errors of a command line in the user's login shell, over the real sshd.

        255 without a connection within `patience` seconds.
        """
        known = Path(os.environ["LAB_KEYS"], f"known-{self.name}")
        known.write_text(f"{self.address} {self.host_key}\n")
        options = [
            f"UserKnownHostsFile={known}",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            f"ConnectTimeout={patience}",
        ]
        given = ["-F", "none", "-i", str(user_key()), *(word for one in options for word in ("-o", one))]
        done = subprocess.run(
            ["ssh", *given, f"{user}@{self.address}", command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patience + 60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def change_host_key(self) -> str:
        """Give the host another key; return the former one, for `keep_host_key`."""
        path = "/etc/ssh/ssh_host_ed25519_key"
        before = self.run("cat", path) + "\n"
        self.run("rm", path)
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
        self.run("systemctl", "restart", "ssh")
        return before

    def keep_host_key(self, key: str) -> None:
        """This one, which it had."""
        path = "/etc/ssh/ssh_host_ed25519_key"
        self.write(path, key, "0600")
        self.write(f"{path}.pub", self.run("ssh-keygen", "-y", "-f", path))
        self.run("systemctl", "restart", "ssh")

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Drop all network traffic of the host, without any error to its peers."""
        subprocess.run(["ip", "link", "set", f"v-{self.name}", "down"], check=True, timeout=10)
        try:
            yield
        finally:
            subprocess.run(["ip", "link", "set", f"v-{self.name}", "up"], check=True, timeout=10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes, while its kernel still answers."""
        done = _lab("freeze", self.name)
        assert done.returncode == 0, done.stderr
        try:
            yield
        finally:
            _lab("thaw", self.name)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the host for a test that takes it down, or that needs it up while tests of the other way use it."""
        with Path(os.environ["LAB_KEYS"]).with_name(f"{self.name}.lock").open("w") as lock:
            until(lambda: _locked(lock.fileno()), 200.0, f"{self.name} is let go of by another test")
            yield

    def wait(self) -> None:
        """Wait until it has booted."""
        done = _lab("wait", self.name, timeout=120.0)
        assert done.returncode == 0, done.stderr

    def reset(self) -> None:
        """Power off and on again."""
        done = _lab("reset", self.name)
        assert done.returncode == 0, done.stderr


def _lab(*arguments: str, stdin: str = "", timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAB, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, check=False)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def user_key() -> Path:
    """Return the private key for root and each `login-SHELL` on all hosts."""
    return Path(os.environ["LAB_KEYS"], "user")


def public_key(name: str) -> str:
    """Return the public key of `user` or of a host: type and key, no comment."""
    words = Path(os.environ["LAB_KEYS"], f"{name}.pub").read_text().split()
    return " ".join(words[:2])


def hosts() -> dict[str, Host]:
    """Return the hosts of the surrounding lab; raise AssertionError outside one."""
    listed = os.environ.get("LAB_HOSTS", "")
    assert listed, "these tests run inside the lab: `make lab`, or `tests/lab/lab.sh with .venv/bin/pytest -m lab`"
    return {name: Host(name, address) for name, _, address in (entry.partition("=") for entry in listed.split())}

"""A network of an engine's own: a namespace with an address in the lab, and this process in it.

dockerd deletes Docker's chains of iptables when it starts, and makes them anew: two engines in one namespace take the
rules from each other, and share the bridge `docker0` with its addresses.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from writ_testing.peers.programs import program

CLONE_NEWNET = 0x40000000
NUMBERS = range(100, 200)
"""Of the engines of a lab at a time: the last part of the address. Its hosts have lower ones (`lab.sh`)."""
NAMESPACES = Path("/run/netns")
_OF_THE_LAB = Path("/proc/self/ns/net").open("rb")  # noqa: SIM115 - while the process lives
_libc = ctypes.CDLL(None, use_errno=True)


class EngineNetwork(NamedTuple):
    """Its namespace, and its address in the lab."""

    name: str
    address: str

    @property
    def inside(self) -> list[str]:
        """Return a command prefix. (`ip netns exec` would hide the control groups below /sys.)"""
        return ["nsenter", f"--net={NAMESPACES / self.name}"]


@contextmanager
def engine_network() -> Iterator[EngineNetwork]:
    """Make it; within the block this thread is in it, with all that the thread starts: tests use ports on loopback.

    Hosts of the lab can be reached from it, too, and reach its address.
    """
    number = next(number for number in NUMBERS if _made(_name(number)))
    name, link = _name(number), f"engine-{number}"
    subnet = os.environ["LAB_CONTROL"].rpartition(".")[0]
    control = f"{os.environ['LAB_PREFIX']}-control"
    _ip("-n", control, "link", "add", link, "type", "veth", "peer", "name", "lab0", "netns", name)
    try:
        _ip("-n", control, "link", "set", link, "master", "bridge0", "up")
        _ip("-n", name, "address", "add", f"{subnet}.{number}/24", "dev", "lab0")
        for interface in ("lo", "lab0"):
            _ip("-n", name, "link", "set", interface, "up")
        with _entered(name):
            yield EngineNetwork(name, f"{subnet}.{number}")
    finally:
        _ip("-n", control, "link", "delete", link)  # with the namespace it would go only some time later
        _ip("netns", "delete", name)


def _name(number: int) -> str:
    return f"{os.environ['LAB_PREFIX']}-engine-{number}"


def _made(name: str) -> bool:
    """Make a namespace, unless another worker has made it."""
    done = subprocess.run(
        [program("ip"), "netns", "add", name], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0 or "File exists" in done.stderr, done.stderr
    return done.returncode == 0


def _ip(*words: str) -> None:
    subprocess.run([program("ip"), *words], check=True, timeout=30)


@contextmanager
def in_network_of_the_lab() -> Iterator[None]:
    """Let this thread leave an engine's namespace within the block: an engine of the session keeps it there."""
    with _in(_OF_THE_LAB):
        yield


@contextmanager
def _entered(name: str) -> Iterator[None]:
    with (NAMESPACES / name).open("rb") as there, _in(there):
        yield


@contextmanager
def _in(namespace: IO[bytes]) -> Iterator[None]:
    """Let this thread be in a namespace within the block (setns(2))."""
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        _set(namespace.fileno())
        try:
            yield
        finally:
            _set(before.fileno())


def _set(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")

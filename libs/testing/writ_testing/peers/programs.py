"""Programs of other projects that tests run for real.

Tests without their program are skipped, with a hint where to get it. With `TEST_PEERS=required`, as in `.ci/run`, they
fail instead.
"""

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "apt-config": "apt",
    "apt-ftparchive": "apt-utils",
    "apt-get": "apt",
    "busybox": "busybox-static",
    "dash": "dash",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "dpkg": "dpkg",
    "dpkg-deb": "dpkg",
    "fish": "fish",
    "ip": "iproute2",
    "openssl": "openssl",
    "pipx": "pipx",
    "podman": "podman",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "restic": "restic",
    "ssh-keygen": "openssh-client",
    "ssh-add": "openssh-client",
    "ssh-agent": "openssh-client",
    "sshd": "openssh-server",
    "zsh": "zsh",
}
"""Debian's package of each program."""


def program(name: str) -> str:
    """Return the program's path, searched in root's PATH, too. `name`: a key of PACKAGES."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    return found or missing(name, f"it is in Debian's package {PACKAGES[name]}")


def missing(what: str, how: str) -> NoReturn:
    """Skip or fail the test. `how`: the remedy."""
    text = f"no {what} here: {how}"
    if os.environ.get("TEST_PEERS") == "required":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)

"""The lab agrees with its README, so that other tests may rely on it."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.lab.hosts import LAB, SHELLS, VOLUME, Host, hosts, public_key, until
from tests.lab.repository import Repository
from tests.lab.vault import Vault

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_each_host_has_booted_well(near_host: Host, far_host: Host, site_hosts: tuple[Host, Host]) -> None:
    assert list(hosts()) == [one.name for one in (near_host, far_host, *site_hosts)]
    with near_host.held():
        assert near_host.boot_id() != far_host.boot_id()
        for one in (near_host, far_host):
            # Tests of the other way may have a unit fail on its host at this moment, and reset it then.
            until(lambda one=one: well(one), 30.0, f"{one.name} is running, and no unit of it has failed")  # type: ignore[misc]
            assert one.run("cat", "/etc/machine-id") != ""


def well(host: Host) -> bool:
    return host.attempt("systemctl", "is-system-running")[1].strip() == "running"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_user_logs_in_with_each_shell_over_sshd_whose_key_is_known(far_host: Host, shell: str) -> None:
    code, output, errors = far_host.ssh(f"login-{shell}", "id -un")
    assert (code, output) == (0, f"login-{shell}\n"), errors
    assert far_host.run("getent", "passwd", f"login-{shell}").rpartition(":")[2] == f"/bin/{shell}"


def test_each_host_has_a_key_of_its_own_and_another_one_is_refused(near_host: Host, far_host: Host) -> None:
    assert len({near_host.host_key, far_host.host_key, public_key("user")}) == 3
    before = far_host.change_host_key()
    try:
        code, output, errors = far_host.ssh("root", "echo in")
        assert (code, output) == (255, "")
        assert "Host key verification failed" in errors
    finally:
        far_host.keep_host_key(before)
    assert far_host.ssh("root", "echo in")[:2] == (0, "in\n")


def test_a_host_that_is_unplugged_or_frozen_is_silent_and_back_afterwards(far_host: Host) -> None:
    with far_host.unplugged():
        assert far_host.ssh("root", "true", patience=2)[0] == 255
    with far_host.frozen():
        assert far_host.ssh("root", "true", patience=2)[0] == 255
    until(lambda: far_host.ssh("root", "true")[0] == 0, 20.0, "it answers again")


def test_each_host_has_a_btrfs_of_its_own(near_host: Host, far_host: Host) -> None:
    assert far_host.run("stat", "--file-system", "--format=%T", VOLUME) == "btrfs"
    far_host.write(f"{VOLUME}/only-here", "x")
    with near_host.held():
        assert near_host.run("stat", "--file-system", "--format=%T", VOLUME) == "btrfs"
        assert near_host.attempt("test", "-e", f"{VOLUME}/only-here")[0] == 1
    far_host.run("rm", f"{VOLUME}/only-here")


def test_the_repositories_are_there(packages: Repository, backups: Vault) -> None:
    assert len(list(Path(packages.made.repo).glob("*.deb"))) >= 4
    assert backups.restic("cat", "config", "--no-lock") != ""


def test_state_of_a_host_differs_after_a_change_alone(far_host: Host) -> None:
    far_host.write("/srv/some", "a")
    before = far_host.state()
    assert far_host.state() == before
    far_host.run("cp", "/dev/stdin", "/srv/some", stdin="b")
    assert far_host.state() != before
    far_host.run("rm", "/srv/some")


def test_lab_with_a_longer_prefix_is_no_leftover_of_another_lab() -> None:
    shorter = {**os.environ, "LAB_PREFIX": os.environ["LAB_PREFIX"][:-1]}
    done = subprocess.run([LAB, "status"], env=shorter, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""

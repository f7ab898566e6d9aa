"""SIGKILL in the middle of a package's script, to dpkg, to apt-get, or to hostops, each way: the outcome is true."""

from collections.abc import Iterator

import pytest
from tests.lab.host_requests import outcomes
from tests.lab.hosts import Host, until
from tests.lab.installation import Writ
from tests.lab.repository import Repository

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

NAME = "halfway"
BEGUN, GO = "/run/halfway", "/run/halfway-go"
WAITS = f"[ -e {GO} ] || {{ echo >{BEGUN}; while [ ! -e {GO} ]; do sleep 0.1; done; }}"
OPERATIONS = ("package_install", "package_update", "package_remove")
KILLS = {
    "dpkg": "pkill --signal=KILL --exact dpkg",
    "apt-get": "pkill --signal=KILL --exact apt-get",
    "hostops": "kill -KILL $(ps -o ppid= -p $(pgrep --oldest --exact apt-get))",
}


@pytest.fixture(scope="module")
def halfway(host: Host, packages: Repository) -> None:
    """Versions 1 and 2 of a package, whose scripts wait after an installation, and before a removal."""
    for version in ("1", "2"):
        removal = f'[ "$1" = upgrade ] && exit; {WAITS}'
        packages.publish(NAME, version, postinst=WAITS, prerm=removal)
    host.run("apt-get", "-q", "update")


@pytest.fixture
def before(host: Host, packages: Repository, halfway: None, operation: str) -> Iterator[str]:
    """The version that is installed at first."""
    host.write(GO, "")
    version = {"package_install": "", "package_update": "1", "package_remove": "2"}[operation]
    if version:
        host.run("apt-get", "-qy", "install", f"{NAME}={version}")
    host.run("rm", "-f", BEGUN, GO)
    yield version
    host.write(GO, "")
    host.attempt("dpkg", "--configure", "-a")
    host.run("dpkg", "--purge", "--force-remove-reinstreq", NAME)


def state(host: Host) -> str:
    """Return dpkg's own words about the package: what is wanted, its state, its version."""
    return host.attempt("dpkg-query", "--show", "--showformat=${Status} ${Version}", NAME)[1]


@pytest.mark.parametrize("killed", KILLS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_package_operation_with_a_killed_process_ends_as_dpkg_has_the_package(
    writ: Writ, host: Host, packages: Repository, before: str, operation: str, killed: str
) -> None:
    after = "" if operation == "package_remove" else "2"
    number = writ.begin(operation, f"package_name={NAME}")
    until(lambda: host.attempt("test", "-e", BEGUN)[0] == 0, 30.0, "the script runs")
    host.run("sh", "-c", KILLS[killed])
    if killed != "hostops":  # its agent ends what it has left behind
        host.write(GO, "")
    done = writ.ended(number, 90.0)
    host.write(GO, "")
    assert len(outcomes(writ.kinds(number))) == 1
    assert done["outcome"] == ("unknown" if killed == "hostops" else "failed"), done
    assert "dpkg --configure -a" in done["message"]
    assert "half-configured" in state(host)
    host.run("dpkg", "--configure", "-a")
    if operation == "package_remove":  # dpkg may still have it as half removed
        assert writ.run(operation, f"package_name={NAME}")["outcome"] == "succeeded"
    assert packages.version(NAME) == after
    if killed != "hostops":
        return
    if operation == "package_install":
        until(lambda: "resolved" in writ.kinds(number), 60.0, "a probe settles it")
        assert writ.json("op", "show", number)["outcome"] == "succeeded"
    else:  # what was done since to a package that had an earlier version may be another's change
        assert writ.json("op", "show", number, status=7)["outcome"] == "unknown"

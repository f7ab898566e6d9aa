"""A replaced, silent, lost or full host over SSH: one correct outcome in time, and no leftovers."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from tests.lab.host_requests import begun, hang_up, let_go, only, outcomes, reported, settled, times
from tests.lab.hosts import Host, until
from tests.lab.installation import Writ
from tests.lab.targets import TIGHT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), only("ssh")]

TIMEOUT, LATE = 4, 5


@pytest.fixture
def another_key(writ: Writ, host: Host) -> Iterator[None]:
    """The host shows another key than the one on record, and no connection from before is there."""
    before = host.change_host_key()
    hang_up(host)
    yield
    host.keep_host_key(before)


@pytest.mark.usefixtures("another_key")
def test_a_changed_host_key_is_refused_and_a_security_event_in_the_trace(writ: Writ, host: Host) -> None:
    before = host.show("nginx", "InvocationID")
    done = writ.run("service_restart", "service_name=nginx", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "host_key_changed")
    reported(writ, done["operation_id"], "host_key_changed")
    dry = writ.run("package_remove", "package_name=hello", "--dry-run", status=1)
    reported(writ, dry["operation_id"], "host_key_changed")
    assert writ.run("network_status", status=1)["code"] == "host_key_changed"
    # Here a deny hangs on names, and nobody can tell those of the host's units now.
    seen = writ.run("service_status", "service_name=nginx", status=3)
    assert (seen["outcome"], seen["code"]) == ("denied", "rule_error")
    assert "does not show the host key that is on record" in seen["message"]
    reported(writ, seen["operation_id"], "host_key_changed")  # nor is a listing silent
    assert host.show("nginx", "InvocationID") == before


def silent(host: Host, how: str) -> AbstractContextManager[None]:
    """Unplugged or frozen."""
    return host.unplugged() if how == "unplugged" else host.frozen()


@pytest.mark.parametrize("how", ["unplugged", "frozen"])
def test_a_host_that_falls_silent_in_the_middle_is_unknown_in_time_and_settled_when_it_is_back(
    writ: Writ, host: Host, slow: str, how: str
) -> None:
    number = begun(writ, host, slow, f"timeout={TIMEOUT}")
    began = time.time()
    with silent(host, how):
        done = writ.ended(number, 30.0)
        assert done["outcome"] == "unknown"
        assert times(writ, number)["unknown"] - began < TIMEOUT + LATE
    let_go(host)
    settled(writ, number)


@pytest.mark.parametrize("how", ["unplugged", "frozen"])
def test_a_host_that_is_silent_fails_in_time_and_nothing_is_done(writ: Writ, host: Host, how: str) -> None:
    writ.run("network_status")  # over a connection that is kept
    before = host.show("nginx", "InvocationID")
    with silent(host, how):
        began = time.monotonic()
        code, output, errors = writ.call("run", "network_status", "-t", writ.target, f"timeout={TIMEOUT}", "-o", "json")
        assert time.monotonic() - began < TIMEOUT + LATE + 10
        assert code == 1, output + errors
    assert writ.run("service_restart", "service_name=nginx")["outcome"] == "succeeded"
    assert host.show("nginx", "InvocationID") != before


def test_a_connection_that_breaks_in_the_middle_leaves_the_result_of_the_host(
    writ: Writ, host: Host, slow: str
) -> None:
    starts = host.run("cat", "/srv/slow-starts").splitlines()
    number = begun(writ, host, slow)
    hang_up(host)
    let_go(host)
    done = writ.ended(number, 40.0)
    assert (done["outcome"], done["code"]) == ("succeeded", "")
    assert done["output"]["invocation_id"] == host.show(slow, "InvocationID")
    assert outcomes(writ.kinds(number)) == ["finished"]
    assert host.run("cat", "/srv/slow-starts").splitlines() == [*starts, "started"]


def test_a_host_that_refuses_connections_fails_at_once_and_is_back_with_its_sshd(writ: Writ, host: Host) -> None:
    host.run("systemctl", "stop", "ssh.service")
    hang_up(host)
    try:
        done = writ.run("network_status", status=1)
        assert (done["outcome"], done["code"]) == ("failed", "unreachable")
    finally:
        host.run("systemctl", "start", "ssh.service")
    assert writ.run("network_status")["outcome"] == "succeeded"


@pytest.fixture
def tight(host: Host, request: pytest.FixtureRequest) -> Iterator[str]:
    """A file system of this size for Writ's own folder on the host."""
    host.run("mkdir", "-p", TIGHT)
    host.run("mount", "-t", "tmpfs", "-o", f"size={request.param},mode=700", "tight", TIGHT)
    yield TIGHT
    hang_up(host)
    until(lambda: host.attempt("umount", TIGHT)[0] == 0, 20.0, "nothing uses it any more")


@pytest.mark.parametrize("tight", ["64k"], indirect=True)
def test_missing_room_for_hostops_is_reported(writ: Writ, tight: str) -> None:
    done = writ.run("network_status", target="tight", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "unusable_folder")


@pytest.mark.parametrize("tight", ["8m"], indirect=True)
def test_operation_does_not_begin_without_room_for_its_mark(writ: Writ, host: Host, tight: str) -> None:
    asked = ("service_restart", "service_name=nginx")
    assert writ.run(*asked, target="tight")["outcome"] == "succeeded"
    before = host.show("nginx", "InvocationID")
    assert host.attempt("cp", "/dev/zero", f"{tight}/fill")[0] == 1
    done = writ.run(*asked, target="tight", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "no_space")
    assert host.show("nginx", "InvocationID") == before
    host.run("rm", f"{tight}/fill")
    assert writ.run(*asked, target="tight")["outcome"] == "succeeded"

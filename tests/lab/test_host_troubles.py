"""Restarts that are cancelled, time out, or lose their host, each way: one correct outcome in time."""

from collections.abc import Iterator

import pytest
from tests.lab.host_requests import begun, let_go, outcomes, settled, times
from tests.lab.hosts import Host, until
from tests.lab.installation import Writ

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_a_restart_that_systemd_cannot_take_back_ends_unknown_and_is_settled_when_it_is_seen(
    writ: Writ, host: Host, slow: str
) -> None:
    number = begun(writ, host, slow)
    writ.call("op", "cancel", number, "--reason", "a test")
    done = writ.ended(number, 30.0)
    assert (done["outcome"], done["code"]) == ("unknown", "cancelled")  # its job is gone, but the unit goes on
    assert host.run("systemctl", "list-jobs", "--plain", "--no-legend") == ""
    let_go(host)
    settled(writ, number)


def test_operation_ends_at_its_timeout_and_leaves_no_process_on_the_host(writ: Writ, host: Host, slow: str) -> None:
    done = writ.run("service_restart", f"service_name={slow}", "timeout=2", status=7)
    assert (done["outcome"], done["code"]) == ("unknown", "timeout")
    at = times(writ, done["operation_id"])
    assert at["unknown"] - at["granted"] < 2 + 5
    assert host.run("systemctl", "list-jobs", "--plain", "--no-legend") == ""
    let_go(host)
    settled(writ, done["operation_id"])


@pytest.fixture
def held(host: Host) -> Iterator[None]:
    """Lock the host for this test alone."""
    with host.held():
        yield


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_a_host_that_goes_down_in_the_middle_leaves_an_outcome(writ: Writ, host: Host, slow: str, how: str) -> None:
    number = begun(writ, host, slow)
    before = host.boot_id()
    if how == "reboot":
        host.run("systemctl", "reboot")
    else:
        host.reset()
    until(lambda: host.boot_id() not in ("", before), 60.0, "the host boots again")
    host.wait()
    done = writ.ended(number, 90.0)
    assert done["outcome"] != "succeeded"
    assert len(outcomes(writ.kinds(number))) == 1
    pool = next(one["pool"] for one in writ.json("target", "list") if one["id"] == writ.target)
    until(lambda: writ.agents(pool) == 1, 60.0, "its agent is there, and the one before is forgotten")
    assert writ.run("service_restart", "service_name=nginx")["outcome"] == "succeeded"

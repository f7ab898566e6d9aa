"""Services of a real host, each way: outputs agree with systemd afterwards."""

import pytest
from tests.lab.host_requests import previewed
from tests.lab.hosts import Host
from tests.lab.installation import Writ

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_requested_restart_restarts_nginx_and_has_a_trace(writ: Writ, host: Host) -> None:
    before = host.show("nginx", "InvocationID")
    done = writ.run("service_restart", "service_name=nginx")
    assert done["outcome"] == "succeeded"
    after = host.show("nginx", "InvocationID")
    assert before != after == done["output"]["invocation_id"]

    events = {event["kind"]: event["body"] for event in writ.trace(done["operation_id"])}
    assert list(events) == ["requested", "lock_taken", "dispatched", "granted", "finished"]
    claim, grant = events["granted"]["claim"]["payload"], events["granted"]["grant"]["payload"]
    assert claim["baseline"]["invocation_id"] == before
    assert grant["operation"] == "service_restart"
    assert events["finished"]["receipt"]["payload"]["state"]["invocation_id"] == after


def test_a_service_is_stopped_looked_at_and_started(writ: Writ, host: Host) -> None:
    assert writ.run("service_stop", "service_name=nginx")["outcome"] == "succeeded"
    assert host.show("nginx", "ActiveState") == "inactive"
    assert writ.run("service_status", "service_name=nginx")["output"]["active_state"] == "inactive"
    previewed(writ, host, "service_start", "service_name=nginx")
    assert writ.run("service_start", "service_name=nginx")["outcome"] == "succeeded"
    assert host.show("nginx", "ActiveState") == "active"


def test_a_unit_that_does_not_exist_fails_with_a_code_that_says_so(writ: Writ) -> None:
    done = writ.run("service_restart", "service_name=no-such-unit", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "unit_not_found")


@pytest.mark.parametrize("verb", ["restart", "stop"])
def test_a_preview_says_what_would_be_done_and_does_nothing(writ: Writ, host: Host, verb: str) -> None:
    assert previewed(writ, host, f"service_{verb}", "service_name=nginx")["would"] == verb

"""Services before and after an operation: the requests shown in a preview, and the findings of a probe."""

from typing import Any

import pytest
from tests.hostops.conftest import Ask
from tests.hostops.fake_systemd import FakeSystemd


@pytest.mark.parametrize(
    ("verb", "active", "would"),
    [
        ("start", "active", "nothing"),
        ("start", "inactive", "start"),
        ("start", "failed", "start"),
        ("stop", "active", "stop"),
        ("stop", "inactive", "nothing"),
        ("restart", "active", "restart"),
        ("restart", "inactive", "start"),
    ],
)
def test_preview_of_a_service_shows_the_call(
    ask: Ask, systemd: FakeSystemd, verb: str, active: str, would: str
) -> None:
    systemd.add("nginx.service", active=active)
    result = ask(f"service_{verb}", "preview", service_name="nginx")
    assert (result["output"]["would"], result["output"]["active_state"]) == (would, active)
    call = f"org.freedesktop.systemd1.Manager.{verb.capitalize()}Unit('nginx.service', 'replace')"
    assert result["output"]["commands"] == [call]
    assert {call[0] for call in systemd.calls} == {"Hello", "Get", "GetAll"}


@pytest.mark.parametrize("facts", [{"load": "masked"}, {"can_start": False}, {"can_stop": False}])
def test_a_preview_knows_what_systemd_would_refuse(ask: Ask, systemd: FakeSystemd, facts: dict[str, Any]) -> None:
    systemd.add("nginx.service", **facts)
    assert ask("service_restart", "preview", service_name="nginx")["code"] == "job_failed"


def test_a_probe_knows_a_restart_by_the_invocation(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service")
    baseline = ask("service_restart", "baseline", service_name="nginx")["output"]

    def verdict() -> str:
        probed = ask("service_restart", "probe", request={"baseline": baseline}, service_name="nginx")
        return str(probed["output"]["verdict"])

    assert verdict() == "not_done"
    ask("service_restart", service_name="nginx")
    assert verdict() == "succeeded"
    systemd.units["nginx.service"].active = "deactivating"
    assert verdict() == "unknown"

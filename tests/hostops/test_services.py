"""Services against a small systemd on a bus: a job's result, the state afterwards, and what a cancel can tell."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Ask
from tests.hostops.fake_systemd import FakeSystemd

from writ_hostops import Stop
from writ_hostops.systemd import bus


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    """A bus with systemd on it, where hostops looks for the system bus."""
    monkeypatch.chdir(tmp_path)
    fake = FakeSystemd(Path())
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.address)
    yield fake
    fake.close()


def test_the_status_of_a_service(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", invocation=10)
    result = ask("service_status", service_name="nginx")
    assert (result["outcome"], result["effect"]) == ("succeeded", "none")
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert result["output"] == {
        "service_name": "nginx.service",
        "requested": "nginx.service",
        "description": "The unit nginx.service",
        "load_state": "loaded",
        "active_state": "active",
        "sub_state": "running",
        "unit_file_state": "enabled",
        "result": "success",
        "main_pid": 4711,
        "exec_main_status": 0,
        "invocation_id": "0a" * 16,
        "active_since": 1_700_000_000.00001,
        "restarts": 2,
        "needs_reload": False,
        "boot_id": boot_id,
    }
    assert [call[0] for call in systemd.calls if call[0] not in ("Hello", "LoadUnit", "Get", "GetAll")] == []


def test_a_timer_has_no_process(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("apt.timer")
    output = ask("service_status", service_name="apt.timer")["output"]
    assert (output["service_name"], output["main_pid"]) == ("apt.timer", 0)


def test_an_alias_is_answered_with_the_unit_that_it_means(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.units["sshd.service"] = systemd.add("ssh.service")
    output = ask("service_restart", service_name="sshd")["output"]
    assert (output["service_name"], output["requested"]) == ("ssh.service", "sshd.service")
    assert ("RestartUnit", "ssh.service", "replace") in systemd.calls
    assert ask("service_restart", "baseline", service_name="sshd")["output"]["service_name"] == "ssh.service"


@pytest.mark.parametrize("action", ["run", "baseline", "probe", "preview"])
def test_a_unit_that_is_not_there_is_not_found(ask: Ask, systemd: FakeSystemd, action: str) -> None:
    result = ask("service_restart", action, service_name="nothing")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "unit_not_found", "none")
    assert not [call for call in systemd.calls if call[0] == "RestartUnit"]


def test_a_restart_gives_a_new_invocation(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service")
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["effect"], result["certain"]) == ("succeeded", "done", True)
    assert (result["output"]["job_result"], result["output"]["changed"]) == ("done", True)
    assert result["output"]["invocation_id"] == "02" * 16
    assert result["state"]["invocation_id"] == "02" * 16


def test_starting_what_runs_changes_nothing(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service")
    result = ask("service_start", service_name="nginx")
    assert (result["outcome"], result["effect"], result["output"]["changed"]) == ("succeeded", "none", False)


def test_a_stopped_service_is_inactive(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service")
    result = ask("service_stop", service_name="nginx")
    assert (result["outcome"], result["effect"], result["output"]["active_state"]) == ("succeeded", "done", "inactive")


def test_a_oneshot_that_went_well_has_succeeded(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("once.service", active="inactive", sub="dead", then="oneshot")
    result = ask("service_start", service_name="once")
    assert (result["outcome"], result["effect"]) == ("succeeded", "done")


def test_a_oneshot_that_systemd_has_forgotten_again_has_run_all_the_same(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("once.service", active="inactive", sub="dead", then="forgotten")
    result = ask("service_start", service_name="once")
    assert (result["outcome"], result["effect"], result["output"]["changed"]) == ("succeeded", "done", True)


@pytest.mark.parametrize("job", ["failed", "timeout", "dependency", "skipped", "assert"])
def test_a_job_that_does_not_end_well_has_failed(ask: Ask, systemd: FakeSystemd, job: str) -> None:
    systemd.add("nginx.service", jobs=[job])
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"], result["certain"]) == (
        "failed",
        "job_failed",
        "done",
        True,
    )
    assert result["output"]["job_result"] == job
    assert "exit status 3" in result["message"]


@pytest.mark.parametrize("then", ["failed", "auto-restart"])
def test_a_done_job_is_not_enough_if_the_service_died_at_once(ask: Ask, systemd: FakeSystemd, then: str) -> None:
    systemd.add("nginx.service", then=then)
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "job_failed", "done")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("org.freedesktop.systemd1.UnitMasked", "job_failed"),
        ("org.freedesktop.systemd1.NoSuchUnit", "unit_not_found"),
        ("org.freedesktop.DBus.Error.AccessDenied", "permission_denied"),
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "permission_denied"),
    ],
)
def test_a_refused_job_changes_nothing(ask: Ask, systemd: FakeSystemd, name: str, code: str) -> None:
    systemd.add("nginx.service", jobs=[f"refused {name}"])
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", code, "none")
    assert "Unit nginx.service is refused." in result["message"]


def test_somebody_elses_signal_does_not_count(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.spoof = True
    systemd.add("nginx.service", jobs=["failed"])
    assert ask("service_restart", service_name="nginx")["outcome"] == "failed"


def cancelled(ask: Ask, systemd: FakeSystemd, operation: str = "service_restart") -> dict[str, Any]:
    """What is said when a cancel comes while the job hangs."""
    with Stop(30) as stop:

        def cancel_when_queued() -> None:
            assert systemd.queued.wait(10)
            stop.cancel()

        canceller = threading.Thread(target=cancel_when_queued)
        canceller.start()
        result = ask(operation, stop=stop, service_name="nginx")
        canceller.join()
    return result


def test_a_cancelled_job_that_did_nothing_is_certain(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["hangs"])
    result = cancelled(ask, systemd)
    assert (result["outcome"], result["code"], result["effect"], result["certain"]) == (
        "cancelled",
        "cancelled",
        "none",
        True,
    )
    assert result["output"]["job_result"] == "canceled"


def test_a_cancelled_job_that_left_the_service_stopped_is_certain_and_says_so(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["hangs"], then="oneshot")
    result = cancelled(ask, systemd)
    assert (result["outcome"], result["effect"], result["certain"]) == ("cancelled", "done", True)
    assert result["state"]["active_state"] == "inactive"


def test_a_cancelled_job_that_left_something_going_on_is_unknown(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["hangs"], then="activating")
    result = cancelled(ask, systemd)
    assert (result["outcome"], result["effect"], result["certain"]) == ("unknown", "maybe", False)


def test_a_job_that_does_not_let_itself_be_cancelled_is_unknown(
    ask: Ask, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "CANCEL_TIMEOUT", 0.05)
    systemd.add("nginx.service", jobs=["stuck"])
    result = cancelled(ask, systemd)
    assert (result["outcome"], result["effect"], result["certain"]) == ("unknown", "maybe", False)


def test_a_job_whose_time_is_up_is_cancelled(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["hangs"])
    result = ask("service_restart", request={"timeout": 0.2}, service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "timeout", "none")
    assert ("Cancel",) in systemd.calls


def test_a_job_cancelled_by_somebody_else_has_failed(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["canceled"])
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "job_failed", "none")


def test_a_bus_that_breaks_after_the_job_was_queued_leaves_it_open(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["dies"])
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"], result["certain"]) == (
        "unknown",
        "unavailable",
        "maybe",
        False,
    )


def test_a_bus_that_never_greets_is_unavailable(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "REPLY_TIMEOUT", 0.1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=mute")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind("mute")
        mute.listen()
        assert ask("service_restart", service_name="nginx")["code"] == "unavailable"


@pytest.mark.parametrize("address", ["tcp:host=localhost,port=1", "nonsense"])
def test_a_bus_address_that_makes_no_sense_is_unavailable(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    assert ask("service_status", service_name="nginx")["code"] == "unavailable"


def test_a_cancel_before_the_job_asks_for_none(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service")
    with Stop(30) as stop:
        stop.cancel()
        result = ask("service_restart", stop=stop, service_name="nginx")
    assert (result["outcome"], result["effect"], systemd.calls) == ("cancelled", "none", [])


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
def test_a_preview_says_what_would_be_asked(ask: Ask, systemd: FakeSystemd, verb: str, active: str, would: str) -> None:
    systemd.add("nginx.service", active=active)
    result = ask(f"service_{verb}", "preview", service_name="nginx")
    assert (result["output"]["would"], result["output"]["active_state"]) == (would, active)
    assert {call[0] for call in systemd.calls} == {"Hello", "LoadUnit", "Get", "GetAll"}


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

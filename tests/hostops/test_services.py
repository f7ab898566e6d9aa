"""Services against a small systemd on a bus: a job's result, the state afterwards, and reports of a cancel."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Ask
from tests.hostops.fake_systemd import FakeSystemd

from writ_hostops import CancelToken
from writ_hostops.systemd import bus


def test_service_status_returns_the_properties_of_a_unit(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", invocation=10)
    result = ask("service_status", service_name="nginx")
    assert (result["outcome"], result["effect"]) == ("succeeded", "none")
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert result["output"] == {
        "service_name": "nginx.service",
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
    assert [call[0] for call in systemd.calls if call[0] not in ("Hello", "Get", "GetAll")] == []


def test_status_of_a_timer_has_no_process(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("apt.timer")
    output = ask("service_status", service_name="apt.timer")["output"]
    assert (output["service_name"], output["main_pid"]) == ("apt.timer", 0)


@pytest.mark.parametrize("name", ["sshd", "sshd.service"])
@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("service_status", "run"),
        ("service_status", "baseline"),
        ("service_start", "run"),
        ("service_stop", "run"),
        *[("service_restart", action) for action in ("run", "baseline", "probe", "preview")],
    ],
)
def test_an_alias_is_refused_with_the_name_of_the_unit_that_it_means(
    ask: Ask, systemd: FakeSystemd, operation: str, action: str, name: str
) -> None:
    """Policy judged the requested name: an alias must not bypass a rule about the unit."""
    systemd.units["sshd.service"] = systemd.add("ssh.service")
    systemd.units["dbus-ssh.socket"] = systemd.add("ssh.socket")
    result = ask(operation, action, service_name=name)
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "unit_alias", "none")
    assert result["message"] == "sshd.service is another name of ssh.service on this host: use ssh"
    assert ask(operation, action, service_name="dbus-ssh.socket")["message"].endswith("use ssh.socket")
    assert not [call for call in systemd.calls if call[0] in ("StartUnit", "StopUnit", "RestartUnit")]
    assert ask(operation, action, service_name="ssh")["code"] != "unit_alias"


def test_change_of_a_unit_is_refused_until_policy_knows_all_of_its_names(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("ssh.service", aliases=["sshd.service", "secure-shell.service"])
    baseline = ask("service_restart", "baseline", service_name="ssh")["output"]
    assert baseline["names"] == ["secure-shell", "sshd"]
    for reported, untold in (({}, "secure-shell, sshd"), ({"names": ["sshd"]}, "secure-shell")):
        for verb in ("start", "stop", "restart"):
            result = ask(f"service_{verb}", request={"baseline": reported}, service_name="ssh")
            assert (result["outcome"], result["code"], result["effect"]) == ("failed", "unit_alias", "none")
            assert result["message"].startswith(f"ssh.service is also {untold} on this host")
    assert ask("service_restart", request={"baseline": baseline}, service_name="ssh")["outcome"] == "succeeded"
    assert ask("service_status", service_name="ssh")["outcome"] == "succeeded"
    assert ask("service_status", "baseline", service_name="ssh")["output"]["names"] == ["secure-shell", "sshd"]


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


@pytest.mark.parametrize("operation", ["service_start", "service_restart"])
@pytest.mark.parametrize("kind", ["simple", "exec", "idle"])
def test_service_without_a_readiness_signal_is_watched_for_a_moment(
    ask: Ask, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch, operation: str, kind: str
) -> None:
    active = "inactive" if operation == "service_start" else "active"
    systemd.add("nginx.service", type=kind, lives=2, active=active)
    with monkeypatch.context() as patience:
        patience.setattr("writ_hostops.systemd.judgement.SETTLING", 20.0)  # a slow machine looks seldom
        result = ask(operation, service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "job_failed", "done")
    assert "the unit is failed (failed, exit-code, exit status 3)" in result["message"]
    systemd.add("lasting.service", type=kind, active=active)
    assert ask(operation, service_name="lasting")["outcome"] == "succeeded"


def test_cancelled_action_on_a_simple_service_has_succeeded(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", type="simple")
    result = cancelled(ask, systemd)
    assert (result["outcome"], result["effect"], result["certain"]) == ("succeeded", "done", True)


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


def test_foreign_signal_does_not_count(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.spoof = True
    systemd.add("nginx.service", jobs=["failed"])
    assert ask("service_restart", service_name="nginx")["outcome"] == "failed"


def cancelled(ask: Ask, systemd: FakeSystemd, operation: str = "service_restart") -> dict[str, Any]:
    """Return the error of a cancel during a hanging job."""
    with CancelToken(30) as stop:

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


def test_cancelled_job_that_left_the_service_stopped_is_certain(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["hangs"], then="oneshot")
    result = cancelled(ask, systemd)
    assert (result["outcome"], result["effect"], result["certain"]) == ("cancelled", "done", True)
    assert result["state"]["active_state"] == "inactive"


def test_cancelled_job_of_an_activating_unit_is_unknown(ask: Ask, systemd: FakeSystemd) -> None:
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
    result = ask("service_restart", request={"timeout": 3.0}, service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "timeout", "none")
    assert ("Cancel",) in systemd.calls


def test_a_job_cancelled_by_somebody_else_has_failed(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service", jobs=["canceled"])
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "job_failed", "none")


def test_job_is_unknown_if_the_bus_breaks_after_it_was_queued(ask: Ask, systemd: FakeSystemd) -> None:
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


def test_cancel_before_the_job_queues_none(ask: Ask, systemd: FakeSystemd) -> None:
    systemd.add("nginx.service")
    with CancelToken(30) as stop:
        stop.cancel()
        result = ask("service_restart", stop=stop, service_name="nginx")
    assert (result["outcome"], result["effect"], systemd.calls) == ("cancelled", "none", [])

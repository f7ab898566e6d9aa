"""Services on a host without a system bus: by systemctl, here a script that records its arguments."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Ask, named

from writ_hostops import CancelToken

SCRIPT = """#!/bin/sh
printf '%s\\n' "$*" >>{calls}
case "$1" in
show) cat {shown} ;;
cancel) printf 'Job=\\n' >>{shown} ;;
*) {body} ;;
esac
"""
SHOWN = """Id=nginx.service
Names=nginx.service
Description=web = server
LoadState=loaded
ActiveState=active
SubState=running
InvocationID=aa
ActiveEnterTimestamp=Tue 2026-11-24 10:00:00 UTC
ActiveEnterTimestampMonotonic=17
CanStart=yes
CanStop=yes
NeedDaemonReload=no
Result=success
MainPID=42
ExecMainStatus=0
NRestarts=0
"""

Install = Callable[..., Path]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a systemctl on the PATH, without a system bus; return the file with its arguments."""

    def install(body: str = "true", shown: str = SHOWN) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        (tmp_path / "shown").write_text(shown)
        script = SCRIPT.format(calls=tmp_path / "calls", shown=tmp_path / "shown", body=body.format(tmp=tmp_path))
        (folder / "systemctl").write_text(script)
        (folder / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
        return tmp_path / "calls"

    return install


def test_the_status_is_read_by_name(ask: Ask, systemctl: Install) -> None:
    calls = systemctl()
    output = ask("service_status", service_name="nginx")["output"]
    assert (output["service_name"], output["description"], output["main_pid"]) == ("nginx.service", "web = server", 42)
    assert (output["invocation_id"], output["active_since"]) == ("aa", None)
    assert calls.read_text().splitlines()[0].endswith(" -- nginx.service")


def test_a_restart_is_an_argument_vector(ask: Ask, systemctl: Install) -> None:
    calls = systemctl("sed -i s/InvocationID=aa/InvocationID=bb/ {tmp}/shown")
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["effect"], result["output"]["job_result"]) == ("succeeded", "done", "done")
    requested = "restart --no-ask-password -- nginx.service"
    assert calls.read_text().splitlines()[1] == requested
    assert ask("service_restart", "preview", service_name="nginx")["output"]["commands"] == [f"systemctl {requested}"]


def test_started_program_carries_the_mark_of_its_operation(
    ask: Ask, systemctl: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRIT_OPERATION_ID", named(1))
    systemctl("echo $WRIT_OPERATION_ID >{tmp}/mark")
    ask("service_restart", service_name="nginx")
    assert (tmp_path / "mark").read_text() == f"{named(1)}\n"


@pytest.mark.parametrize(
    ("status", "code"), [(1, "job_failed"), (4, "permission_denied"), (5, "unit_not_found"), (42, "job_failed")]
)
def test_systemctl_exit_statuses_are_distinguished(ask: Ask, systemctl: Install, status: int, code: str) -> None:
    systemctl(f"exit {status}")
    result = ask("service_restart", service_name="nginx")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", code, "none")


def test_a_unit_that_is_not_there_is_not_found(ask: Ask, systemctl: Install) -> None:
    systemctl(shown="Id=nginx.service\nLoadState=not-found\n")
    assert ask("service_start", service_name="nginx")["code"] == "unit_not_found"


def test_a_host_without_systemd_is_unavailable(ask: Ask, systemctl: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(shown="")
    assert ask("service_status", service_name="nginx")["code"] == "unavailable"
    monkeypatch.setenv("PATH", "/nowhere")
    assert ask("service_status", service_name="nginx")["code"] == "unavailable"


@pytest.mark.parametrize(("queued", "outcome"), [(True, "cancelled"), (False, "cancelled")])
def test_a_cancel_takes_the_job_back(ask: Ask, systemctl: Install, tmp_path: Path, queued: bool, outcome: str) -> None:
    job = "echo Job=7 >>{tmp}/shown; " if queued else ""
    calls = systemctl(job + "mkfifo {tmp}/never; : >{tmp}/asked; exec cat {tmp}/never")
    with CancelToken(30) as stop:
        over = threading.Event()

        def cancel_at_call() -> None:
            while not (tmp_path / "asked").exists() and not over.wait(0.01):
                pass
            stop.cancel()

        canceller = threading.Thread(target=cancel_at_call)
        canceller.start()
        result: dict[str, Any] = ask("service_restart", stop=stop, service_name="nginx")
        over.set()
        canceller.join()
    assert (result["outcome"], result["effect"], result["certain"]) == (outcome, "none", True)
    assert ("cancel -- 7" in calls.read_text()) is queued
    json.dumps(result)


def test_baseline_names_aliases_and_an_alias_is_refused(ask: Ask, systemctl: Install) -> None:
    calls = systemctl(shown=SHOWN.replace("Names=nginx.service", "Names=nginx.service web.service"))
    baseline = ask("service_stop", "baseline", service_name="nginx")["output"]
    assert baseline["names"] == ["web"]
    assert ask("service_stop", service_name="nginx")["code"] == "unit_alias"
    alias = ask("service_stop", request={"baseline": baseline}, service_name="web")
    assert (alias["code"], alias["effect"]) == ("unit_alias", "none")
    assert "stop" not in calls.read_text()

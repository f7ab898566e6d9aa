"""Package operations beside a dpkg that is at work, and after an apt-get that was killed."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.apt_root import AptRoot, wait_for_script
from tests.hostops.apt_root import apt_root as apt_root
from tests.hostops.conftest import Ask, named

import writ_hostops
from writ_hostops import commands, markers
from writ_hostops.packages import apt, dpkg
from writ_testing.peers.programs import program
from writ_testing.search import alive

DPKG_LOCK = "var/lib/dpkg/lock"


def test_dpkg_that_is_at_work_is_waited_for_and_not_called_interrupted(
    ask: Ask, apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "BUSY_PATIENCE", 0.0)
    ask("package_install", package_name="hello", version="1.0")
    apt_root.interrupt("hello")
    with apt_root.locked(), apt_root.locked(DPKG_LOCK):
        result = ask("package_install", package_name="extra")
        probed = ask("package_install", "probe", package_name="extra")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "busy", "none")
    assert probed["output"] == {"verdict": "unknown", "reason": "dpkg is at work on the host"}


@pytest.mark.parametrize(
    ("operation", "parameters"), [("package_install", {"package_name": "extra"}), ("package_update", {})]
)
def test_change_is_planned_after_others_have_ended_and_not_beside_them(
    ask: Ask, apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch, operation: str, parameters: dict[str, str]
) -> None:
    """dpkg has unpacked a package and not yet what it needs: apt simulates nothing then."""
    monkeypatch.setattr(commands, "BUSY_PATIENCE", 0.0)
    apt_root.publish("dependency", "1")
    apt_root.publish("needy", "1", fields="Depends: dependency\n")
    apt_root.update()
    ask("package_install", package_name="needy")
    status = apt_root.root / "var/lib/dpkg/status"
    needy = next(one for one in status.read_text().split("\n\n") if one.startswith("Package: needy\n"))
    status.write_text(needy.replace("install ok installed", "install ok unpacked") + "\n")
    with apt_root.locked(), apt_root.locked(DPKG_LOCK):
        result = ask(operation, **parameters)
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "busy", "none")


@pytest.mark.parametrize("action", ["run", "preview"])
@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("package_install", {"package_name": "hello"}),
        ("package_update", {"package_name": "hello"}),
        ("package_update", {}),
    ],
)
def test_nothing_is_to_do_beside_another_program_that_may_run_dpkg(
    ask: Ask,
    apt_root: AptRoot,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    parameters: dict[str, str],
    action: str,
) -> None:
    monkeypatch.setattr(commands, "BUSY_PATIENCE", 0.0)
    ask("package_install", package_name="hello")
    with apt_root.locked():
        done = ask(operation, action, **parameters)
    assert (done["outcome"], done["effect"], done["output"]["changed"]) == ("succeeded", "none", [])


@pytest.mark.parametrize(
    ("operation", "parameters"), [("package_install", {"package_name": "extra"}), ("package_update", {})]
)
def test_preview_beside_dpkg_shows_the_packages_as_dpkg_leaves_them(
    ask: Ask, apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch, operation: str, parameters: dict[str, str]
) -> None:
    """dpkg has unpacked a package and not yet what it needs: apt would call the dependencies broken."""
    apt_root.publish("dependency", "1")
    apt_root.publish("needy", "1", fields="Depends: dependency\n")
    apt_root.update()
    ask("package_install", package_name="needy")
    status = apt_root.root / "var/lib/dpkg/status"
    whole = status.read_text()
    needy = next(one for one in whole.split("\n\n") if one.startswith("Package: needy\n"))
    status.write_text(needy.replace("install ok installed", "install ok unpacked") + "\n")
    with apt_root.locked(), apt_root.locked(DPKG_LOCK):
        real, looks = commands.while_busy, []

        def ended(attempt: Any, is_busy: Any, *rest: Any) -> Any:
            """dpkg ends during the wait."""
            looks.append(attempt())
            status.write_text(whole)
            return None

        monkeypatch.setattr(commands, "while_busy", ended)
        beside = ask(operation, "preview", **parameters)
        monkeypatch.setattr(commands, "while_busy", real)
    expected = ask(operation, "preview", **parameters)
    assert looks == [True]
    assert (beside["outcome"], beside["output"]["changed"]) == ("succeeded", expected["output"]["changed"])
    assert beside["state"] == expected["state"]


@pytest.mark.parametrize("action", ["run", "preview"])
@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("package_install", {"package_name": "absent"}),
        ("package_install", {"package_name": "hello", "version": "9"}),
        ("package_update", {"package_name": "extra"}),
        ("package_remove", {"package_name": "absent"}),
    ],
)
def test_package_that_is_not_found_is_reported_at_once_beside_another_program(
    ask: Ask,
    apt_root: AptRoot,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    parameters: dict[str, str],
    action: str,
) -> None:
    monkeypatch.setattr(commands, "BUSY_PATIENCE", 0.0)
    with apt_root.locked(), apt_root.locked(DPKG_LOCK):
        refused = ask(operation, action, **parameters)
    assert (refused["outcome"], refused["code"], refused["effect"]) == ("failed", "not_found", "none")


def test_preview_beside_dpkg_that_does_not_end_is_soon_busy(
    ask: Ask, apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiting preview has a place that other reads need; a change waits for longer."""
    assert apt.PREVIEW_PATIENCE <= 3.0
    monkeypatch.setattr(apt, "PREVIEW_PATIENCE", 0.0)
    ask("package_install", package_name="hello")
    apt_root.mark("hello", "install ok unpacked")
    with apt_root.locked(), apt_root.locked(DPKG_LOCK):
        refused = ask("package_install", "preview", package_name="extra")
    assert (refused["outcome"], refused["code"], refused["effect"]) == ("failed", "busy", "none")


def test_probe_of_an_update_of_all_packages_is_unknown_while_dpkg_is_at_work(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    baseline = ask("package_update", "baseline")["output"]
    verdicts = []
    for lock in ("var/lib/dpkg/lock-frontend", DPKG_LOCK):
        with apt_root.locked(lock):
            verdicts.append(ask("package_update", "probe", request={"baseline": baseline})["output"]["verdict"])
    assert verdicts == ["not_done", "unknown"]


def test_probe_is_certain_beside_a_program_that_only_may_run_dpkg(ask: Ask, apt_root: AptRoot) -> None:
    with apt_root.locked():
        assert ask("package_install", "probe", package_name="hello")["output"]["verdict"] == "not_done"


def test_dpkg_that_ends_during_the_look_was_not_interrupted(apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    update = apt_root.root / "var/lib/dpkg/updates/0001"
    update.touch()

    def ends() -> bool:
        update.unlink()
        return False

    monkeypatch.setattr(dpkg, "is_at_work", ends)
    dpkg.refuse_interrupted()


def test_dpkg_is_at_work_for_a_user_who_may_not_open_its_locks(
    apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def open_no_lock(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).endswith(DPKG_LOCK):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **more)

    (apt_root.root / "var/lib/dpkg/updates/0001").touch()
    (apt_root.root / DPKG_LOCK).touch()
    monkeypatch.setattr("writ_hostops.packages.dpkg.os.open", open_no_lock)
    assert not dpkg.is_at_work()
    with apt_root.locked(DPKG_LOCK):
        assert dpkg.is_at_work()
        dpkg.refuse_interrupted()


def test_package_change_whose_apt_is_killed_ends_with_its_dpkg(ask: Ask, apt_root: AptRoot, tmp_path: Path) -> None:
    """As the kernel does when memory is short. dpkg goes on without apt-get."""
    flag, end = tmp_path / "running", tmp_path / "end"
    wait = f"while [ ! -e {flag}.go ]; do sleep 0.05; done; sleep 2"
    result = _install_with_a_killed_apt(ask, apt_root, flag, f"echo $$ >{flag}; {wait}; echo >{end}")
    assert end.exists()
    assert (result["outcome"], result["effect"]) == ("failed", "done")
    assert "dpkg --configure -a" in result["message"]  # dpkg dies when it reports to apt-get


def test_removal_whose_apt_is_killed_says_how_it_is_finished(ask: Ask, apt_root: AptRoot, tmp_path: Path) -> None:
    flag = tmp_path / "running"
    wait = f"while [ ! -e {flag}.go ]; do sleep 0.05; done"
    apt_root.publish("slow", "1", prerm=f"echo $$ >{flag}; {wait}; sleep 1; echo to dpkg")
    apt_root.update()
    ask("package_install", package_name="slow")
    watcher = threading.Thread(target=_kill_apt_when, args=(flag,))
    watcher.start()
    result = ask("package_remove", request={"timeout": 60.0}, package_name="slow")
    watcher.join()
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "done")
    assert result["message"].endswith("run `dpkg --configure -a` on the host, and then package_remove again")
    admin = [f"--root={apt_root.root}", "--force-not-root", "--force-script-chrootless", "--log=/dev/null"]
    subprocess.run([program("dpkg"), *admin, "--configure", "-a"], check=True, capture_output=True)
    assert ask("package_remove", "probe", package_name="slow")["output"]["verdict"] == "unknown"
    assert ask("package_remove", request={"timeout": 60.0}, package_name="slow")["outcome"] == "succeeded"
    assert apt_root.version("slow") == ""


def test_package_change_whose_apt_is_killed_waits_for_no_daemon_of_its_package(
    ask: Ask, apt_root: AptRoot, tmp_path: Path
) -> None:
    flag, daemon = tmp_path / "running", tmp_path / "daemon"
    begin = f"sleep 300 & echo $! >{daemon}; echo $$ >{flag}"
    wait = f"while [ ! -e {flag}.go ]; do sleep 0.05; done"
    try:
        result = _install_with_a_killed_apt(ask, apt_root, flag, f"{begin}; {wait}", timeout=30.0)
        assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "done")
        assert alive(int(daemon.read_text()))
    finally:
        os.kill(int(daemon.read_text()), signal.SIGKILL)


def _install_with_a_killed_apt(
    ask: Ask, apt_root: AptRoot, flag: Path, postinst: str, timeout: float = 60.0
) -> dict[str, Any]:
    apt_root.publish("slow", "1", postinst=postinst)
    apt_root.update()
    watcher = threading.Thread(target=_kill_apt_when, args=(flag,))
    watcher.start()
    result = ask("package_install", request={"timeout": timeout}, package_name="slow")
    watcher.join()
    return result


def _kill_apt_when(flag: Path) -> None:
    """Kill apt-get, the ancestor of the script that writes its process into the file; then let the script end."""
    pid = wait_for_script(flag)
    while "apt-get" not in Path(f"/proc/{pid}/comm").read_text():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    os.kill(pid, signal.SIGKILL)
    flag.with_name(f"{flag.name}.go").touch()


def test_update_by_a_second_attempt_is_judged_by_its_own_baseline_first(
    ask: Ask, apt_root: AptRoot, tmp_path: Path
) -> None:
    ask("package_install", package_name="hello", version="1.0")
    baseline = ask("package_update", "baseline", package_name="hello")["output"]
    for attempt in (1, 2):
        markers.Markers(str(tmp_path / "state")).begin(named(1), attempt, "package_update", {})

    def verdict() -> object:
        target, request = {"state_dir": str(tmp_path / "state")}, {"attempt": 2, "baseline": baseline}
        return ask("package_update", "probe", target=target, request=request, package_name="hello")["output"]["verdict"]

    assert verdict() == "unknown"  # the first may have done it
    ask("package_update", package_name="hello")
    assert verdict() == "succeeded"


def test_change_of_another_is_no_effect_of_an_attempt_that_ran_nothing(
    ask: Ask, apt_root: AptRoot, tmp_path: Path
) -> None:
    """The first attempt has no end. The second one certainly did nothing, and its baseline is older than the change."""
    ask("package_install", package_name="hello", version="1.0")
    baseline = ask("package_update", "baseline", package_name="hello")["output"]
    state = str(tmp_path / "state")
    marks = markers.Markers(state)
    for attempt in (1, 2):
        marks.begin(named(1), attempt, "package_update", {})
    marks.end(named(1), 2, {"outcome": "failed", "effect": "none", "certain": True})
    ask("package_update", package_name="hello", request={"id": named(2)})
    request = {"attempt": 2, "baseline": baseline}
    probed = ask("package_update", "probe", target={"state_dir": state}, request=request, package_name="hello")
    assert probed["output"]["verdict"] == "unknown"


def test_wait_for_the_lock_is_reported_until_it_is_free(apt_root: AptRoot, srv: Path) -> None:
    apt_root.publish("fresh", "1")
    apt_root.update()
    words: list[str] = []
    held, waits, go_on = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with apt_root.locked():
            held.set()
            go_on.wait(60)

    def report(text: str) -> None:
        words.append(text)
        waits.set()

    def install() -> None:
        parameters = {"package_name": "fresh"}
        request = {"id": named(1), "action": "run", "operation": "package_install", "parameters": parameters}
        done.append(writ_hostops.run({**request, "target": {"file_roots": [str(srv)]}}, report))

    done: list[Any] = []
    threads = [threading.Thread(target=hold), threading.Thread(target=install)]
    threads[0].start()
    assert held.wait(60)
    threads[1].start()
    assert waits.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert done[0]["outcome"] == "succeeded"
    waiting, free = (
        "waits for the lock of the package system, which another program holds",
        "the lock of the package system is free",
    )
    assert words[0] == waiting
    assert words.index(free) < next(number for number, text in enumerate(words) if text.startswith("Unpacking fresh"))
    assert waiting not in words[words.index(free) :]

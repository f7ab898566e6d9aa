"""Packages by real apt-get and dpkg in a separate root: outputs agree with the disk afterwards."""

import re
import subprocess
import threading
from itertools import product
from pathlib import Path

import pytest
from tests.hostops.apt_root import AptRoot, wait_for_script
from tests.hostops.apt_root import apt_root as apt_root
from tests.hostops.conftest import Ask

from writ_hostops import CancelToken, commands
from writ_hostops.packages.results import MOST_IN_TEXT
from writ_testing.each_case import each_case
from writ_testing.peers.programs import program
from writ_testing.search import alive


def test_made_up_root_runs_no_hook_of_this_machine(apt_root: AptRoot) -> None:
    configuration = subprocess.run(
        [program("apt-config"), *apt_root.options(), "dump"], capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r'^\S*(?:Invoke|Install-Pkgs)\S* ".+"', configuration, re.MULTILINE) == []


def test_the_newest_version_is_installed_with_what_it_needs(ask: Ask, apt_root: AptRoot) -> None:
    result = ask("package_install", package_name="extra")
    assert (result["outcome"], result["effect"], result["code"]) == ("succeeded", "done", "")
    output = result["output"]
    assert (output["version_before"], output["version_after"], output["also_changed"]) == ("", "2.0-1", ["hello"])
    assert (apt_root.version("extra"), apt_root.version("hello")) == ("2.0-1", "1.1")
    assert "Setting up extra" in output["log"]
    assert result["state"] == {"package_name": "extra", "version": "2.0-1", "status": "installed"}


@pytest.mark.exhaustive
def test_an_exact_version_is_installed_even_if_it_is_an_older_one(ask: Ask, apt_root: AptRoot) -> None:
    for version in ("1.1", "1.0"):
        assert ask("package_install", package_name="hello", version=version)["effect"] == "done"
        assert apt_root.version("hello") == version


def test_installed_package_is_left_alone(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello")
    again = ask("package_install", package_name="hello")
    assert (again["outcome"], again["effect"], again["output"]["version_after"]) == ("succeeded", "none", "1.1")


def test_an_update_brings_a_newer_version_and_never_an_older_one(ask: Ask, apt_root: AptRoot) -> None:
    assert ask("package_update", package_name="hello")["code"] == "not_found"
    ask("package_install", package_name="hello", version="1.0")
    updated = ask("package_update", package_name="hello")
    assert (updated["output"]["version_before"], updated["output"]["version_after"]) == ("1.0", "1.1")
    assert updated["output"]["changed"] == [{"package_name": "hello", "version_before": "1.0", "version_after": "1.1"}]
    back = ask("package_update", package_name="hello", version="1.0")
    assert (back["outcome"], back["effect"]) == ("failed", "none")
    assert apt_root.version("hello") == "1.1"


def test_a_package_is_removed_and_purged(ask: Ask, apt_root: AptRoot) -> None:
    apt_root.publish("conf", "1", conffile="etc/conf.ini")
    apt_root.update()
    ask("package_install", package_name="conf")
    removed = ask("package_remove", package_name="conf")
    assert (removed["outcome"], removed["effect"], removed["output"]["version_after"]) == ("succeeded", "done", "")
    assert (apt_root.root / "etc/conf.ini").exists()
    purged = ask("package_remove", package_name="conf", purge=True)
    assert (purged["outcome"], purged["effect"]) == ("succeeded", "done")
    assert not (apt_root.root / "etc/conf.ini").exists()
    assert ask("package_remove", package_name="conf")["code"] == "not_found"


def test_package_removal_names_packages_removed_with_it(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="extra")
    preview = ask("package_remove", "preview", package_name="hello")["output"]
    assert preview["also_changed"] == ["extra"]
    assert ask("package_remove", package_name="hello")["output"]["also_changed"] == ["extra"]
    assert apt_root.version("extra") == ""


def test_a_preview_is_apts_own_simulation_and_changes_nothing(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    before = apt_root.fingerprint()
    for operation, supplied, would in (
        ("package_install", {"package_name": "extra"}, "install extra 2.0-1"),
        ("package_update", {"package_name": "hello"}, "hello 1.0 to 1.1"),
        ("package_remove", {"package_name": "hello"}, "remove hello 1.0"),
        ("package_remove", {"package_name": "hello", "purge": True}, "purge hello 1.0"),
        ("package_install", {"package_name": "hello", "version": "1.0"}, "nothing"),
    ):
        result = ask(operation, "preview", **supplied)
        assert (result["outcome"], result["effect"], result["output"]["would"]) == ("succeeded", "none", would)
        assert apt_root.fingerprint() == before, operation
    (command,) = ask("package_update", "preview", package_name="hello")["output"]["commands"]
    assert command.endswith("install --no-remove --only-upgrade -- hello=1.1")
    subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert apt_root.version("hello") == "1.1"


def test_preview_of_many_packages_names_some_in_its_sentence_and_all_in_the_list(ask: Ask, apt_root: AptRoot) -> None:
    names = [f"many{number:02}" for number in range(MOST_IN_TEXT + 2)]
    for name in names:
        apt_root.publish(name, "1")
    apt_root.publish("bundle", "1", fields=f"Depends: {', '.join(names)}\n")
    apt_root.update()
    planned = ask("package_install", "preview", package_name="bundle")["output"]
    assert planned["would"].count("; ") == MOST_IN_TEXT
    assert planned["would"].endswith("; and 3 more packages")
    assert {one["package_name"] for one in planned["changed"]} == {"bundle", *names}


def test_a_name_that_means_other_packages_is_refused(ask: Ask, apt_root: AptRoot) -> None:
    apt_root.publish("real", "1", fields="Provides: virtual\n")
    apt_root.publish("rival", "1", fields="Conflicts: hello\nReplaces: hello\n")
    apt_root.update()
    ask("package_install", package_name="hello")
    before = apt_root.fingerprint()
    for supplied, code in (
        ({"package_name": "virtual"}, "not_found"),
        ({"package_name": "rival"}, "tool_failed"),
        ({"package_name": "hell.+"}, "not_found"),
        ({"package_name": "hello+"}, "not_found"),
        ({"package_name": "hello", "version": "9"}, "not_found"),
        ({"package_name": "hello", "version": "1.0+"}, "not_found"),
    ):
        result = ask("package_install", **supplied)
        assert (result["outcome"], result["code"], result["effect"]) == ("failed", code, "none"), supplied
    assert apt_root.fingerprint() == before


@each_case(
    ("operation", "case"),
    product(
        ("package_install", "package_remove", "package_update"),
        (
            ("run", {"package_name": "hello-"}),
            ("run", {"package_name": "-o"}),
            ("run", {"package_name": "hello*"}),
            ("run", {"package_name": "?installed"}),
            ("run", {"package_name": "hello=1.0"}),
            ("run", {"package_name": "hello/stable"}),
            ("run", {"package_name": "hello:i386"}),
            ("preview", {"package_name": "Hello"}),
            ("run", {"package_name": "hello", "version": "1.0-"}),
            ("run", {"package_name": "hello", "version": "*"}),
        ),
    ),
)
def test_name_that_apt_reads_as_a_command_is_refused(
    ask: Ask, operation: str, case: tuple[str, dict[str, str]]
) -> None:
    action, parameters = case
    assert ask(operation, action, **parameters)["code"] == "invalid_parameter"


def test_a_package_that_cannot_be_set_up_is_a_failure_with_an_effect(ask: Ask, apt_root: AptRoot) -> None:
    apt_root.publish("bad", "1", postinst="exit 7")
    apt_root.update()
    result = ask("package_install", package_name="bad")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "done")
    assert "could not finish bad" in result["message"]
    assert result["state"]["status"] == "half-configured"
    assert ask("package_install", "probe", package_name="bad")["output"]["verdict"] == "unknown"
    again = ask("package_install", package_name="bad", request={"attempt": 2})
    assert (again["outcome"], again["code"]) == ("failed", "tool_failed")


def test_unconfigured_package_is_configured(ask: Ask, apt_root: AptRoot, tmp_path: Path) -> None:
    apt_root.publish("picky", "1", postinst=f"test -e {tmp_path}/ready")
    apt_root.publish("needy", "1", fields="Depends: nothing-like-it\n")
    apt_root.update()
    assert ask("package_install", package_name="picky")["outcome"] == "failed"
    (tmp_path / "ready").touch()
    done = ask("package_install", package_name="picky")
    assert (done["outcome"], done["effect"], done["state"]["status"]) == ("succeeded", "done", "installed")
    unmet = ask("package_install", package_name="needy")
    assert (unmet["outcome"], "are not available" in unmet["message"]) == ("failed", True)


@pytest.mark.exhaustive
def test_apt_lock_is_waited_for_with_a_limit(ask: Ask, apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "BUSY_PATIENCE", 1.5)
    for lock, operation, supplied in (
        ("var/lib/dpkg/lock-frontend", "package_install", {"package_name": "hello"}),
        ("var/lib/dpkg/lock", "package_install", {"package_name": "hello"}),
        ("var/cache/apt/archives/lock", "package_install", {"package_name": "hello"}),
        ("var/lib/apt/lists/lock", "package_update", {"index": "only"}),
    ):
        with apt_root.locked(lock):
            result = ask(operation, **supplied)
            assert ask(operation, "preview", **supplied)["outcome"] == "succeeded"
        assert (result["outcome"], result["code"], result["effect"]) == ("failed", "busy", "none"), lock
    assert ask("package_install", package_name="hello")["outcome"] == "succeeded"


@pytest.mark.parametrize("action", ["run", "preview"])
def test_preview_names_packages_that_apt_refuses_to_change(ask: Ask, apt_root: AptRoot, action: str) -> None:
    apt_root.publish("base", "1", fields="Essential: yes\n")
    apt_root.update()
    ask("package_install", package_name="base")
    ask("package_install", package_name="hello", version="1.0")
    apt_root.mark("hello", "hold ok installed")
    before = apt_root.version("hello"), apt_root.version("base")
    for operation, name, why in (
        ("package_remove", "base", "cannot be without"),
        ("package_update", "hello", "is held"),
        ("package_install", "extra", ""),
        ("package_remove", "hello", "is held"),
    ):
        result = ask(operation, action, package_name=name)
        if why:
            assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "none"), name
            assert why in result["message"]
        else:
            assert result["outcome"] == "succeeded"
    assert (apt_root.version("hello"), apt_root.version("base")) == before


@pytest.mark.parametrize("action", ["run", "preview"])
def test_interrupted_dpkg_refuses_the_change(ask: Ask, apt_root: AptRoot, action: str) -> None:
    ask("package_install", package_name="hello", version="1.0")
    apt_root.interrupt("hello")
    for operation, name in (("package_install", "extra"), ("package_update", "hello"), ("package_remove", "hello")):
        result = ask(operation, action, package_name=name)
        assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "none")
        assert "dpkg --configure -a" in result["message"]
    assert (apt_root.version("hello"), apt_root.version("extra")) == ("1.0", "")


def test_cancelled_package_change_reports_dpkgs_state_and_leaves_no_process(
    ask: Ask, apt_root: AptRoot, tmp_path: Path
) -> None:
    flag = tmp_path / "running"
    apt_root.publish("slow", "1", postinst=f"echo $$ >{flag}; exec sleep 600")
    apt_root.update()
    with CancelToken(60.0) as stop:
        watcher = threading.Thread(target=_cancel_when, args=(flag, stop))
        watcher.start()
        result = ask("package_install", package_name="slow", stop=stop)
        watcher.join()
    assert (result["outcome"], result["code"], result["effect"]) == ("cancelled", "cancelled", "done")
    assert "dpkg could not finish slow" in result["message"]
    assert result["state"]["status"] == "half-configured"
    assert not alive(int(flag.read_text()))


def _cancel_when(flag: Path, stop: CancelToken) -> None:
    wait_for_script(flag)
    stop.cancel()


def test_a_probe_compares_the_version(ask: Ask, apt_root: AptRoot) -> None:
    def verdict(operation: str, **parameters: object) -> object:
        before = {"package_name": "hello", "version": "", "status": "absent"}
        return ask(operation, "probe", request={"baseline": before}, **parameters)["output"]["verdict"]

    assert verdict("package_install", package_name="hello") == "not_done"
    assert verdict("package_remove", package_name="hello") == "succeeded"
    ask("package_install", package_name="hello", version="1.0")
    assert verdict("package_install", package_name="hello") == "succeeded"
    assert verdict("package_install", package_name="hello", version="1.1") == "not_done"
    assert verdict("package_update", package_name="hello", version="1.0") == "succeeded"
    assert verdict("package_remove", package_name="hello") == "not_done"
    now = ask("package_update", "baseline", package_name="hello")["state"]
    same = ask("package_update", "probe", package_name="hello", request={"baseline": now})
    assert same["output"]["verdict"] == "not_done"
    assert ask("package_update", "probe", package_name="hello")["output"]["verdict"] == "unknown"


def test_packages_are_listed_by_glob_and_by_what_is_newer(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="extra")
    ask("package_install", package_name="hello", version="1.0")
    everything = ask("package_list")["output"]
    assert [one["package_name"] for one in everything["packages"]] == ["extra", "hello"]
    assert not everything["truncated"]
    assert [one["package_name"] for one in ask("package_list", pattern="h?l*")["output"]["packages"]] == ["hello"]
    assert ask("package_list", upgradable=True)["output"]["packages"] == [
        {"package_name": "hello", "version": "1.0", "candidate": "1.1", "architecture": "all"}
    ]
    assert ask("list_packages", "listing")["output"]["names"] == ["extra", "hello"]
    assert ask("package_list", pattern="-x")["code"] == "invalid_parameter"


def test_a_disk_that_is_full_is_no_success(ask: Ask, apt_root: AptRoot) -> None:
    apt_root.publish("big", "1", postinst="echo '" + "x" * 4000 + "' >/dev/full || exit 1")
    apt_root.update()
    result = ask("package_install", package_name="big")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "done")

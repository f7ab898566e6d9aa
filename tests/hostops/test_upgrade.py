"""package_update without a name, by real apt-get and dpkg in a made-up root."""

import re
from dataclasses import replace
from typing import Any

import pytest
from tests.hostops.apt_root import AptRoot
from tests.hostops.apt_root import apt_root as apt_root
from tests.hostops.conftest import Ask, named

from writ_hostops.packages import dpkg, history, upgrade
from writ_testing.exhaustive import some


def versions(name: str, before: str, after: str) -> dict[str, str]:
    return {"package_name": name, "version_before": before, "version_after": after}


def behind(ask: Ask, apt_root: AptRoot) -> None:
    """A newer `hello` needs a new package, `extra` is held, and the new `pin` conflicts with `extra`."""
    apt_root.publish("pin", "1")
    apt_root.update()
    ask("package_install", package_name="extra")
    ask("package_install", package_name="pin")
    apt_root.publish("hello", "1.2", fields="Depends: helper\n")
    apt_root.publish("helper", "1")
    apt_root.publish("extra", "3", fields="Depends: hello\n")
    apt_root.publish("pin", "2", fields="Conflicts: extra\n")
    apt_root.mark("extra", "hold ok installed")
    apt_root.index()


@pytest.mark.exhaustive
def test_upgrade_brings_all_packages_to_the_index_and_removes_none(ask: Ask, apt_root: AptRoot) -> None:
    behind(ask, apt_root)
    assert ask("package_update")["output"]["changed"] == []  # the index at hand knows no newer versions
    before = ask("package_update", "baseline", index="fetch")["state"]
    preview = ask("package_update", "preview", index="fetch")["output"]
    assert preview["would"] == "fetch the index, then by the new one; by the index at hand: nothing"
    done = ask("package_update", index="fetch")
    assert (done["outcome"], done["effect"]) == ("succeeded", "done")
    assert done["output"]["changed"] == [versions("hello", "1.1", "1.2"), versions("helper", "", "1")]
    assert done["output"]["kept_back"] == ["extra", "pin"]
    assert done["output"]["index_fetched_at"] > 0
    assert [apt_root.version(name) for name in ("hello", "helper", "extra", "pin")] == ["1.2", "1", "2.0-1", "1"]
    probed = ask("package_update", "probe", index="fetch", request={"baseline": before})["output"]
    assert probed["verdict"] == "succeeded"


def test_upgrade_does_what_its_preview_lists(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    before = apt_root.fingerprint()
    preview = ask("package_update", "preview")
    assert apt_root.fingerprint() == before
    assert (preview["effect"], preview["output"]["would"]) == ("none", "hello 1.0 to 1.1")
    assert preview["output"]["changed"] == [versions("hello", "1.0", "1.1")]
    assert preview["output"]["commands"][0].endswith("upgrade --with-new-pkgs --no-remove")
    assert set(preview["state"]) == {"by_index", "packages"}
    probed = ask("package_update", "probe", request={"baseline": preview["state"]})["output"]
    assert (probed["verdict"], probed["reason"]) == ("not_done", "all packages are as they were before")
    done = ask("package_update")
    assert (done["effect"], done["output"]["changed"]) == ("done", preview["output"]["changed"])
    assert apt_root.version("hello") == "1.1"


@pytest.mark.exhaustive
def test_index_alone_is_fetched(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    apt_root.publish("hello", "1.2")
    apt_root.index()
    before = ask("package_update", "baseline", index="only")["state"]
    assert ask("package_update", "preview", index="only")["output"]["would"] == "fetch the index"
    assert ask("package_update", index="only")["outcome"] == "succeeded"
    assert apt_root.version("hello") == "1.0"
    probed = ask("package_update", "probe", index="only", request={"baseline": before})
    assert probed["output"]["verdict"] == "succeeded"
    assert ask("package_update", package_name="hello")["output"]["version_after"] == "1.2"


@pytest.mark.parametrize("mode", some(["only", "fetch"], "fetch"))
def test_index_that_cannot_be_fetched_is_a_failure(ask: Ask, apt_root: AptRoot, mode: str) -> None:
    (apt_root.root / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/nowhere ./\n")
    result = ask("package_update", index=mode)
    assert (result["outcome"], result["code"]) == ("failed", "tool_failed")
    assert "/nowhere" in result["output"]["log"]


@pytest.mark.exhaustive
def test_upgrade_whose_script_fails_names_the_changed_packages(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    apt_root.publish("hello", "1.2", postinst="exit 7")
    apt_root.index()
    result = ask("package_update", index="fetch")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "done")
    assert "could not finish hello" in result["message"]
    assert result["output"]["changed"] == [versions("hello", "1.0", "1.2")]
    probed = ask("package_update", "probe", request={"baseline": {"by_index": "1", "packages": "other"}})["output"]
    assert (probed["verdict"], probed["reason"]) == ("unknown", "1 packages are still to be updated or finished")


@pytest.mark.exhaustive
def test_interrupted_dpkg_is_reported_and_nothing_is_done(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    apt_root.interrupt("hello")
    result = ask("package_update")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_failed", "none")
    assert "dpkg --configure -a" in result["message"]
    probed = ask("package_update", "probe", request={"baseline": {"by_index": "", "packages": "other"}})
    assert probed["output"]["verdict"] == "unknown"


UNCLEAR = {"by_index": "1", "packages": "other"}


def test_upgrade_that_apt_ended_is_known_by_its_log_though_newer_packages_came_since(
    ask: Ask, apt_root: AptRoot
) -> None:
    ask("package_install", package_name="hello", version="1.0", request={"id": named(2)})
    probe = {"request": {"id": named(1), "baseline": UNCLEAR}}
    assert ask("package_update", "probe", **probe)["output"]["verdict"] == "unknown"
    assert ask("package_update", request={"id": named(1)})["outcome"] == "succeeded"
    apt_root.publish("hello", "1.2")
    apt_root.update()
    probed = ask("package_update", "probe", **probe)["output"]
    assert (probed["verdict"], probed["reason"].split(", at")[0]) == (
        "succeeded",
        "by its log apt ended without an error",
    )
    log = apt_root.root / "var/log/apt/history.log"
    whole = log.read_text()
    log.write_text(re.sub("^Upgrade: .*\n", "", whole, flags=re.MULTILINE))
    probed = ask("package_update", "probe", **probe)["output"]
    assert (probed["verdict"], probed["reason"].rpartition(", ")[2]) == ("unknown", "but no package is named")
    log.write_text(whole.rpartition("End-Date")[0])
    probed = ask("package_update", "probe", **probe)["output"]
    assert probed["verdict"] == "unknown"
    assert re.search(r"^1 packages are still .*; by its log apt began at \S+  \S+ and did not end$", probed["reason"])
    log.unlink()
    assert ask("package_update", "probe", **probe)["output"]["verdict"] == "unknown"


@pytest.mark.parametrize("named_package", [{}, {"package_name": "hello"}])
def test_change_whose_script_failed_stays_unknown_with_the_error_of_its_log(
    ask: Ask, apt_root: AptRoot, named_package: dict[str, str]
) -> None:
    ask("package_install", package_name="hello", version="1.0", request={"id": named(2)})
    apt_root.publish("hello", "1.2", postinst="exit 7")
    apt_root.update()
    assert ask("package_update", **named_package)["code"] == "tool_failed"
    probed = ask("package_update", "probe", request={"baseline": UNCLEAR}, **named_package)["output"]
    assert probed["verdict"] == "unknown"
    assert "with an error: Sub-process" in probed["reason"]


def test_upgrade_that_was_interrupted_between_two_runs_of_dpkg_stays_unknown(ask: Ask, apt_root: AptRoot) -> None:
    """apt's log has its end, and no error."""
    ask("package_install", package_name="hello", version="1.0", request={"id": named(2)})
    apt_root.publish("later", "1")
    apt_root.update()
    ask("package_install", package_name="later", request={"id": named(3)})
    interrupt = 'pid=$$; while [ "$(cat /proc/$pid/comm)" != apt-get ]; do pid=$(cut -d" " -f4 /proc/$pid/stat); done'
    apt_root.publish("hello", "1.2", postinst=f"{interrupt}; kill -INT $pid")
    apt_root.publish("later", "2", fields="Pre-Depends: hello (>= 1.2)\n")
    apt_root.update()
    assert ask("package_update")["outcome"] == "failed"
    last = (apt_root.root / "var/log/apt/history.log").read_text().split("\n\n")[-1]
    assert "\nEnd-Date: " in last
    assert "\nError: " not in last
    probed = ask("package_update", "probe", request={"baseline": UNCLEAR})["output"]
    assert probed["verdict"] == "unknown"
    assert probed["reason"].endswith("these are not known to be as it planned: later")


ONE = dpkg.Package("a", "2", "all")


@pytest.mark.parametrize(
    ("field", "now", "left"),
    [
        ("Install: a:amd64 (2)", [ONE], []),
        ("Install: a:amd64 (2, automatic), b:amd64 (1)", [ONE], ["b"]),
        ("Upgrade: a:amd64 (1, 2)", [ONE], []),
        ("Upgrade: a:amd64 (1, 2)", [replace(ONE, version="1")], ["a"]),
        ("Upgrade: a:amd64 (1, 2)", [replace(ONE, status="unpacked")], ["a"]),
        ("Downgrade: a:amd64 (3, 2)", [replace(ONE, version="3")], ["a"]),
        ("Reinstall: a:amd64 (2)", [ONE], ["a"]),
        ("Remove: a:amd64 (2)", [], []),
        ("Remove: a:amd64 (2)", [replace(ONE, status="config-files")], []),
        ("Remove: a:amd64 (2)", [ONE], ["a"]),
        ("Purge: a:amd64 (2)", [replace(ONE, status="config-files")], ["a"]),
        ("Upgrade: a:i386 (1, 2)", [replace(ONE, architecture="amd64")], ["a"]),
        ("Upgrade: a:i386 (1, 2)", [replace(ONE, architecture="i386", version="1")], ["a"]),
        ("Upgrade: a:amd64 (2)", [ONE], ["a"]),
        ("Downgrade: a:amd64 (2)", [ONE], ["a"]),
        ("Requested-By: alice (1000)", [ONE], None),
    ],
)
def test_end_in_the_log_proves_what_dpkg_has_as_well(
    field: str, now: list[dpkg.Package], left: list[str] | None
) -> None:
    packages = {f"{one.name}:i386" if one.architecture == "i386" else one.name: one for one in now}
    assert history._left(dict([field.split(": ", 1)]), packages) == left


KEPT, FETCHED = {"by_index": "1", "packages": "a"}, {"index": "1", "packages": "a"}


@pytest.mark.parametrize(
    ("before", "now", "left", "verdict"),
    [
        ({}, KEPT, 0, "unknown"),
        (KEPT, KEPT, 0, "succeeded"),
        (KEPT, KEPT, 2, "not_done"),
        (KEPT, {**KEPT, "packages": "b"}, 2, "unknown"),
        (KEPT, {**KEPT, "packages": "b"}, 0, "succeeded"),
        (FETCHED, FETCHED, 0, "not_done"),
        (FETCHED, {**FETCHED, "index": "2"}, 1, "unknown"),
        (FETCHED, {**FETCHED, "index": "2"}, 0, "succeeded"),
    ],
)
def test_judge_compares_the_remaining_packages(
    before: dict[str, Any], now: dict[str, Any], left: int, verdict: str
) -> None:
    assert upgrade.judge(before, now, left)[0] == verdict


def test_index_is_no_parameter_beside_a_name(ask: Ask, apt_root: AptRoot) -> None:
    assert ask("package_update", package_name="hello", index="fetch")["code"] == "invalid_parameter"
    assert ask("package_update", index="now")["code"] == "invalid_parameter"
    assert ask("package_install", package_name="hello", index="keep")["code"] == "invalid_parameter"

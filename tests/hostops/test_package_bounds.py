"""`only_packages` and `keep_packages` bound the packages that apt touches, also beside the one that is named."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from tests.hostops.apt_root import AptRoot
from tests.hostops.apt_root import apt_root as apt_root
from tests.hostops.conftest import Ask

from writ_hostops.packages import apt, bounds

NEWER = "Depends: hello (>= 1.1)\n"
Before = Callable[[Callable[[], None]], None]


@pytest.fixture
def before_change(monkeypatch: pytest.MonkeyPatch) -> Before:
    """Let something happen between apt's simulation and its change."""

    def after_simulation(happens: Callable[[], None]) -> None:
        change = apt.change

        def late(*arguments: Any, **more: Any) -> Any:
            monkeypatch.setattr(apt, "change", change)
            happens()
            return change(*arguments, **more)

        monkeypatch.setattr(apt, "change", late)

    return after_simulation


@pytest.mark.parametrize("action", ["preview", "run"])
@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ({"keep_packages": ["linux-*", "hel?o"]}, "hello 1.0 to 1.1 (keep_packages has hel?o)"),
        ({"only_packages": ["ext*"]}, "hello 1.0 to 1.1 (only_packages has no such package)"),
        ({"keep_packages": ["newer"]}, "install newer 3 (keep_packages has newer)"),
    ],
)
def test_dependency_outside_the_bounds_is_left_alone(
    ask: Ask, apt_root: AptRoot, action: str, bounds: dict[str, Any], why: str
) -> None:
    ask("package_install", package_name="hello", version="1.0")
    apt_root.publish("newer", "3", fields=NEWER)
    apt_root.publish("extra-tools", "1", fields="Depends: newer\n")
    apt_root.update()
    before = apt_root.fingerprint()
    reply = ask("package_install", action, package_name="extra-tools", **bounds)
    assert (reply["outcome"], reply["effect"], reply["code"]) == ("failed", "none", "bounds_refused")
    assert why in reply["message"]
    assert apt_root.fingerprint() == before


def test_packages_inside_the_bounds_are_installed(ask: Ask, apt_root: AptRoot) -> None:
    bounds = {"only_packages": ["hello", "ext*"], "keep_packages": ["linux-*"]}
    reply = ask("package_install", package_name="extra", **bounds)
    assert (reply["outcome"], reply["output"]["also_changed"]) == ("succeeded", ["hello"])
    assert apt_root.version("extra") == "2.0-1"
    again = ask("package_install", package_name="extra", only_packages=[])
    assert (again["outcome"], again["effect"]) == ("succeeded", "none"), "it touches nothing"


@pytest.mark.parametrize("bounds", [{"keep_packages": ["hello"]}, {"only_packages": []}])
def test_bounds_hold_for_the_named_package_too(ask: Ask, apt_root: AptRoot, bounds: dict[str, Any]) -> None:
    reply = ask("package_install", package_name="hello", **bounds)
    assert (reply["effect"], reply["code"]) == ("none", "bounds_refused")
    assert apt_root.version("hello") == ""


def test_kept_package_is_not_removed_with_what_it_needs(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="extra")
    reply = ask("package_remove", package_name="hello", keep_packages=["ex*"])
    assert (reply["effect"], reply["code"]) == ("none", "bounds_refused")
    assert "remove extra 2.0-1 (keep_packages has ex*)" in reply["message"]
    assert apt_root.version("extra") == "2.0-1"


def test_dependency_that_only_the_change_itself_plans_is_left_alone(
    ask: Ask, apt_root: AptRoot, before_change: Before
) -> None:
    """apt plans again when it makes the change: here by an index that was fetched since the simulation."""
    ask("package_install", package_name="hello", version="1.0")

    def newer_index() -> None:
        (apt_root.repo / "extra_2.0-1_all.deb").unlink()
        apt_root.publish("extra", "2.0-1", fields=NEWER, folder="extra-again")
        apt_root.update()

    before_change(newer_index)
    reply = ask("package_install", package_name="extra", keep_packages=["hello"])
    assert (reply["outcome"], reply["effect"], reply["code"]) == ("failed", "none", "bounds_refused")
    assert "hello (keep_packages has hello)" in reply["message"]
    assert (apt_root.version("hello"), apt_root.version("extra")) == ("1.0", "")
    assert ask("package_install", package_name="extra")["outcome"] == "succeeded", "dpkg is as it was"


def test_package_installed_since_the_simulation_is_not_removed(
    ask: Ask, apt_root: AptRoot, before_change: Before
) -> None:
    ask("package_install", package_name="hello")
    before_change(lambda: apt_root.install("extra"))
    reply = ask("package_remove", package_name="hello", only_packages=["hello"])
    assert (reply["effect"], reply["code"]) == ("none", "bounds_refused")
    assert "extra (only_packages has no such package)" in reply["message"]
    assert apt_root.version("extra") == "2.0-1"


def test_update_of_all_packages_leaves_kept_ones_in_their_version(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    ask("package_install", package_name="extra")
    apt_root.publish("extra", "2.1")
    apt_root.update()
    kept = {"keep_packages": ["hel*"]}
    shown = ask("package_update", "preview", **kept)["output"]
    assert (shown["would"], shown["kept_back"]) == ("extra 2.0-1 to 2.1", ["hello"])
    reply = ask("package_update", **kept)
    assert (reply["outcome"], reply["output"]["kept_back"]) == ("succeeded", ["hello"])
    assert (apt_root.version("hello"), apt_root.version("extra")) == ("1.0", "2.1")
    again = ask("package_update", **kept)
    assert (again["outcome"], again["effect"], again["output"]["kept_back"]) == ("succeeded", "none", ["hello"])


def test_update_of_all_packages_leaves_alone_what_needs_a_kept_one(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello", version="1.0")
    ask("package_install", package_name="extra")
    apt_root.publish("extra", "2.1", fields=NEWER)
    apt_root.update()
    reply = ask("package_update", keep_packages=["hello"])
    assert (reply["outcome"], reply["effect"], reply["output"]["kept_back"]) == (
        "succeeded",
        "none",
        ["extra", "hello"],
    )


def test_update_of_all_packages_installs_no_kept_package(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="extra")
    apt_root.publish("newer", "3")
    apt_root.publish("extra", "2.1", fields="Depends: newer\n")
    apt_root.update()
    reply = ask("package_update", keep_packages=["new*"])
    assert (reply["effect"], reply["code"]) == ("none", "bounds_refused")
    assert "install newer 3 (keep_packages has new*)" in reply["message"]
    assert apt_root.version("extra") == "2.0-1"


def test_update_of_all_packages_leaves_the_marks_of_kept_ones(ask: Ask, apt_root: AptRoot) -> None:
    """`apt autoremove` removes no package that is marked as manually installed."""
    ask("package_install", package_name="hello", version="1.0")
    subprocess.run(["apt-mark", *apt_root.options(), "auto", "hello"], check=True, capture_output=True)
    ask("package_install", package_name="extra")
    apt_root.publish("newer", "3")
    apt_root.publish("extra", "2.1", fields="Depends: hello, newer\n")
    apt_root.update()
    reply = ask("package_update", keep_packages=["hello"])
    assert (reply["outcome"], reply["output"]["kept_back"]) == ("succeeded", ["hello"])
    assert [one["package_name"] for one in reply["output"]["changed"]] == ["extra", "newer"]
    marked = subprocess.run(["apt-mark", *apt_root.options(), "showauto"], check=True, capture_output=True, text=True)
    assert marked.stdout.split() == ["hello", "newer"]


def test_update_of_all_packages_keeps_what_only_the_change_itself_plans(
    ask: Ask, apt_root: AptRoot, before_change: Before
) -> None:
    ask("package_install", package_name="hello", version="1.1")
    ask("package_install", package_name="extra")
    apt_root.publish("extra", "2.1")
    apt_root.update()

    def newer_index() -> None:
        apt_root.publish("hello", "1.2")
        apt_root.update()

    before_change(newer_index)
    reply = ask("package_update", keep_packages=["hello"])
    assert (reply["outcome"], reply["effect"], reply["code"]) == ("failed", "none", "bounds_refused")
    assert "no package was changed" in reply["message"]
    assert "hello (keep_packages has hello)" in reply["message"]
    assert (apt_root.version("hello"), apt_root.version("extra")) == ("1.1", "2.0-1")


def test_hook_refuses_steps_in_another_version_of_their_format(
    ask: Ask, apt_root: AptRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = bounds.PackageBounds.hook

    def older(self: bounds.PackageBounds) -> apt.Hook:
        made = hook(self)
        return apt.Hook([option.replace("Version=3", "Version=2") for option in made.options], made.environment)

    monkeypatch.setattr(bounds.PackageBounds, "hook", older)
    reply = ask("package_install", package_name="hello", keep_packages=["other"])
    assert (reply["outcome"], reply["effect"], reply["code"]) == ("failed", "none", "tool_failed")
    assert apt_root.version("hello") == ""


def test_kept_package_that_dpkg_had_not_finished_is_configured(ask: Ask, apt_root: AptRoot) -> None:
    ask("package_install", package_name="hello")
    apt_root.mark("hello", "install ok unpacked")
    apt_root.publish("other", "1")
    apt_root.update()
    assert ask("package_install", package_name="other", keep_packages=["hello"])["outcome"] == "succeeded"
    assert "install ok installed" in (apt_root.root / "var/lib/dpkg/status").read_text().split("\n\n")[0]


@pytest.mark.parametrize("kept", [True, False])
def test_kept_package_whose_files_others_replace_is_a_failure(ask: Ask, apt_root: AptRoot, *, kept: bool) -> None:
    """dpkg removes such a package, and apt does not plan it."""
    ask("package_install", package_name="hello", version="1.0")
    apt_root.publish("eater", "2", fields="Replaces: hello\n", files=["usr/share/hello/version"])
    apt_root.update()
    reply = ask("package_install", package_name="eater", keep_packages=["hello" if kept else "other"])
    assert (reply["outcome"], reply["effect"]) == ("failed" if kept else "succeeded", "done")
    assert ("so dpkg removed them: hello (keep_packages has hello)" in reply["message"]) is kept
    assert reply["output"]["also_changed"] == ["hello"]


@pytest.mark.parametrize("globs", ["hello", [1], ["a b"], ["[a]*"], [""], ["$(id)"], ["a" * 129]])
def test_bounds_are_globs_of_package_names(ask: Ask, apt_root: AptRoot, globs: Any) -> None:
    for name in ("only_packages", "keep_packages"):
        assert ask("package_install", package_name="hello", **{name: globs})["code"] == "invalid_parameter"

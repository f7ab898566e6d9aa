"""Packages of a real Debian host, each way, from the lab's own repository: outputs agree with dpkg afterwards."""

import pytest
from tests.lab.host_requests import previewed
from tests.lab.hosts import Host
from tests.lab.installation import Writ
from tests.lab.repository import Repository

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

INDEX = "/var/lib/apt/lists"


@pytest.fixture(autouse=True)
def known(packages: Repository, host: Host) -> None:
    """The index is fetched, and nothing of the repository is installed."""
    host.run("apt-get", "-q", "update")
    host.run("apt-get", "-qy", "purge", "hello", "extra", "rival")


def test_an_install_does_what_its_preview_said(writ: Writ, host: Host, packages: Repository) -> None:
    seen = previewed(writ, host, "package_install", "package_name=extra")
    assert (seen["version_after"], seen["also_changed"]) == ("2.0-1", ["hello"])
    assert packages.version("extra") == ""
    done = writ.run("package_install", "package_name=extra")
    assert (done["outcome"], done["output"]["version_before"], done["output"]["version_after"]) == (
        "succeeded",
        "",
        "2.0-1",
    )
    assert (packages.version("extra"), packages.version("hello")) == ("2.0-1", "1.1")
    assert host.run("cat", "/usr/share/hello/version") == "1.1"


def test_an_update_brings_the_newest_version_or_the_one_that_is_named(
    writ: Writ, host: Host, packages: Repository
) -> None:
    assert writ.run("package_install", "package_name=hello", "version=1.0")["outcome"] == "succeeded"
    assert packages.version("hello") == "1.0"
    assert previewed(writ, host, "package_update", "package_name=hello")["version_after"] == "1.1"
    done = writ.run("package_update", "package_name=hello")
    assert (done["outcome"], done["output"]["version_after"]) == ("succeeded", "1.1")
    assert packages.version("hello") == "1.1"


def test_an_update_without_a_name_brings_all_packages_to_the_index(
    writ: Writ, host: Host, packages: Repository
) -> None:
    assert writ.run("package_install", "package_name=hello", "version=1.0")["outcome"] == "succeeded"
    planned = previewed(writ, host, "package_update")
    versions = {"package_name": "hello", "version_before": "1.0", "version_after": "1.1"}
    assert versions in planned["changed"]
    assert "hello 1.0 to 1.1" in planned["would"]
    done = writ.run("package_update")
    assert (done["outcome"], done["output"]["changed"]) == ("succeeded", planned["changed"])
    assert packages.version("hello") == "1.1"
    again = writ.run("package_update", "index=fetch")
    assert (again["outcome"], again["output"]["changed"]) == ("succeeded", [])


def test_a_version_that_was_published_since_is_there_once_the_index_is_fetched(
    writ: Writ, host: Host, packages: Repository
) -> None:
    packages.publish("late", "0.1")
    assert writ.run("package_install", "package_name=late", status=1)["code"] == "not_found"
    previewed(writ, host, "package_update", "index=only")
    assert writ.run("package_update", "index=only")["outcome"] == "succeeded"
    assert writ.run("package_install", "package_name=late")["outcome"] == "succeeded"
    assert packages.version("late") == "0.1"
    assert host.run("find", INDEX, "-name", "*Packages*", "!", "-perm", "-o=r") == ""  # apt for others still works


def test_a_removal_does_what_its_preview_said(writ: Writ, host: Host, packages: Repository) -> None:
    writ.run("package_install", "package_name=extra")
    seen = previewed(writ, host, "package_remove", "package_name=hello")
    assert (seen["version_before"], seen["also_changed"]) == ("1.1", ["extra"])
    done = writ.run("package_remove", "package_name=hello")
    assert (done["outcome"], done["output"]["version_after"]) == ("succeeded", "")
    assert (packages.version("hello"), packages.version("extra")) == ("", "")
    assert writ.run("package_remove", "package_name=hello", status=1)["code"] == "not_found"


def test_package_that_would_remove_another_is_not_installed(writ: Writ, host: Host, packages: Repository) -> None:
    writ.run("package_install", "package_name=hello")
    before = host.state()
    done = writ.run("package_install", "package_name=rival", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "tool_failed")
    assert (packages.version("hello"), packages.version("rival")) == ("1.1", "")
    assert host.state() == before


def test_kept_package_stays_in_its_version_on_a_real_host(writ: Writ, host: Host, packages: Repository) -> None:
    """The host's own hooks of apt run beside that of the bounds."""
    writ.run("package_install", "package_name=hello", "version=1.0")
    packages.publish("needy", "1", fields="Depends: hello (>= 1.1)\n")
    host.run("apt-get", "-q", "update")
    before = host.state()
    refused = writ.run("package_install", "package_name=needy", "keep_packages=hel*", status=1)
    assert (refused["outcome"], refused["code"]) == ("failed", "bounds_refused")
    assert host.state() == before
    assert writ.run("package_update", "keep_packages=hel*")["output"]["kept_back"] == ["hello"]
    done = writ.run("package_install", "package_name=extra", "keep_packages=hel*", "only_packages=extra")
    assert (done["outcome"], done["output"]["also_changed"]) == ("succeeded", [])
    assert writ.run("package_remove", "package_name=hello", "keep_packages=ext*", status=1)["code"] == "bounds_refused"
    assert (packages.version("hello"), packages.version("extra")) == ("1.0", "2.0-1")


def test_a_package_whose_script_fails_is_a_failure_and_reported_as_it_is(
    writ: Writ, host: Host, packages: Repository
) -> None:
    packages.publish("broken", "1.0", postinst="echo it went wrong >&2; exit 3")
    host.run("apt-get", "-q", "update")
    try:
        done = writ.run("package_install", "package_name=broken", status=1)
        assert (done["outcome"], done["code"]) == ("failed", "tool_failed")
        assert (
            host.attempt("dpkg-query", "--show", "--showformat=${db:Status-Status}", "broken")[1] == "half-configured"
        )
    finally:
        host.run("dpkg", "--purge", "--force-remove-reinstreq", "broken")


def test_package_list_agrees_with_dpkg(writ: Writ, host: Host) -> None:
    writ.run("package_install", "package_name=hello", "version=1.0")
    listed = writ.run("package_list", "pattern=hello")["output"]["packages"]
    assert [(one["package_name"], one["version"]) for one in listed] == [("hello", "1.0")]
    (newer,) = writ.run("package_list", "upgradable=true")["output"]["packages"]
    assert (newer["package_name"], newer["candidate"]) == ("hello", "1.1")
    everything = writ.run("package_list")["output"]["packages"]
    assert len(everything) == len(host.run("dpkg-query", "--show").splitlines())

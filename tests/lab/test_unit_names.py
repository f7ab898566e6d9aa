"""Aliases of a unit on a real host: none bypasses a rule about the unit, nor the unit's name a rule about an alias."""

from collections.abc import Iterator

import pytest
from tests.lab.hosts import Host
from tests.lab.installation import Writ

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
FOLDER = "/etc/systemd/system"
UNIT = """[Unit]
Description=With another name
[Service]
ExecStart=/bin/sleep infinity
"""
ALIASES = {"guarded-unit": "open-alias", "open-unit": "guarded-alias", "free-unit": "free-alias"}
"""By the names of the units; see `targets.GUARDED`."""


@pytest.fixture(scope="module")
def units(host: Host) -> Iterator[None]:
    """Running ones, each with an alias, as `Alias=` makes it."""
    for name, alias in ALIASES.items():
        host.write(f"{FOLDER}/{name}.service", UNIT)
        host.run("ln", "-s", f"{FOLDER}/{name}.service", f"{FOLDER}/{alias}.service")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", *ALIASES)
    yield
    host.run("systemctl", "stop", *ALIASES)
    for name, alias in ALIASES.items():
        host.run("rm", f"{FOLDER}/{alias}.service", f"{FOLDER}/{name}.service")
    host.run("systemctl", "daemon-reload")


def running(host: Host) -> list[str]:
    return [host.show(name, "InvocationID") for name in ALIASES]


@pytest.mark.usefixtures("units")
@pytest.mark.parametrize("verb", ["start", "stop", "restart", "status"])
def test_an_alias_is_refused_with_the_units_own_name(writ: Writ, host: Host, verb: str) -> None:
    before = running(host)
    for name, alias in ALIASES.items():
        done = writ.run(f"service_{verb}", f"service_name={alias}", status=3 if alias == "guarded-alias" else 1)
        wanted = ("denied", "denied") if alias == "guarded-alias" else ("failed", "unit_alias")
        assert (done["outcome"], done["code"]) == wanted
        if wanted[1] == "unit_alias":
            assert done["message"] == f"{alias}.service is another name of {name}.service on this host: use {name}"
    assert running(host) == before


@pytest.mark.usefixtures("units")
def test_an_alias_is_not_previewed(writ: Writ) -> None:
    done = writ.run("service_restart", "service_name=open-alias", "--dry-run", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "unit_alias")


@pytest.mark.usefixtures("units")
@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_deny_of_an_alias_is_one_of_the_unit(writ: Writ, host: Host, verb: str) -> None:
    before = running(host)
    done = writ.run(f"service_{verb}", "service_name=open-unit", status=3)
    assert (done["outcome"], done["code"]) == ("denied", "denied")
    assert "by its other name guarded-alias: " in done["message"]
    assert running(host) == before


@pytest.mark.usefixtures("units")
def test_unit_with_a_denied_alias_is_not_shown_by_its_own_name(writ: Writ) -> None:
    done = writ.run("service_status", "service_name=open-unit", status=3)
    assert (done["outcome"], done["code"]) == ("denied", "denied")
    assert "by its other name guarded-alias: " in done["message"]
    assert "granted" not in writ.kinds(done["operation_id"])
    assert writ.run("service_status", "service_name=free-unit")["output"]["active_state"] == "active"
    assert writ.run("service_status", "service_name=no-such-unit", status=1)["code"] == "unit_not_found"


@pytest.mark.usefixtures("units")
@pytest.mark.parametrize("verb", ["stop", "status"])
def test_a_dry_run_and_a_simulation_say_what_the_start_would(writ: Writ, verb: str) -> None:
    done = writ.run(f"service_{verb}", "service_name=open-unit", "--dry-run", status=3)
    assert (done["outcome"], done["code"], done["output"]) == ("denied", "denied", {})
    assert writ.run(f"service_{verb}", "service_name=free-unit", "--dry-run")["outcome"] == "previewed"
    for name, effect, status in (("open-unit", "deny", 3), ("free-unit", "allow", 0)):
        asked = (f"service_{verb}", "--target", writ.target, f"service_name={name}")
        verdict = writ.json("simulate", *asked, status=status)["verdict"]
        assert verdict["decision"] == effect
        assert ("by its other name guarded-alias: " in verdict["reason"]) is (effect == "deny")


@pytest.mark.usefixtures("units")
def test_a_unit_with_an_alias_that_nobody_denies_is_restarted(writ: Writ, host: Host) -> None:
    before = host.show("free-unit", "InvocationID")
    done = writ.run("service_restart", "service_name=free-unit")
    assert done["outcome"] == "succeeded"
    assert host.show("free-unit", "InvocationID") == done["output"]["invocation_id"] != before
    started = next(event["body"] for event in writ.trace(done["operation_id"]) if event["kind"] == "granted")
    assert started["claim"]["payload"]["baseline"]["names"] == ["free-alias"]


@pytest.mark.usefixtures("units")
@pytest.mark.parametrize("spelled", ["guarded-unit.service", "open-alias.service", "free-unit.service"])
def test_unit_name_in_another_spelling_is_refused(writ: Writ, spelled: str) -> None:
    refused = writ.run("service_stop", f"service_name={spelled}", status=2)["error"]
    assert refused["code"] == "invalid_parameters"
    assert "systemd service named without .service" in refused["message"]


def test_debians_own_alias_of_ssh_is_one(writ: Writ, host: Host) -> None:
    assert "sshd.service" in host.show("ssh", "Names")
    assert writ.run("service_status", "service_name=sshd", status=1)["code"] == "unit_alias"
    assert writ.run("service_status", "service_name=ssh")["output"]["active_state"] == "active"

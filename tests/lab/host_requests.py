"""Requests and expected answers shared by tests of both ways."""

import json
from typing import Any

import pytest
from tests.lab.hosts import Host, until
from tests.lab.installation import Writ

OUTCOMES = {"finished", "unknown", "refused"}


def only(way: str) -> pytest.MarkDecorator:
    """A mark: of the two ways this one alone."""
    return pytest.mark.parametrize("way", [way], indirect=True)


def begun(writ: Writ, host: Host, unit: str, *parameters: str) -> str:
    """Begin a slow restart of a unit."""
    number = writ.begin("service_restart", f"service_name={unit}", *parameters)
    until(lambda: host.show(unit, "ActiveState") == "activating", 20.0, "the restart is under way")
    return number


def let_go(host: Host) -> None:
    """Let the slow unit start."""
    host.write("/run/slow-enough", "")


def hang_up(host: Host) -> None:
    """Break all connections to its sshd; their operations continue."""
    host.attempt("pkill", "--signal=KILL", "--exact", "sshd-session")


def times(writ: Writ, number: str) -> dict[str, float]:
    """Return when each kind of event was recorded."""
    return {event["kind"]: event["at"] for event in writ.trace(number)}


def outcomes(kinds: list[str]) -> list[str]:
    """Return the events with an outcome; each operation has one."""
    return [kind for kind in kinds if kind in OUTCOMES]


def previewed(writ: Writ, host: Host, operation: str, *parameters: str) -> dict[str, Any]:
    """Return the preview of a dry run; assert that the host did not change."""
    before = host.state()
    seen = writ.run(operation, *parameters, "--dry-run")
    assert seen["outcome"] == "previewed"
    assert seen["output"]["would"]
    assert host.state() == before
    return dict(seen["output"])


def settled(writ: Writ, number: str) -> None:
    """Assert that a probe finds an unknown outcome to have succeeded, as the only operation in the journal."""
    until(lambda: "resolved" in writ.kinds(number), 40.0, "a probe settles it")
    events = writ.trace(number)
    kinds = [event["kind"] for event in events]
    assert (kinds.count("granted"), outcomes(kinds), kinds[-1]) == (1, ["unknown"], "resolved")
    assert events[-1]["body"]["probe"]["signature"]
    view = json.loads(writ.call("op", "show", number, "-o", "json")[1])
    assert view["outcome"] == "succeeded"


def security(writ: Writ, number: str) -> list[str]:
    """The kinds of security events in the operation's trace."""
    return [event["body"]["kind"] for event in writ.trace(number) if event["kind"] == "security"]


def reported(writ: Writ, number: str, kind: str) -> None:
    """Wait for exactly one security event, of that kind, in the operation's trace: its agent sends it by itself."""
    until(lambda: security(writ, number) != [], 30.0, f"{kind} is told")
    assert security(writ, number) == [kind]

"""Judge the effect of a service operation from two states: each case is a line."""

from typing import Any

from writ_hostops.systemd.judgement import judge
from writ_testing.each_case import each_case


def state(active: str, run: int, boot: str = "b1") -> dict[str, Any]:
    return {"active_state": active, "invocation_id": f"i{run}", "active_enter": run, "boot_id": boot}


@each_case(
    ("verb", "before", "now", "verdict"),
    [
        ("start", state("inactive", 1), state("active", 2), "succeeded"),
        ("start", state("active", 1), state("active", 1), "succeeded"),
        ("start", state("inactive", 1), state("inactive", 1), "not_done"),
        ("start", state("inactive", 1), state("failed", 2), "unknown"),
        ("start", state("inactive", 1), state("activating", 2), "unknown"),
        ("start", {}, state("active", 2), "succeeded"),
        ("start", {}, state("inactive", 1), "unknown"),
        ("stop", state("active", 1), state("inactive", 1), "succeeded"),
        ("stop", state("active", 1), state("failed", 1), "succeeded"),
        ("stop", state("active", 1), state("active", 1), "not_done"),
        ("stop", state("active", 1), state("active", 2), "unknown"),
        ("stop", state("active", 1), state("deactivating", 1), "unknown"),
        ("restart", state("active", 1), state("active", 2), "succeeded"),
        ("restart", state("active", 1), state("active", 1), "not_done"),
        ("restart", state("inactive", 1), state("inactive", 1), "not_done"),
        ("restart", state("inactive", 1), state("active", 2), "succeeded"),
        ("restart", state("active", 1), state("inactive", 1), "unknown"),
        ("restart", state("active", 1), state("failed", 2), "unknown"),
        ("restart", state("active", 1), state("active", 2, boot="b2"), "unknown"),
        ("restart", {}, state("active", 2), "unknown"),
    ],
)
def test_a_verdict_needs_evidence(verb: str, before: dict[str, Any], now: dict[str, Any], verdict: str) -> None:
    assert judge(verb, before, now)[0] == verdict

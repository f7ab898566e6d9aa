"""docs/approvals.md: its script produces valid approvals with public libraries alone."""

import re
import subprocess
import sys
from pathlib import Path

from writ_contracts.people.approvals import ApprovalEvent, ApprovalMessage
from writ_contracts.registry import CHANNELS
from writ_contracts.wire import decode
from writ_trust.approvals import verify_own

TEXT = (Path(__file__).parents[2] / "docs/approvals.md").read_text()


def example(language: str) -> str:
    scripts: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(scripts) == 1
    assert "writ_" not in scripts[0]
    return scripts[0]


def printed() -> str:
    """Return the message printed by the Python script."""
    command = [sys.executable, "-c", example("python")]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def signed() -> ApprovalMessage:
    return decode(printed().encode(), ApprovalMessage)


def test_the_script_makes_a_signature_that_policy_accepts() -> None:
    message = signed()
    approval = verify_own(message.approval, "")
    assert (message.principal, approval.approver, approval.verdict) == ("alice", "bob", "approve")
    assert approval.issued_at == 1767225600


def test_the_subjects_are_those_of_the_registry() -> None:
    named = set(re.findall(r"`(writ\.[a-z.]+)\.<you>", TEXT))
    addresses = {one.address.removesuffix(".{principal}") for one in CHANNELS if one.address.endswith(".{principal}")}
    assert {"writ.approval", "writ.event.approval"} <= named & addresses


def test_kinds_of_events_are_named() -> None:
    described = set(re.findall(r"`(\w+)`", (ApprovalEvent.__doc__ or "").split("`kind`:")[1]))
    assert {kind for kind in described if f"`{kind}`" not in TEXT} == set()

"""Warnings that a changed policy adds, such as a rule for a role that no principal has."""

from typing import TYPE_CHECKING

from writ_contracts.catalogue.control import AUDIT_READ
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.policy.questions import PolicyProblem

if TYPE_CHECKING:
    from writ_client.client import Writ


async def reads_policy(writ: "Writ") -> bool:
    """Return whether the caller may read the policy. Nothing is recorded, unlike a refused read."""
    return (await writ.policy.explain(AUDIT_READ, WRIT_TARGET, {"query": "policy"})).decision == "allow"


async def added_warnings(writ: "Writ", before: str, after: str) -> list[PolicyProblem]:
    """Return the warnings of the running Writ on a document, without those that an earlier one has, too."""
    found = (await writ.policy.validate(after)).problems
    known = {one.message for one in (await writ.policy.validate(before)).problems} if found else set()
    return [one for one in found if one.message not in known]

"""Find the request that approvals in an archive name, and the credentials that count for it."""

from msgspec import Struct

from writ_contracts.errors import Untrusted
from writ_contracts.people.approvals import DecisionDemand, SignedApproval
from writ_contracts.people.credentials import TOUCH, Credential
from writ_trust.approvals import ProvenApproval, nkey_credential, read_approval
from writ_trust.people import Directory

SKEW = 60.0
"""Seconds by which the clock that stamps a removal may be behind the journal's."""


class RequestDigests(Struct, frozen=True):
    """The digests which approvals of a request must name, and the person who must not be an approver."""

    requested: str
    decision: str
    principal: str
    acts_for: str | None
    at: float
    demands: list[DecisionDemand]


def credentials_of(
    signed: SignedApproval, people: Directory | None, known: RequestDigests | None, at: float
) -> list[Credential]:
    """Return the signing credential, if it counted when the verdict was recorded. An nkey is the one named by the
    approval.
    """
    approval = read_approval(signed)
    if signed.evidence.__struct_config__.tag == "key":
        return [nkey_credential(approval.approver, signed.credential)]
    if people is None:
        raise Untrusted("its approval proves a presence, and the directory of people's credentials is not here")
    entry = people.entries.get(signed.credential)
    counted = entry is not None and entry.counted_at(at - SKEW, at if known is None else known.at)
    return [entry.credential] if entry is not None and counted else []


def may_be_own(proven: ProvenApproval, known: RequestDigests, people: Directory | None) -> bool:
    """Return true if an AI agent's own human approved its request while one person ran the installation."""
    return people is not None and proven.approval.approver != known.principal and proven.presence.meets(TOUCH)

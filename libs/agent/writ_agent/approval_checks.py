"""Verification of the approvals named by a grant, by the directory of people's credentials. No I/O, no clock.

The directory tells an agent the owner of a security key or passkey, and the presence it proves: neither policy nor an
executor can invent such an approver. For an nkey outside the directory, the agent has to rely on policy for its
owner.
"""

from collections.abc import Sequence
from typing import Final

from writ_agent.refusals import SecurityRefusal
from writ_contracts.decisions import Grant
from writ_contracts.errors import Untrusted
from writ_contracts.journal import Dispatched
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.people.credentials import KEY, TOUCH, Credential, Presence
from writ_trust.approvals import ProvenApproval, approval_digest, own_nkey, prove_approval, read_approval
from writ_trust.people import Directory

MISMATCHED: Final = "mismatched_grant"


def check_approvals(
    installation: str, work: Dispatched, grant: Grant, approvals: Sequence[SignedApproval], people: Directory | None
) -> None:
    """Raises SecurityRefusal unless the approvals are exactly those named by the grant, each of this very request, with
    the presence named by the grant, by different persons, none of them the requester.
    """
    if [approval_digest(one) for one in approvals] != grant.approvals:
        raise SecurityRefusal(MISMATCHED, "the approvals differ from those that the grant names")
    proven = grant.proven or [KEY] * len(approvals)
    if len(proven) != len(approvals):
        raise SecurityRefusal(MISMATCHED, "the grant does not name the proof of each approval")
    _check_version(grant, people)
    persons = [grant.person or grant.acts_for or grant.principal]
    for signed, presence in zip(approvals, proven, strict=True):
        found = _proven(signed, presence, grant, people, installation)
        about = (found.approval.operation_id, found.approval.decision_digest, found.approval.verdict)
        if about != (grant.operation_id, work.decision_digest, "approve"):
            raise SecurityRefusal(MISMATCHED, "an approval for another request")
        if found.person in persons[1:] or (_is_own(found, grant) and not _may_be_own(found, grant, people)):
            raise SecurityRefusal(MISMATCHED, f"{found.person} may not approve this, or approved it twice")
        persons.append(found.person)


def _check_version(grant: Grant, people: Directory | None) -> None:
    """Raises SecurityRefusal where an approval proved a presence by another directory than is known here."""
    named = grant.people
    if all(one == KEY for one in grant.proven):
        return
    if named is None or people is None or people.name.number < named.number:
        known = f"version {people.name.number} is" if people is not None else "none is"
        raise SecurityRefusal(MISMATCHED, f"the approvals need a directory of people's credentials, and {known} known")
    if people.name.number == named.number and people.name != named:
        raise SecurityRefusal("forged_directory", f"there are two versions {named.number} of people's credentials")


def _proven(
    signed: SignedApproval, presence: Presence, grant: Grant, people: Directory | None, installation: str
) -> ProvenApproval:
    try:
        return prove_approval(signed, _credentials(signed, grant, people), presence, installation=installation)
    except Untrusted as error:
        raise SecurityRefusal(MISMATCHED, f"an approval is not valid: {error}"[:400]) from error


def _credentials(signed: SignedApproval, grant: Grant, people: Directory | None) -> list[Credential]:
    who = read_approval(signed).approver
    known = people.of_person(who) if people is not None else []
    if signed.evidence.__struct_config__.tag == "key":
        return own_nkey(known, who, signed.credential)
    entry = people.entries.get(signed.credential) if people is not None else None
    if entry is None or grant.requested_at is None or not entry.counts_for(grant.requested_at):
        return []
    return [entry.credential]


def _is_own(found: ProvenApproval, grant: Grant) -> bool:
    own = (grant.person or grant.acts_for or grant.principal, grant.principal, grant.acts_for)
    return found.person in own or found.approval.approver in (grant.principal, grant.acts_for)


def _may_be_own(found: ProvenApproval, grant: Grant, people: Directory | None) -> bool:
    """Return true for an approval by the AI agent's own human, in an installation of one person."""
    solo = people is not None and people.posture == "solo" and grant.acts_for is not None
    return solo and found.approval.approver != grant.principal and found.presence.meets(TOUCH)

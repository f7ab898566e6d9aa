"""The signatures on record behind a recorded decision: the requester's statement and approvals by nkeys. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from writ_contracts import journal
from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.ids import operation_id
from writ_contracts.inventory import Principal
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.people.credentials import Credential, KeyEvidence
from writ_contracts.people.directory import CredentialEnrolment, PeopleDirectory
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_rules.engine.control import ControlState
from writ_trust.approvals import nkey_credential, prove_approval, read_approval
from writ_trust.digests import keyed_digest, same
from writ_trust.statements import digest, open_signed

NKEY_LENGTH = 56


class RecordedApproval(Struct, frozen=True):
    """An approval on record, as it was signed; without a signature, that of a window."""

    approver: str
    signed: SignedApproval | None = None


class DecidedRequest(Struct, frozen=True, kw_only=True):
    """The part of a decided request that the journal has, with the approvals so far in their order.

    `requested`, `decided`: the digests of its event and of its first decision, which approvals name.
    `parameters_digest`: that of its first decision, where a start has the same parameters on record. `refused`: nothing
    came of it.
    """

    parameters: Mapping[str, Any]
    effective: Mapping[str, Any]
    hidden: frozenset[str] = frozenset()
    approvals: tuple[RecordedApproval, ...] = ()
    statement: Signed | None = None
    salt: str | None = None
    dry_run: bool = False
    requested: str = ""
    decided: str = ""
    parameters_digest: str = ""
    refused: bool = False
    installation: str = ""
    reason: str = ""
    credentials: Mapping[str, Credential] | None = None
    """All in the directory of people's credentials, removed ones too; None where it is not here."""


def approvals_on_record(
    events: Iterable[object], control: ControlState, decision: Decision
) -> Iterator[RecordedApproval]:
    """Yield the approvals of the operation, and of the approval window that its decision names, if it covers it. Raises
    Untrusted for one that cannot be read.
    """
    for event in events:
        match event:
            case journal.ApprovalGiven():
                yield _approval(event.approval)
            case journal.Approved():
                yield from map(_approval, event.approvals)
            case _:
                continue
    request = (decision.principal, decision.operation, decision.target, decision.at)
    for window in control.windows:
        if window.id == decision.window and window.covers(*request):
            yield from (RecordedApproval(approver) for approver in window.approvers)


def _approval(signed: SignedApproval) -> RecordedApproval:
    return RecordedApproval(read_approval(signed).approver, signed)


def credentials_of(directory: PeopleDirectory | None) -> dict[str, Credential] | None:
    """Return all credentials of the directory by id, removed ones too."""
    if directory is None:
        return None
    everybody = (decode(bytes(one.enrolment.payload), CredentialEnrolment).credential for one in directory.entries)
    return {one.id: one for one in everybody}


def keys_of(principal: Principal, control: ControlState) -> tuple[str, ...]:
    """Return the principal's key, and those of their sessions."""
    opened = (one.key for one in control.sessions.values() if (one.by, one.signer) == (principal.id, principal.key))
    return (principal.key, *opened)


def unsigned(decision: Decision, recorded: DecidedRequest, keys: tuple[str, ...]) -> str:
    """Return why the requester did not sign it, though the decision says so, or ""."""
    if decision.authenticated != "signature" or recorded.refused:
        return ""
    signed = recorded.statement
    if signed is None:
        return f"no statement of {decision.principal} is on record"
    if decision.statement_digest != digest(signed):
        return f"it was made on another statement of {decision.principal} than the one on record"
    try:
        statement = open_signed(signed, RequestStatement, keys or (signed.key,), recorded.installation)
    except Untrusted as error:
        return f"the statement of {decision.principal} on record is not valid: {error}"
    about = statement.principal, statement.operation, statement.target
    its_id = operation_id(statement.principal, statement.idempotency_key)
    if (*about, its_id) != (decision.principal, decision.operation, decision.target, decision.operation_id):
        return f"the statement of {decision.principal} on record is for another request"
    if statement.reason not in (None, recorded.reason):
        return f"{decision.principal} signed another reason than the one on record"
    if (statement.dry_run and not recorded.dry_run) or not _opens(statement, recorded):
        return f"{decision.principal} signed other parameters than those on record"
    return ""


def _opens(statement: RequestStatement, recorded: DecidedRequest) -> bool:
    """Return whether the recorded parameters were signed; true where the record lacks some."""
    if recorded.hidden:
        return True
    try:
        return recorded.salt is not None and same(
            statement.parameters_digest, keyed_digest(recorded.salt, dict(recorded.parameters))
        )
    except ValueError:  # the salt is any string
        return False


def is_signed(
    approval: RecordedApproval,
    recorded: DecidedRequest,
    keys: tuple[str, ...],
    operation: str,
    verdict: str = "approve",
) -> bool:
    """Return whether an nkey among these, or a credential of the directory, signed it for this request. Without keys
    any nkey will do, and without a directory any credential.
    """
    signed = approval.signed
    if signed is None:
        return True
    if isinstance(signed.evidence, KeyEvidence) or _is_nkey(signed.credential):
        known = [nkey_credential(approval.approver, key) for key in keys or (signed.credential,)]
    elif recorded.credentials is None:
        return True
    else:
        known = list(recorded.credentials.values())
    try:
        proven = prove_approval(signed, known, installation=recorded.installation).approval
    except Untrusted:
        return False
    named = proven.operation_id, proven.requested, proven.decision_digest, proven.verdict
    return named == (operation, recorded.requested, recorded.decided, verdict)


def is_persons(approval: RecordedApproval, recorded: DecidedRequest, person: str) -> bool:
    """Return whether the credential that signed it is this person's, as far as the directory is here."""
    known = None if approval.signed is None else (recorded.credentials or {}).get(approval.signed.credential)
    return known is None or known.person == person


def _is_nkey(credential: str) -> bool:
    return len(credential) == NKEY_LENGTH and credential.startswith("U")

"""Check the principal's own signature on a request: it must be recent, and on exactly this request."""

from writ_contracts.decisions import Subject
from writ_contracts.errors import Untrusted
from writ_contracts.ids import operation_id
from writ_contracts.inventory import Principal
from writ_contracts.people.credentials import KEY, Presence
from writ_contracts.requests import RequestStatement
from writ_policy.state.snapshot import PolicySnapshot
from writ_trust.digests import keyed_digest, same
from writ_trust.requester_presence import check_presence
from writ_trust.statements import open_signed, read

FRESH_SECONDS = 300.0
AHEAD_SECONDS = 60.0
"""The most seconds that the principal's clock may be ahead of the server's."""


def check_statement(
    subject: Subject, principal: Principal, now: float | None, installation: str, session: str = ""
) -> bool:
    """Return True if the principal signed this request, and False if it is unsigned. Raises Untrusted for any other
    signature.

    Codes: `bad_signature` (another key or another content), `other_installation`, `stale_statement` (too old).

    The age is checked once, at the first decision, which the journal keeps: later `now` is None. `session`: the key of
    the principal's session that sent the request, if any.
    """
    if subject.statement is None:
        return False
    keys = (principal.key, session) if session else (principal.key,)
    statement = open_signed(subject.statement, RequestStatement, keys, installation)
    different = [
        field
        for field, signed, requested in (
            ("principal", statement.principal, subject.principal),
            ("operation", statement.operation, subject.operation),
            ("target", statement.target, subject.target),
            ("idempotency key", statement.idempotency_key, subject.idempotency_key),
        )
        if signed != requested
    ]
    if statement.dry_run and not subject.dry_run:  # the reverse is allowed: less than was signed
        different.append("dry run")
    if not _opens(statement, subject):
        different.append("parameters")
    if statement.reason not in (None, subject.reason):
        different.append("reason")
    if subject.operation_id != operation_id(principal.id, statement.idempotency_key):
        different.append("operation id")
    if different:
        raise Untrusted(f"what {principal.id} signed differs in {', '.join(different)}")
    if now is not None:
        check_age(statement.issued_at, now, "requester")
    return True


def presence_of(subject: Subject, snapshot: PolicySnapshot, *, recorded: bool) -> Presence:
    """Return the presence that the requester proved besides their signature, by a credential enrolled before they
    signed; else a key.

    Raises Untrusted for a bad proof. The statement was checked before. For a `recorded` request, a credential that was
    removed since proves nothing.
    """
    if subject.presence is None:
        return KEY
    if subject.statement is None:
        raise Untrusted("there is a proof of presence, but no signed statement that it belongs to")
    issued_at = read(subject.statement, RequestStatement).issued_at
    credentials = snapshot.credentials(subject.principal, issued_at)
    if recorded and subject.presence.credential not in {one.id for one in credentials}:
        return KEY
    return check_presence(subject.statement, subject.presence, credentials)


def _opens(statement: RequestStatement, subject: Subject) -> bool:
    if subject.salt is None:
        return False
    return same(statement.parameters_digest, keyed_digest(subject.salt, subject.parameters))


def check_age(issued_at: float, now: float, signer: str) -> None:
    """Raise Untrusted (`stale_statement`) for what the `signer`, a requester or an approver, signed at another time.

    A clock that is wrong or a person who took long are causes, so it is no violation.
    """
    age, wrong = now - issued_at, f"the clock of the {signer}'s machine or of NATS is wrong"
    if age > FRESH_SECONDS:
        message = f"signed {age:.0f} s before it came, at most {FRESH_SECONDS:.0f}: it was delayed, or {wrong}"
        raise Untrusted(message, code="stale_statement")
    if age < -AHEAD_SECONDS:
        message = f"signed {-age:.0f} s in the future, at most {AHEAD_SECONDS:.0f}: {wrong}"
        raise Untrusted(message, code="stale_statement")

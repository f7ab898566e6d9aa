"""Sessions: short-lived keys of principals, each opened by a request that the principal's own key signed.

A session gives nothing that its principal does not have. A session that has expired, or was idle for too long, stays
known: a request made in it may still wait for its approval. A session that was ended is forgotten, and its requests do
not start any more. Of many sessions that are over, the earliest are forgotten too. Pure.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec
from msgspec import Struct, structs

from writ_contracts.catalogue.sessions import SESSION_OPEN, SessionOpen
from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.ids import WRIT_TARGET, operation_id
from writ_contracts.installation.restore_marker import ends_access
from writ_contracts.journal import ControlEvent
from writ_contracts.people.credentials import Proof
from writ_contracts.requests import RequestStatement
from writ_trust.digests import keyed_digest, same
from writ_trust.statements import digest, open_signed, read

KEPT_SECONDS = 30 * 86_400.0
"""After its time. No operation waits so long for its approval."""
MOST_OVER = 1000
"""Sessions of one principal that are over and still known, the latest. Each new session copies all that are known: with
10,000 of them, which one principal can open in a day, the control events took 6 s to read, with 20,000 26 s.
"""


class Session(Struct, frozen=True, kw_only=True):
    """A session of the principal `by`. Its id is that of the operation which opened it; `signer` is the principal's key
    that signed for it, by which it counts.
    """

    id: str
    by: str
    key: str
    signer: str
    since: float
    until: float
    idle: int = 0
    """Seconds without a message after which it ends; 0 in none."""
    method: Proof = "key"
    device: str = ""

    def lasts(self, at: float) -> bool:
        """Return true before its end."""
        return at < self.until


Sessions = Mapping[str, Session]
"""Sessions by their keys."""
NONE: Sessions = MappingProxyType({})


def sessions_after(sessions: Sessions, event: ControlEvent) -> Sessions:
    """Return the sessions after a control event; the same mapping where it changes none."""
    if event.kind == SESSION_OPEN:
        opened = _opened(event)
        if opened is None or opened.key in sessions:
            return sessions
        return _of([*_kept(sessions, opened), opened])
    if event.kind == "session_end":
        return _of(one for one in sessions.values() if one.id != event.body.get("session_id"))
    if event.kind == "session_idle":
        return _of(
            _until(one, event.at) if one.id == event.body.get("session_id") else one for one in sessions.values()
        )
    if event.kind == "principal_manage" and event.body.get("action") in ("remove", "disable", "rotate"):
        return _of(one for one in sessions.values() if one.by != event.body.get("principal_id"))
    return NONE if ends_access(event) else sessions


def is_session(event: ControlEvent) -> bool:
    """Return whether the event opens a session that its principal signed for."""
    return _opened(event) is not None


def open_sessions(sessions: Sessions, principal: str, at: float) -> list[Session]:
    return [one for one in sessions.values() if one.by == principal and one.lasts(at)]


def check_signed(event: ControlEvent, decision: Decision) -> str:
    """Return the key that signed for exactly this session, on whose statement policy decided. Raises Untrusted.

    Policy's word does not suffice: a thief of its key could open sessions of everybody. Where the session is used, the
    key has to be its principal's.
    """
    statement = event.statement
    if statement is None:
        raise Untrusted("there is no statement signed by the principal")
    signed = open_signed(statement, RequestStatement, (statement.key,), decision.installation)
    if decision.statement_digest != digest(statement):
        raise Untrusted("policy decided on another statement")
    about = (signed.principal, signed.operation, signed.target, signed.dry_run)
    if about != (event.principal, SESSION_OPEN, WRIT_TARGET, False):
        raise Untrusted("the principal's statement is for another request")
    if event.operation_id != operation_id(event.principal, signed.idempotency_key):
        raise Untrusted("the principal's statement is for another operation")
    if not _opens(event, signed) or any(event.given.get(name) != event.body.get(name) for name in ("key", "seconds")):
        raise Untrusted("the principal signed for another session")
    return statement.key


def _opens(event: ControlEvent, signed: RequestStatement) -> bool:
    try:
        return same(signed.parameters_digest, keyed_digest(event.salt, event.given))
    except ValueError:  # the salt is any string
        return False


def _kept(sessions: Sessions, opened: Session) -> Iterable[Session]:
    at = opened.since
    kept = [one for one in sessions.values() if at < one.until + KEPT_SECONDS]
    over = [one.key for one in kept if one.by == opened.by and not one.lasts(at)]
    gone = set(over[:-MOST_OVER])
    return (one for one in kept if one.key not in gone) if gone else kept


def _until(session: Session, at: float) -> Session:
    """Return the session with an earlier end, as if it had been opened for so long."""
    return structs.replace(session, until=min(session.until, at))


def _of(sessions: Iterable[Session]) -> Sessions:
    return MappingProxyType({one.key: one for one in sessions})


def _opened(event: ControlEvent) -> Session | None:
    """Return the session; None for one that cannot be read, or that its principal did not sign for."""
    if event.decision is None or event.id != event.operation_id:
        return None
    known = SessionOpen.__struct_fields__
    try:
        request = msgspec.convert({name: value for name, value in event.body.items() if name in known}, SessionOpen)
        decision = read(event.decision, Decision)
        signer = check_signed(event, decision)
    except (msgspec.ValidationError, Untrusted):
        return None
    return Session(
        id=event.id,
        by=event.principal,
        key=request.key,
        signer=signer,
        since=decision.at,
        until=decision.at + request.seconds,
        idle=request.idle,
        method=decision.presence.proof if decision.presence is not None else "key",
        device=request.device,
    )

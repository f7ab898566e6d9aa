"""Checks of requests to open and to end sessions. The functions are pure."""

from msgspec import structs

from writ_contracts.catalogue.sessions import FOR_OWN_KEY, SESSION_OPEN
from writ_contracts.errors import Invalid
from writ_contracts.people.persons import same_person
from writ_policy.decisions.control_denial import denied_control
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.decisions.ruling import Ruling
from writ_rules.engine.policy_file.times import duration_text
from writ_trust.keys import is_public
from writ_trust.sessions import Session, open_sessions


def with_own_session(request: DecisionRequest, ruling: Ruling, session: Session | None) -> Ruling:
    """Return the ruling on a request that a session may have sent.

    Opening a session of one's own needs no rule, but a rule may deny it or demand an approval. No session may open
    another one or change principals and their keys: it could otherwise outlast its end.
    """
    name = request.operation.name
    if session is not None and name in FOR_OWN_KEY:
        return denied_control(
            ruling, "denied", f"a session may not request {name}: use the principal's own key, not session {session.id}"
        )
    if name != SESSION_OPEN:
        return ruling
    if ruling.effect == "deny" and ruling.code == "no_rule":
        reason = "every principal may open sessions of its own"
        return structs.replace(ruling, effect="allow", code="own", reason=reason, rules=[], nearest=None)
    return ruling


def check_session(snapshot: PolicySnapshot, request: DecisionRequest, ruling: Ruling, now: float) -> Ruling:
    """Return the ruling on a request for a session, with its idle limit, or a denial beyond the policy's bounds.

    Raises Invalid (`conflict`) if the key is in use.
    """
    parameters, terms = request.effective, snapshot.policy.session_terms
    if parameters["seconds"] > terms.longest:
        reason = f"policy '{snapshot.policy.name}' allows sessions of at most {duration_text(terms.longest)}"
        return denied_control(ruling, "too_long", reason)
    sessions = open_sessions(snapshot.sessions, request.principal.id, now)
    if len(sessions) >= terms.most:
        reason = f"{request.principal.id} has {len(sessions)} open sessions, at most {terms.most}: `writ sessions list`"
        return denied_control(ruling, "too_many_sessions", reason)
    check_key(parameters["key"])
    held = {one.key for one in (*snapshot.principals.values(), *snapshot.gateways.values())}
    if parameters["key"] in held or any(parameters["key"] in keys for keys in snapshot.agents.values()):
        raise Invalid("this key is in use: create a new key for the session", code="conflict")
    if parameters["key"] in snapshot.sessions:
        raise Invalid("this key belonged to an earlier session: create a new key", code="conflict")
    return structs.replace(ruling, effective={**ruling.effective, "idle": terms.idle})


def check_key(key: str) -> None:
    """Raise Invalid unless NATS accepts the key: it would refuse its whole configuration, for everybody."""
    if not is_public(key):
        raise Invalid("key: it is no public key (U…), since its check sum is wrong", code="invalid_parameters")


def check_session_end(snapshot: PolicySnapshot, request: DecisionRequest, ruling: Ruling, now: float) -> Ruling:
    """Return the ruling on the end of an open session. Raises Invalid."""
    named = request.effective.get("session_id")
    if not any(one.id == named and one.lasts(now) for one in snapshot.sessions.values()):
        raise Invalid(f"no session {named!r} is open: `writ sessions list`", code="not_found")
    return ruling


def is_own_session(snapshot: PolicySnapshot, principal: str, parameters: object) -> bool:
    """Return true if the parameters of `session_end` name a session that the principal may always end: its own, or that
    of an agent that acts for it.

    A person may end the sessions of all their principals. An AI agent may not end its human's.
    """
    named = parameters.get("session_id") if isinstance(parameters, dict) else None
    session = next((one for one in snapshot.sessions.values() if one.id == named), None)
    if session is None:
        return False
    known = snapshot.principals.get(principal)
    personal = known is not None and known.kind != "agent" and same_person(principal, session.by, snapshot.principals)
    return personal or snapshot.owns(principal, session.by)

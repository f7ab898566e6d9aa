"""Checks of requests for sessions, and of their ends. Pure."""

from msgspec import structs

from writ_contracts.catalogue.sessions import FOR_OWN_KEY, SESSION_OPEN
from writ_contracts.errors import Invalid
from writ_contracts.persons import same_person
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.case import DecisionRequest
from writ_rules.engine.ruling import Ruling
from writ_trust.sessions import Session, open_sessions


def with_own_session(request: DecisionRequest, ruling: Ruling, session: Session | None) -> Ruling:
    """Return the ruling on a request that may come by a session. No rule is needed to open a session of one's own; one
    that denies it or demands an approval holds. No session opens another one or changes principals and their keys, or
    it would last without an end.
    """
    name = request.operation.name
    if session is not None and name in FOR_OWN_KEY:
        return _denied(
            ruling, "denied", f"a session may not request {name}: use the principal's own key, not session {session.id}"
        )
    if name != SESSION_OPEN:
        return ruling
    if ruling.effect == "deny" and ruling.code == "no_rule":
        reason = "every principal may open sessions of its own"
        return structs.replace(ruling, effect="allow", code="own", reason=reason, rules=[], nearest=None)
    return ruling


def check_session(world: PolicySnapshot, request: DecisionRequest, ruling: Ruling, now: float) -> Ruling:
    """Return the ruling on a request for a session, with its idle limit, or a denial beyond the policy's bounds. Raises
    Invalid (`conflict`) for a key that is in use.
    """
    asked, terms = request.effective, world.policy.session_terms
    if asked["seconds"] > terms.longest:
        reason = f"policy '{world.policy.name}' allows sessions of {terms.longest:g} s at most"
        return _denied(ruling, "too_long", reason)
    found = open_sessions(world.sessions, request.principal.id, now)
    if len(found) >= terms.most:
        reason = f"{request.principal.id} has {len(found)} open sessions, at most {terms.most}: `writ sessions list`"
        return _denied(ruling, "too_many_sessions", reason)
    held = {one.key for one in (*world.principals.values(), *world.gateways.values())}
    if asked["key"] in held or any(asked["key"] in keys for keys in world.agents.values()):
        raise Invalid("this key is in use: create a new key for the session", code="conflict")
    if asked["key"] in world.sessions:
        raise Invalid("this key belonged to an earlier session: create a new key", code="conflict")
    return structs.replace(ruling, effective={**ruling.effective, "idle": terms.idle})


def check_session_end(world: PolicySnapshot, request: DecisionRequest, ruling: Ruling, now: float) -> Ruling:
    """Return the ruling on the end of a session that is open. Raises Invalid."""
    named = request.effective.get("session_id")
    if not any(one.id == named and one.lasts(now) for one in world.sessions.values()):
        raise Invalid(f"no session {named!r} is open: `writ sessions list`", code="not_found")
    return ruling


def is_own_session(world: PolicySnapshot, principal: str, parameters: object) -> bool:
    """Return whether the parameters of `session_end` name a session that the principal may always end: its own, or that
    of an agent which acts for it. People end those of all their principals; an AI agent does not end its human's.
    """
    named = parameters.get("session_id") if isinstance(parameters, dict) else None
    found = next((one for one in world.sessions.values() if one.id == named), None)
    if found is None:
        return False
    known = world.principals.get(principal)
    personal = known is not None and known.kind != "agent" and same_person(principal, found.by, world.principals)
    return personal or world.owns(principal, found.by)


def _denied(ruling: Ruling, code: str, reason: str) -> Ruling:
    return structs.replace(ruling, effect="deny", code=code, reason=reason, rules=[], demands=[])

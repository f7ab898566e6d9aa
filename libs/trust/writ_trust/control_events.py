"""Control events, which count only with policy's own decision on exactly their parameters. Pure."""

from collections.abc import Collection

from msgspec import Struct

from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.journal import ControlEvent
from writ_trust.digests import keyed_digest, same
from writ_trust.statements import open_signed


def allowed_by_policy(event: ControlEvent, operation: str, keys: Collection[str], installation: str) -> Decision | None:
    """Return the decision, signed by one of policy's keys, which allows the event's operation on its author's
    signature, in this installation (or in none: written before installations had ids).
    """
    if event.decision is None:
        return None
    try:
        decision = open_signed(event.decision, Decision, keys, installation, unbound=True)
    except Untrusted:
        return None
    signed_for = (
        decision.operation,
        decision.operation_id,
        decision.principal,
        decision.effect,
        decision.authenticated,
    )
    allowed = signed_for == (operation, event.operation_id, event.principal, "allow", "signature")
    return decision if allowed and not decision.dry_run else None


def covers_parameters(decision: Decision, event: ControlEvent, kind: type[Struct]) -> bool:
    """Return whether the decision is on the event's parameters, which are those of `kind`, by their digest."""
    parameters = {name: event.body[name] for name in kind.__struct_fields__ if name in event.body}
    try:
        return same(keyed_digest(event.parameters_key, parameters), decision.parameters_digest)
    except ValueError:  # the key is any string
        return False

"""Make grants and read grants. A grant binds one decision to one claim; a read grant permits reads of a target."""

from collections.abc import Iterable
from typing import Final

from writ_bus import tracing
from writ_contracts.agents import Claim
from writ_contracts.catalogue.control import BACKEND_TEST
from writ_contracts.decisions import KILL_GRACE, DecideRequest, Grant, GrantRequest, ReadAction, ReadGrant, Subject
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.installation.agent_hosts import check_host
from writ_contracts.journal import Granted
from writ_contracts.operations import Operation
from writ_contracts.parameters import public
from writ_contracts.policy.facts import OTHER_NAMES
from writ_contracts.signing import Signed
from writ_policy.decisions.agent_plugins import AgentPlugins
from writ_policy.decisions.recorded_approvals import CountedApprovals
from writ_policy.decisions.rulings import RuledRequest
from writ_policy.state.snapshot import PolicySnapshot
from writ_trust.approvals import approval_digest
from writ_trust.digests import keyed_digest
from writ_trust.statements import VerifiedSignature, digest, open_verified, verified

FORGED: Final = "forged_claim"
GRANT_SECONDS = 15.0
"""Seconds after its claim in which an agent may begin, by the agent's boot clock (CLOCK_MONOTONIC stops during
suspend).
"""
READ_GRANT_SECONDS, LONGEST_READ_GRANT_SECONDS = 60.0, 86_400.0


def verified_claim(ask: GrantRequest) -> VerifiedSignature:
    """Verify the signature of the claim; `check_claim` checks whose it is. Raises Untrusted."""
    try:
        return verified(ask.claim)
    except Untrusted as error:
        raise Untrusted(f"the claim is not signed: {error}", code=FORGED) from error


def check_claim(ask: GrantRequest, signature: VerifiedSignature, snapshot: PolicySnapshot) -> Claim:
    """Return the claim if an agent of the target's own pool signed it for this operation. Raises Untrusted."""
    pool = snapshot.target(ask.subject.target).pool
    try:
        claim = open_verified(signature, Claim, snapshot.agents.get(pool, frozenset()), snapshot.installation)
    except Untrusted as error:
        raise Untrusted(f"the claim does not come from pool {pool}: {error}", code=FORGED) from error
    if claim.pool != pool or claim.operation_id != ask.subject.operation_id:
        raise Untrusted(f"the claim is for {claim.operation_id} in pool {claim.pool}", code=FORGED)
    check_host(claim, ask.claim.key, snapshot.hosts)
    return claim


def refuse_moved(
    ask: GrantRequest, signature: VerifiedSignature, snapshot: PolicySnapshot, requested_pool: str
) -> None:
    """Raises Invalid (`stale`) for a claim from the pool that the target had at the request, if it has another one now:
    no agent of that one gets the operation.
    """
    pool = snapshot.target(ask.subject.target).pool
    try:
        claim = open_verified(signature, Claim, snapshot.agents.get(requested_pool, frozenset()), snapshot.installation)
    except Untrusted:
        return
    if claim.pool == requested_pool != pool and claim.operation_id == ask.subject.operation_id:
        message = f"target {ask.subject.target} has moved from pool {requested_pool} to {pool} since: request it again"
        raise Invalid(message, code="stale")


def grant(
    ask: GrantRequest, claim: Claim, ruled: RuledRequest, decision: Signed, approvals: CountedApprovals | None = None
) -> Grant:
    """Return the grant for this claim, on this allowing decision and these approvals."""
    subject, request, ruling = ask.subject, ruled.request, ruled.ruling
    counted = approvals or CountedApprovals()
    if ruling.timeout is None:
        raise Invalid(f"{request.operation.name} has no timeout, so it might never end", code="internal")
    return Grant(
        operation_id=subject.operation_id,
        operation=subject.operation,
        target=request.target,
        principal=subject.principal,
        parameters_digest=ruled.decision.parameters_digest,
        decision_digest=digest(decision),
        claim_digest=digest(ask.claim),
        policy=ruled.decision.policy,
        control_sequence=ruled.decision.control_sequence,
        pool=claim.pool,
        instance=claim.instance,
        nonce=claim.nonce,
        lifetime=GRANT_SECONDS,
        timeout=ruling.timeout,
        granted_at=ruled.decision.at,
        acts_for=request.principal.acts_for,
        approvals=[approval_digest(one) for one in counted.signed],
        proven=[counted.proven[who] for who in counted.approvers],
        people=ruled.decision.people if counted.signed else None,
        person=request.behind if counted.signed else None,
        requested_at=counted.requested_at if counted.signed else None,
    )


def granted_event(
    ask: GrantRequest,
    claim: Claim,
    ruled: RuledRequest,
    grant: Grant,
    decision: Signed,
    writ: Signed,
    correlation_id: str,
) -> Granted:
    """Return the `granted` event for the journal, with public parameters.

    At an audit level without values the event still has the values that rules and catalogue filled in: without them the
    grant could not be repeated.
    """
    shown = public(ruled.request.operation.parameters, ruled.ruling.effective)
    arguments = ask.subject.parameters
    return Granted(
        **tracing.stamp(ruled.decision.at, correlation_id),
        operation_id=grant.operation_id,
        attempt=claim.attempt,
        instance=claim.instance,
        deadline=grant.granted_at + grant.lifetime + grant.timeout + KILL_GRACE,
        claim=ask.claim,
        grant=writ,
        decision=decision,
        parameters=shown if ask.values else {name: value for name, value in shown.items() if name not in arguments},
    )


def read_grant(
    ask: DecideRequest, ruled: RuledRequest, snapshot: PolicySnapshot, *, quoting: bool = False
) -> ReadGrant | None:
    """Return the requested read grant; None if the decision denies or the operation has no such read. If the
    decision needs listings, return the grant for those. `quoting`: a preview may quote the present content.
    """
    request, ruling, now = ruled.request, ruled.ruling, ruled.decision.at
    if ruling.needs:
        return listing_grant(ask.subject, ask.look_key, ruled)
    actions = _actions(ask, ruled, snapshot)
    if quoting and "preview" in actions:
        actions = [*actions, "diff"]
    if ruling.effect == "deny" or ask.subject.simulate or not actions:
        return None
    if ask.look_key is None:
        raise Invalid("a read grant needs a look_key for the digest of its parameters")
    # A preview needs all parameters. Other reads need only the parameters that identify the object.
    shown = ruling.effective if "preview" in actions else public(request.operation.parameters, ruling.effective)
    until = now + READ_GRANT_SECONDS if ask.look_until is None or actions == ["ahead"] else ask.look_until
    return ReadGrant(
        operation_id=ask.subject.operation_id,
        operation=ask.subject.operation,
        target=request.target,
        pool=request.target.pool,
        actions=actions,
        parameters_digest=keyed_digest(ask.look_key, shown),
        policy=ruled.decision.policy,
        expires_at=min(until, now + LONGEST_READ_GRANT_SECONDS),
        issued_at=now,
        plugins=ruled.plugins,
        previewed=ruled.decision.parameters_digest if "preview" in actions else None,
    )


def listing_grant(subject: Subject, look_key: str | None, ruled: RuledRequest) -> ReadGrant | None:
    """Return the grant to list the names that the decision needs, and nothing else. Simulations get it too."""
    if look_key is None or not ruled.ruling.needs:
        return None
    sources, named = sorted({need.source for need in ruled.ruling.needs}), ruled.request.operation.named
    return ReadGrant(
        operation_id=subject.operation_id,
        operation=subject.operation,
        target=ruled.request.target,
        pool=ruled.request.target.pool,
        actions=["listing"],
        parameters_digest=keyed_digest(look_key, {}),
        policy=ruled.decision.policy,
        expires_at=ruled.decision.at + READ_GRANT_SECONDS,
        sources=sources,
        named=str(ruled.ruling.effective[named]) if OTHER_NAMES in sources else "",
        issued_at=ruled.decision.at,
        plugins=ruled.plugins,
    )


def target_test_grant(
    ask: DecideRequest, ruled: RuledRequest, snapshot: PolicySnapshot, plugins: AgentPlugins
) -> ReadGrant | None:
    """Return the grant to test the target of a `backend_test`, and nothing else.

    Raises Invalid for a target outside the inventory, or one that the requester may not list.
    """
    target = snapshot.seen_by(ruled.request.principal, ruled.decision.at).target(str(ruled.ruling.effective["target"]))
    if ruled.ruling.effect != "allow" or ask.subject.simulate or "visit" not in ask.look:
        return None
    if ask.look_key is None:
        raise Invalid("a read grant needs a look_key for the digest of its parameters")
    return ReadGrant(
        operation_id=ask.subject.operation_id,
        operation=BACKEND_TEST,
        target=target,
        pool=target.pool,
        actions=["visit"],
        parameters_digest=keyed_digest(ask.look_key, {}),
        policy=ruled.decision.policy,
        expires_at=ruled.decision.at + READ_GRANT_SECONDS,
        issued_at=ruled.decision.at,
        plugins=plugins.all_accepted(),
    )


def _actions(ask: DecideRequest, ruled: RuledRequest, snapshot: PolicySnapshot) -> list[ReadAction]:
    """Return those of the requested reads that the operation offers."""
    operation = ruled.request.operation
    if operation.ahead and ask.look_until is not None and not ask.look:
        return ["ahead"] if _settled(ruled, snapshot) else []
    return sorted({action for action in ask.look if action in _offered(operation)})


def _settled(ruled: RuledRequest, snapshot: PolicySnapshot) -> bool:
    """Return true if it is allowed, and its start depends on no unknown fact such as other names."""
    naming = (ruled.request.operation.name, ruled.request.target.role) in snapshot.policy.naming
    return ruled.ruling.effect == "allow" and not ruled.decision.dry_run and not naming


def _offered(operation: Operation) -> Iterable[ReadAction]:
    if operation.baseline:
        yield "baseline"
    if operation.probe:
        yield "probe"
    if operation.preview:
        yield "preview"

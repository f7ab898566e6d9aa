"""Verification: an agent accepts a grant, read grant or cancel if policy signed it for exactly this use. No I/O, no
clock.

Anything else from an executor is a mere request. A failed verification is a SecurityRefusal, and nothing is run.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from msgspec import Struct, structs

from writ_agent.approval_checks import check_approvals
from writ_agent.ceiling import NO_CEILING, Ceiling, beyond, target_beyond
from writ_agent.refusals import SecurityRefusal as SecurityRefusal
from writ_contracts.agents import (
    BaselineNotice,
    CancelRequest,
    Claim,
    ClaimReply,
    ReadRequest,
    SealedParameters,
    SecurityKind,
)
from writ_contracts.decisions import Decision, Grant, ReadAction, ReadGrant
from writ_contracts.errors import Denied, Invalid, Unreachable, Untrusted
from writ_contracts.ids import operation_id
from writ_contracts.inventory import Target
from writ_contracts.journal import Dispatched
from writ_contracts.large_texts import texts_of_bytes
from writ_contracts.operations import Catalogue, Operation, Risk, offers
from writ_contracts.plugins import PluginDigests, digest_problem
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_trust.digests import keyed_digest, parameters_digest, same
from writ_trust.people import Directory
from writ_trust.sealing import SealKey, decrypt_once
from writ_trust.statements import digest, open_signed

S = TypeVar("S", bound=Struct)
CANCEL = "operation_cancel"


class VerificationContext(Struct, frozen=True, kw_only=True):
    """The trusted facts of an agent: policy's keys, its own pool and backend, the catalogue."""

    policy_keys: Collection[str]
    installation: str
    pool: str
    backend: str
    operations: Collection[str]
    catalogue: Catalogue
    ceiling: Ceiling = NO_CEILING
    """The host's own, which no grant exceeds."""

    def operation(self, name: str, backend: str, capabilities: list[str] | None) -> Operation:
        """Return the operation if this agent and the target have it. Raises Invalid."""
        operation = self.catalogue.find(name)
        if name not in self.operations or backend != self.backend or not offers(capabilities, backend, operation):
            raise Invalid(f"{name} on a {backend} target is not offered by pool {self.pool}", code="unsupported")
        return operation

    def plugins(self, operation: str) -> PluginDigests:
        """Return the digests of this agent's plugins which define the operation or carry it out."""
        return self.catalogue.plugins_of(operation, self.backend)


class SentClaim(Struct, frozen=True, kw_only=True):
    """A sent claim, with the only key to the parameters in its answer. `sent_at` is on the boot clock, `started` the
    agent's start.
    """

    work: Dispatched
    claim: Claim
    signed: Signed
    seal: SealKey
    sent_at: float
    started: float = 0.0


class VerifiedGrant(Struct, frozen=True, kw_only=True):
    """A verified grant, for the parameters of its digest. It may be run once, if it begins before `begin_by` (boot
    clock).
    """

    grant: Grant
    grant_digest: str
    attempt: int
    operation: Operation
    baseline: dict[str, Any]
    begin_by: float


def verify_grant(
    trust: VerificationContext,
    claimed: SentClaim,
    answer: ClaimReply,
    people: Directory | None = None,
    *,
    used: Collection[str],
    now: float,
) -> VerifiedGrant:
    """Verify the grant in the answer to `claimed`; `open_parameters` is the rest. `people`: the newest directory of
    people's credentials. Raises SecurityRefusal, or Invalid if this agent cannot carry it out.
    """
    if answer.grant is None:
        raise SecurityRefusal("forged_grant", "a reply without a grant")
    grant = _signed_by_policy(trust, answer.grant, Grant, "forged_grant")
    if grant.nonce in used:
        raise SecurityRefusal("replayed_grant", "this grant was used before")
    _bound_to(claimed, grant)
    check_approvals(trust.installation, claimed.work, grant, answer.approvals, people)
    begin_by = claimed.sent_at + grant.lifetime
    if now > begin_by:
        raise SecurityRefusal(
            "expired_grant",
            f"{now - claimed.sent_at:.1f} s after the claim, and the grant is valid for {grant.lifetime:g} s",
        )
    return VerifiedGrant(
        grant=grant,
        grant_digest=digest(answer.grant),
        attempt=claimed.claim.attempt,
        operation=trust.operation(grant.operation, grant.target.backend, grant.target.capabilities),
        baseline=claimed.claim.baseline,
        begin_by=begin_by,
    )


def open_parameters(
    trust: VerificationContext, claimed: SentClaim, answer: ClaimReply, verified: VerifiedGrant
) -> dict[str, Any]:
    """Return the parameters in the answer to `claimed`, which are those of its verified grant. Raises as
    `verify_grant`.
    """
    grant, operation = verified.grant, verified.operation
    opened = _unsealed(claimed, answer, grant)
    operation.check(opened.parameters)
    _within_ceiling(trust, grant.operation, grant.target, opened.parameters)
    if operation.risk is Risk.ADMIN:
        _check_statement(trust, grant, opened)
    return opened.parameters


def named_directory(trust: VerificationContext, claimed: SentClaim, answer: ClaimReply) -> Signed | None:
    """Return the answer's directory of people's credentials if policy's grant for this claim names it, else None: an
    executor with a former people-key cannot send one of its own. Raises SecurityRefusal.
    """
    if answer.people is None or answer.grant is None:
        return None
    grant = _signed_by_policy(trust, answer.grant, Grant, "forged_grant")
    _bound_to(claimed, grant)
    return answer.people if grant.people is not None and digest(answer.people) == grant.people.digest else None


def verify_spooled_grant(trust: VerificationContext, signed: Signed, operation_id: str) -> tuple[Grant, Operation]:
    """Verify the grant under which an earlier process of this agent began an operation. It permits only to find out
    the outcome. Raises SecurityRefusal, Invalid.
    """
    grant = _signed_by_policy(trust, signed, Grant, "forged_grant")
    if (grant.operation_id, grant.pool, grant.target.pool) != (operation_id, trust.pool, trust.pool):
        raise SecurityRefusal("mismatched_grant", "a grant for another operation or pool")
    return grant, trust.operation(grant.operation, grant.target.backend, grant.target.capabilities)


def _bound_to(claimed: SentClaim, grant: Grant) -> None:
    work, claim = claimed.work, claimed.claim
    pairs = {
        "claim": (grant.claim_digest, digest(claimed.signed)),
        "nonce": (grant.nonce, claim.nonce),
        "instance": (grant.instance, claim.instance),
        "pool": (grant.pool, claim.pool),
        "pool of its target": (grant.target.pool, claim.pool),
        "operation id": (grant.operation_id, work.operation_id),
        "operation": (grant.operation, work.operation),
        "target": (grant.target.id, work.target),
        "principal": (grant.principal, work.principal),
    }
    if wrong := [name for name, (granted, expected) in pairs.items() if granted != expected]:
        raise SecurityRefusal("mismatched_grant", f"a grant for another {', '.join(wrong)}")


def _within_ceiling(trust: VerificationContext, operation: str, target: Target, parameters: Mapping[str, Any]) -> None:
    if what := beyond(trust.ceiling, operation, target, parameters):
        raise SecurityRefusal("beyond_ceiling", f"{what} is beyond the ceiling of this host")


def _check_statement(trust: VerificationContext, grant: Grant, opened: SealedParameters) -> None:
    """Raises SecurityRefusal unless the principal signed exactly this operation: policy's alone is not enough.

    The ceiling lists the principals' keys; without it any key will do, and a thief of policy's key can make one.
    """
    if opened.statement is None:
        raise SecurityRefusal("mismatched_grant", f"{grant.operation} without the signature of {grant.principal}")
    people = trust.ceiling.principals
    keys = [opened.statement.key] if people is None else people.get(grant.principal, [])
    try:
        statement = open_signed(opened.statement, RequestStatement, keys, trust.installation)
    except Untrusted as error:
        raise SecurityRefusal(
            "mismatched_grant", f"the signature of {grant.principal} is not valid: {error}"[:400]
        ) from error
    pairs = {
        "principal": (statement.principal, grant.principal),
        "operation": (statement.operation, grant.operation),
        "target": (statement.target, grant.target.id),
        "operation id": (operation_id(statement.principal, statement.idempotency_key), grant.operation_id),
        "dry run": (statement.dry_run, False),
    }
    different = [name for name, (signed, granted) in pairs.items() if signed != granted]
    if not _digest_holds(opened.salt or "", opened.given, statement.parameters_digest):
        different.append("parameters")
    if any(name not in opened.parameters or opened.parameters[name] != value for name, value in opened.given.items()):
        different.append("effective parameters")
    if different:
        raise SecurityRefusal("mismatched_grant", f"{grant.principal} signed other values of {', '.join(different)}")


def _unsealed(claimed: SentClaim, answer: ClaimReply, grant: Grant) -> SealedParameters:
    try:
        opened = with_texts(decode(claimed.seal.open(answer.sealed), SealedParameters), answer.texts)
    except (Untrusted, Invalid, Unreachable):
        # No error may be shown: that of Invalid quotes what was inside. Unreachable: texts under AES, not requested.
        raise SecurityRefusal("mismatched_grant", "the parameters cannot be unsealed") from None
    digested = parameters_digest(opened.parameters_key, opened.parameters, answer.by_digest)
    if not same(digested, grant.parameters_digest):
        raise SecurityRefusal("mismatched_grant", "a grant for other parameters")
    return opened


def with_texts(opened: SealedParameters, encrypted: bytes) -> SealedParameters:
    """Return the parameters with their large texts, which came apart. Raises Untrusted, Invalid, Unreachable."""
    if opened.texts_key is None:
        return opened
    texts = texts_of_bytes(opened.texts, decrypt_once(bytes.fromhex(opened.texts_key), encrypted), opened.parameters)
    if not texts.keys() >= set(opened.given_texts):
        raise Invalid("other texts than those sent")
    given = {name: texts[name] for name in opened.given_texts}
    return structs.replace(
        opened, parameters={**opened.parameters, **texts}, given={**opened.given, **given}, texts_key=None
    )


def verify_baseline_grant(
    trust: VerificationContext, work: Dispatched | BaselineNotice, now: float
) -> tuple[ReadGrant, Operation] | None:
    """Return the baseline's read grant of a dispatched operation, or of one that soon is; None without one. Raises
    SecurityRefusal, Denied, Invalid.

    `now` is the journal server's time, Unix seconds.
    """
    return None if work.look is None else _grant_of(trust, work, work.look, "baseline", now)


def verify_early_read_grant(
    trust: VerificationContext, work: Dispatched, now: float
) -> tuple[ReadGrant, Operation] | None:
    """Return the read grant for an early read; None without one. Raises as `verify_baseline_grant`."""
    if work.ahead is None:
        return None
    grant, operation = _grant_of(trust, work, work.ahead, "ahead", now)
    if not operation.ahead:
        raise Invalid(f"{operation.name} does not allow an early read", code="unsupported")
    return grant, operation


def _grant_of(
    trust: VerificationContext, work: Dispatched | BaselineNotice, signed: Signed, action: ReadAction, now: float
) -> tuple[ReadGrant, Operation]:
    grant = verify_read_grant(trust, signed, action, work.parameters, work.look_key, now)
    if (grant.operation_id, grant.operation, grant.target.id) != (work.operation_id, work.operation, work.target):
        raise SecurityRefusal("forged_look", "a read grant for another operation or target")
    _within_ceiling(trust, grant.operation, grant.target, work.parameters)
    return grant, trust.operation(grant.operation, grant.target.backend, grant.target.capabilities)


def verify_requested_grant(trust: VerificationContext, ask: ReadRequest, now: float) -> tuple[ReadGrant, Operation]:
    """Return the read grant in an executor's request. Raises SecurityRefusal, Denied (expired), Invalid."""
    grant = verify_read_grant(trust, ask.look, ask.action, ask.parameters, ask.look_key, now)
    _within_ceiling(trust, grant.operation, grant.target, ask.parameters)
    return grant, trust.operation(grant.operation, grant.target.backend, grant.target.capabilities)


def verify_test_grant(trust: VerificationContext, ask: ReadRequest, now: float) -> ReadGrant:
    """Return the read grant for a target test, which needs no offered operation. Raises as `verify_requested_grant`."""
    grant = verify_read_grant(trust, ask.look, "visit", ask.parameters, ask.look_key, now)
    if grant.target.backend != trust.backend:
        raise Invalid(
            f"pool {trust.pool} is for {trust.backend} targets, not for {grant.target.backend}", code="unsupported"
        )
    if what := target_beyond(trust.ceiling, grant.target):
        raise SecurityRefusal("beyond_ceiling", f"{what} is beyond the ceiling of this host")
    return grant


def verify_read_grant(
    trust: VerificationContext, signed: Signed, action: ReadAction, parameters: Mapping[str, Any], key: str, now: float
) -> ReadGrant:
    """Return the read grant if policy signed it for this pool, action and parameters, and it has not expired."""
    grant = _signed_by_policy(trust, signed, ReadGrant, "forged_look")
    if grant.pool != trust.pool or grant.target.pool != trust.pool:
        raise SecurityRefusal("forged_look", f"a read grant for pool {grant.pool}")
    if action not in grant.actions:
        raise SecurityRefusal("forged_look", f"a read grant that does not allow a {action}")
    if not _digest_holds(key, parameters, grant.parameters_digest):
        raise SecurityRefusal("forged_look", "a read grant for other parameters")
    if now > grant.expires_at:
        raise Denied(f"the read grant expired {now - grant.expires_at:.1f} s ago", code="look_expired")
    if action != "visit" and (problem := digest_problem(trust.plugins(grant.operation), grant.plugins)):
        raise Denied(problem, code="plugin_mismatch")
    return grant


def verify_cancel(trust: VerificationContext, ask: CancelRequest, owners: Collection[str]) -> Decision:
    """Return policy's decision to cancel this operation of `owners`. Raises SecurityRefusal.

    A cancel without the principal's signature must come from an owner: policy knows the owner only from the executor.
    """
    decision = _signed_by_policy(trust, ask.decision, Decision, "forged_cancel")
    if decision.effect != "allow" or decision.operation != CANCEL or decision.dry_run:
        raise SecurityRefusal("forged_cancel", "the decision does not allow a cancel")
    about = ask.parameters.get("operation_id") == ask.operation_id
    if not about or not _digest_holds(ask.parameters_key, ask.parameters, decision.parameters_digest):
        raise SecurityRefusal("forged_cancel", "the decision is for another operation")
    sent_by_owner = decision.authenticated in ("server", "gateway") and decision.principal in owners
    if decision.authenticated != "signature" and not sent_by_owner:
        raise SecurityRefusal(
            "forged_cancel", f"{decision.principal} did not sign it, and it is another principal's operation"
        )
    return decision


def _digest_holds(key: str, value: Mapping[str, Any], expected: str) -> bool:
    try:
        return same(keyed_digest(key, dict(value)), expected)
    except ValueError:  # `look_key` of an event is any string
        return False


def _signed_by_policy(trust: VerificationContext, signed: Signed, kind: type[S], refused: SecurityKind) -> S:
    try:
        return open_signed(signed, kind, trust.policy_keys, trust.installation)
    except Untrusted as error:
        raise SecurityRefusal(refused, str(error)[:400]) from error

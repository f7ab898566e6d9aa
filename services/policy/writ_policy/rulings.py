"""From the executor's question to a ruling: who asks, for what, on which target, and what the engine says of it."""

from msgspec import Struct, structs

from writ_contracts.decisions import Decision, Subject, TraceEntry
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue, Risk, offers
from writ_policy.engine.case import Request
from writ_policy.engine.control import ControlState
from writ_policy.engine.decide import Ruling, decide
from writ_policy.statements import check_statement
from writ_policy.world import World
from writ_trust.digests import keyed_digest
from writ_trust.statements import digest

OWN = ("operation_cancel", "audit_read")
MOST_TRACED, MOST_RULES = 40, 100
"""A decision is part of journal events, which are at most 64 KiB."""


class Ruled(Struct, frozen=True, kw_only=True):
    """A ruling with the request that it is on."""

    request: Request
    ruling: Ruling
    decision: Decision


class Judge(Struct, frozen=True, kw_only=True):
    """Everything that a decision stands on, at `now` (Unix seconds)."""

    world: World
    control: ControlState
    catalogue: Catalogue
    dry_run_only: bool
    now: float

    def rule(self, subject: Subject, *, starting: bool = False) -> Ruled:
        """The decision; `starting`: on a claim. Raises Invalid or Untrusted for what is not even a question."""
        request, signed = self._understand(subject)
        ruling = decide(self.world.policy, request, self.control, self.world.people)
        if ruling.effect != "deny" and not signed and not subject.simulate and _wants_signature(request):
            reason = f"{request.operation.name} needs the principal's own signature; else: {ruling.reason}"
            ruling = structs.replace(ruling, effect="deny", code="signature_required", reason=reason, rules=[])
        if ruling.effect == "allow" and starting and self._is_dry(subject, request):
            ruling = structs.replace(ruling, effect="deny", code="dry_run", reason="a dry run starts nothing", rules=[])
        return Ruled(request=request, ruling=ruling, decision=self._decision(subject, request, ruling, signed))

    def _understand(self, subject: Subject) -> tuple[Request, bool]:
        principal = self.world.principal(subject.principal, subject.key)
        operation = self.catalogue.find(subject.operation)
        target = self.world.target(subject.target)
        if not offers(target.capabilities, target.backend, operation):
            raise Invalid(f"{target.id} ({target.backend}) does not offer {operation.name}", code="unsupported")
        effective = operation.check(subject.parameters)
        request = Request(
            operation=operation,
            target=target,
            principal=principal,
            given={name: effective[name] for name in subject.parameters if name in effective},
            effective=effective,
            at=self.now,
            dry_run=subject.dry_run and not self.dry_run_only,
            own=operation.name in OWN and self.world.owns(principal.id, subject.owner),
        )
        return request, check_statement(subject, principal, self.now)

    def _decision(self, subject: Subject, request: Request, ruling: Ruling, signed: bool) -> Decision:
        more = len(ruling.rules) - MOST_RULES
        return Decision(
            operation_id=subject.operation_id,
            principal=subject.principal,
            operation=subject.operation,
            target=subject.target,
            effect=ruling.effect,
            code=ruling.code,
            rules=ruling.rules[:MOST_RULES],
            reason=ruling.reason + (f" ({more} more rules are not named)" if more > 0 else ""),
            parameters_digest=keyed_digest(subject.parameters_key, ruling.effective),
            policy=self.world.version,
            control_sequence=self.control.sequence,
            at=self.now,
            authenticated="nobody" if subject.simulate else "signature" if signed else "server",
            statement_digest=digest(subject.statement) if signed and subject.statement else None,
            acts_for=request.principal.acts_for,
            dry_run=self._is_dry(subject, request),
            timeout=ruling.timeout,
            trace=_bounded(ruling.trace),
            trace_omitted=max(0, len(ruling.trace) - MOST_TRACED),
        )

    def _is_dry(self, subject: Subject, request: Request) -> bool:
        return subject.dry_run or (self.dry_run_only and not request.operation.control)


def _wants_signature(request: Request) -> bool:
    operation = request.operation
    return (operation.own_signature or operation.risk is Risk.ADMIN) and not request.own


def _bounded(trace: list[TraceEntry]) -> list[TraceEntry]:
    """All of it, or what matched and then the first of the rest."""
    if len(trace) <= MOST_TRACED:
        return trace
    return sorted(trace, key=lambda entry: not entry.matched)[:MOST_TRACED]

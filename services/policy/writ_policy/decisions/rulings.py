"""From an executor's request to a ruling: principal, operation, target and the verdict of the engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from writ_contracts.agents import Claim
from writ_contracts.catalogue.control import FOR_PEOPLE
from writ_contracts.decisions import MOST_TRACED, Authenticated, Decision, Subject, changed_since
from writ_contracts.errors import Untrusted
from writ_contracts.operations import Catalogue, Risk, check_declared, has_operation
from writ_contracts.parameters import public
from writ_contracts.people.persons import person_of
from writ_contracts.policy.facts import OTHER_NAMES
from writ_contracts.wire import canonical, encode
from writ_policy.decisions.agent_plugins import AgentPlugins
from writ_policy.decisions.bounded_traces import bounded_trace
from writ_policy.decisions.control_checks import ControlChecks
from writ_policy.decisions.demands import wire_demands
from writ_policy.decisions.facts import KnownFacts
from writ_policy.decisions.left_out_texts import by_texts, digest_of
from writ_policy.decisions.recorded_approvals import CountedApprovals
from writ_policy.decisions.session_checks import is_own_session, with_own_session
from writ_policy.decisions.statements import check_statement, presence_of
from writ_policy.decisions.window_checks import is_own_window
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.checked_request import checked_request
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import Ruling, decide
from writ_rules.engine.facts import NeededListing
from writ_trust.digests import plain_digest
from writ_trust.sessions import Session
from writ_trust.statements import digest

OWN = ("operation_cancel", "audit_read")
OF_RULES = frozenset({"denied", "rule_error", "facts_needed"})
"""The codes of lines 5 to 7 in docs/policy.md: a rule denies, or cannot be judged."""
MOST_OTHER_NAMES = 64
"""A bound, so that a host with many names cannot delay other decisions."""
MOST_RULES = 100
"""The most rules named by a decision, since it is part of journal events of at most 64 KiB."""


class RuledRequest(Struct, frozen=True, kw_only=True):
    """A ruling with its decision, and with all that it was made from."""

    subject: Subject
    request: DecisionRequest
    known: KnownFacts
    ruling: Ruling
    decision: Decision
    traced: int
    """The most rules in the decision's trace."""
    plugins: dict[str, list[str]]
    """The digests of the plugins that an agent may need for this operation."""

    @property
    def sources(self) -> list[str]:
        """Return the listings that the decision still needs."""
        return sorted({need.source for need in self.ruling.needs})


class Judge(Struct, frozen=True, kw_only=True):
    """Makes decisions with all inputs at `now` (Unix seconds)."""

    snapshot: PolicySnapshot
    control: ControlState
    catalogue: Catalogue
    plugins: AgentPlugins
    dry_run_only: bool
    now: float
    keyed_digest: Callable[[str, Mapping[str, Any]], str]  # that of large values is computed once

    def rule(
        self,
        subject: Subject,
        known: KnownFacts | None = None,
        *,
        starting: bool = False,
        recorded: bool = False,
        approvals: CountedApprovals | None = None,
        window: str = "",
        traced: int = MOST_TRACED,
    ) -> RuledRequest:
        """Return the ruling, given the `known` facts. Raises Invalid or Untrusted for an invalid request.

        `starting`: the ruling is for a claim. `recorded`: the journal has policy's first decision on this statement, so
        the statement's age is not checked again. `approvals`: those in the journal, or those of the approval window
        `window` if named.

        Policy fills in parameters as of `now`, and for an approved operation as of its first decision.
        """
        known = known or KnownFacts()
        request, signed = self._understand(subject, recorded=recorded, known_target=starting or approvals is not None)
        counted = approvals or CountedApprovals()
        request = structs.replace(request, approvals=counted.approvers, proven=counted.proven)
        ruling = decide(self._visible_policy(request), request, self.control, self.snapshot.people, known.facts)
        ruling = with_own_session(request, ruling, self._session(subject))
        if request.operation.control and ruling.effect != "deny" and not request.own:
            ruling = self._checks(counted.decided_at).apply(request, ruling)
        if ruling.effect != "deny":
            ruling = self._as_it_came(subject, request, ruling, signed=signed)
        if ruling.effect == "allow" and starting and self._is_dry(subject, request):
            ruling = structs.replace(ruling, effect="deny", code="dry_run", reason="a dry run starts nothing", rules=[])
        ruled = self._ruled(subject, request, ruling, known, traced, signed=signed)
        return _by_window(ruled, window) if window and ruling.effect == "allow" else ruled

    def under_other_names(self, ruled: RuledRequest, names: object) -> RuledRequest:
        """Return the ruling, or a denial if a rule denies the object under one of its other `names`.

        A deny of an alias is a deny of the unit; an allow needs the object's own name.
        """
        named = ruled.request.operation.named
        if ruled.ruling.effect == "deny" or not named or not isinstance(names, list):
            return ruled
        if len(names) > MOST_OTHER_NAMES:
            reason = f"the agent reports {len(names)} other names of it; at most {MOST_OTHER_NAMES} are allowed"
            return self._again(ruled, _denied(ruled.ruling, "rule_error", reason))
        for name in names:
            other = {named: name}
            request = structs.replace(
                ruled.request,
                parameters={**ruled.request.parameters, **other},
                effective={**ruled.request.effective, **other},
            )
            ruling = decide(
                self._visible_policy(request), request, self.control, self.snapshot.people, ruled.known.facts
            )
            if ruling.effect == "deny" and ruling.code in OF_RULES:
                reason = f"by its other name {name}: {ruling.reason}"
                return self._again(ruled, structs.replace(ruling, reason=reason))
        return ruled

    def under_listed_names(self, ruled: RuledRequest) -> RuledRequest:
        """Return the ruling of `under_other_names`, for names that the target's agents list.

        It is needed only if a deny depends on names. Raises Untrusted (`forged_listing`) for the names of another
        object, on which no deny depends.
        """
        request, ruling, known = ruled.request, ruled.ruling, ruled.known
        place = (request.operation.name, request.target.role)
        if place not in self.snapshot.policy.naming or (ruling.effect == "deny" and not ruling.needs):
            return ruled
        listing, thing = known.facts.listings.get(OTHER_NAMES), str(request.effective[request.operation.named])
        if listing is None:
            reason = f"a deny rule depends on names, and the other names of {thing} were not read yet"
            needs = [*ruling.needs, NeededListing(OTHER_NAMES)]
            return self._again(ruled, _denied(ruling, "facts_needed", reason, needs))
        if known.about != thing:
            raise Untrusted(f"a listing of the other names of {known.about!r}, for {thing!r}", code="forged_listing")
        if listing.failure:
            reason = f"a deny rule depends on names, and the other names of {thing} are not known: {listing.failure}"
            return self._again(ruled, _denied(ruling, "rule_error", reason))
        return self.under_other_names(ruled, sorted(listing.names))

    def unless_stale(self, ruled: RuledRequest, first: Decision, moved: str) -> RuledRequest:
        """Return the same ruling for an approved operation, or a denial as `stale`: its approvals no longer suffice, or
        it differs from the approved operation. A deny stays a deny. `moved`: how the target differs from the preview.
        """
        if ruled.ruling.effect == "deny":
            return ruled
        reason = changed_since(first, ruled.decision) or moved
        if ruled.ruling.effect == "require_approval":
            reason = f"the approvals on record do not satisfy the policy any more: {ruled.ruling.reason}"
        if not reason:
            return ruled
        return self.stale(ruled, reason)

    def stale(self, ruled: RuledRequest, reason: str) -> RuledRequest:
        """Return a denial for this reason, with the code of what has changed since its request."""
        return self._again(ruled, _denied(ruled.ruling, "stale", reason))

    def unless_other_plugin(self, ruled: RuledRequest, claim: Claim) -> RuledRequest:
        """Return the same ruling, or a denial if policy does not accept the claiming agent's build of a plugin."""
        problem = self.plugins.problem(ruled.request.operation.name, ruled.request.target.backend, claim.plugins)
        if ruled.ruling.effect != "allow" or not problem:
            return ruled
        return self._again(ruled, _denied(ruled.ruling, "plugin_mismatch", problem))

    def may_quote(self, ruled: RuledRequest) -> bool:
        """Return true if the principal may itself read all content that a diff of this operation quotes."""
        named = (ruled.ruling.effective.get(name) for name in ruled.request.operation.quoted)
        paths = {path for path in named if path is not None}
        return bool(paths) and all(self._may_read(ruled, path) for path in paths)

    def _may_read(self, ruled: RuledRequest, path: str) -> bool:
        request = ruled.request
        operation, file = self.catalogue.find(request.operation.quotes), {"file_path": path}
        if not has_operation(request.target, operation):
            return False
        reading = structs.replace(
            request, operation=operation, parameters=file, effective=operation.check(file), dry_run=False, approvals=()
        )
        ruling = decide(self._visible_policy(reading), reading, self.control, self.snapshot.people, ruled.known.facts)
        return ruling.effect == "allow"

    def _again(self, ruled: RuledRequest, ruling: Ruling) -> RuledRequest:
        """Return another ruling on the same request."""
        ruling = structs.replace(ruling, effective=ruled.ruling.effective)
        signed = ruled.decision.authenticated == "signature"
        return self._ruled(ruled.subject, ruled.request, ruling, ruled.known, ruled.traced, signed=signed)

    def _checks(self, settled_at: float | None) -> ControlChecks:
        def by_rules(request: DecisionRequest) -> Ruling:
            return decide(self.snapshot.policy, request, self.control, self.snapshot.people)

        return ControlChecks(
            snapshot=self.snapshot,
            control=self.control,
            catalogue=self.catalogue,
            decide=by_rules,
            now=self.now,
            settled_at=self.now if settled_at is None else settled_at,
        )

    def _visible_policy(self, request: DecisionRequest) -> Policy:
        return self.snapshot.seen_by(request.principal, self.now).policy

    def _ruled(
        self, subject: Subject, request: DecisionRequest, ruling: Ruling, known: KnownFacts, traced: int, signed: bool
    ) -> RuledRequest:
        decision = self._decision(subject, request, ruling, signed, known, traced)
        builds = self.plugins.accepted_for(request.operation.name, request.target.backend)
        return RuledRequest(
            subject=subject,
            request=request,
            known=known,
            ruling=ruling,
            decision=decision,
            traced=traced,
            plugins=builds,
        )

    def _understand(self, subject: Subject, *, recorded: bool, known_target: bool) -> tuple[DecisionRequest, bool]:
        """Return the checked request, and whether it was signed. `known_target`: its requester knows the target."""
        principal = self.snapshot.requester(subject.principal, subject.key, recorded=recorded)
        operation = self.catalogue.find(subject.operation)
        target = (self.snapshot if known_target else self.snapshot.seen_by(principal, self.now)).target(subject.target)
        request = checked_request(
            operation,
            target,
            principal,
            subject.parameters,
            at=self.now,
            dry_run=subject.dry_run and not self.dry_run_only,
            person=person_of(principal.id, self.snapshot.principals),
        )
        if not recorded:
            check_declared(target, operation)
        own = self.is_own(operation.name, principal.id, subject.owner, request.effective)
        age_at, session = None if recorded else self.now, self._session(subject)
        signed = check_statement(subject, principal, age_at, self.snapshot.installation, session.key if session else "")
        presence = None if subject.simulate else presence_of(subject, self.snapshot, recorded=recorded)
        return structs.replace(request, own=own, presence=presence), signed

    def _session(self, subject: Subject) -> Session | None:
        """Return the session whose key sent the request, or None."""
        principal = self.snapshot.principals.get(subject.principal)
        return None if principal is None else self.snapshot.session(principal, subject.key)

    def is_own(self, operation: str, principal: str, owner: str | None, parameters: Mapping[str, Any]) -> bool:
        """Return true for a control operation on something of its own. `owner`: of the operation on which it acts."""
        if operation == "window_end":
            return is_own_window(self.snapshot, self.control, principal, parameters, self.now)
        if operation == "session_end":
            return is_own_session(self.snapshot, principal, parameters)
        return operation in OWN and self.snapshot.owns(principal, owner)

    def _decision(  # long: it names each field of the message once
        self, subject: Subject, request: DecisionRequest, ruling: Ruling, signed: bool, known: KnownFacts, traced: int
    ) -> Decision:
        trace = bounded_trace(ruling.rule_trace, traced)
        more = len(ruling.rules) - MOST_RULES
        shown = public(request.operation.parameters, ruling.effective) if ruling.demands else {}
        return Decision(
            operation_id=subject.operation_id,
            principal=subject.principal,
            operation=subject.operation,
            target=subject.target,
            effect=ruling.effect,
            code=ruling.code,
            rules=ruling.rules[:MOST_RULES],
            reason=ruling.reason + (f" ({more} more rules are not named)" if more > 0 else ""),
            parameters_digest=digest_of(subject, ruling.effective, self.keyed_digest),
            by_texts=by_texts(subject),
            policy=self.snapshot.version,
            control_sequence=self.control.sequence,
            trace=trace,
            trace_omitted=len(ruling.rule_trace) - len(trace),
            at=self.now,
            authenticated=self._authenticated(subject, signed=signed),
            statement_digest=digest(subject.statement) if signed and subject.statement else None,
            acts_for=request.principal.acts_for,
            dry_run=self._is_dry(subject, request),
            timeout=ruling.timeout,
            facts=known.named,
            limits=ruling.limits,
            nearest=ruling.nearest,
            opens_at=ruling.opens_at,
            could_approve=ruling.could_approve,
            emergency=ruling.emergency,
            passed_over=ruling.passed_over if ruling.effect == "allow" else [],
            demands=wire_demands(ruling.demands, request.principal, self.snapshot.people),
            target_digest=plain_digest(encode(request.target)) if ruling.demands or request.approvals else None,
            public_digest=plain_digest(canonical(shown)) if ruling.demands else None,
            presence=request.presence if subject.presence is not None else None,
            people=self.snapshot.directory.name if self.snapshot.directory is not None else None,
            approvals=list(request.approvals) if ruling.effect == "allow" and ruling.demands else [],
            plugins=self.plugins.own,
            session=session.id if (session := self._session(subject)) is not None else "",
        )

    def _as_it_came(self, subject: Subject, request: DecisionRequest, ruling: Ruling, *, signed: bool) -> Ruling:
        """Return the ruling, or a denial if a gateway may not send the request or it lacks a needed signature."""
        name = request.operation.name
        if name in FOR_PEOPLE and self.snapshot.by_gateway(subject.principal, subject.key):
            return _denied(ruling, "for_people", f"{name} is for people, and the request came through a gateway")
        if not signed and not subject.simulate and _wants_signature(request):
            reason = f"{name} needs the principal's own signature; with it: {ruling.reason}"
            return structs.replace(ruling, effect="deny", code="signature_required", reason=reason, rules=[])
        return ruling

    def _authenticated(self, subject: Subject, *, signed: bool) -> Authenticated:
        if subject.simulate or signed:
            return "nobody" if subject.simulate else "signature"
        return "gateway" if self.snapshot.by_gateway(subject.principal, subject.key) else "server"

    def _is_dry(self, subject: Subject, request: DecisionRequest) -> bool:
        return subject.dry_run or (self.dry_run_only and not request.operation.control)


def _by_window(ruled: RuledRequest, window: str) -> RuledRequest:
    """Return the allow with its window, and without the fields that approvals of the operation itself would set."""
    reason = f"by approval window {window}: {ruled.decision.reason}"
    decision = structs.replace(
        ruled.decision, window=window, reason=reason, demands=[], approvals=[], target_digest=None, public_digest=None
    )
    return structs.replace(ruled, decision=decision)


def _denied(ruling: Ruling, code: str, reason: str, needs: Sequence[NeededListing] = ()) -> Ruling:
    return structs.replace(ruling, effect="deny", code=code, reason=reason, rules=[], needs=list(needs))


def _wants_signature(request: DecisionRequest) -> bool:
    operation = request.operation
    return (operation.own_signature or operation.risk is Risk.ADMIN) and not request.own

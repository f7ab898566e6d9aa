"""The decision: a pure function of a request, a policy, the control state, the facts and an instant.

Every rule that could apply is judged and appears in the trace, even if the first one denies. `WeighedRequest` combines
the results.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from writ_contracts.decisions import Effect
from writ_contracts.errors import Invalid
from writ_contracts.operations import Risk
from writ_rules.engine.clauses.case import Case, DecisionRequest
from writ_rules.engine.compile import Policy, is_behind_gateway
from writ_rules.engine.control import ControlState
from writ_rules.engine.decisions.reasons import ASSUMED
from writ_rules.engine.decisions.ruling import STRICTNESS as STRICTNESS
from writ_rules.engine.decisions.ruling import Ruling as Ruling
from writ_rules.engine.decisions.ruling import stricter
from writ_rules.engine.decisions.trace import RuleTrace, TraceSection
from writ_rules.engine.decisions.weigh import ConsideredRules, WeighedRequest, allows
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.matching.judge import INHERITED
from writ_rules.engine.matching.tree import TreeMatches
from writ_rules.engine.rules.obligations import People as People


def decide(
    policy: Policy,
    request: DecisionRequest,
    control: ControlState,
    people: People | None = None,
    facts: Facts = NO_FACTS,
) -> Ruling:
    """Decide a request. Never raises for a request the catalogue's schema permits."""
    early = _before_rules(policy, request, control)
    if early is not None:
        return early
    emergency, counts = _emergency(request, control)
    people = people or People()
    ruling = latest = _by_rules(policy, request, people, facts, emergency, counts=counts)
    asked = request.effective
    # Rules filled in defaults. The result must itself be allowed, or a deny would not apply to what runs. With it other
    # rules may match and fill in more. Each round but the last adds a parameter, so there are few.
    while ruling.effect != "deny" and latest.effective != request.effective:
        try:
            filled = request.operation.check(latest.effective)
        except Invalid as error:
            return _broken(latest, asked, error)
        if filled == request.parameters:  # a default of null fills in nothing
            break
        request = structs.replace(request, parameters=filled, effective=filled)
        latest = _by_rules(policy, request, people, facts, emergency, counts=counts)
        ruling = structs.replace(stricter(ruling, latest), effective=filled)
    return ruling


def _broken(ruling: Ruling, asked: Mapping[str, Any], error: Invalid) -> Ruling:
    """Return the denial of a request by the defaults of a ruling; `asked`: its parameters without any of them."""
    reason = f"with the defaults of the rules that match it breaks the operation's schema: {error}"
    return Ruling(
        effect="deny",
        code="rule_error",
        rules=ruling.rules,
        reason=reason,
        effective=asked,
        rule_trace=ruling.rule_trace,
        emergency=ruling.emergency,
    )


def _before_rules(policy: Policy, request: DecisionRequest, control: ControlState) -> Ruling | None:
    if request.own:
        return _short(request, "allow", "own", "a principal may always read and cancel its own operations")
    operation = request.operation
    if not operation.control and operation.risk is not Risk.READ:
        stop = control.stop_of(request.target, request.principal, operation.name, request.at)
        if stop is not None:
            return _short(request, "deny", "stopped", f"stop {stop.id} is in force: {stop.reason}"[:1000])
    if request.dry_run and not policy.enable_dry_run:
        return _short(request, "deny", "dry_run_disabled", f"policy '{policy.name}' does not allow dry runs")
    if not policy.in_effect.since <= request.at < policy.in_effect.until:
        reason = f"policy '{policy.name}' is in effect {policy.in_effect.expected} only"
        return _short(request, "deny", "policy_inactive", reason)
    return None


def _short(request: DecisionRequest, effect: Effect, code: str, reason: str) -> Ruling:
    return Ruling(effect=effect, code=code, reason=reason, effective=request.effective)


def _emergency(request: DecisionRequest, control: ControlState) -> tuple[str, bool]:
    """Return the id of the emergency in force for the target, if any, and whether its rules count for the requester.

    Until another person has confirmed it, they do not count for the person who declared it and for their agents.
    Otherwise a declaration would free its own author from every approval.
    """
    if request.emergency is False:
        return "", False
    declared = control.emergency_of(request.target.id, request.at)
    if declared is not None:
        return declared.id, not (declared.unconfirmed and declared.person == request.behind)
    return (ASSUMED, True) if request.emergency else ("", False)


def _by_rules(
    policy: Policy, request: DecisionRequest, people: People, facts: Facts, emergency: str, *, counts: bool
) -> Ruling:
    operation, role = request.operation.name, request.target.role
    case = Case(request, policy.verbs[operation].public, facts)
    rules = policy.index.get((operation, role), ())
    own = TraceSection(rules, TreeMatches(policy.trees.own(operation, role), operation, case, rules))
    gateway = urgent = TraceSection((), TreeMatches((), operation, case))
    if is_behind_gateway(request.target) and (inherited := policy.inherited.get(operation)):
        inherited_matches = TreeMatches(policy.trees.inherited(operation), operation, case, inherited)
        gateway = TraceSection(inherited, inherited_matches, INHERITED)
    if counts and (lifting := policy.urgent.get((operation, role))):
        urgent = TraceSection(lifting, TreeMatches(policy.trees.urgent(operation, role), operation, case, lifting))
    trace = RuleTrace((own, gateway, urgent), case, lifted=bool(allows(urgent.found.matching)))
    considered = ConsideredRules(own.found, gateway.found, urgent.found, emergency, trace)
    return WeighedRequest(policy, request, considered, people).ruling()

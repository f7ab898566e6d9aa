"""The decision: a pure function of a request, a policy and the control state, at an instant.

A matching deny denies; a rule that can't be judged denies in its scope; of the allows that match, the strictest demand
holds; nothing else is allowed. All rules that could apply are judged and told in the trace, whatever the first said.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field, structs

from writ_contracts.decisions import Effect, TraceEntry
from writ_contracts.errors import Invalid
from writ_contracts.operations import Risk
from writ_policy.engine import reasons
from writ_policy.engine.case import Case, Request
from writ_policy.engine.compile import Policy
from writ_policy.engine.control import ControlState
from writ_policy.engine.judge import Judged, judge, tell
from writ_policy.engine.rules import ADMIN_DEMAND, Demand, Rule

People = Mapping[str, tuple[str, ...]]
"""Who could approve: the humans of each role."""
INHERITED = "role_policies.gateway, inherited"
STRICTNESS: dict[Effect, int] = {"allow": 0, "require_approval": 1, "deny": 2}


class Considered(Struct, frozen=True, eq=False):
    """The rules of one place: judged ones, and those that are not about the principal, with what is told of them."""

    judged: list[Judged]
    others: tuple[Judged, ...]
    told: tuple[TraceEntry, ...]


class Ruling(Struct, frozen=True, kw_only=True):
    """What was decided and why; `effective` are the parameters with all defaults, `timeout` an upper limit."""

    effect: Effect
    code: str
    reason: str
    effective: Mapping[str, Any]
    rules: list[str] = field(default_factory=list)
    trace: list[TraceEntry] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    timeout: int | None = None


def decide(policy: Policy, request: Request, control: ControlState, people: People | None = None) -> Ruling:
    """Policy's word. Never raises for a request that the catalogue's schema lets through."""
    early = _before_rules(policy, request, control)
    if early is not None:
        return early
    first = _by_rules(policy, request, people or {})
    if first.effect == "deny" or first.effective == request.effective:
        return first
    return _with_defaults(policy, request, first, people or {})


def _before_rules(policy: Policy, request: Request, control: ControlState) -> Ruling | None:
    if request.own:
        return _short(request, "allow", "own", "one's own may always be read and cancelled")
    operation = request.operation
    if not operation.control and operation.risk is not Risk.READ:
        stop = control.stop_of(request.target.id, request.at)
        if stop is not None:
            return _short(request, "deny", "stopped", f"stop {stop.id} is in force: {stop.reason}"[:1000])
    if request.dry_run and not policy.enable_dry_run:
        return _short(request, "deny", "dry_run_disabled", f"policy '{policy.name}' does not allow dry runs")
    if not policy.in_effect.since <= request.at < policy.in_effect.until:
        reason = f"policy '{policy.name}' is in effect {policy.in_effect.wanted} only"
        return _short(request, "deny", "policy_inactive", reason)
    return None


def _short(request: Request, effect: Effect, code: str, reason: str) -> Ruling:
    return Ruling(effect=effect, code=code, reason=reason, effective=request.effective)


def _with_defaults(policy: Policy, request: Request, first: Ruling, people: People) -> Ruling:
    """Rules filled in defaults: what came out must itself be allowed, or a deny would not see what runs."""
    try:
        filled = request.operation.check(first.effective)
    except Invalid as error:
        reason = f"the defaults of {', '.join(first.rules)} break the operation's schema: {error}"
        return structs.replace(first, effect="deny", code="rule_error", reason=reason, effective=request.effective)
    again = _by_rules(policy, structs.replace(request, given=filled, effective=filled), people)
    return again if STRICTNESS[again.effect] > STRICTNESS[first.effect] else structs.replace(first, effective=filled)


def _by_rules(policy: Policy, request: Request, people: People) -> Ruling:
    operation, role = request.operation.name, request.target.role
    case = Case(request, policy.verbs[operation].public)
    own = _judge(policy, (operation, role), policy.index.get((operation, role), ()), "", case)
    gateway = Considered([], (), ())
    if request.target.gateway is not None and role != "gateway":
        gateway = _judge(policy, (operation, INHERITED), policy.inherited.get(operation, ()), INHERITED, case)
    ruling = _weigh(policy, request, own, gateway, people)
    trace = [tell(each, "") for each in own.judged]
    trace += [tell(each, INHERITED) for each in gateway.judged]
    return structs.replace(ruling, trace=[*trace, *own.told, *gateway.told])


def _judge(policy: Policy, place: tuple[str, str], rules: tuple[Rule, ...], section: str, case: Case) -> Considered:
    shortlist = policy.shortlists.of(place, rules, section, case)
    judged = [judge(rule, place[0], case) for rule in shortlist.rules]
    return Considered(judged, shortlist.others, shortlist.told)


def _weigh(policy: Policy, request: Request, own: Considered, gateway: Considered, people: People) -> Ruling:
    every = [*own.judged, *gateway.judged]
    denying = [each for each in every if each.miss is None and each.rule.effect == "deny"]
    if denying:
        return _deny(request, "denied", reasons.denied(denying), _names(denying))
    erring = [each for each in every if each.miss is not None and each.miss.erred]
    if erring:
        return _deny(request, "rule_error", reasons.erred(erring), _names(erring))
    allowing = [each.rule for each in own.judged if each.miss is None]
    if not allowing:
        if policy.deny_by_default or any(each.covers for each in every):
            return _deny(request, "no_rule", reasons.no_rule(policy, request, [*own.judged, *own.others]), [])
        return _allow(policy, request, [], people)
    limits = [each for each in gateway.judged if each.covers and each.rule.effect != "deny"]
    within = [each.rule for each in limits if each.miss is None]
    if limits and not within:
        return _deny(request, "outside_gateway_limits", reasons.outside_gateway(limits, request.at), [])
    return _allow(policy, request, [*allowing, *within], people)


def _deny(request: Request, code: str, reason: str, rules: list[str]) -> Ruling:
    return Ruling(effect="deny", code=code, reason=reason, effective=request.effective, rules=rules)


def _allow(policy: Policy, request: Request, rules: list[Rule], people: People) -> Ruling:
    names = sorted({rule.name for rule in rules})
    defaults, conflict = _defaults(request, rules)
    if conflict is not None:
        return _deny(request, "rule_error", f"{conflict} has different defaults in {', '.join(names)}"[:1000], names)
    demands = sorted({rule.demand for rule in rules if rule.demand is not None}, key=str)
    if request.operation.risk is Risk.ADMIN and policy.require_approval_for_admin:
        demands.append(ADMIN_DEMAND)
    limits = [rule.timeout for rule in rules if rule.timeout is not None]
    effective = {**request.effective, **defaults} if defaults else request.effective
    asked = effective.get("timeout")
    timeouts = limits if asked is None else [*limits, asked]
    if demands:
        effect, code, reason = reasons.approval(request, demands, people)
    else:
        effect, code, reason = reasons.allowed(policy, names)
    return Ruling(
        effect=effect,
        code=code,
        reason=reason,
        effective=effective,
        rules=names,
        demands=demands,
        timeout=min(timeouts) if timeouts else None,
    )


def _defaults(request: Request, rules: Iterable[Rule]) -> tuple[dict[str, Any], str | None]:
    """What the rules fill in, and the parameter on which they disagree."""
    found: dict[str, Any] = {}
    for rule in rules:
        for name, value in rule.defaults[request.operation.name].items():
            if name in request.given:
                continue
            if name in found and found[name] != value:
                return {}, name
            found[name] = value
    return found, None


def _names(judged: Iterable[Judged]) -> list[str]:
    return sorted({each.rule.name for each in judged})

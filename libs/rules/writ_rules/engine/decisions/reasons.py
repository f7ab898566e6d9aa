"""The reason of a decision in one sentence for people: the denying rule, the nearest one, possible approvers, the next
opening.
"""

from collections.abc import Iterable
from datetime import datetime
from math import inf

from msgspec import Struct

from writ_contracts.bounds import first_names
from writ_contracts.decisions import Effect
from writ_contracts.people.credentials import KEY
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.clauses.conditions import TimeCondition
from writ_rules.engine.clauses.scopes import EffectClause
from writ_rules.engine.compile import Policy
from writ_rules.engine.matching.judge import JudgedRule
from writ_rules.engine.policy_file.times import UTC_ZONE, wall_clock, when_text
from writ_rules.engine.rules.obligations import Demand, People, progress
from writ_rules.engine.rules.rule import Rule

LONGEST = 1000
MOST_NAMES, MOST_APPROVERS = 5, 20
ASSUMED = "assumed"
"""The id of an emergency that the request assumes and nobody declared."""


class ReasonedEffect(Struct, frozen=True):
    """An allow, or a demand for approval, with its reason."""

    effect: Effect
    code: str
    reason: str
    could_approve: list[str] = []


def denied(denying: list[Rule], ends: tuple[float, str] | None) -> str:
    """Return the reason of a deny, with the description of the rule, and the end of the deny if it has one."""
    names = names_of(denying)
    sentence = next(rule.description for rule in denying if rule.name == names[0])
    until = f" until {ends[1]}" if ends else ""
    verb = "denies" if len(names) == 1 else "deny"
    return _cut(f"{_rules(names)} {verb} it{until}" + (f": {sentence}" if sentence else ""))


def ending(denying: list[Rule], request: DecisionRequest) -> tuple[float, str] | None:
    """Return the time at which the last of these rules stops denying this request by its windows or its own end, also
    for people; None where one has no end in sight.
    """
    last: datetime | None = None
    for rule in denying:
        end = _end_of(rule, request)
        if end is None:
            return None
        last = end if last is None else max(last, end)
    return None if last is None else (last.timestamp(), when_text(last))


def _end_of(rule: Rule, request: DecisionRequest) -> datetime | None:
    ends = [
        condition.closes(request.at)
        for condition in rule.conditions[request.operation.name]
        if isinstance(condition, TimeCondition)
    ]
    ends += [wall_clock(one.until, UTC_ZONE) for one in rule.scope if isinstance(one, EffectClause) and one.until < inf]
    return min((end for end in ends if end is not None), default=None)


def erred(erring: list[JudgedRule], names: list[str]) -> str:
    """Return the reason of an erring rule."""
    miss = next(each.miss for each in erring if each.rule.name == names[0])
    what = f": {miss.clause} ({miss.expected}) {miss.got}" if miss else ""
    return _cut(f"{_rules(names)} could not be judged, which denies{what}")


def needed(names: list[str], sources: list[str]) -> str:
    """Return the reason of a missing listing of the target."""
    return _cut(f"{_rules(names)} {'needs' if len(names) == 1 else 'need'} {', '.join(sources)} of the target")


def nowhere(policy: Policy, request: DecisionRequest, restricting: list[Rule]) -> str:
    """Return the reason when no rule could have allowed it here, with the roles where one does. Rules of the target's
    gateway only restrict others.
    """
    operation, role = request.operation.name, request.target.role
    elsewhere = [other for other in policy.roles_with(operation) if other != role]
    known = f"; rules allow it on {', '.join(elsewhere)}" if elsewhere else ""
    names = names_of(restricting)
    only = f"; {_rules(names)} of its gateway only {'restricts' if len(names) == 1 else 'restrict'}" if names else ""
    return _cut(f"no rule allows {operation} on a {role} target{known}" + (only and f"{only} what others allow"))


def opening(near: JudgedRule, request: DecisionRequest) -> tuple[float, str] | None:
    """Return the next opening of the window, if a closed window is the miss."""
    for condition in near.rule.conditions[request.operation.name]:
        if isinstance(condition, TimeCondition) and near.miss is not None and condition.clause == near.miss.clause:
            return condition.opens(request.at)
    return None


def missed(sentence: str, near: JudgedRule, opens: tuple[float, str] | None) -> str:
    """Return the reason with the nearest rule and its miss."""
    miss, name = near.miss, near.rule.name
    if miss is None:
        return _cut(f"{sentence}; nearest is '{name}'")
    then = f" (opens {opens[1]})" if opens else ""
    return _cut(f"{sentence}; nearest is '{name}': {miss.clause} is {miss.got}, expected {miss.expected}{then}")


def conflicting(parameter: str, names: list[str]) -> str:
    """Return the reason of rules with different defaults for one parameter."""
    return _cut(f"{parameter} has different defaults in {', '.join(names)}")


def approval(request: DecisionRequest, demands: list[Demand], people: People, names: list[str]) -> ReasonedEffect:
    """Return the demand with its possible approvers; an allow once enough have approved."""
    progresses = [
        (demand, progress(demand, request.approvals, request.principal, people, request.proven)) for demand in demands
    ]
    waiting = [(demand, how) for demand, how in progresses if how.waits_for is not None]
    if not waiting:
        by = ", ".join(dict.fromkeys(who for _, how in progresses for who in how.by))
        return ReasonedEffect("allow", "approved", _cut(f"{_allows(names)}, approved by {by}"))
    could = sorted({who for _, how in waiting for who in how.able})[:MOST_APPROVERS]
    shown = ", ".join(could[:MOST_NAMES]) + ("…" if len(could) > MOST_NAMES else "")
    possible = could and all(how.possible for _, how in waiting)
    able = f"; could approve: {shown}" if possible else _nobody(demands, people)
    reason = _cut("; ".join(str(demand) for demand, _ in waiting) + able)
    return ReasonedEffect("require_approval", "approval_required", reason, could if possible else [])


def _nobody(demands: list[Demand], people: People) -> str:
    """Return the reason why nobody could approve it: there may be people, without a credential for the proof."""
    proofs = sorted({str(one.presence) for one in demands if not KEY.meets(one.presence)})
    lacking = f" with the proof {', '.join(proofs)}, by the credentials that are enrolled" if proofs else ""
    return f"; nobody could approve it{lacking if people.presences is not None else ''}"


def allowed(policy: Policy, names: list[str], emergency: str) -> ReasonedEffect:
    """Return the reason of an allow, by rules or by the default."""
    if not names:
        reason = f"no rule covers it, and policy '{policy.name}' has deny_by_default: false"
        return ReasonedEffect("allow", "allowed_by_default", reason)
    during = " in an assumed emergency" if emergency == ASSUMED else f" in emergency {emergency}" if emergency else ""
    return ReasonedEffect("allow", "allowed", _cut(_allows(names) + during))


def _allows(names: list[str]) -> str:
    if not names:
        return "the default allows it"
    return f"{_rules(names)} {'allows' if len(names) == 1 else 'allow'} it"


def names_of(rules: Iterable[Rule]) -> list[str]:
    return sorted(rule.name for rule in rules)


def _rules(names: list[str]) -> str:
    shown = first_names([f"'{name}'" for name in names], MOST_NAMES)
    return f"rule {shown}" if len(names) == 1 else f"rules {shown}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"

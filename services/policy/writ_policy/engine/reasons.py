"""Why, in one sentence for people: the rule that denied, what came nearest, who could approve, when it opens."""

from collections.abc import Iterable, Mapping

from writ_contracts.decisions import Effect
from writ_policy.engine.case import Request
from writ_policy.engine.compile import Policy
from writ_policy.engine.judge import Judged
from writ_policy.engine.rules import Demand

LONGEST = 1000
MOST_NAMES = 5


def denied(denying: list[Judged]) -> str:
    """A deny, with what the rule's author said of it."""
    names = _names(denying)
    said = next(each.rule.description for each in denying if each.rule.name == names[0])
    return _cut(f"{_rules(names)} {'denies' if len(names) == 1 else 'deny'} it" + (f": {said}" if said else ""))


def erred(erring: list[Judged]) -> str:
    """A rule that can't be judged."""
    names = _names(erring)
    miss = next(each.miss for each in erring if each.rule.name == names[0])
    what = f": {miss.clause} ({miss.wanted}) {miss.got}" if miss else ""
    return _cut(f"{_rules(names)} could not be judged, which denies{what}")


def no_rule(policy: Policy, request: Request, judged: list[Judged]) -> str:
    """Nothing allows it; what came nearest, and what it lacked."""
    allows = [each for each in judged if each.rule.effect != "deny"]
    operation, role = request.operation.name, request.target.role
    if not allows:
        elsewhere = [other for other in policy.roles_with(operation) if other != role]
        known = f"; rules allow it on {', '.join(elsewhere)}" if elsewhere else ""
        return f"no rule allows {operation} on a {role} target{known}"
    return _cut(f"no rule allows it; {_nearest(allows, request.at)}")


def outside_gateway(limits: list[Judged], at: float) -> str:
    """The gateway's rules cover it, and none of them as it was asked."""
    return _cut(f"outside the gateway's limits; {_nearest(limits, at)}")


def approval(request: Request, demands: list[Demand], people: Mapping[str, tuple[str, ...]]) -> tuple[Effect, str, str]:
    """Who is asked, and who could say yes: never the requester, nor the human behind it."""
    barred = {request.principal.id, request.principal.acts_for}
    could = sorted({who for demand in demands for role in demand.approvers for who in people.get(role, ())} - barred)
    names = ", ".join(could[:MOST_NAMES]) + ("…" if len(could) > MOST_NAMES else "")
    able = f"; could approve: {names}" if could else "; nobody could approve it"
    return "require_approval", "approval_required", _cut("; ".join(map(str, demands)) + able)


def allowed(policy: Policy, names: list[str]) -> tuple[Effect, str, str]:
    """By rules, or by the default."""
    if not names:
        return (
            "allow",
            "allowed_by_default",
            f"no rule covers it, and policy '{policy.name}' has deny_by_default: false",
        )
    return "allow", "allowed", _cut(f"{_rules(names)} {'allows' if len(names) == 1 else 'allow'} it")


def _nearest(judged: list[Judged], at: float) -> str:
    near = max(judged, key=lambda each: (each.covers, each.depth))
    miss, times = near.miss, near.rule.times
    if miss is None:
        return f"nearest is '{near.rule.name}'"
    opens = times.opens(at) if times is not None and miss.clause == "time_restrictions" else ""
    then = f" (opens {opens})" if opens else ""
    return f"nearest is '{near.rule.name}': {miss.clause} is {miss.got}, wanted {miss.wanted}{then}"


def _names(judged: Iterable[Judged]) -> list[str]:
    return sorted({each.rule.name for each in judged})


def _rules(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"rule {shown}" if len(names) == 1 else f"rules {shown}{more}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"

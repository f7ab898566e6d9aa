"""From judged rules to a ruling, in the order of docs/policy.md.

A matching deny rule denies. A rule that errs denies requests in its scope. Of the matching allow rules the strictest
demand holds. Nothing else is allowed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, structs

from writ_contracts.operations import Risk
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.clauses.checks import plain
from writ_rules.engine.compile import Policy
from writ_rules.engine.decisions import reasons
from writ_rules.engine.decisions.ruling import Ruling
from writ_rules.engine.decisions.trace import RuleTrace
from writ_rules.engine.facts import NeededListing
from writ_rules.engine.matching.judge import INHERITED, JudgedRule, overridden_by_emergency, trace_step
from writ_rules.engine.matching.tree import TreeMatches
from writ_rules.engine.rules.obligations import ADMIN_DEMAND, People, by_rule
from writ_rules.engine.rules.rule import NONE, Rule

OF_TEAMS = frozenset({"principal_manage"})
"""Operations of risk admin that need an approval in a team, whatever the policy says."""


class ConsideredRules(Struct, frozen=True, eq=False):
    """The rules of the target's own role, those of its gateway, and the emergency rules while an emergency is in
    force.
    """

    own: TreeMatches
    gateway: TreeMatches
    urgent: TreeMatches
    emergency: str
    rule_trace: RuleTrace


class WeighedRequest(Struct, frozen=True, eq=False):
    """One request with its judged rules."""

    policy: Policy
    request: DecisionRequest
    considered: ConsideredRules
    people: People

    def ruling(self) -> Ruling:
        """Return the ruling, in the order of the table in docs/policy.md."""
        own, gateway, urgent = self.considered.own, self.considered.gateway, self.considered.urgent
        lifting = allows(urgent.matching)
        matching = [*own.matching, *gateway.matching, *urgent.matching]
        erring = [*own.erring, *gateway.erring, *urgent.erring]
        denying = [rule for rule in matching if rule.effect == "deny"]
        if lifting:
            denying = [rule for rule in denying if not overridden_by_emergency(JudgedRule(rule))]
            erring = [one for one in erring if not overridden_by_emergency(one)]
        if denying:
            ends = reasons.ending(denying, self.request)
            ruling = self._deny("denied", reasons.denied(denying, ends), reasons.names_of(denying))
            return ruling if ends is None else structs.replace(ruling, ends_at=ends[0])
        if erring:
            return self._erred(erring)
        allowing = [*allows(own.matching), *lifting]
        if not allowing:
            if not self._open_by_default() or own.covers or gateway.covers or urgent.covers:
                return self._no_rule()
            return self._allow(allowing, allowing)
        within = allows(gateway.matching)
        if lifting:
            return self._allow([*allowing, *within], lifting, urgent.obliging, lifted=True)
        if gateway.limits and not within:
            return self._missed("outside_gateway_limits", "outside the gateway's limits", gateway.nearest())
        obliging = [*within, *own.obliging, *gateway.obliging, *urgent.obliging]
        return self._allow([*allowing, *within], allowing, obliging)

    def _open_by_default(self) -> bool:
        """Return true if the default allows it.

        Control operations always need a rule: by an open default an agent could give itself any role. Parameters that
        break out of a container need one too.
        """
        request = self.request
        breakouts = self.policy.verbs[request.operation.name].breakouts
        needs_rule = request.operation.control or any(request.effective.get(name) for name in breakouts)
        return not self.policy.deny_by_default and not needs_rule

    def _deny(self, code: str, reason: str, rules: list[str], needs: Sequence[str] = ()) -> Ruling:
        return Ruling(
            effect="deny",
            code=code,
            reason=reason,
            effective=self.request.effective,
            rules=rules,
            rule_trace=self.considered.rule_trace,
            needs=[NeededListing(source) for source in needs],
            emergency=self.considered.emergency,
        )

    def _erred(self, erring: list[JudgedRule]) -> Ruling:
        names = reasons.names_of(one.rule for one in erring)
        if not all(each.needs for each in erring):
            return self._deny("rule_error", reasons.erred(erring, names), names)
        sources = sorted({source for each in erring for source in each.needs})
        return self._deny("facts_needed", reasons.needed(names, sources), names, sources)

    def _no_rule(self) -> Ruling:
        near = [near for matches in (self.considered.own, self.considered.urgent) if (near := matches.nearest())]
        return self._missed("no_rule", "no rule allows it", min(near, key=lambda one: one.nearness, default=None))

    def _missed(self, code: str, text: str, near: JudgedRule | None) -> Ruling:
        if near is None:
            restricting = allows(self.considered.gateway.matching)
            return self._deny(code, reasons.nowhere(self.policy, self.request, restricting), [])
        opening = reasons.opening(near, self.request)
        section = INHERITED if code == "outside_gateway_limits" else ""
        return Ruling(
            effect="deny",
            code=code,
            reason=reasons.missed(text, near, opening),
            effective=self.request.effective,
            rule_trace=self.considered.rule_trace,
            nearest=trace_step(near, section),
            opens_at=None if opening is None else opening[0],
            emergency=self.considered.emergency,
        )

    def _needs_admin_approval(self) -> bool:
        """Return true for operations that nobody does alone, whatever the rules say: risk admin if the policy demands
        it, and changes of principals in a team.
        """
        operation = self.request.operation
        demanded = self.policy.require_approval_for_admin or (self.people.is_team and operation.name in OF_TEAMS)
        return operation.risk is Risk.ADMIN and demanded

    def _allow(
        self, matching: list[Rule], granting: list[Rule], obliging: Sequence[Rule] = (), *, lifted: bool = False
    ) -> Ruling:
        """Return an allow. `granting` and `obliging` rules decide: they are named, and demands and limits are theirs;
        all matching rules fill in defaults.
        """
        request, binding = self.request, [*granting, *obliging]
        names = reasons.names_of(granting)
        defaults, conflict = _defaults(request, matching)
        if conflict is not None:
            names = reasons.names_of(matching)
            return self._deny("rule_error", reasons.conflicting(conflict, names), names)
        effective = {**request.effective, **defaults} if defaults else request.effective
        demands = sorted({rule.demand for rule in binding if rule.demand is not None}, key=by_rule)
        if self._needs_admin_approval() and not lifted:
            demands.append(ADMIN_DEMAND)
        if demands:
            answer = reasons.approval(request, demands, self.people, names)
        else:
            answer = reasons.allowed(self.policy, names, self.considered.emergency if lifted else "")
        return Ruling(
            effect=answer.effect,
            code=answer.code,
            reason=answer.reason,
            effective=effective,
            rules=reasons.names_of(binding),
            rule_trace=self.considered.rule_trace,
            demands=demands,
            limits=sorted({limit for rule in binding for limit in rule.limits}, key=by_rule),
            timeout=_least([effective.get("timeout"), *[rule.timeout for rule in binding]]),
            could_approve=answer.could_approve,
            emergency=self.considered.emergency,
            passed_over=self._passed_over(matching, binding) if lifted and answer.effect == "allow" else [],
        )

    def _passed_over(self, matching: list[Rule], binding: list[Rule]) -> list[str]:
        """Return the people who could have approved it without the emergency, at most as many as a demand names."""
        obliging = [*self.considered.own.obliging, *self.considered.gateway.obliging]
        every = [*matching, *obliging]
        aside = [rule.demand for rule in every if rule.demand is not None and rule not in binding]
        demands = [*aside, *([ADMIN_DEMAND] if self._needs_admin_approval() else [])]
        people = set[str]()
        for demand in demands:
            for step in demand.steps:
                people |= self.people.able(step.approvers, self.request.principal, demand.presence)
        return sorted(people)[: reasons.MOST_APPROVERS]


def _least(seconds: Iterable[Any]) -> int | None:
    """Return the least number of seconds; the schema refuses a default of another type later."""
    return min((one for one in seconds if isinstance(one, int)), default=None)


def _defaults(request: DecisionRequest, rules: Iterable[Rule]) -> tuple[dict[str, Any], str | None]:
    """Return the defaults the rules fill in, and the parameter on which they disagree."""
    defaults: dict[str, Any] = {}
    for rule in rules:
        for name, value in rule.defaults.get(request.operation.name, NONE).items():
            if name in request.parameters:
                continue
            if name in defaults and plain(defaults[name]) != plain(value):
                return {}, name
            defaults[name] = value
    return defaults, None


def allows(rules: Iterable[Rule]) -> list[Rule]:
    """Return the allowing rules."""
    return [rule for rule in rules if rule.effect != "deny"]

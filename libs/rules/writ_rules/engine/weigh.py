"""From judged rules to a ruling: a matching deny denies, a rule that errs denies in its scope, of the allows that match
the strictest demand holds, nothing else is allowed. The order is that of docs/policy.md.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from writ_contracts.decisions import TraceEntry
from writ_contracts.operations import Risk
from writ_rules.engine import reasons
from writ_rules.engine.case import Request
from writ_rules.engine.checks import plain
from writ_rules.engine.compile import Policy
from writ_rules.engine.facts import Need
from writ_rules.engine.judge import Group, Judged, Place, nearest
from writ_rules.engine.obligations import ADMIN_DEMAND, People, by_rule
from writ_rules.engine.ruling import Ruling


class Considered(Struct, frozen=True, eq=False):
    """The rules of the target's own role, those of its gateway, and while an emergency is in force its rules."""

    own: Place
    gateway: Place
    urgent: Place
    emergency: str = ""

    @property
    def lifting(self) -> list[Group]:
        """The emergency's allows that match: they set aside what others ask."""
        return [each.group for each in self.urgent.judged if each.miss is None and not each.group.denies]


def set_aside(judged: Judged) -> bool:
    """Whether a matching allow of an emergency makes these rules' deny, or their error, count for nothing."""
    group = judged.group
    if group.emergency:
        return False
    return group.overridable if group.denies else judged.errs


class Weighing(Struct, frozen=True, eq=False):
    """One request on judged rules; `trace` tells of them."""

    policy: Policy
    request: Request
    considered: Considered
    people: People
    trace: list[TraceEntry]

    def ruling(self) -> Ruling:
        """What follows; the order is that of the table in docs/policy.md."""
        considered = self.considered
        own, gateway, urgent = considered.own.judged, considered.gateway.judged, considered.urgent.judged
        every = [*own, *gateway, *urgent] if gateway or urgent else own
        lifting = considered.lifting if urgent else []
        counted = [each for each in every if not set_aside(each)] if lifting else every
        denying = [each for each in counted if each.miss is None and each.group.denies]
        if denying:
            return self._deny("denied", reasons.denied(denying), _names(denying))
        erring = [each for each in counted if each.miss is not None and each.miss.erred]
        if erring:
            return self._erred(erring)
        allowing = [each.group for each in own if each.miss is None and not each.group.denies]
        allowing += lifting
        if not allowing:
            if not self._open_by_default() or any(each.covers for each in every):
                return self._no_rule()
            return self._allow(allowing, allowing)
        limits = [each for each in gateway if each.covers and not each.group.denies]
        within = [each.group for each in limits if each.miss is None]
        if lifting:
            return self._allow([*allowing, *within], lifting)
        if limits and not within:
            return self._missed("outside_gateway_limits", "outside the gateway's limits", nearest(limits) or limits[0])
        allowing += within
        return self._allow(allowing, allowing)

    def _open_by_default(self) -> bool:
        """Control operations need a rule always: by an open default an agent could give itself any role."""
        return not self.policy.deny_by_default and not self.request.operation.control

    def _deny(self, code: str, reason: str, rules: list[str], needs: Sequence[str] = ()) -> Ruling:
        return Ruling(
            effect="deny",
            code=code,
            reason=reason,
            effective=self.request.effective,
            rules=rules,
            trace=self.trace,
            needs=[Need(source) for source in needs],
            emergency=self.considered.emergency,
        )

    def _erred(self, erring: list[Judged]) -> Ruling:
        names = _names(erring)
        if not all(each.needs for each in erring):
            return self._deny("rule_error", reasons.erred(erring), names)
        sources = sorted({source for each in erring for source in each.needs})
        return self._deny("facts_needed", reasons.needed(names, sources), names, sources)

    def _no_rule(self) -> Ruling:
        own, urgent = self.considered.own, self.considered.urgent
        others = [place.near for place in (own, urgent) if place.near is not None]
        near = nearest([*own.judged, *urgent.judged, *others])
        restricting = [each for each in self.considered.gateway.judged if not each.group.denies]
        if near is None:
            return self._deny("no_rule", reasons.nowhere(self.policy, self.request, restricting), [])
        return self._missed("no_rule", "no rule allows it", near)

    def _missed(self, code: str, said: str, near: Judged) -> Ruling:
        opening = reasons.opening(near, self.request)
        return Ruling(
            effect="deny",
            code=code,
            reason=reasons.missed(said, near, opening),
            effective=self.request.effective,
            trace=self.trace,
            nearest=next(iter(near.entries())),
            opens_at=None if opening is None else opening[0],
            emergency=self.considered.emergency,
        )

    def _allow(self, matching: list[Group], binding: list[Group]) -> Ruling:
        """`binding` decide: they are named, and demands and limits are theirs; all that match fill in defaults."""
        request, lifted = self.request, binding is not matching
        names = _named(binding)
        defaults, conflict = _defaults(request, matching)
        if conflict is not None:
            return self._deny("rule_error", reasons.conflicting(conflict, _named(matching)), _named(matching))
        effective = {**request.effective, **defaults} if defaults else request.effective
        demands = sorted({demand for group in binding for demand in group.demands}, key=by_rule)
        if request.operation.risk is Risk.ADMIN and self.policy.require_approval_for_admin and not lifted:
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
            rules=names,
            trace=self.trace,
            demands=demands,
            limits=sorted({limit for group in binding for limit in group.limits}, key=by_rule),
            timeout=_least([effective.get("timeout"), *[group.timeout for group in binding]]),
            could_approve=answer.could_approve,
            emergency=self.considered.emergency,
        )


def _least(seconds: Iterable[Any]) -> int | None:
    """A default that is no number of seconds is refused with the schema, after this."""
    return min((one for one in seconds if isinstance(one, int)), default=None)


def _defaults(request: Request, groups: Iterable[Group]) -> tuple[dict[str, Any], str | None]:
    """What the rules fill in, and the parameter on which they disagree."""
    found: dict[str, Any] = {}
    for group in groups:
        for name, value in group.defaults.items():
            if name in request.given:
                continue
            if name in found and plain(found[name]) != plain(value):
                return {}, name
            found[name] = value
    return found, None


def _names(judged: Iterable[Judged]) -> list[str]:
    return _named(each.group for each in judged)


def _named(groups: Iterable[Group]) -> list[str]:
    return sorted({name for group in groups for name in group.names})

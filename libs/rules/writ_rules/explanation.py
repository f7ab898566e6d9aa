"""Explanations of decisions: the reason, with every rule, and the change which would make the request pass."""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import structs

from writ_contracts import parameters as params
from writ_contracts.policy.questions import (
    ApprovalDemand,
    ApprovalStep,
    EmergencyDecision,
    Explanation,
    NearMiss,
    PolicyCanIQuery,
    PolicyCanIReply,
    PolicyExplainQuery,
)
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.decide import Ruling, decide
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.rules.obligations import Demand, People
from writ_rules.setting import AccessQuestion, Setting


def explain(
    setting: Setting, query: PolicyExplainQuery, *, asker: str, now: float, facts: Facts = NO_FACTS, own: bool = False
) -> Explanation:
    """Explain a decision. Raises Invalid for an unknown name or parameters the operation refuses. `own`: see
    `AccessQuestion`.
    """
    question = AccessQuestion(
        principal=query.principal or asker,
        operation=query.operation,
        target=query.target,
        at=now if query.at is None else query.at,
        parameters=query.parameters,
        dry_run=query.dry_run,
        approvals=tuple(query.approvals),
        emergency=query.emergency,
        facts=facts,
        own=own,
    )
    request = setting.request(question)
    ruling = decide(setting.policy, request, setting.control, setting.people, question.facts)
    return structs.replace(explanation(setting, request, ruling), in_emergency=_in_emergency(setting, question, ruling))


def _in_emergency(setting: Setting, question: AccessQuestion, ruling: Ruling) -> EmergencyDecision | None:
    """Return how an emergency would change a decision that is no plain allow. None if one is in force, or the query is
    about one.
    """
    if ruling.effect == "allow" or ruling.emergency or question.emergency is not None:
        return None
    then = setting.decide(structs.replace(question, emergency=True))
    return EmergencyDecision(decision=then.effect, code=then.code, reason=then.reason, rules=then.rules)


def can_i(
    setting: Setting, query: PolicyCanIQuery, *, asker: str, now: float, facts: Facts = NO_FACTS, own: bool = False
) -> PolicyCanIReply:
    """Return the decision for the asker. Raises Invalid."""
    question = AccessQuestion(
        principal=asker,
        operation=query.operation,
        target=query.target,
        at=now,
        parameters=query.parameters,
        dry_run=query.dry_run,
        facts=facts,
        own=own,
    )
    ruling = setting.decide(question)
    return PolicyCanIReply(decision=ruling.effect, code=ruling.code, reason=ruling.reason, rules=ruling.rules)


def explanation(setting: Setting, request: DecisionRequest, ruling: Ruling) -> Explanation:
    """Return a ruling in the form of the wire."""
    definition = request.operation.parameters
    effective: dict[str, Any] = dict(ruling.effective)
    return Explanation(
        principal=request.principal.id,
        operation=request.operation.name,
        target=request.target.id,
        at=request.at,
        decision=ruling.effect,
        code=ruling.code,
        reason=ruling.reason,
        rules=ruling.rules,
        policy=setting.label or setting.policy.name,
        dry_run=request.dry_run,
        parameters=params.public(definition, effective),
        hidden=params.hidden(definition, effective),
        trace=ruling.trace,
        nearest=_nearest(ruling),
        could_approve=ruling.could_approve,
        emergency=ruling.emergency,
        approvals=list(_demands(ruling.demands, request, setting.people)),
        limits=ruling.limits,
        needs=[need.source for need in ruling.needs],
        timeout=ruling.timeout,
        ends_at=ruling.ends_at,
    )


def _nearest(ruling: Ruling) -> NearMiss | None:
    near = ruling.nearest
    if near is None:
        return None
    return NearMiss(rule=near.rule, clause=near.clause, expected=near.expected, got=near.got, opens_at=ruling.opens_at)


def _demands(demands: Iterable[Demand], request: DecisionRequest, people: People) -> Iterator[ApprovalDemand]:
    for demand in demands:
        steps = [
            ApprovalStep(
                approvers=list(step.approvers),
                quorum=step.quorum,
                able=sorted(people.able(step.approvers, request.principal, demand.presence)),
            )
            for step in demand.steps
        ]
        proof, attested = demand.presence.proof, demand.presence.attested
        yield ApprovalDemand(rule=demand.rule, steps=steps, seconds=demand.seconds, proof=proof, attested=attested)

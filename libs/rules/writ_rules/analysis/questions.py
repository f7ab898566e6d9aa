"""Make the decisions of an analysis, and convert its requests to a repeatable form."""

from collections.abc import Sequence

from msgspec import Struct, structs

from writ_rules.analysis.assumed_facts import supplied_form
from writ_rules.analysis.question_space import Example, written
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import Ruling, decide
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.engine.rules.obligations import Demand, People, progress

NO_EVENTS = ControlState()
MOST_APPROVALS = 64


class QuestionDecider(Struct, frozen=True, eq=False):
    """Decides requests, with these people as approvers and no stop in force."""

    people: People

    def decide(self, policy: Policy, request: DecisionRequest, known: Facts = NO_FACTS) -> Ruling:
        return decide(policy, request, NO_EVENTS, self.people, known)

    def approvals(self, demands: Sequence[Demand], request: DecisionRequest) -> tuple[str, ...]:
        """Return the approvers the demands need, in order, as far as there are people for them."""
        approvals: list[str] = []
        for _ in range(MOST_APPROVALS):
            approver = [progress(demand, approvals, request.principal, self.people) for demand in demands]
            able = next((how.able for how in approver if how.waits_for is not None and how.able), None)
            if not able:
                break
            approvals.append(min(able))
        return tuple(approvals)


def example(request: DecisionRequest, known: Facts = NO_FACTS) -> Example:
    """Return the request in the form read by `writ policy eval`."""
    return Example(
        principal=request.principal.id,
        operation=request.operation.name,
        target=request.target.id,
        parameters=dict(request.parameters),
        at=written(request.at),
        emergency=bool(request.emergency),
        approvals=list(request.approvals),
        facts=supplied_form(known),
    )


def approved(request: DecisionRequest, by: Sequence[str]) -> DecisionRequest:
    """Return the request with these approvals."""
    return structs.replace(request, approvals=tuple(by))

"""Make the decisions of an analysis, and convert its requests to a repeatable form."""

from collections.abc import Sequence
from functools import cached_property

from msgspec import structs

from writ_contracts.inventory import Principal
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


class QuestionDecider:
    """Decides requests, with these people as approvers and no stop in force."""

    def __init__(self, people: People) -> None:
        self.people = people

    @cached_property
    def _roles(self) -> dict[str, tuple[str, ...]]:
        roles: dict[str, list[str]] = {}
        for role, humans in sorted(self.people.roles.items()):
            for human in humans:
                roles.setdefault(human, []).append(role)
        return {human: tuple(own) for human, own in roles.items()}

    @cached_property
    def _accounts(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        accounts: dict[str, list[tuple[str, ...]]] = {}
        for human, own in self._roles.items():
            accounts.setdefault(self.people.person(human), []).append(own)
        return {person: tuple(sorted(each)) for person, each in accounts.items()}

    def decide(self, policy: Policy, request: DecisionRequest, known: Facts = NO_FACTS) -> Ruling:
        return decide(policy, request, NO_EVENTS, self.people, known)

    def approving_roles(self, principal: Principal) -> tuple[tuple[str, ...], ...]:
        """Return the roles of each account of the person behind a principal, who may not approve its requests. Those
        of principals with the same ones are approved alike.
        """
        return self._accounts.get(self.people.behind(principal), ())

    def approvals(self, demands: Sequence[Demand], request: DecisionRequest) -> tuple[str, ...]:
        """Return the approvers the demands need, in order, as far as there are people for them: first those with few
        roles, whose approvals tell most about another demand. People with the same roles can stand for each other.
        """
        approvals: list[str] = []
        for _ in range(MOST_APPROVALS):
            approver = [progress(demand, approvals, request.principal, self.people) for demand in demands]
            able = next((how.able for how in approver if how.waits_for is not None and how.able), None)
            if not able:
                break
            approvals.append(min(able, key=self._order))
        return tuple(approvals)

    def _order(self, human: str) -> tuple[object, ...]:
        accounts, own = self._accounts[self.people.person(human)], self._roles[human]
        return sum(map(len, accounts)), accounts, own, human


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

"""What an allow comes with: the people who must say yes first, and how many may run at once."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from writ_contracts.decisions import RuleLimit as RuleLimit
from writ_contracts.inventory import Principal

APPROVER, APPROVAL_MINUTES = "approver", 60
People = Mapping[str, tuple[str, ...]]
"""Who could approve: the humans of each role."""


class ApproverStep(Struct, frozen=True):
    """`quorum` different humans, each with one of these roles."""

    approvers: tuple[str, ...]
    quorum: int

    def __str__(self) -> str:
        return f"{self.quorum if self.quorum > 1 else 'one'} of role {' or '.join(self.approvers)}"


class Demand(Struct, frozen=True):
    """Who must say yes: the steps one after the other, within `seconds`. `rule` asks for it."""

    rule: str
    steps: tuple[ApproverStep, ...]
    seconds: int

    @property
    def text(self) -> str:
        """Who, and within what time, for people."""
        return f"{', then '.join(map(str, self.steps))} within {self.seconds // 60} min"

    def __str__(self) -> str:
        return f"'{self.rule}' asks for {self.text}"


def by_rule(obligation: Demand | RuleLimit) -> tuple[str, str]:
    """The order in which obligations are told."""
    return obligation.rule, obligation.kind if isinstance(obligation, RuleLimit) else ""


ADMIN_DEMAND = Demand("require_approval_for_admin", (ApproverStep((APPROVER,), 1),), APPROVAL_MINUTES * 60)


class Progress(Struct, frozen=True):
    """How far a demand has come. `waits_for`: the step that is open, None when all are done; `more`: how many yeses it
    still lacks; `able`: who could give one; `possible`: whether enough people are left for all steps; `by`: whose yes
    counted.
    """

    waits_for: ApproverStep | None
    more: int = 0
    able: frozenset[str] = frozenset()
    possible: bool = True
    by: tuple[str, ...] = ()


def progress(demand: Demand, approvals: Sequence[str], asker: Principal, people: People) -> Progress:
    """Each yes counts for the step that is open when it comes; nobody counts twice, the asker never."""
    used, by = {asker.id, asker.acts_for}, list[str]()
    pending = iter(approvals)
    for at, step in enumerate(demand.steps):
        able = {who for role in step.approvers for who in people.get(role, ())}
        approved = 0
        while approved < step.quorum:
            who = next(pending, None)
            if who is None:
                left = frozenset(able - used)
                return Progress(
                    step, step.quorum - approved, left, _possible(demand.steps[at:], approved, used, people)
                )
            if who in able and who not in used:
                used.add(who)
                by.append(who)
                approved += 1
    return Progress(None, by=tuple(by))


def _possible(steps: Sequence[ApproverStep], approved: int, used: set[str | None], people: People) -> bool:
    """Whether people are left for each of the steps; by their number for each alone and for all together."""
    left = [{who for role in step.approvers for who in people.get(role, ())} - used for step in steps]
    quorums = [step.quorum - (approved if at == 0 else 0) for at, step in enumerate(steps)]
    enough = all(len(able) >= count for able, count in zip(left, quorums, strict=True))
    return enough and len(set[str | None]().union(*left)) >= sum(quorums)

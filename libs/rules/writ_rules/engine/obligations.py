"""Obligations of an allow: approvals before the start, and limits on operations at once."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from writ_contracts.approvals import limit_text
from writ_contracts.decisions import RuleLimit as RuleLimit
from writ_contracts.inventory import Principal
from writ_contracts.operations import Risk

APPROVER, APPROVAL_MINUTES = "approver", 60
People = Mapping[str, tuple[str, ...]]
"""The possible approvers: the humans of each role."""


class ApproverStep(Struct, frozen=True):
    """`quorum` different humans, each with one of these roles."""

    approvers: tuple[str, ...]
    quorum: int

    def __str__(self) -> str:
        return f"{self.quorum if self.quorum > 1 else 'one'} of role {' or '.join(self.approvers)}"


class Demand(Struct, frozen=True):
    """A demand for approvals: the steps one after the other, within `seconds`. `rule` demands it."""

    rule: str
    steps: tuple[ApproverStep, ...]
    seconds: int
    windows: bool | None = None
    """Whether the approvals of a window count; None: for operations of any risk but admin."""

    def accepts_windows(self, risk: Risk) -> bool:
        """Return whether the approvals of a window count for an operation of this risk."""
        return risk is not Risk.ADMIN if self.windows is None else self.windows

    @property
    def text(self) -> str:
        """Return the approvers and the time limit, for people."""
        return f"{', then '.join(map(str, self.steps))} {limit_text(self.seconds)}"

    def __str__(self) -> str:
        return f"'{self.rule}' asks for {self.text}"


def by_rule(obligation: Demand | RuleLimit) -> tuple[str, str]:
    """Return the sort key of obligations in a decision."""
    return obligation.rule, obligation.kind if isinstance(obligation, RuleLimit) else ""


ADMIN_DEMAND = Demand("require_approval_for_admin", (ApproverStep((APPROVER,), 1),), APPROVAL_MINUTES * 60)


class Progress(Struct, frozen=True):
    """The progress of a demand.

    `waits_for`: the open step, None when all are done; `more`: the number of approvals it still lacks; `able`: the
    possible approvers; `possible`: enough people are left for all steps; `by`: the approvers that counted.
    """

    waits_for: ApproverStep | None
    more: int = 0
    able: frozenset[str] = frozenset()
    possible: bool = True
    by: tuple[str, ...] = ()


def progress(demand: Demand, approvals: Sequence[str], asker: Principal, people: People) -> Progress:
    """Return the progress of a demand. An approval counts for the step that is open when it comes; nobody counts twice,
    the requester never.
    """
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
    """Return whether enough people are left for each of the steps, and for all together."""
    left = [{who for role in step.approvers for who in people.get(role, ())} - used for step in steps]
    quorums = [step.quorum - (approved if at == 0 else 0) for at, step in enumerate(steps)]
    enough = all(len(able) >= count for able, count in zip(left, quorums, strict=True))
    return enough and len(set[str | None]().union(*left)) >= sum(quorums)

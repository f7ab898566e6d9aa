"""Obligations of an allow: approvals before the start, and limits on operations at once."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from writ_contracts.decisions import RuleLimit as RuleLimit
from writ_contracts.inventory import Principal
from writ_contracts.operations import Risk
from writ_contracts.people.approvals import limit_text
from writ_contracts.people.credentials import KEY, Presence
from writ_rules.engine.people import People as People

APPROVER, APPROVAL_MINUTES = "approver", 60
Proven = Mapping[str, Presence]
"""The presence that the approval of each approver proved."""


class ApproverStep(Struct, frozen=True):
    """`quorum` different humans, each with one of these roles."""

    approvers: tuple[str, ...]
    quorum: int

    def __str__(self) -> str:
        return f"{self.quorum if self.quorum > 1 else 'one'} of role {' or '.join(self.approvers)}"


class Demand(Struct, frozen=True):
    """A demand for approvals: the steps one after the other, within `seconds`, each approval with this presence of
    its approver. `rule` demands it.
    """

    rule: str
    steps: tuple[ApproverStep, ...]
    seconds: int
    presence: Presence = KEY
    windows: bool | None = None
    """True if approvals of a window count; None: only for operations whose risk is not admin."""

    def accepts_windows(self, risk: Risk) -> bool:
        """Return whether the approvals of a window count for an operation of this risk."""
        return risk is not Risk.ADMIN if self.windows is None else self.windows

    @property
    def text(self) -> str:
        """Return the approvers, their proof and the time limit, for people."""
        proof = "" if self.presence == KEY else f" by {self.presence}"
        return f"{', then '.join(map(str, self.steps))}{proof} {limit_text(self.seconds)}"

    @property
    def terms(self) -> str:
        """Return the text, and whether approvals of a window count where the rule says so."""
        windows = "" if self.windows is None else f", approval windows {'count' if self.windows else 'do not count'}"
        return self.text + windows

    def __str__(self) -> str:
        return f"'{self.rule}' demands {self.text}"


def by_rule(obligation: Demand | RuleLimit) -> tuple[str, str]:
    """Return the sort key of obligations in a decision."""
    return obligation.rule, obligation.kind if isinstance(obligation, RuleLimit) else ""


ADMIN_DEMAND = Demand("require_approval_for_admin", (ApproverStep((APPROVER,), 1),), APPROVAL_MINUTES * 60)


class DemandProgress(Struct, frozen=True):
    """The progress of a demand.

    `waits_for`: the open step, None when all are done; `more`: the number of approvals it still lacks; `able`: the
    possible approvers; `possible`: enough people are left for all steps; `by`: the counted approvers.
    """

    waits_for: ApproverStep | None
    more: int = 0
    able: frozenset[str] = frozenset()
    possible: bool = True
    by: tuple[str, ...] = ()


def progress(
    demand: Demand, approvals: Sequence[str], asker: Principal, people: People, proven: Proven | None = None
) -> DemandProgress:
    """Return the progress of a demand. An approval counts for the step open at its time, if its approver proved the
    needed presence. No person counts twice; the requester's own counts only in `solo`.

    `proven`: None in an analysis, where each approver is taken to have proved it.
    """
    used, by = set[str](), list[str]()
    pending = iter(approvals)
    for at, step in enumerate(demand.steps):
        able = people.able(step.approvers, asker, demand.presence)
        approved = 0
        while approved < step.quorum:
            who = next(pending, None)
            if who is None:
                left = frozenset(one for one in able if people.person(one) not in used)
                more = step.quorum - approved
                return DemandProgress(step, more, left, _possible(demand, at, more, asker, used, people), tuple(by))
            if who in able and people.person(who) not in used and _has_proved(who, demand, asker, people, proven):
                used.add(people.person(who))
                by.append(who)
                approved += 1
    return DemandProgress(None, by=tuple(by))


def _has_proved(who: str, demand: Demand, asker: Principal, people: People, proven: Proven | None) -> bool:
    needed = people.needed(who, asker, demand.presence)
    return needed is not None and (proven is None or proven.get(who, KEY).meets(needed))


def _possible(demand: Demand, at: int, more: int, asker: Principal, used: set[str], people: People) -> bool:
    """Return whether enough persons are left for each of the steps, and for all together."""
    steps = demand.steps[at:]
    able = (people.able(step.approvers, asker, demand.presence) for step in steps)
    left = [{people.person(who) for who in each} - used for each in able]
    quorums = [more, *(step.quorum for step in steps[1:])]
    enough = all(len(persons) >= count for persons, count in zip(left, quorums, strict=True))
    return enough and len(set[str]().union(*left)) >= sum(quorums)

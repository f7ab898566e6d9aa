"""The demands for approval of a decision, and the progress of an operation towards them. The functions are pure."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from writ_contracts.inventory import Principal
from writ_contracts.people.approvals import MOST_PEOPLE, DecisionDemand, DecisionStep
from writ_contracts.people.credentials import Presence
from writ_rules.engine.rules.obligations import ApproverStep, Demand, DemandProgress, People, Proven, progress


class OpenDemands(Struct, frozen=True, kw_only=True):
    """The progress of all demands of an operation.

    `steps`: each open step by its label, with the people who can approve it now. `later`: people who can approve an
    open step or one after it. `waits_for`: the open steps in words.
    """

    steps: dict[str, frozenset[str]]
    later: frozenset[str]
    remaining: int
    waits_for: str

    @property
    def complete(self) -> bool:
        """Return true if all demands are met."""
        return not self.steps

    @property
    def able(self) -> frozenset[str]:
        """Return the people who can approve now."""
        return frozenset[str]().union(*self.steps.values())

    def step_for(self, who: str) -> str:
        """Return the first open step for which this person's approval counts, or ""."""
        return next((label for label, able in self.steps.items() if who in able), "")


def wire_demands(demands: Iterable[Demand], asker: Principal, people: People) -> list[DecisionDemand]:
    """Return the demands with the people who can meet them now."""
    return [
        DecisionDemand(
            rule=one.rule,
            seconds=one.seconds,
            steps=[_wire_step(step, one.presence, asker, people) for step in one.steps],
            proof=one.presence.proof,
            attested=one.presence.attested,
        )
        for one in demands
    ]


def _wire_step(step: ApproverStep, presence: Presence, asker: Principal, people: People) -> DecisionStep:
    able = people.able(step.approvers, asker, presence)
    return DecisionStep(roles=list(step.approvers), quorum=step.quorum, people=sorted(able)[:MOST_PEOPLE])


def progress_of(
    demands: Sequence[DecisionDemand], approvals: Sequence[str], asker: Principal, people: People, proven: Proven
) -> OpenDemands:
    """Return the progress made by these approvals, by the present roles of people. `proven`: the presence that each of
    them proved.
    """
    steps, later, words, remaining = dict[str, frozenset[str]](), set[str](), list[str](), 0
    for demand in demands:
        own = Demand(
            demand.rule,
            tuple(ApproverStep(tuple(one.roles), one.quorum) for one in demand.steps),
            demand.seconds,
            demand.presence,
        )
        how = progress(own, approvals, asker, people, proven)
        if how.waits_for is None:
            continue
        at = _position(own, how)
        steps[f"{demand.rule}#{at + 1}"] = how.able
        rest = own.steps[at + 1 :]
        words.append(str(how.waits_for))
        remaining = max(remaining, how.more + sum(one.quorum for one in rest))
        later |= how.able.union(*(people.able(one.approvers, asker, own.presence) for one in rest))
    gone = {people.person(who) for who in approvals}
    return OpenDemands(
        steps=steps,
        later=frozenset(who for who in later if people.person(who) not in gone),
        remaining=remaining,
        waits_for="; ".join(words),
    )


def _position(demand: Demand, how: DemandProgress) -> int:
    """Return the index of the open step. It is found by identity, since two steps of a demand may be equal."""
    return next(at for at, step in enumerate(demand.steps) if step is how.waits_for)

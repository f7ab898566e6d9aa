"""The life of an approval under any order of verdicts, changed roles, changed policies, time and cancels.

A model beside the service knows the approvals, the roles and the demands of the policy. Only starts allowed by the
model happen, and no event follows an end.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.policy.approving import NEEDS, TWO, Pending, know, pending, stamp
from tests.policy.replica import Asking, files, replica

from writ_contracts.errors import Conflict
from writ_contracts.journal import Approved, Finished, Granted, Rejected
from writ_contracts.life import DispatchedLife, State, fold
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

PEOPLE = ("bob", "carol", "dave")
STEPS = st.one_of(
    st.tuples(st.sampled_from(["approve", "reject"]), st.sampled_from(["alice", "copilot", *PEOPLE])),
    st.tuples(st.just("role"), st.sampled_from(PEOPLE), st.sampled_from([["approver"], ["lead"], []])),
    st.tuples(st.just("policy"), st.sampled_from([NEEDS, TWO])),
    st.tuples(st.just("wait"), st.sampled_from([60, 3000])),
    st.tuples(st.sampled_from(["cancel", "dispatch", "start"])),
)


class Model:
    """Plays steps on one pending operation, and computes the requirements of a start."""

    def __init__(self, asking: Asking, one: Pending, rule: dict[str, Any]) -> None:
        self.asking, self.one, self.rule = asking, one, rule
        self.roles: dict[str, list[str]] = {"bob": ["approver"], "carol": ["approver"], "dave": ["lead"]}
        self.approved: list[str] = []

    async def play(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("approve" | "reject") as verdict, who:
                await self._verdict(verdict, who)
            case "role", who, roles:
                self.roles[who] = roles
                know(self.asking, **self.roles)
            case "policy", rule:
                self.rule = rule
                self.asking.files.policy(rule)
            case "wait", seconds:
                self.asking.clock.now += seconds
            case ("cancel",):
                of = self.one.subject.operation_id
                await self._append(Finished(**stamp(self.asking, "end"), operation_id=of, outcome="cancelled"))
            case ("dispatch",):
                if State.APPROVED is (await self.life()).state:
                    await self.one.dispatched()
            case ("start",):
                effect, _ = await self.one.start() if isinstance(await self.life(), DispatchedLife) else ("none", "")
                assert effect != "allow" or self.suffices(), (self.approved, self.roles, self.rule)

    async def _verdict(self, verdict: str, who: str) -> None:
        before = await self.one.kinds()
        step = "restarts#2" if self._first_step_is_done() else "restarts#1"
        answer = await self.one.decide(who, verdict=verdict, step=step, nonce=f"{len(before):02}" * 32)
        recorded = len(await self.one.kinds()) > len(before)
        assert recorded == (answer.error is None)
        assert not recorded or who in PEOPLE
        if recorded and verdict == "approve":
            assert who not in self.approved
            self.approved.append(who)

    def _first_step_is_done(self) -> bool:
        return len([who for who in self.approved if "approver" in self.roles[who]]) >= 2

    async def _append(self, event: Finished) -> None:
        if (await self.life()).open:
            await self.asking.append(self.one.subject, event)

    async def life(self) -> Any:
        return fold(enumerate(await self.one.events(), 1))

    def suffices(self) -> bool:
        """Return true if the approvals, in order and with present roles, satisfy the present policy."""
        approvers = [who for who in self.approved if "approver" in self.roles[who]]
        if self.rule is NEEDS:
            return bool(approvers)
        return len(approvers) >= 2 and any("lead" in self.roles[who] for who in self.approved)


async def played(rule: dict[str, Any], steps: list[tuple[Any, ...]], folder: Path) -> None:
    broker = Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), files(folder)) as asking:
        know(asking, "carol", "dave", dave=["lead"])
        model = Model(asking, await pending(asking, rule), rule)
        for step in steps:
            await model.play(step)
        try:
            events = await model.one.events()
            fold(enumerate(events, 1))
        except Conflict as error:
            raise AssertionError(f"an impossible history: {error}") from error
        assert len([event for event in events if isinstance(event, Granted)]) <= 1
        assert len([event for event in events if isinstance(event, Approved | Rejected)]) <= 1


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sampled_from([NEEDS, TWO]), st.lists(STEPS, min_size=3, max_size=14))
def test_nothing_starts_that_was_not_approved_under_any_order_of_steps(
    rule: dict[str, Any], steps: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(played(rule, steps, Path(folder)))

"""Stops and emergencies at policy: unknown ids, people only, bounds, second persons, reviews."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.policy.replica import KEY, Asking, files, replica

from writ_bus.port import Message
from writ_client.queries.operation_queries import Queries
from writ_contracts import subjects
from writ_contracts.catalogue.control import OPERATIONS
from writ_contracts.decisions import Decision
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.people.approvals import ApprovalEvent
from writ_contracts.policy.versions import PolicyStatusReply
from writ_contracts.wire import decode, encode
from writ_policy.state import control_pages
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.statements import read

RULES = [
    {"name": "control", "operations": [one.name for one in OPERATIONS], "allowed": True, "inherit": False},
    {"name": "restarts", "operations": ["service_restart"], "allowed": True, "requires_approval": True},
]
URGENT = [{"name": "urgent", "operations": ["service_restart"], "allowed": True}]
HOUR = 3600.0


class ExecutorSide(Asking):
    """Carries out requests as an executor does: an allowed one leaves its control event."""

    async def carry(self, operation: str, principal: str = "alice", **parameters: Any) -> str:
        """Return the id of the resulting event, or the code of the refusal."""
        subject = self.signed(self.subject(operation, "writ", principal=principal, parameters=parameters))
        decided = await self.decide(subject, control_sequence=await self.last())
        if decided.error is not None:
            return decided.error.code
        assert decided.decision is not None
        decision = read(decided.decision, Decision)
        if decision.effect != "allow":
            return decision.code
        whose = {"principal": principal, "operation_id": subject.operation_id, "id": subject.operation_id}
        await self.control(operation, dict(decided.effective), decided.decision, parameters_key=KEY, **whose)
        return subject.operation_id

    async def last(self) -> int:
        record = await self.bus.journal.last(subjects.CONTROL)
        return 0 if record is None else record.sequence

    async def restart(self, principal: str) -> Decision:
        decided = await self.decide(self.subject(principal=principal), control_sequence=await self.last())
        assert decided.decision is not None, decided
        return read(decided.decision, Decision)

    async def declare(self, principal: str = "alice", **changed: Any) -> str:
        expected = {"scope": ["*"], "reason": "it burns", "until": self.clock.now + HOUR, **changed}
        return await self.carry("emergency_declare", principal, **expected)

    async def status(self) -> PolicyStatusReply:
        subject = subjects.query("alice", "policy_status")
        answer = decode((await self.bus.request(subject, b"{}", timeout=30)).data, PolicyStatusReply)
        assert answer.error is None, answer.error
        return answer


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[ExecutorSide]:
    """Yield Alice and Bob, Alice's agent, and a scanner; in an emergency anyone may restart services."""
    known = files(tmp_path)
    people: list[dict[str, Any]] = [
        {"id": "alice", "kind": "human", "roles": ["approver"]},
        {"id": "bob", "kind": "human", "roles": ["approver"]},
        {"id": "copilot", "kind": "agent", "acts_for": "alice"},
        {"id": "agent-a", "kind": "service", "roles": ["scanner"]},
    ]
    known.write("principals", {"principals": [{**one, "key": known.keys[one["id"]].public} for one in people]})
    known.policy(*RULES, emergency_policies=URGENT)
    broker = Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as one:
        yield ExecutorSide(one.bus, one.files, one.service, one.measured, one.clock)


# Stops


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("stop_lift", {"stop_id": "nothing"}),
        ("emergency_confirm", {"emergency_id": "nothing"}),
        ("emergency_confirm", {"emergency_id": "nothing", "verdict": "end"}),
        ("emergency_review", {"emergency_id": "nothing", "reason": "looked"}),
    ],
)
async def test_an_id_that_names_nothing_is_refused(
    executor: ExecutorSide, operation: str, parameters: dict[str, Any]
) -> None:
    assert await executor.carry(operation, **parameters) == "not_found"


async def test_a_stop_is_lifted_once_and_by_a_person(executor: ExecutorSide) -> None:
    stop = await executor.carry("stop_set", "copilot", reason="odd traffic")
    assert (await executor.restart("bob")).code == "stopped"
    assert await executor.carry("stop_lift", "copilot", stop_id=stop) == "people_only"
    assert await executor.carry("stop_lift", "agent-a", stop_id=stop) == "people_only"
    assert len(await executor.carry("stop_lift", "alice", stop_id=stop)) == 26
    assert (await executor.restart("bob")).code == "approval_required"
    assert await executor.carry("stop_lift", "alice", stop_id=stop) == "not_found"


async def test_scanner_sets_a_stop_of_existing_operations_and_targets(executor: ExecutorSide) -> None:
    assert len(await executor.carry("stop_set", "agent-a", reason="found it", operations=["service_restart"])) == 26
    assert await executor.carry("stop_set", reason="x", operations=["service_rest"]) == "unknown_operation"
    assert await executor.carry("stop_set", reason="x", operations=["service_status"]) == "invalid_parameters"
    assert await executor.carry("stop_set", reason="x", operations=["stop_lift"]) == "invalid_parameters"
    assert await executor.carry("stop_set", reason="x", principals=["mallory"]) == "no_principal"
    assert await executor.carry("stop_set", reason="x", until=executor.clock.now) == "invalid_parameters"


async def test_status_of_the_client_has_all_stops_of_all_pages(
    executor: ExecutorSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {await executor.carry("stop_set", reason="wait", scope=[f"web-{number}"]) for number in range(5)}
    monkeypatch.setattr(control_pages, "MOST_ENTRIES", 2)
    first = await executor.status()
    assert (len(first.stops), first.more) == (2, 3)
    status = await Queries(executor.bus, "alice").policy_status()
    assert {one.id for one in status.stops} == ids
    assert (len(status.stops), status.more) == (5, 0)


async def test_stops_and_emergencies_are_in_the_status_and_the_metrics(executor: ExecutorSide) -> None:
    stop = await executor.carry("stop_set", reason="wait", scope=["web-*"], operations=["service_restart"])
    emergency = await executor.declare()
    status = await executor.status()
    assert [(one.id, one.by, one.targets, one.operations) for one in status.stops] == [
        (stop, "alice", ["web-*"], ["service_restart"])
    ]
    assert [(one.id, one.by, one.state) for one in status.emergencies] == [(emergency, "alice", "unconfirmed")]

    async def counted() -> bool:
        return 'writ_policy_emergencies{state="unconfirmed"} 1.0' in metrics_of(executor)

    await eventually(counted)
    assert "writ_policy_stops 1.0" in metrics_of(executor)
    observed = await executor.service.checks()["control"]()
    assert observed is not None
    assert stop in observed
    assert emergency in observed


def metrics_of(executor: ExecutorSide) -> str:
    return executor.measured.exposition("")[0].decode()


# Emergencies


async def test_an_emergency_ends_within_the_policys_bound(executor: ExecutorSide) -> None:
    forever = 253_402_300_799.0  # the end of the year 9999
    assert await executor.declare(until=forever) == "too_long"
    assert await executor.declare(until=executor.clock.now) == "invalid_parameters"
    emergency = await executor.declare(until=executor.clock.now + 8 * HOUR + 30)  # a clock that is half a minute ahead
    assert [one.until - executor.clock.now for one in (await executor.status()).emergencies] == [8 * HOUR]
    assert (await executor.restart("bob")).emergency == emergency


async def test_emergency_frees_its_author_only_after_another_person_confirmed_it(
    executor: ExecutorSide,
) -> None:
    emergency = await executor.declare()
    assert (await executor.restart("bob")).code == "allowed"
    for own in ("alice", "copilot"):
        decision = await executor.restart(own)
        assert (decision.code, decision.emergency) == ("approval_required", emergency)
    assert await executor.carry("emergency_confirm", "alice", emergency_id=emergency) == "own_emergency"
    assert await executor.carry("emergency_confirm", "copilot", emergency_id=emergency) == "people_only"
    await executor.carry("emergency_confirm", "bob", emergency_id=emergency)
    assert (await executor.restart("alice")).code == "allowed"
    assert await executor.carry("emergency_confirm", "bob", emergency_id=emergency) == "conflict"


async def test_passed_over_approvers_get_an_event(executor: ExecutorSide) -> None:
    emergency = await executor.declare()
    reported = asyncio.Queue[ApprovalEvent]()

    async def heard(message: Message) -> None:
        reported.put_nowait(decode(message.data, ApprovalEvent))

    await executor.bus.subscribe(subjects.approval_event("alice"), heard)
    subject = executor.subject(principal="bob")
    decided = await executor.decide(subject, control_sequence=await executor.last())
    assert decided.decision is not None
    assert read(decided.decision, Decision).passed_over == ["alice"]  # not bob, who requests it
    await executor.record(subject, decided.decision.detached())
    assert (await executor.granted_as_recorded(subject, control_sequence=await executor.last())).grant is not None
    event = await asyncio.wait_for(reported.get(), 10)
    assert (event.kind, event.operation_id, event.principal) == ("passed_over", subject.operation_id, "bob")
    assert event.reason == f"in emergency {emergency}"


async def test_an_author_sets_neither_the_person_nor_the_time_of_the_confirmation(executor: ExecutorSide) -> None:
    await executor.declare(declared_by="bob", confirm_by=executor.clock.now + 8 * HOUR)
    (observed,) = (await executor.status()).emergencies
    assert observed.confirm_by == executor.clock.now + 1800
    assert await executor.declare("bob", until=executor.clock.now + 60) != "review_pending"


async def test_unconfirmed_emergency_lapses(executor: ExecutorSide) -> None:
    emergency = await executor.declare()
    executor.clock.now += 1799
    assert (await executor.restart("bob")).emergency == emergency
    executor.clock.now += 1
    decision = await executor.restart("bob")
    assert (decision.code, decision.emergency) == ("approval_required", "")
    assert await executor.carry("emergency_confirm", "bob", emergency_id=emergency) == "not_found"
    assert [one.state for one in (await executor.status()).emergencies] == ["lapsed"]


async def test_the_same_person_declares_again_only_after_another_signed_off_the_review(executor: ExecutorSide) -> None:
    emergency = await executor.declare()
    assert await executor.declare() == "review_pending"
    assert await executor.carry("emergency_review", "bob", emergency_id=emergency, reason="fine") == "conflict"
    await executor.carry("emergency_confirm", "alice", emergency_id=emergency, verdict="end")
    assert (await executor.restart("bob")).code == "approval_required"
    assert await executor.declare() == "review_pending"
    assert await executor.carry("emergency_review", "alice", emergency_id=emergency, reason="mine") == "own_emergency"
    await executor.carry("emergency_review", "bob", emergency_id=emergency, reason="all of it was needed")
    assert (await executor.status()).emergencies == []
    assert len(await executor.declare()) == 26


async def test_one_person_alone_needs_no_confirmation_and_reviews_their_own(executor: ExecutorSide) -> None:
    executor.files.policy({**RULES[0], "users": ["alice"]}, RULES[1], emergency_policies=URGENT)
    emergency = await executor.declare()
    (observed,) = (await executor.status()).emergencies
    assert (observed.state, observed.confirm_by) == ("in_force", None)
    assert (await executor.restart("alice")).code == "allowed"
    await executor.carry("emergency_confirm", emergency_id=emergency, verdict="end")
    assert len(await executor.carry("emergency_review", emergency_id=emergency, reason="I was alone")) == 26


async def test_the_end_of_an_emergency_is_recorded_once(executor: ExecutorSide) -> None:
    async with noted(executor) as reported:
        emergency = await executor.declare(until=executor.clock.now + 60)
        await executor.restart("bob")
        executor.clock.now += 60
        notice = await the_end(reported)
        assert (notice.emergency, notice.detail) == (emergency, "expired")


async def test_end_of_an_emergency_that_is_reviewed_at_once_is_recorded(executor: ExecutorSide) -> None:
    executor.files.policy({**RULES[0], "users": ["alice"]}, RULES[1], emergency_policies=URGENT)
    async with noted(executor) as reported:
        emergency = await executor.declare()
        await executor.carry("emergency_confirm", emergency_id=emergency, verdict="end")
        await executor.carry("emergency_review", emergency_id=emergency, reason="I was alone")
        notice = await the_end(reported)
        assert (notice.emergency, notice.detail) == (emergency, "ended")


async def the_end(reported: asyncio.Queue[Notice]) -> Notice:
    async with asyncio.timeout(10):
        while (notice := await reported.get()).kind != "emergency_closed":
            pass
    return notice


@asynccontextmanager
async def noted(executor: ExecutorSide) -> AsyncIterator[asyncio.Queue[Notice]]:
    """Yield the notices that policy sends from now on."""
    reported = asyncio.Queue[Notice]()

    async def take(message: Any) -> bytes:
        reported.put_nowait(decode(message.data, Notice))
        return encode(NoticeReply(sequence=1))

    async with await listening(executor, take):
        yield reported


async def listening(executor: ExecutorSide, take: Any) -> Any:
    from writ_bus.port import Endpoint, Service

    endpoint = Endpoint(name="notice", subject=subjects.NOTICE_POLICY, handler=take)
    service = Service(name="executor", version="1.0.0", description="", endpoints=[endpoint])
    return Closing(await executor.bus.serve(service))


class Closing:
    def __init__(self, serving: Any) -> None:
        self._serving = serving

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        await self._serving.close()


async def test_a_declaration_that_policy_did_not_allow_declares_nothing(executor: ExecutorSide) -> None:
    body = {"scope": ["*"], "reason": "x", "until": executor.clock.now + HOUR, "declared_by": "bob", "timeout": 30}
    await executor.control("emergency_declare", body)
    assert (await executor.restart("bob")).code == "approval_required"
    emergency = await executor.declare()
    await executor.control("emergency_review", {"emergency_id": emergency, "reason": "x"})
    assert [one.id for one in (await executor.status()).emergencies] == [emergency]

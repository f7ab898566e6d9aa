"""Stops and emergencies at policy: unknown ids, people only, bounds, second persons, reviews."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.policy.replica import KEY, Asking, files, replica

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.catalogue.control import OPERATIONS
from writ_contracts.decisions import Decision
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.people.approvals import ApprovalEvent
from writ_contracts.policy.versions import PolicyStatusReply
from writ_contracts.wire import decode, encode
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


class Office(Asking):
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
async def office(tmp_path: Path) -> AsyncIterator[Office]:
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
        yield Office(one.bus, one.files, one.service, one.measured, one.clock)


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
async def test_an_id_that_names_nothing_is_refused(office: Office, operation: str, parameters: dict[str, Any]) -> None:
    assert await office.carry(operation, **parameters) == "not_found"


async def test_a_stop_is_lifted_once_and_by_a_person(office: Office) -> None:
    stop = await office.carry("stop_set", "copilot", reason="odd traffic")
    assert (await office.restart("bob")).code == "stopped"
    assert await office.carry("stop_lift", "copilot", stop_id=stop) == "people_only"
    assert await office.carry("stop_lift", "agent-a", stop_id=stop) == "people_only"
    assert len(await office.carry("stop_lift", "alice", stop_id=stop)) == 26
    assert (await office.restart("bob")).code == "approval_required"
    assert await office.carry("stop_lift", "alice", stop_id=stop) == "not_found"


async def test_a_scanner_sets_a_stop_and_its_reach_names_what_there_is(office: Office) -> None:
    assert len(await office.carry("stop_set", "agent-a", reason="found it", operations=["service_restart"])) == 26
    assert await office.carry("stop_set", reason="x", operations=["service_rest"]) == "unknown_operation"
    assert await office.carry("stop_set", reason="x", operations=["service_status"]) == "invalid_parameters"
    assert await office.carry("stop_set", reason="x", operations=["stop_lift"]) == "invalid_parameters"
    assert await office.carry("stop_set", reason="x", principals=["mallory"]) == "no_principal"
    assert await office.carry("stop_set", reason="x", until=office.clock.now) == "invalid_parameters"


async def test_stops_and_emergencies_are_in_the_status_and_the_metrics(office: Office) -> None:
    stop = await office.carry("stop_set", reason="wait", scope=["web-*"], operations=["service_restart"])
    emergency = await office.declare()
    status = await office.status()
    assert [(one.id, one.by, one.targets, one.operations) for one in status.stops] == [
        (stop, "alice", ["web-*"], ["service_restart"])
    ]
    assert [(one.id, one.by, one.state) for one in status.emergencies] == [(emergency, "alice", "unconfirmed")]

    async def counted() -> bool:
        return 'writ_policy_emergencies{state="unconfirmed"} 1.0' in metrics_of(office)

    await eventually(counted, within=10.0)
    assert "writ_policy_stops 1.0" in metrics_of(office)
    observed = await office.service.checks()["control"]()
    assert observed is not None
    assert stop in observed
    assert emergency in observed


def metrics_of(office: Office) -> str:
    return office.measured.exposition("")[0].decode()


# Emergencies


async def test_an_emergency_ends_within_the_policys_bound(office: Office) -> None:
    forever = 253_402_300_799.0  # the end of the year 9999
    assert await office.declare(until=forever) == "too_long"
    assert await office.declare(until=office.clock.now) == "invalid_parameters"
    emergency = await office.declare(until=office.clock.now + 8 * HOUR + 30)  # a clock that is half a minute ahead
    assert [one.until - office.clock.now for one in (await office.status()).emergencies] == [8 * HOUR]
    assert (await office.restart("bob")).emergency == emergency


async def test_emergency_frees_its_author_only_after_another_person_confirmed_it(
    office: Office,
) -> None:
    emergency = await office.declare()
    assert (await office.restart("bob")).code == "allowed"
    for own in ("alice", "copilot"):
        decision = await office.restart(own)
        assert (decision.code, decision.emergency) == ("approval_required", emergency)
    assert await office.carry("emergency_confirm", "alice", emergency_id=emergency) == "own_emergency"
    assert await office.carry("emergency_confirm", "copilot", emergency_id=emergency) == "people_only"
    await office.carry("emergency_confirm", "bob", emergency_id=emergency)
    assert (await office.restart("alice")).code == "allowed"
    assert await office.carry("emergency_confirm", "bob", emergency_id=emergency) == "conflict"


async def test_passed_over_approvers_get_an_event(office: Office) -> None:
    emergency = await office.declare()
    reported = asyncio.Queue[ApprovalEvent]()

    async def heard(message: Message) -> None:
        reported.put_nowait(decode(message.data, ApprovalEvent))

    await office.bus.subscribe(subjects.approval_event("alice"), heard)
    subject = office.subject(principal="bob")
    decided = await office.decide(subject, control_sequence=await office.last())
    assert decided.decision is not None
    assert read(decided.decision, Decision).passed_over == ["alice"]  # not bob, who requests it
    await office.record(subject, decided.decision.detached())
    assert (await office.granted_as_recorded(subject, control_sequence=await office.last())).grant is not None
    event = await asyncio.wait_for(reported.get(), 10)
    assert (event.kind, event.operation_id, event.principal) == ("passed_over", subject.operation_id, "bob")
    assert event.reason == f"in emergency {emergency}"


async def test_an_author_sets_neither_the_person_nor_the_time_of_the_confirmation(office: Office) -> None:
    await office.declare(declared_by="bob", confirm_by=office.clock.now + 8 * HOUR)
    (observed,) = (await office.status()).emergencies
    assert observed.confirm_by == office.clock.now + 1800
    assert await office.declare("bob", until=office.clock.now + 60) != "review_pending"


async def test_unconfirmed_emergency_lapses(office: Office) -> None:
    emergency = await office.declare()
    office.clock.now += 1799
    assert (await office.restart("bob")).emergency == emergency
    office.clock.now += 1
    decision = await office.restart("bob")
    assert (decision.code, decision.emergency) == ("approval_required", "")
    assert await office.carry("emergency_confirm", "bob", emergency_id=emergency) == "not_found"
    assert [one.state for one in (await office.status()).emergencies] == ["lapsed"]


async def test_the_same_person_declares_again_only_after_another_signed_off_the_review(office: Office) -> None:
    emergency = await office.declare()
    assert await office.declare() == "review_pending"
    assert await office.carry("emergency_review", "bob", emergency_id=emergency, reason="fine") == "conflict"
    await office.carry("emergency_confirm", "alice", emergency_id=emergency, verdict="end")
    assert (await office.restart("bob")).code == "approval_required"
    assert await office.declare() == "review_pending"
    assert await office.carry("emergency_review", "alice", emergency_id=emergency, reason="mine") == "own_emergency"
    await office.carry("emergency_review", "bob", emergency_id=emergency, reason="all of it was needed")
    assert (await office.status()).emergencies == []
    assert len(await office.declare()) == 26


async def test_one_person_alone_needs_no_confirmation_and_reviews_their_own(office: Office) -> None:
    office.files.policy({**RULES[0], "users": ["alice"]}, RULES[1], emergency_policies=URGENT)
    emergency = await office.declare()
    (observed,) = (await office.status()).emergencies
    assert (observed.state, observed.confirm_by) == ("in_force", None)
    assert (await office.restart("alice")).code == "allowed"
    await office.carry("emergency_confirm", emergency_id=emergency, verdict="end")
    assert len(await office.carry("emergency_review", emergency_id=emergency, reason="I was alone")) == 26


async def test_the_end_of_an_emergency_is_recorded_once(office: Office) -> None:
    reported = asyncio.Queue[Notice]()

    async def take(message: Any) -> bytes:
        reported.put_nowait(decode(message.data, Notice))
        return encode(NoticeReply(sequence=1))

    async with await listening(office, take):
        emergency = await office.declare(until=office.clock.now + 60)
        await office.restart("bob")
        office.clock.now += 60
        async with asyncio.timeout(10):
            while (notice := await reported.get()).kind != "emergency_closed":
                pass
        assert (notice.emergency, notice.detail) == (emergency, "expired")


async def listening(office: Office, take: Any) -> Any:
    from writ_bus.port import Endpoint, Service

    endpoint = Endpoint(name="notice", subject=subjects.NOTICE_POLICY, handler=take)
    service = Service(name="executor", version="1.0.0", description="", endpoints=[endpoint])
    return Closing(await office.bus.serve(service))


class Closing:
    def __init__(self, serving: Any) -> None:
        self._serving = serving

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        await self._serving.close()


async def test_a_declaration_that_policy_did_not_allow_declares_nothing(office: Office) -> None:
    body = {"scope": ["*"], "reason": "x", "until": office.clock.now + HOUR, "declared_by": "bob", "timeout": 30}
    await office.control("emergency_declare", body)
    assert (await office.restart("bob")).code == "approval_required"
    emergency = await office.declare()
    await office.control("emergency_review", {"emergency_id": emergency, "reason": "x"})
    assert [one.id for one in (await office.status()).emergencies] == [emergency]

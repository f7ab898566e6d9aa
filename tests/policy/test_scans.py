"""Reports of scanners: from scanners alone, whole or refused, one by scanner and target, and read for decisions."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import json, msgpack, structs
from tests.policy.replica import Asking, files, replica

from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.policy.facts import MOST_FINDINGS, ScanReply, StoredReport
from writ_contracts.signing import Signed
from writ_contracts.wire import MSGPACK, decode, encode
from writ_runtime.journal.security_events import security_event
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.stopwatch import stopwatch
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read, sign

CLEAN = {
    "name": "restarts only where nothing critical is open",
    "operations": ["service_restart"],
    "allowed": True,
    "scans": [{"scanner": "trivy", "severity": "critical", "present": False, "max_age": "24h"}],
}
STATUS = {"name": "status", "operations": ["service_status"], "allowed": True}
CRITICAL = {"id": "CVE-2026-0001", "severity": "critical", "title": "openssl", "found_at": 1.0}


class Scanned:
    """Two replicas of policy over one broker, and a scanner."""

    def __init__(self, one: Asking, other: Asking) -> None:
        self.one, self.other = one, other

    async def report(
        self, *findings: Any, by: str = "trivy", key: str | None = None, data: bytes | None = None, **changed: Any
    ) -> ScanReply:
        """Send it as NATS would hand it on: with the sender's key."""
        body = {"target": "web-a", "at": self.one.clock.now, "findings": list(findings), **changed}
        headers = {"Nats-Request-Info": json.encode({"user": key or self.one.files.keys[by].public}).decode()}
        payload = json.encode(body) if data is None else data
        message = await self.one.bus.request(subjects.scan(by), payload, timeout=30, headers=headers)
        return decode(message.data, ScanReply)

    async def code(self, asking: Asking, operation: str = "service_restart", **subject: Any) -> str:
        return await asking.code(asking.subject(operation, **subject))


@pytest.fixture
async def scanned(tmp_path: Path) -> AsyncIterator[Scanned]:
    broker, known = Broker(), files(tmp_path)
    known.policy(CLEAN, STATUS)
    known.keys["trivy"] = Key(generate_seed())
    people = [
        {"id": "alice", "kind": "human", "roles": ["operator"], "key": known.keys["alice"].public},
        {"id": "bob", "kind": "human", "roles": ["scanner"], "key": known.keys["bob"].public},
        {"id": "copilot", "kind": "service", "roles": ["operator"], "key": known.keys["copilot"].public},
        {"id": "trivy", "kind": "service", "roles": ["scanner"], "key": known.keys["trivy"].public},
    ]
    known.write("principals", {"principals": people})
    async with (
        replica(MemoryBus(broker), MemoryBus(broker), known) as one,
        replica(MemoryBus(broker), MemoryBus(broker), known) as other,
    ):
        yield Scanned(one, other)


async def test_a_critical_finding_blocks_and_its_fix_lets_through_on_every_replica(scanned: Scanned) -> None:
    assert await scanned.code(scanned.one) == "rule_error"  # nobody has scanned it
    assert (await scanned.report(CRITICAL)).error is None
    for _ in range(4):
        assert await scanned.code(scanned.one) == "no_rule"
    assert (await scanned.report({**CRITICAL, "severity": "high"})).error is None
    for asking in (scanned.one, scanned.other):
        assert await scanned.code(asking) == "allowed"


async def test_a_decision_names_the_reports_that_it_was_made_on(scanned: Scanned) -> None:
    reported = await scanned.report()
    decision = await scanned.one.decision(scanned.one.subject("service_restart"))
    assert [(fact.kind, fact.source, fact.digest) for fact in decision.facts] == [("scan", "trivy", reported.digest)]
    assert decision.facts[0].at == scanned.one.clock.now
    assert (await scanned.one.decision(scanned.one.subject("service_status"))).facts == []


async def test_a_report_is_about_one_target(scanned: Scanned) -> None:
    await scanned.report()
    assert await scanned.code(scanned.one, target="web-b") == "rule_error"


async def test_scan_report_older_than_its_limit_does_not_count(scanned: Scanned) -> None:
    await scanned.report(at=scanned.one.clock.now - 86_000)
    assert await scanned.code(scanned.one) == "allowed"
    await scanned.report(at=scanned.one.clock.now - 86_000 + 1)
    scanned.one.clock.now += 1_000
    scanned.other.clock.now += 1_000
    assert await scanned.code(scanned.one) == "rule_error"


async def test_a_clock_that_is_ahead_makes_no_report_younger_than_its_arrival(scanned: Scanned) -> None:
    await scanned.report(at=scanned.one.clock.now + 30)
    decision = await scanned.one.decision(scanned.one.subject())
    assert decision.facts[0].at == scanned.one.clock.now
    reported = await scanned.report(at=scanned.one.clock.now + 3600)
    assert reported.error is not None
    assert "from now" in reported.error.message


async def test_scan_report_is_read_again_at_a_claim(scanned: Scanned) -> None:
    await scanned.report()
    subject = scanned.one.subject()
    assert await scanned.one.code(subject) == "allowed"
    await scanned.report(CRITICAL)
    granted = await scanned.one.granted(subject)
    assert granted.grant is None
    assert granted.decision is not None
    assert read(granted.decision, Decision).code == "no_rule"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no JSON": ({"data": b"{"}, "invalid"),
    "empty": ({"data": b""}, "invalid"),
    "with a field of its own": ({"surprise": 1}, "invalid"),
    "with a severity that is none": ({"findings": [{**CRITICAL, "severity": "urgent"}]}, "invalid"),
    "with too many findings": ({"findings": [CRITICAL] * (MOST_FINDINGS + 1)}, "invalid"),
    "too large": ({"findings": [{**CRITICAL, "title": "x" * 490}] * 999}, "oversize"),
    "about a target that is not there": ({"target": "web-z"}, "unknown_target"),
    "of somebody unknown": ({"by": "stranger"}, "unknown_principal"),
    "with another's key": ({"key": "UOTHER"}, "key_mismatch"),
    "of a human": ({"by": "bob"}, "denied"),
    "of a service without the role": ({"by": "copilot"}, "denied"),
}


@pytest.mark.parametrize(("wrong", "code"), WRONG.values(), ids=WRONG.keys())
async def test_a_report_is_refused_and_the_earlier_one_stays(
    scanned: Scanned, wrong: dict[str, Any], code: str
) -> None:
    first = await scanned.report(CRITICAL)
    refused = await scanned.report(**wrong)
    assert refused.digest is None
    assert refused.error is not None
    assert refused.error.code == code
    decision = await scanned.one.decision(scanned.one.subject())
    assert [fact.digest for fact in decision.facts] == [first.digest]


async def test_an_earlier_report_that_comes_late_changes_nothing(scanned: Scanned) -> None:
    await scanned.report(CRITICAL)
    late = await scanned.report(at=scanned.one.clock.now - 60)
    assert late.error is not None
    assert late.error.code == "conflict"
    assert await scanned.code(scanned.one) == "no_rule"


async def test_a_report_may_come_as_messagepack(scanned: Scanned) -> None:
    key = scanned.one.files.keys["trivy"].public
    headers = {"Nats-Request-Info": json.encode({"user": key}).decode(), "Content-Type": MSGPACK}
    data = msgpack.encode({"target": "web-a", "at": scanned.one.clock.now, "findings": []})
    message = await scanned.one.bus.request(subjects.scan("trivy"), data, timeout=30, headers=headers)
    assert msgpack.decode(message.data)["error"] is None
    assert await scanned.code(scanned.one) == "allowed"


async def test_reports_survive_a_restart_of_every_replica(tmp_path: Path) -> None:
    broker, known = Broker(), files(tmp_path)
    known.policy(CLEAN)
    service = {"id": "trivy", "kind": "service", "roles": ["scanner"], "key": known.keys["bob"].public}
    alice = {"id": "alice", "kind": "human", "key": known.keys["alice"].public}
    known.write("principals", {"principals": [alice, service]})
    known.keys["trivy"] = known.keys["bob"]
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as one:
        assert (await Scanned(one, one).report()).error is None
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as other:
        assert await other.code(other.subject()) == "allowed"


async def test_only_what_policy_signed_for_this_place_is_a_report(scanned: Scanned) -> None:
    """Besides policy, bootstrap and NATS itself can write the store."""
    asking, records = scanned.one, scanned.one.bus.broker.scans.records  # type: ignore[attr-defined]
    await scanned.report()
    assert await scanned.code(asking) == "allowed"
    genuine = records[-1]
    signed = decode(genuine.data, Signed)
    forged = sign(asking.files.keys["bob"], read(signed, StoredReport))
    unsigned = json.encode(read(signed, StoredReport))
    for data in (unsigned, encode(forged), b"{"):
        records[-1] = structs.replace(genuine, data=data)
        assert await scanned.code(asking) == "rule_error", data
    records[-1] = structs.replace(genuine, subject=subjects.scanned("trivy", "web-b"))
    assert await scanned.code(asking, target="web-b") == "rule_error"
    records[-1] = structs.replace(genuine, data=b"{")
    assert (await scanned.report()).error is None  # the next report takes its place
    assert await scanned.code(asking) == "allowed"

    async def recorded() -> bool:  # by policy itself: no executor is there
        found = await asking.bus.journal.read(subjects.security_event("report_refused"))
        return len({event.detail for one in found if (event := security_event(one))}) == 4

    await eventually(recorded, what="each of the four")


async def test_report_that_nats_does_not_store_is_refused_within_two_seconds_and_shown(scanned: Scanned) -> None:
    assert isinstance(scanned.one.bus, MemoryBus)
    broker = scanned.one.bus.broker
    broker.scans.stores.clear()
    with stopwatch() as seconds:
        refused = await scanned.report()
        assert seconds() < 2.0
    assert refused.error is not None
    assert (refused.error.code, "in WRIT_SCANS" in refused.error.message) == ("not_stored", True)
    services = (scanned.one.service, scanned.other.service)
    problems = [problem for one in services if (problem := await one.checks()["journal"]()) is not None]
    assert ["in WRIT_SCANS" in problem for problem in problems] == [True]  # of the one that tried
    broker.stop()
    broker.scans.stores.set()
    broker.start()

    async def well() -> bool:
        return not any([await one.checks()["journal"]() for one in services])

    await eventually(well)
    assert (await scanned.report()).error is None

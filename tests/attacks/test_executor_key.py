"""A stolen executors' key against a running installation: it no longer administers JetStream.

Each attack stores bytes where the key may, and has JetStream send them to a subject that the key may not publish on, by
naming that subject as the reply of a read. The names are those of the security review of November 2026.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding, robbed

from writ_bus.nats.bus import NatsBus, connect
from writ_contracts import subjects
from writ_contracts.policy.facts import Finding, ScanReport, StoredReport
from writ_contracts.wire import encode
from writ_installation.server_access.server_options import options_of
from writ_testing.installations.installation import RunningInstallation
from writ_testing.suites.bus_fixture import SOON

pytestmark = pytest.mark.asyncio(loop_scope="module")
FILLED = "writ.params." + "z" * 26


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    async with robbed(tmp_path_factory.mktemp("robbed")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def thief(installation: RunningInstallation) -> AsyncIterator[NatsBus]:
    async with holding(installation, "executor") as bus:
        assert isinstance(bus, NatsBus)
        yield bus


@pytest_asyncio.fixture(loop_scope="module")
async def admin(installation: RunningInstallation) -> AsyncIterator[NatsBus]:
    bus = await connect(options_of(installation.home, "bootstrap", installation.url, None))
    yield bus
    await bus.close()


async def info(admin: NatsBus, stream: str) -> dict[str, Any]:
    answer = await admin.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=SOON)
    found = json.loads(answer.data)
    return {"created": found["created"], "config": found["config"], "first": found["state"]["first_seq"]}


async def everything(admin: NatsBus) -> dict[str, Any]:
    """Return all streams and consumers with their configuration."""
    names = json.loads((await admin.request("$JS.API.STREAM.NAMES", b"", timeout=SOON)).data)["streams"]
    found: dict[str, Any] = {name: await info(admin, name) for name in sorted(names) if name not in _SHORT_LIVED}
    for name in names:
        consumers = json.loads((await admin.request(f"$JS.API.CONSUMER.NAMES.{name}", b"", timeout=SOON)).data)
        found[f"{name} consumers"] = sorted(consumers["consumers"] or [])
    return {**found, "names": sorted(names)}


_SHORT_LIVED = (subjects.PARAMS_STREAM, subjects.RESULTS_STREAM)
"""Executors put and purge there all the time."""


async def sent_by_jetstream(thief: NatsBus, body: bytes, to: str) -> None:
    """Have JetStream publish these bytes there, in each of its ways to answer with stored bytes."""
    await thief.replies.one(FILLED, body, timeout=SOON)
    last = json.dumps({"last_by_subj": FILLED}).encode()
    for ask, data in (
        (f"$JS.API.DIRECT.GET.WRIT_PARAMS.{FILLED}", b""),
        ("writ.api.leader.WRIT_PARAMS", last),
        ("$JS.API.DIRECT.GET.WRIT_PARAMS", last),
    ):
        await thief.connection.publish(ask, data, to)
    for _ in range(3):
        await thief.connection.round_trip(SOON)


def remade(stream: str, subject: str) -> bytes:
    return json.dumps({"name": stream, "subjects": [subject], "storage": "file", "allow_direct": True}).encode()


async def test_c1_no_consumer_is_made_and_no_report_is_written(thief: NatsBus, admin: NatsBus) -> None:
    before = await everything(admin)
    consumer = {"stream_name": "WRIT_JOURNAL", "config": {"durable_name": "evil", "ack_policy": "none"}}
    await sent_by_jetstream(thief, json.dumps(consumer).encode(), "$JS.API.CONSUMER.CREATE.WRIT_JOURNAL.evil")
    await sent_by_jetstream(thief, b"{}", "writ.scanned.trivy.web-1")
    assert await everything(admin) == before
    assert await admin.scans.last(subjects.scanned("trivy", "web-1")) is None


async def test_c2_the_journal_is_not_cut(installation: RunningInstallation, thief: NatsBus, admin: NatsBus) -> None:
    before = await everything(admin)
    config = {**before["WRIT_JOURNAL"]["config"], "max_msgs": 1, "discard": "old"}
    await sent_by_jetstream(thief, json.dumps(config).encode(), "$JS.API.STREAM.UPDATE.WRIT_JOURNAL")
    await sent_by_jetstream(thief, b"", "$JS.API.STREAM.PURGE.WRIT_JOURNAL")
    await sent_by_jetstream(thief, b'{"seq":1}', "$JS.API.STREAM.MSG.DELETE.WRIT_JOURNAL")
    assert await everything(admin) == before


async def test_c3_the_journal_is_not_made_again_without_an_operation(
    installation: RunningInstallation, thief: NatsBus, admin: NatsBus
) -> None:
    async with await installation.client("alice") as alice:
        done = await alice.run("test_noop", "web-1")
        before = await everything(admin)
        await sent_by_jetstream(thief, b"", "$JS.API.STREAM.DELETE.WRIT_JOURNAL")
        await sent_by_jetstream(thief, remade("WRIT_JOURNAL", "writ.journal.>"), "$JS.API.STREAM.CREATE.WRIT_JOURNAL")
        assert await everything(admin) == before
        assert done.operation_id
        assert (await alice.get(done.operation_id)).outcome == "succeeded"


async def test_c12_no_forged_report_of_a_scanner_is_stored(thief: NatsBus, admin: NatsBus) -> None:
    report = ScanReport(target="web-1", at=1.0, findings=[Finding(id="none", severity="low", found_at=1.0)])
    forged = StoredReport(scanner="trivy", key="U" + "A" * 55, received_at=1.0, report=report)
    for to in (subjects.scanned("trivy", "web-1"), subjects.scan("trivy")):
        await sent_by_jetstream(thief, encode(forged), to)
    assert await admin.scans.last(subjects.scanned("trivy", "web-1")) is None


async def test_c13_published_versions_are_not_taken_back(thief: NatsBus, admin: NatsBus) -> None:
    before, version = await everything(admin), await admin.policies.last(subjects.POLICIES)
    await sent_by_jetstream(thief, b"", "$JS.API.STREAM.DELETE.WRIT_POLICIES")
    await sent_by_jetstream(thief, remade("WRIT_POLICIES", "writ.policies.>"), "$JS.API.STREAM.CREATE.WRIT_POLICIES")
    await sent_by_jetstream(thief, b"{}", subjects.POLICY_FILE)
    assert await everything(admin) == before
    assert await admin.policies.last(subjects.POLICIES) == version


async def test_a_principal_gets_no_event_of_an_end_that_is_not_in_the_journal(
    installation: RunningInstallation, thief: NatsBus
) -> None:
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    async with await installation.client("alice") as alice:
        await alice._bus.subscribe(f"{subjects.events_of('alice')}", hear)
        forged = subjects.operation_event("alice", "f" * 26, "finished").replace("writ.journal.", "writ.event.", 1)
        await sent_by_jetstream(thief, b"{}", forged)
        done = await alice.run("test_noop", "web-1")
    assert any(str(done.operation_id) in one for one in heard)  # what is stored is heard
    assert not any("f" * 26 in one for one in heard)

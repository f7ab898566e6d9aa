"""An attacker with bootstrap's key, or NATS' disk, replaces a stream: no service accepts the new stream as the old.

No account separates such an attacker from the streams. Each service that knew the old stream notices: it is not ready,
records a security event, counts a metric and makes no decision, also after a restart of all services.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding, robbed
from tests.e2e.test_health_problems import HealthCheck

from writ_bus.nats.bus import NatsBus, connect
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.history.records import Record
from writ_contracts.journal import SecurityEvent
from writ_contracts.wire import decode_event
from writ_installation.processes.readiness import read_run_file
from writ_installation.server_access.server_options import options_of
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.suites.bus_fixture import SOON

pytestmark = [pytest.mark.timeout(240)]


@pytest_asyncio.fixture
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    async with robbed(tmp_path_factory.mktemp("replaced")) as running:
        yield running


async def api(admin: NatsBus, verb: str, body: bytes = b"") -> Any:
    answer = json.loads((await admin.request(f"$JS.API.{verb}", body, timeout=SOON)).data)
    assert "error" not in answer, answer
    return answer


async def replace_stream(installation: RunningInstallation, stream: str, records: list[Record]) -> None:
    """Delete it, make it again as it was configured, and store these records in order, by the permitted keys."""
    admin = await connect(options_of(installation.home, "bootstrap", installation.url, None))
    config = (await api(admin, f"STREAM.INFO.{stream}"))["config"]
    await api(admin, f"STREAM.DELETE.{stream}")
    await api(admin, f"STREAM.CREATE.{stream}", json.dumps(config).encode())
    await admin.close()
    async with holding(installation, "executor") as executor, holding(installation, "policy") as policy:
        for record in records:
            by_policy = record.subject.endswith(".granted") or record.subject.startswith("writ.policies.file")
            bus = policy if by_policy else executor
            assert isinstance(bus, NatsBus)
            headers = {name: value for name, value in record.headers.items() if not name.startswith("Nats-")}
            await bus.replies.one(record.subject, record.data, timeout=SOON, headers=headers)


async def is_not_ready(installation: RunningInstallation, process: str, check: str, word: str) -> None:
    async def check_has_word() -> bool:
        running = read_run_file(
            installation.home.run / f"{process}.json", installation.pid(process)
        )  # not while it is started
        return running is not None and word in await HealthCheck(installation, process, check).readyz()

    await eventually(check_has_word, what=f"{process} is not ready: {word}")


async def recorded(installation: RunningInstallation, kind: str, *observers: str) -> None:
    async with holding(installation, "executor") as bus:

        async def all_of_them() -> bool:
            records = await bus.journal.read(subjects.security_event(kind))
            events = [decode_event(record.data) for record in records]
            details = " ".join(event.detail for event in events if isinstance(event, SecurityEvent))
            return all(one in details for one in observers)

        await eventually(all_of_them, what=f"{kind} of {observers}")


async def test_replaced_journal_that_lacks_an_operation_is_refused(installation: RunningInstallation) -> None:
    async with await installation.client("alice") as alice:
        hidden = await alice.run("test_noop", "web-1")
        await alice.run("test_noop", "web-1")
    async with holding(installation, "executor") as bus:
        records = await bus.journal.read(subjects.JOURNAL)
    filler = records[-1]
    kept = [filler if str(hidden.operation_id) in one.subject else one for one in records]
    assert len(kept) == len(records)
    await replace_stream(installation, subjects.JOURNAL_STREAM, kept)
    for process in ("executor", "policy", "audit"):
        await is_not_ready(installation, process, "journal", "made at")
    await recorded(
        installation, "journal_replaced", "reported by an executor", "reported by policy", "reported by audit"
    )
    async with await installation.client("alice") as alice:
        with pytest.raises(WritError):
            await alice.submit("test_noop", "web-1", timeout=5)
    for process in ("policy", "audit"):
        before = installation.kill(process)

        async def restarted(process: str = process, before: int = before) -> bool:
            return installation.pid(process) not in (None, before)

        await eventually(restarted)
        await is_not_ready(installation, process, "journal", "made at")


@pytest.mark.exhaustive
async def test_a_published_version_is_not_taken_back_with_its_store(installation: RunningInstallation) -> None:
    async with holding(installation, "executor") as bus:
        first = await bus.policies.read(subjects.POLICIES, limit=1)
    text = installation.home.policy.read_text()
    async with await installation.client("alice") as alice:
        assert (await alice.policy_publish(text + "\n# the second\n", reason="a test")).outcome == "succeeded"
        await alice.run("test_noop", "web-1")  # decided by it
    await replace_stream(installation, subjects.POLICIES_STREAM, first)
    await is_not_ready(installation, "policy", "versions", "the store now ends at 1")
    await recorded(installation, "version_lost", "the store now ends at 1")
    before = installation.kill("policy")

    async def restarted() -> bool:
        return installation.pid("policy") not in (None, before)

    await eventually(restarted)
    await is_not_ready(installation, "policy", "versions", "version 2 was enforced here")
    async with await installation.client("alice") as alice:
        with pytest.raises(WritError):
            await alice.run("test_noop", "web-1", timeout=5)

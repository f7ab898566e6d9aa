"""NATS' refusals of real keys become security events in the journal, linked to the sender and limited in number."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.attacks.rogue import alarm, events
from tests.e2e.stolen_keys import holding
from tests.e2e.test_metrics import scraped

from writ_bus.errors import BusError
from writ_bus.port import Bus
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.journal import SecurityEvent
from writ_contracts.notices import Notice
from writ_documents.readers import read_agents
from writ_installation.archives.journal import record_notice
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust.keys import generate_seed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
FLOOD = 1_000
MOST_EVENTS = 8
"""Five at once, one more after each half minute."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with a principal that forges requests of `operator`."""
    folder = tmp_path_factory.mktemp("forged")
    reads = {"name": "reads", "operations": ["audit_read"], "allowed": True, "users": ["operator"]}
    home = prepare(folder, policy=open_policy(reads), principals=[("bot", {}), ("mallory", {}), ("alice", {})])
    async with running_installation(folder, home=home) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def record(installation: RunningInstallation) -> AsyncIterator[Bus]:
    async with holding(installation, "audit") as bus:
        yield bus


async def counted(installation: RunningInstallation, name: str, kind: str) -> float:
    text = (await scraped(installation))["audit"]
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f'{name}{{kind="{kind}"}}'))


async def forge(installation: RunningInstallation, thief: str, times: int = 1, of: str = "operator") -> None:
    """Publish on the subject of another's request. The last one is sent as a request, which NATS refuses at once."""
    async with holding(installation, f"principal-{thief}") as bus:
        for _ in range(times - 1):
            await bus.publish(subjects.request(of, "service_restart"), b"{}")
        with pytest.raises(BusError):
            await bus.request(subjects.request(of, "service_restart"), b"{}", timeout=30.0)


async def test_forged_request_of_another_principal_is_a_security_event(
    installation: RunningInstallation, record: Bus
) -> None:
    assert (await installation.writ("status")).status == 0
    await forge(installation, "bot")
    event = await alarm(record, "permission_violation", text="writ.request.operator.service_restart")
    assert event.principal == "bot"
    assert installation.home.key("principal-bot").public in event.detail
    assert await counted(installation, "writ_security_events_total", "permission_violation") >= 1
    assert "what NATS refuses is not recorded" not in (await installation.writ("status")).out


async def test_removal_of_events_that_no_archive_has_is_a_security_event_with_its_author(
    installation: RunningInstallation, record: Bus
) -> None:
    notice = Notice(kind="events_removed", detail="events 3 to 3 are removed: a backup has them", principal="alice")
    await record_notice(installation.home, installation.url, notice)
    event = await alarm(record, "events_removed", text="a backup has them")
    assert event.principal == "alice"


async def test_flood_of_forged_requests_is_counted_and_gives_few_events(
    installation: RunningInstallation, record: Bus
) -> None:
    before = await counted(installation, "writ_audit_nats_refusals_total", "permission_violation")
    await forge(installation, "mallory", FLOOD)

    async def all_counted() -> bool:
        now = await counted(installation, "writ_audit_nats_refusals_total", "permission_violation")
        return now >= before + FLOOD

    await eventually(all_counted, what="the count of the flood")
    await alarm(record, "permission_violation", text="principal mallory")
    found = await events(record, subjects.security_event("permission_violation"))
    assert (
        1 <= sum(isinstance(one, SecurityEvent) and "principal mallory" in one.detail for one in found) <= MOST_EVENTS
    )


async def test_violation_by_an_agents_key_names_its_pool(installation: RunningInstallation, record: Bus) -> None:
    [pool] = {one.pool for one in read_agents(installation.home.agents).agents}
    async with holding(installation, f"agent-{pool}") as thief:
        await thief.publish(subjects.request("operator", "service_restart"), b"{}")
        event = await alarm(record, "permission_violation", text=f"an agent of pool {pool}")
    assert (event.pool, event.principal) == (pool, None)


@pytest.mark.parametrize("name", ["executor", "policy", "audit", "keeper", "status", "bootstrap"])
async def test_violation_by_the_key_of_any_service_is_a_security_event(
    installation: RunningInstallation, record: Bus, name: str
) -> None:
    key = installation.home.key(name).public
    async with holding(installation, name) as thief:
        await thief.publish(subjects.request("operator", "service_restart"), b"{}")
        event = await alarm(record, "permission_violation", text=key)
    assert "NATS refused account " in event.detail


async def test_security_events_are_listed_for_a_reader_of_the_record_alone(
    installation: RunningInstallation, record: Bus
) -> None:
    await forge(installation, "bot")
    await alarm(record, "permission_violation", text="principal bot")
    listed = await installation.writ("audit", "security", "--kind", "permission_violation", "--principal", "bot")
    assert (listed.status, "writ.request.operator.service_restart" in listed.out) == (0, True), listed
    assert (await installation.writ("audit", "security", "--as", "bot")).status == 3


async def test_reply_that_the_executors_thief_forges_is_a_security_event(
    installation: RunningInstallation, record: Bus
) -> None:
    async with holding(installation, "executor") as thief:
        await thief.publish("_INBOX_executor.forged.1", b"{}")  # where honest executors expect replies
        event = await alarm(record, "permission_violation", text="_INBOX_executor.forged.1")
    assert "account EXECUTOR" in event.detail


async def test_wrong_key_in_anothers_name_is_a_security_event(installation: RunningInstallation, record: Bus) -> None:
    with pytest.raises(BusError):
        await open_bus(Context(principal="alice", url=installation.url), generate_seed(), wait=10)
    event = await alarm(record, "authentication_failed")
    assert event.principal is None
    assert "127.0.0.1" in event.detail


async def test_violations_are_recorded_after_the_log_was_rotated(installation: RunningInstallation) -> None:
    log = installation.home.log / "nats.log"
    with log.open("ab") as grown:
        grown.truncate(17 << 20)  # so that the next start begins another
    installation.kill("nats")

    async def rotated() -> bool:
        return log.with_suffix(".log.1").exists() and log.exists() and log.stat().st_size < 1 << 20

    await eventually(rotated, what="the next log")
    await forge(installation, "alice")
    async with holding(installation, "audit") as record:  # `record` of the others was connected to the former server
        event = await alarm(record, "permission_violation", text="principal alice")
    assert event.principal == "alice"

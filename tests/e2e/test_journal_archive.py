# long: one subject, an archive and all that outlives it
"""A full journal on the real server: refusals, an archive, new work, and no repetition of old operations."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from writ_client.client import Writ
from writ_contracts.errors import Full
from writ_contracts.requests import OperationView
from writ_contracts.subjects import JOURNAL_STREAM
from writ_installation.archives.journal import bootstrapped
from writ_installation.nats.stream_sizes import sizes
from writ_installation.status.server_url import running_url
from writ_nats_server import journal_generations
from writ_nats_server.streams import Sizes
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import CountLoad, fill, load
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.peers.nats_cluster import Cluster, ClusterNode, cluster_for

ADMIN: dict[str, Any] = {
    "name": "admins",
    "operations": [
        *("journal_archive", "stop_set", "stop_lift", "emergency_declare", "emergency_confirm"),
        *("policy_publish", "policy_rollback", "operation_cancel"),
    ],
    "user_roles": ["admin"],
    "allowed": True,
}
ENVIRON = {
    "WRIT_SWEEP": "0.2",
    "WRIT_RATE": "10000",
    "WRIT_BURST": "10000",
    "WRIT_REFUSAL_BURST": "10000",
    "WRIT_JOURNAL_KEEP": "0.01",
}


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with two executors."""
    targets = [local_target(name, tmp_path / "files") for name in ("web-1", "web-2")]
    home = prepare(tmp_path, policy=open_policy(ADMIN), targets=targets)
    async with running_installation(tmp_path, home=home, executors=2, environ=ENVIRON) as running:
        yield running


@pytest.fixture
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    """Yield the client of its operator, an admin."""
    async with await installation.client() as client:
        yield client


async def settled(writ: Writ) -> None:
    async def none_open() -> bool:
        return not await writ.open_operations()

    await eventually(none_open, within=60, what="the ends of all operations")


async def takes_work(writ: Writ) -> bool:
    try:
        return (await writ.run("test_noop", "web-1", timeout=120)).outcome == "succeeded"
    except Full:
        return False


async def archivable(writ: Writ, least: int) -> int:
    async def check() -> int | None:
        return cut if (cut := (await writ.journal()).cut) >= least else None

    return await eventually(check, what=f"that {least} events can be archived")


async def archive(installation: RunningInstallation, file: Path, **environ: str) -> dict[str, Any]:
    ended = await installation.writ("journal", "archive", str(file), "-r", "it is full", "-o", "json", environ=environ)
    assert ended.status == 0, ended
    return json.decode(ended.out, type=dict[str, Any])


async def count(writ: Writ, file: Path, key: str) -> OperationView:
    return await writ.run("test_count", "web-1", {"path": str(file)}, idempotency_key=key, timeout=60)


@pytest.mark.timeout(480)
async def test_a_full_journal_refuses_is_archived_and_takes_work_again(tmp_path: Path) -> None:
    home = prepare(tmp_path, policy=open_policy(ADMIN))
    sizes = Sizes(journal=3_000_000, params=4_000_000, results=4_000_000, policies=4_000_000, scans=1_000_000)
    (home.nats / "sizes.json").write_bytes(json.encode(sizes))
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        await full_and_back(installation, writ, tmp_path)


async def full_and_back(installation: RunningInstallation, writ: Writ, tmp_path: Path) -> None:
    counted, file = tmp_path / "files" / "counted", tmp_path / "one.writ"
    first = await count(writ, counted, "once")
    key, read = await eventually(partial(dispatched_at_once, writ), what="a read that is dispatched at once")
    before = await writ.trace(operation_id=first.operation_id)
    full = await fill(writ)
    assert (full.code, full.retry) == ("full", True)
    assert "writ journal archive" in str(full)
    await settled(writ)
    last = (await writ.journal()).last
    await archivable(writ, last - 5)
    report = await archive(installation, file)
    assert (report["archive"]["first"], report["archive"]["last"] >= last - 5) == (1, True)
    assert file.stat().st_mode & 0o777 == 0o600
    standing = await writ.journal()
    assert (standing.first, standing.generation) == (report["archive"]["last"] + 1, 1)
    assert standing.bytes < 600_000
    await eventually(partial(takes_work, writ), within=30, what="that each executor knows of the room")

    again = await count(writ, counted, "once")
    assert (again.operation_id, again.outcome, again.state) == (first.operation_id, "succeeded", "archived")
    assert counted.read_text().split() == [first.operation_id]
    again = await writ.run("test_noop", "web-1", idempotency_key=key, timeout=60)
    assert (again.operation_id, again.state) == (read, "archived")
    there = await installation.writ("trace", first.operation_id, "--archive", str(file), "-o", "json")
    assert without_iso_times(json.decode(there.out)["events"]) == json.decode(json.encode(before.events))
    here = await installation.writ("trace", first.operation_id)
    assert "archive 1: writ trace --archive FILE" in here.out
    verified = await installation.writ("journal", "verify", str(file))
    assert (verified.status, "as they were stored" in verified.out) == (0, True)
    assert "archived: 1 time," in (await installation.writ("journal", "status")).out


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_open_operations_and_load_go_on_through_an_archive(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    first = await count(writ, tmp_path / "files" / "counted", "once")
    worked = tmp_path / "files" / "worked"
    async with load(writ, ["web-1"], worked) as ran:
        await ran.more(5)
        sleeper = (await writ.submit("test_sleep", "web-2", {"seconds": 300, "processes": 1})).operation_id or ""
        await eventually(lambda: is_started(writ, sleeper), what="its start")
        began = (await writ.trace(operation_id=sleeper)).events[0].sequence
        await eventually(lambda: held_by(writ, sleeper), what="that the operation holds the archive")
        report = await archive(installation, tmp_path / "1.writ")
        assert report["archive"]["last"] == began - 1
        await ran.more(5)
    all_once(ran, worked)
    kinds = [one.kind for one in (await writ.trace(operation_id=sleeper)).events]
    assert (kinds[0], "granted" in kinds) == ("requested", True), "an operation that has not ended stays whole"
    assert (await writ.cancel(sleeper)).outcome == "succeeded"
    assert (await writ.wait(sleeper, timeout=120)).outcome == "cancelled"
    for number in (2, 3):
        await archivable(writ, (await writ.journal()).last - 2)
        await archive(installation, tmp_path / f"{number}.writ")
        await writ.run("test_noop", "web-1", timeout=120)
    views = [await writ.get(one) for one in (first.operation_id, sleeper)]
    assert [(view.state, view.outcome) for view in views] == [("archived", "succeeded"), ("archived", "cancelled")]
    assert (await count(writ, tmp_path / "files" / "counted", "once")).operation_id == first.operation_id
    files = [str(tmp_path / f"{number}.writ") for number in (1, 2, 3)]
    assert (await installation.writ("journal", "verify", *files)).status == 0
    assert (await installation.writ("journal", "verify", files[0], files[2])).status == 1


def all_once(ran: CountLoad, worked: Path) -> None:
    assert {view.outcome for view in ran.done} == {"succeeded"}
    assert Counter(worked.read_text().split()) == Counter(view.operation_id for view in ran.done)


async def dispatched_at_once(writ: Writ) -> tuple[str, str] | None:
    """Return the idempotency key and the id of a read without a `dispatched` in the journal; None if it has one, since
    the executor has not heard the agent yet.
    """
    key = secrets.token_hex(8)
    done = await writ.run("test_noop", "web-1", idempotency_key=key, timeout=120)
    kinds = [event.kind for event in (await writ.trace(operation_id=done.operation_id)).events]
    return (key, done.operation_id) if kinds == ["requested", "granted", "finished"] else None


async def is_started(writ: Writ, operation_id: str) -> bool:
    return (await writ.get(operation_id)).state == "started"


async def is_there(path: Path) -> bool:
    return path.exists()


async def held_by(writ: Writ, operation_id: str) -> bool:
    return operation_id in (await writ.journal()).held_by


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_stops_and_published_policies_outlive_the_range_that_they_were_in(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    lifted = await writ.stop_set(["web-*"], reason="for a moment")
    await writ.stop_lift(lifted.output["id"], reason="it is over")
    stop = await writ.stop_set(["web-1"], reason="it burns")
    published = await writ.policy_publish(open_policy(ADMIN, {**ADMIN, "name": "also"}), reason="a version of its own")
    await archivable(writ, (await writ.journal()).last - 2)
    await archive(installation, tmp_path / "one.writ")
    assert (await writ.journal()).first > 10
    other = await writ.stop_set(["db-1"], reason="here too")
    await archivable(writ, (await writ.journal()).last - 2)
    await archive(installation, tmp_path / "two.writ")
    for name in ("policy", "executor-1", "executor-2"):  # a process that starts again knows the new generation alone
        pid = installation.kill(name)
        await installation.until(name, other_than=pid)
    held = await writ.submit("test_count", "web-1", {"path": str(tmp_path / "files" / "never")})
    assert (held.outcome, held.verdict and held.verdict.code) == ("denied", "stopped")
    in_force = (await writ.policy_status()).version
    assert in_force is not None
    assert in_force.number == published.output["version"]
    await writ.stop_lift(other.output["id"], reason="no more")
    await writ.stop_lift(stop.output["id"], reason="it is out")
    assert (await writ.run("test_noop", "web-1", timeout=120)).outcome == "succeeded"


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_archive_without_permission_changes_nothing(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    added = await installation.writ("principal", "add", "carol", "--role", "operator")
    assert added.status == 0
    await writ.run("test_noop", "web-1", timeout=120)
    await archivable(writ, 4)
    refused = await installation.writ("journal", "archive", str(tmp_path / "one.writ"), "-r", "mine", "--as", "carol")
    assert refused.status == 3, refused
    assert not list(tmp_path.glob("one.writ*"))
    standing = await writ.journal()
    assert (standing.first, standing.generation) == (1, 0)
    empty = await installation.writ("journal", "archive", str(tmp_path / "two.writ"), "-r", "old", "--until", "7d")
    assert (empty.status, "nothing to archive" in empty.err) == (2, True)


CRASHES = (
    "journal.exported",
    "journal.announced",
    "journal.sealed",
    "journal.verified",
    "journal.closed",
    "journal.shortened",
)


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_a_command_killed_at_any_step_is_called_again(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    for number, fault in enumerate(CRASHES, 1):
        counted = tmp_path / "files" / f"counted-{number}"
        first = await count(writ, counted, f"key-{number}")
        await archivable(writ, (await writ.journal()).last - 2)
        file = tmp_path / f"{number}.writ"
        killed = await installation.writ(
            "journal", "archive", str(file), "-r", "it is full", environ={"WRIT_FAULT": fault}
        )
        assert killed.status == -9, killed
        report = await archive(installation, file)
        standing = await writ.journal()
        assert (standing.generation, standing.first) == (number, report["archive"]["last"] + 1), fault
        assert (await count(writ, counted, f"key-{number}")).state == "archived"
        assert counted.read_text().split() == [first.operation_id]
    files = sorted(tmp_path.glob("*.writ"))
    assert (await installation.writ("journal", "verify", *map(str, files))).status == 0


@pytest.mark.timeout(480)
async def test_archived_events_that_a_crashed_server_brings_back_are_removed_by_the_next_archive(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    """After a crash nats-server finds removed events again, of the first file that it still keeps."""
    made: list[dict[str, Any]] = []
    for number in (1, 2):
        await count(writ, tmp_path / "files" / "counted", f"key-{number}")
        await archivable(writ, (await writ.journal()).last - 2)
        made.append((await archive(installation, tmp_path / f"{number}.writ"))["archive"])
    server = installation.kill("nats")
    await installation.until("nats", other_than=server)

    async def came_back() -> bool:
        return (await writ.journal()).first < int(made[1]["first"])

    await eventually(came_back, within=30, what="the removed events")
    await archivable(writ, made[1]["last"] + 2)
    third = (await archive(installation, tmp_path / "3.writ"))["archive"]
    assert (third["generation"], third["first"]) == (3, made[1]["last"] + 1)
    assert (await writ.journal()).first == third["last"] + 1
    files = [str(tmp_path / f"{number}.writ") for number in (1, 2, 3)]
    verified = await installation.writ("journal", "verify", *files)
    assert verified.status == 0, verified
    assert await takes_work(writ)


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_same_file_completes_an_archive_after_a_crash_brought_back_events_of_the_one_before(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    await count(writ, tmp_path / "files" / "counted", "key-1")
    await archivable(writ, (await writ.journal()).last - 2)
    former = (await archive(installation, tmp_path / "1.writ"))["archive"]
    await count(writ, tmp_path / "files" / "counted", "key-2")
    await archivable(writ, (await writ.journal()).last - 2)
    request = ("journal", "archive", str(tmp_path / "2.writ"), "-r", "it is full")
    killed = await installation.writ(*request, environ={"WRIT_FAULT": "journal.verified"})
    assert killed.status == -9, killed
    server = installation.kill("nats")
    await installation.until("nats", other_than=server)

    async def came_back() -> bool:
        return (await writ.journal()).first <= int(former["last"])

    await eventually(came_back, within=30, what="the removed events")
    made = (await archive(installation, tmp_path / "2.writ"))["archive"]
    assert made["first"] == former["last"] + 1
    assert (await writ.journal()).first == made["last"] + 1


@pytest.mark.timeout(480)
async def test_archive_removes_no_rest_of_a_range_whose_file_was_not_verified(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    """The first events were lost by damage of the store: only the rest of the range still exists."""
    await count(writ, tmp_path / "files" / "counted", "key-1")
    await archivable(writ, (await writ.journal()).last - 2)
    request = ("journal", "archive", str(tmp_path / "1.writ"), "-r", "it is full")
    killed = await installation.writ(*request, environ={"WRIT_FAULT": "journal.announced"})
    assert (killed.status, list(tmp_path.glob("1.writ"))) == (-9, []), killed
    home = installation.home
    async with bootstrapped(home, running_url(home) or "") as bus:
        await journal_generations.take_out(bus.replies, sizes(home), 1, 2)
    refused = await installation.writ("journal", "archive", str(tmp_path / "2.writ"), "-r", "it is full")
    assert refused.status != 0, refused
    assert (await writ.journal()).first == 3


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    "fault",
    ["executor.names_kept", "executor.control_carried", "executor.control_stored"],
)
async def test_an_executor_killed_while_it_archives_is_taken_over(tmp_path: Path, fault: str) -> None:
    home = prepare(tmp_path, policy=open_policy(ADMIN))
    died = tmp_path / "died"
    environ = {**ENVIRON, "WRIT_LEASE": "1", "WRIT_FAULT": "", "WRIT_FAULT_ONCE": str(died)}
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=environ) as running,
        await running.client() as writ,
    ):
        first = await count(writ, tmp_path / "files" / "counted", "once")
        await archivable(writ, (await writ.journal()).last - 2)
    environ["WRIT_FAULT"] = fault
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=environ) as running,
        await running.client() as writ,
    ):
        await archivable(writ, 4)
        report = await archive(running, tmp_path / "one.writ", WRIT_FAULT="")
        await eventually(lambda: is_there(died), what=f"the step {fault}")  # it may come after the replies to others
        assert (await writ.journal()).first == report["archive"]["last"] + 1
        assert (await count(writ, tmp_path / "files" / "counted", "once")).state == "archived"
        assert (tmp_path / "files" / "counted").read_text().split() == [first.operation_id]


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_on_a_cluster_every_copy_is_shortened_alike_and_a_leader_may_die_after(tmp_path: Path) -> None:
    home = prepare(tmp_path, policy=open_policy(ADMIN))
    counted, worked = tmp_path / "files" / "counted", tmp_path / "files" / "worked"
    async with cluster_for(home, tmp_path) as cluster:
        environ = {**ENVIRON, "NATS_URL": cluster.url}
        async with (
            running_installation(tmp_path, home=home, environ=environ) as installation,
            await installation.client() as writ,
        ):
            first = await count(writ, counted, "once")
            async with load(writ, ["web-1"], worked) as ran:
                await archivable(writ, (await writ.journal()).last)
                report = await archive(installation, tmp_path / "1.writ")
                await ran.more(3)
                await cluster.whole()
                await begins_at(cluster, report["archive"]["last"] + 1)
                leader = await cluster.leader()
                await leader.process.kill()
                await ran.more(3)
                await leader.start()
                await cluster.whole()
            all_once(ran, worked)
            await begins_at(cluster, report["archive"]["last"] + 1, killed=leader)
            assert (await count(writ, counted, "once")).state == "archived"
            assert counted.read_text().split() == [first.operation_id]


async def begins_at(cluster: Cluster, first: int, killed: ClusterNode | None = None) -> None:
    """Wait until the journal begins at this sequence on each copy.

    A follower removes the same events a little later. A copy that was killed before NATS had stored the removal
    sometimes has the archived events again.
    """
    observed: list[int | None] = []

    async def alike() -> bool:
        found = [await node.stream(JOURNAL_STREAM) for node in cluster.nodes]
        observed[:] = [one["state"]["first_seq"] if one else None for one in found]
        may = [{first, 1} if node is killed else {first} for node in cluster.nodes]
        return all(begins in those for begins, those in zip(observed, may, strict=True))

    try:
        await eventually(alike, what=f"that every copy begins at {first}")
    except AssertionError as error:
        raise AssertionError(f"{error}, but at {observed}") from error


def without_iso_times(shown: Any) -> Any:
    """Return a command's output without the ISO times that it adds for readers."""
    if isinstance(shown, dict):
        return {key: without_iso_times(value) for key, value in shown.items() if not key.endswith("_iso")}
    return [without_iso_times(one) for one in shown] if isinstance(shown, list) else shown

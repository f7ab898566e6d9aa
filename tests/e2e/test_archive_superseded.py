"""An announced archive that cannot be made blocks nothing: another one takes its place while its range exists."""

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_journal_archive import ADMIN, ENVIRON, archivable, archive

from writ_bus.port import Usage
from writ_client.client import Writ
from writ_contracts.errors import Conflict
from writ_contracts.requests import OperationView
from writ_installation.archives import journal
from writ_installation.archives.journal import Archiver, bootstrapped, record_notice
from writ_nats_server.journal_generations import JournalStreamState
from writ_proof.archive.write import control_digest
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[RunningInstallation]:
    home = prepare(tmp_path, policy=open_policy(ADMIN))
    async with running_installation(tmp_path, home=home, executors=2, environ=ENVIRON) as running:
        yield running


@pytest.fixture
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def announce(
    installation: RunningInstallation, writ: Writ, last: int, generation: int = 1, first: int = 1
) -> OperationView:
    """Announce an archive without making it."""
    async with bootstrapped(installation.home, installation.url) as bus:
        control = await control_digest(bus.journal, last)
    what: dict[str, Any] = {"generation": generation, "first": first, "last": last, "events": last - first + 1}
    named = {**what, "digest": "0" * 64, "control": control, "reason": "none was made"}
    return await writ.run("journal_archive", "writ", named, reason="none was made", timeout=60)


async def try_to(installation: RunningInstallation, file: Path, *more: str, **environ: str) -> tuple[int, str]:
    ended = await installation.writ("journal", "archive", str(file), "-r", "it is full", *more, environ=environ)
    return ended.status, ended.err


async def restarted(installation: RunningInstallation) -> None:
    """Restart policy, which then knows only the present journal."""
    pid = installation.kill("policy")
    await installation.until("policy", other_than=pid)


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_an_announcement_of_what_was_never_made_is_superseded(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    await writ.run("test_noop", "web-1", timeout=120)
    await archivable(writ, 4)
    assert (await announce(installation, writ, 4)).outcome == "succeeded"
    file = tmp_path / "one.writ"
    status, why = await try_to(installation, file)
    assert (status, "is not what archive 1 is of" in why, "--supersede" in why) == (1, True, True)
    for refused in (
        await announce(installation, writ, 4),
        await announce(installation, writ, 6, generation=2, first=5),
    ):
        assert (refused.outcome, refused.code) == ("failed", "conflict")
    await archivable(writ, 5)  # or the new range ends before the announced one, since audit has read no further
    killed, _ = await try_to(installation, file, "--supersede", WRIT_FAULT="journal.announced")
    assert killed == -9
    report = await archive(installation, file)
    standing = await writ.journal()
    assert (standing.generation, standing.first) == (1, report["archive"]["last"] + 1)
    assert standing.first > 5
    await restarted(installation)
    assert (await writ.run("test_noop", "web-1", timeout=120)).outcome == "succeeded"
    await archivable(writ, (await writ.journal()).last - 2)
    await archive(installation, tmp_path / "two.writ")
    assert (await installation.writ("journal", "verify", str(file), str(tmp_path / "two.writ"))).status == 0


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_superseded_archive_is_not_taken_out(
    installation: RunningInstallation, writ: Writ, tmp_path: Path
) -> None:
    await writ.run("test_noop", "web-1", timeout=120)
    await archivable(writ, 4)
    killed, _ = await try_to(installation, tmp_path / "one.writ", WRIT_FAULT="journal.verified")
    assert killed == -9
    made = (await writ.journal()).archived
    assert (await announce(installation, writ, made - 1)).outcome == "succeeded"
    status, why = await try_to(installation, tmp_path / "one.writ")
    assert (status, "not the one that counts" in why) == (2, True)
    assert (await writ.journal()).first == 1
    assert (await try_to(installation, tmp_path / "two.writ", "--supersede"))[0] == 0
    standing = await writ.journal()
    assert (standing.generation, standing.first) == (1, standing.archived + 1)


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_second_of_two_concurrent_archives_learns_that_the_first_counts(
    installation: RunningInstallation, writ: Writ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events named for the longer range that stayed in the journal are found in the archive that holds them."""
    await writ.run("test_noop", "web-1", timeout=120)
    worked = await writ.run("test_noop", "web-1", timeout=120)
    last = await archivable(writ, (await writ.journal()).last)
    monkeypatch.setattr(journal, "MOST_EVENTS", 2)
    async with bootstrapped(installation.home, installation.url) as bus:
        record = partial(record_notice, installation.home, installation.url)
        archiver = Archiver(installation.home, bus, writ, [installation.home.key("policy").public], record)
        take_out = archiver._take_out

        async def late(announced: Any) -> tuple[Usage, JournalStreamState]:
            assert (await announce(installation, writ, last)).outcome == "succeeded"
            return await take_out(announced)

        monkeypatch.setattr(archiver, "_take_out", late)
        with pytest.raises(Conflict, match="by now"):
            await archiver.archive(tmp_path / "one.writ", reason="it is full")
        assert (await writ.journal()).first == 1
        monkeypatch.setattr(journal, "MOST_EVENTS", 3)
        monkeypatch.setattr(archiver, "_take_out", take_out)
        done = await archiver.archive(tmp_path / "two.writ", reason="it is full", supersede=True)
        assert (done.archive.last, (await writ.journal()).first) == (3, 4)
        monkeypatch.setattr(
            journal, "MOST_EVENTS", last - 3
        )  # up to where it was said to end, and what was named is not
        assert (await archiver.archive(tmp_path / "three.writ", reason="it is full")).archive.last == last
    trace = await installation.writ("trace", worked.operation_id, "-o", "json")
    assert [event["body"]["generation"] for event in json.loads(trace.out)["events"]][-1] == 2
    await restarted(installation)
    assert (await writ.run("test_noop", "web-1", timeout=120)).outcome == "succeeded"

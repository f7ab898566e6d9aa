"""Archives go on behind events that the journal lost, once an operator has accepted the loss."""

from pathlib import Path

import pytest
from tests.e2e.test_journal_archive import ADMIN, ENVIRON, archivable, archive

from writ_bus.nats.jetstream import call
from writ_contracts import subjects
from writ_installation.archives.journal import bootstrapped
from writ_installation.nats.stream_sizes import sizes
from writ_nats_server import journal_generations
from writ_nats_server.streams import restore_journal_configuration
from writ_testing.installations.installation import open_policy, prepare, running_installation

STREAM = f"STREAM.UPDATE.{subjects.JOURNAL_STREAM}"


@pytest.mark.exhaustive
@pytest.mark.timeout(480)
async def test_journal_is_archived_up_to_lost_events_and_then_behind_them(tmp_path: Path) -> None:
    home = prepare(tmp_path, policy=open_policy(ADMIN))
    async with running_installation(tmp_path, home=home, environ=ENVIRON) as installation:
        async with await installation.client() as writ:
            for _ in range(3):  # the journal has one subject for all stops, and one for all lifts
                stop = await writ.stop_set(["web-1"], reason="for a moment")
                assert (await writ.stop_lift(stop.output["id"], reason="it is over")).outcome == "succeeded"
                await writ.run("test_noop", "web-1", timeout=120)
        async with bootstrapped(home, installation.url) as bus:
            config = await journal_generations._config(bus.replies)
            await call(bus.replies, STREAM, {**config, "max_msgs_per_subject": 1})
            await restore_journal_configuration(bus.replies, sizes(home))
            missing = await journal_generations.missing_events(bus.replies)
            last = (await journal_generations.state(bus.replies)).usage.last_sequence
    assert missing
    lost = {"WRIT_JOURNAL_LOST": str(last)}
    async with running_installation(tmp_path, home=home, environ={**ENVIRON, **lost}) as installation:
        async with await installation.client() as writ:
            await archivable(writ, last)
            files: list[Path] = []
            while not files or (await writ.journal()).archived < last:
                files.append(tmp_path / f"{len(files)}.writ")
                await archive(installation, files[-1])
            assert len(files) > 1
            assert (await writ.run("test_noop", "web-1", timeout=120)).outcome == "succeeded"
        for file in files:
            assert (await installation.writ("journal", "verify", str(file))).status == 0
        verified = await installation.writ("journal", "verify", *map(str, files))
        assert (verified.status, "are in no archive: the journal had lost them" in verified.err) == (1, True), verified
    async with running_installation(tmp_path, home=home, environ=ENVIRON) as installation:  # nothing is missing now
        assert (await installation.writ("status")).status == 0
